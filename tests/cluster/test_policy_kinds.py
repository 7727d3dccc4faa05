"""The three kinds on the real API server: what a namespace's policy and a waiver do, and what they can never do."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sekisho.policies.limits import MAX_POD_POLICIES
from tests.cluster.conftest import Cluster
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import CommandError, Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod

SOON = 30.0
PRIVILEGED = {"privileged": True, "allowPrivilegeEscalation": None}
ENTRY = "validate.policies.sekisho.dev"


def from_now(**duration: float) -> str:
    return f"{datetime.now(UTC) + timedelta(**duration):%Y-%m-%dT%H:%M:%SZ}"


def manifest(kind: str, name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def apply(kubectl: Kubectl, kind: str, name: str, **spec: Any) -> Completed:
    applied = kubectl("apply", "-f", "-", input=manifest(kind, name, **spec))
    assert applied.returncode == 0, applied.stderr
    return applied


def privileged(name: str = "app", image: str = "quay.io/driver:1") -> dict[str, Any]:
    return container(name, image, securityContext=PRIVILEGED)


def dry_run(kubectl: Kubectl, pod: dict[str, Any], *args: str) -> Completed:
    return kubectl("create", "--dry-run=server", "-f", "-", *args, input=json.dumps(pod))


def wait_admitted(kubectl: Kubectl, pod: dict[str, Any], *, admitted: bool) -> str:
    """Wait for a verdict, and give what is said beside it."""
    wait_until(lambda: (dry_run(kubectl, pod).returncode == 0) is admitted, SOON, f"the pod is admitted: {admitted}")
    return dry_run(kubectl, pod).stderr


@pytest.fixture
def baseline(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """The namespace under `baseline` by the cluster's administrator; the policy has the namespace's name."""
    match = {"namespaces": [namespace]}
    apply(kubectl, "ClusterPodPolicy", namespace, match=match, podSecurityStandard={"level": "baseline"})
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}", f"--timeout={SOON:g}s")
    yield namespace
    kubectl("delete", "clusterpodpolicy", namespace, "--wait=false")


@pytest.fixture
def waivers(kubectl: Kubectl, baseline: str) -> Iterator[str]:
    """The prefix for names of waivers, which are gone afterwards."""
    yield baseline
    names = kubectl.check("get", "policywaivers", "-o", "name").split()
    mine = [name for name in names if name.startswith(f"policywaiver.sekisho.dev/{baseline}")]
    if mine:
        kubectl.check("delete", "--wait=false", *mine)


def waive(kubectl: Kubectl, baseline: str, suffix: str = "w", **changed: Any) -> None:
    fields = {
        "policies": [baseline],
        "controls": ["privileged"],
        "expires": from_now(days=30),
        "reason": "the driver loads a module",
        "match": {"namespaces": [baseline]},
    }
    apply(kubectl, "PolicyWaiver", f"{baseline}-{suffix}", **fields | changed)


# PodPolicy


@pytest.mark.usefixtures("baseline")
def test_a_pod_policy_applies_to_its_own_namespace_only(kubectl: Kubectl, cluster: Cluster, namespace: str) -> None:
    apply(kubectl, "PodPolicy", "own", podSecurityStandard={"level": "restricted"})
    plain = restricted_pod(container(securityContext={"allowPrivilegeEscalation": None}))
    said = wait_admitted(kubectl, plain, admitted=False)
    assert f'policy "{namespace}/own" denies container "app"' in said
    assert dry_run(kubectl, restricted_pod()).returncode == 0
    other = cluster.plane.kubectl.in_namespace("default")
    assert dry_run(other, plain).returncode == 0


def test_many_pod_policies_and_a_pod_of_many_containers_hold_up_no_other_namespace(
    kubectl: Kubectl, cluster: Cluster, namespace: str
) -> None:
    others = f"{namespace}-others"
    cluster.plane.create_namespace(others)
    level = {"podSecurityStandard": {"level": "restricted"}}
    policies = [json.loads(manifest("PodPolicy", f"p{number}", **level)) for number in range(300)]
    applied = kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": policies}))
    assert f"PodPolicies; the maximum is {MAX_POD_POLICIES}" in applied.stderr
    assert applied.stderr.count(f"namespace {namespace} has ") > 200
    wait_admitted(kubectl, restricted_pod(privileged()), admitted=False)
    large = restricted_pod(*({"name": f"c-{number}", "image": "a.example/x"} for number in range(1500)))

    def judged(where: str, pod: dict[str, Any]) -> tuple[int, bytes]:
        answer = cluster.plane.call("POST", f"/api/v1/namespaces/{where}/pods?dryRun=All", pod)
        return answer.status, answer.body

    try:
        with ThreadPoolExecutor(4) as executor:
            denials = [executor.submit(judged, namespace, large) for _ in range(20)]
            while not all(denial.done() for denial in denials):
                assert judged(others, restricted_pod())[0] == 201  # within the webhook's timeout, or it is denied
        for denial in denials:
            status, said = denial.result()
            assert status == 500  # as for all that cannot be judged
            assert b"the pod has 1,500 containers, more than 512" in said
    finally:
        cluster.plane.call("DELETE", f"/api/v1/namespaces/{others}")


def test_a_pod_policy_exempts_from_no_cluster_policy(kubectl: Kubectl, baseline: str) -> None:
    everything_off = {"privileged": {"enforcement": "Off"}}
    spec = {"enforcement": "Audit", "podSecurityStandard": {"level": "privileged"}, "controls": everything_off}
    apply(kubectl, "PodPolicy", baseline, **spec)
    apply(kubectl, "PodPolicy", "marker", controls={"images": {"trustedRegistries": ["trusted.io"]}})
    wait_admitted(kubectl, restricted_pod(container(image="ghcr.io/x")), admitted=False)  # both are in effect
    bad = dry_run(kubectl, restricted_pod(container(image="trusted.io/x", securityContext=PRIVILEGED)))
    assert bad.returncode == 1
    assert f'policy "{baseline}" denies container "app" for privileged mode' in bad.stderr


def test_a_used_waiver_is_reported_by_an_event_and_an_unused_one_is_not(kubectl: Kubectl, waivers: str) -> None:
    waive(kubectl, waivers)
    bad = restricted_pod(privileged())
    wait_admitted(kubectl, bad, admitted=True)
    for name, pod in (("plain", restricted_pod()), ("driver", bad)):
        kubectl.check("create", "-f", "-", input=json.dumps(pod | {"metadata": {"name": name}}))

    def used() -> list[dict[str, Any]]:
        events = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
        return [event for event in events if event["reason"] == "WaiverUsed"]

    (event,) = wait_until(used, SOON, "the use of the waiver is reported")
    assert (event["regarding"]["kind"], event["regarding"]["name"], event["type"]) == ("Pod", "driver", "Normal")
    waiver = json.loads(kubectl.check("get", "policywaiver", f"{waivers}-w", "-o", "json"))
    for part in (f"{waivers}-w", waiver["spec"]["expires"], waiver["spec"]["reason"]):
        assert part in event["note"]


def test_a_tenant_may_write_pod_policies_and_no_waivers(kubectl: Kubectl, namespace: str) -> None:
    kubectl.check("create", "role", "policies", "--verb=*", "--resource=podpolicies.sekisho.dev")
    kubectl.check("create", "rolebinding", "policies", "--role=policies", "--user=tenant")
    own = ("auth", "can-i", "create", "podpolicies.sekisho.dev", "--as=tenant")
    wait_until(lambda: kubectl(*own).stdout.strip() == "yes", SOON, "the role applies")
    for denied in ("policywaivers.sekisho.dev", "clusterpodpolicies.sekisho.dev"):
        assert kubectl("auth", "can-i", "create", denied, "--as=tenant").stdout.split()[-1] == "no"
    assert namespace


# Subjects


def test_a_subject_is_excluded_by_its_exact_name(kubectl: Kubectl, namespace: str) -> None:
    kubectl.check("create", "rolebinding", "pods", "--clusterrole=edit", "--group=makers")
    match = {"namespaces": [namespace], "excludeSubjects": {"users": ["alice"], "serviceAccounts": ["ci/deployer"]}}
    apply(kubectl, "ClusterPodPolicy", namespace, match=match, controls={"privileged": {}})
    try:
        kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}", f"--timeout={SOON:g}s")
        maker = ("auth", "can-i", "create", "pods", "--as=alice", "--as-group=makers")
        wait_until(lambda: kubectl(*maker).returncode == 0, SOON, "the role applies")
        bad = restricted_pod(privileged())
        for user, admitted in (
            ("alice", True),
            ("alice2", False),
            ("system:serviceaccount:ci:deployer", True),
            ("system:serviceaccount:ci:deployer2", False),
        ):
            answer = dry_run(kubectl, bad, f"--as={user}", "--as-group=makers")
            assert (answer.returncode == 0) is admitted, (user, answer.stderr)
    finally:
        kubectl("delete", "clusterpodpolicy", namespace, "--wait=false")


# PolicyWaiver


def test_a_waiver_exempts_with_a_warning_until_it_expires(kubectl: Kubectl, cluster: Cluster, waivers: str) -> None:
    pod = restricted_pod(privileged())
    wait_admitted(kubectl, pod, admitted=False)
    waive(kubectl, waivers)
    said = wait_admitted(kubectl, pod, admitted=True)
    assert f'Warning: waiver "{waivers}-w" exempts container "app" from privileged of policy "{waivers}" until ' in said
    assert "Z: the driver loads a module\n" in said
    log = cluster.sekisho.webhook.log
    wait_until(lambda: f'"waivers": ["{waivers}-w"]' in log.read_text(), SOON, "its use is logged")
    waive(kubectl, waivers, expires=from_now(seconds=3))
    wait_admitted(kubectl, pod, admitted=False)
    assert kubectl("get", "policywaiver", f"{waivers}-w").returncode == 0


def test_a_deleted_or_expired_waiver_exempts_nothing(kubectl: Kubectl, waivers: str) -> None:
    pod = restricted_pod(privileged())
    waive(kubectl, waivers)
    wait_admitted(kubectl, pod, admitted=True)
    waive(kubectl, waivers, expires="2020-01-01T00:00:00Z")
    wait_admitted(kubectl, pod, admitted=False)
    waive(kubectl, waivers)
    wait_admitted(kubectl, pod, admitted=True)
    kubectl.check("delete", "policywaiver", f"{waivers}-w")
    wait_admitted(kubectl, pod, admitted=False)


def test_two_waivers_do_not_combine(kubectl: Kubectl, waivers: str) -> None:
    """One is for the container by its name, with another image; the other for the image, in another container."""
    waive(kubectl, waivers, "a", match={"containers": ["app"], "images": ["ghcr.io/other"]})
    waive(kubectl, waivers, "b", match={"containers": ["other"], "images": ["quay.io/driver"]})
    wait_admitted(kubectl, restricted_pod(privileged("app", "ghcr.io/other")), admitted=True)
    wait_admitted(kubectl, restricted_pod(privileged("other", "quay.io/driver")), admitted=True)
    assert dry_run(kubectl, restricted_pod(privileged("app", "quay.io/driver"))).returncode == 1
    assert dry_run(kubectl, restricted_pod(privileged("app", "ghcr.io/other2"))).returncode == 1


def test_a_waived_image_cannot_be_replaced_by_another(kubectl: Kubectl, waivers: str) -> None:
    waive(kubectl, waivers, match={"images": ["quay.io/driver"]})
    wait_admitted(kubectl, restricted_pod(privileged()), admitted=True)
    assert kubectl("create", "-f", "-", input=json.dumps(restricted_pod(privileged()))).returncode == 0
    assert kubectl("set", "image", "pod/pod", "app=evil.io/x").returncode == 1
    assert kubectl("set", "image", "pod/pod", "app=quay.io/driver:2").returncode == 0
    waive(kubectl, waivers, expires="2020-01-01T00:00:00Z", match={"images": ["quay.io/driver"]})
    wait_admitted(kubectl, restricted_pod(privileged()), admitted=False)
    assert kubectl("set", "image", "pod/pod", "app=evil.io/x").returncode == 1
    assert kubectl("label", "pod/pod", "a=b").returncode == 0
    assert kubectl("delete", "pod/pod", "--wait=false").returncode == 0


# Applying and deleting them


def test_a_broken_stored_policy_does_not_prevent_changes_to_others(
    kubectl: Kubectl, sekisho: Sekisho, namespace: str
) -> None:
    """Broken ones get in while the webhook for policies is opened; the others go on being taken, and enforced."""
    broken = {"match": {"namespaces": [namespace]}, "controls": {"images": {"trustedRegistries": ["acme/web"]}}}
    sekisho.webhook.kill()
    open_glass(kubectl)
    wait_open(kubectl)
    apply(kubectl, "ClusterPodPolicy", f"{namespace}-broken", **broken)
    sekisho.webhook.start()
    try:
        apply(kubectl, "ClusterPodPolicy", namespace, match=broken["match"], controls={"privileged": {}})
        wait_admitted(kubectl, restricted_pod(privileged()), admitted=False)
        assert kubectl("label", "clusterpodpolicy", f"{namespace}-broken", "a=b").returncode == 0
        changed = kubectl(
            "apply",
            "-f",
            "-",
            input=manifest("ClusterPodPolicy", f"{namespace}-broken", **broken | {"enforcement": "Warn"}),
        )
        assert "'acme/web' begins with 'acme'" in changed.stderr
    finally:
        kubectl("delete", "clusterpodpolicy", namespace, f"{namespace}-broken", "--wait=false")


def test_policies_can_be_deleted_and_labelled_while_the_webhook_is_dead(
    kubectl: Kubectl, sekisho: Sekisho, namespace: str
) -> None:
    for kind in ("ClusterPodPolicy", "PodPolicy"):
        apply(kubectl, kind, namespace, controls={"images": {"trustedRegistries": ["trusted.io"]}})
    waive(kubectl, namespace)
    kinds = {"clusterpodpolicy": namespace, "podpolicy": namespace, "policywaiver": f"{namespace}-w"}
    sekisho.webhook.kill()
    denied = kubectl("apply", "-f", "-", input=manifest("ClusterPodPolicy", f"{namespace}-new"))
    assert f'failed calling webhook "{ENTRY}"' in denied.stderr
    for kind, name in kinds.items():
        assert kubectl("label", kind, name, "a=b").returncode == 0
        patch = '{"metadata":{"finalizers":["example.com/hold"]}}'
        assert kubectl("patch", kind, name, "--type=merge", "-p", patch).returncode == 0
        assert kubectl("delete", kind, name, "--wait=false").returncode == 0
        none = '{"metadata":{"finalizers":null}}'
        assert kubectl("patch", kind, name, "--type=merge", "-p", none).returncode == 0
        kubectl.check("wait", "--for=delete", f"{kind}/{name}", f"--timeout={SOON:g}s")


def test_policies_can_be_changed_unchecked_after_their_webhook_is_set_to_ignore(
    kubectl: Kubectl, sekisho: Sekisho, namespace: str
) -> None:
    sekisho.webhook.kill()
    open_glass(kubectl)
    wait_open(kubectl)
    apply(kubectl, "ClusterPodPolicy", namespace, match={"namespaces": [namespace]}, controls={"privileged": {}})
    assert "failed calling webhook" in dry_run(kubectl, restricted_pod()).stderr  # pods are still denied
    assert kubectl("delete", "clusterpodpolicy", namespace).returncode == 0


def set_glass(kubectl: Kubectl, policy: str) -> None:
    """Exactly what the documentation says."""
    kubectl.check(
        *("patch", "validatingwebhookconfiguration", RELEASE),
        *(
            "-p",
            '{"webhooks":[{"name":"validate.policies.sekisho.dev","failurePolicy":"POLICY"}]}'.replace(
                "POLICY", policy
            ),
        ),
    )


def open_glass(kubectl: Kubectl) -> None:
    set_glass(kubectl, "Ignore")


def wait_open(kubectl: Kubectl) -> None:
    """Return when the API server takes policies without the webhook, which is dead."""
    dry = ("apply", "--dry-run=server", "-f", "-")
    policy = manifest("ClusterPodPolicy", "tried", controls={"privileged": {}})
    wait_until(lambda: kubectl(*dry, input=policy).returncode == 0, SOON, "the API server ignores the webhook")


@pytest.fixture
def sekisho(cluster: Cluster) -> Iterator[Sekisho]:
    """The release, to change at will: the tests that follow find it as it was."""
    yield cluster.sekisho
    set_glass(cluster.plane.kubectl, "Fail")
    if not cluster.sekisho.webhook.running:
        cluster.sekisho.webhook.start()


def test_helm_warns_while_the_policy_webhook_is_set_to_ignore(kubectl: Kubectl, sekisho: Sekisho) -> None:
    upgrade = ("upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE, "--reuse-values")
    open_glass(kubectl)
    with pytest.raises(CommandError, match=r"conflict with \"kubectl-patch\".*failurePolicy"):
        sekisho.helm(*upgrade)
    set_glass(kubectl, "Fail")
    sekisho.helm(*upgrade)


# How they read


def test_kubectl_explains_a_control(kubectl: Kubectl) -> None:
    explained = " ".join(kubectl.check("explain", "clusterpodpolicy.spec.controls.images").split())
    assert "The images of containers and volumes must come from trusted registries" in explained
    assert "trustedRegistries <[]string> Registries and repositories that images may come from, such as" in explained
    assert (
        "enforcement <Object> enum: Deny, Warn, Audit, Off, .... What happens to a pod that violates this control"
        in explained
    )


@pytest.mark.parametrize("kind", ["clusterpodpolicy", "podpolicy", "policywaiver"])
def test_every_field_of_every_kind_is_explained(kubectl: Kubectl, kind: str) -> None:
    explained = kubectl.check("explain", f"{kind}.spec", "--recursive", "--output=plaintext-openapiv2")
    assert "<no description>" not in explained


def test_kubectl_lists_them_by_their_short_names_and_together(kubectl: Kubectl, waivers: str) -> None:
    waive(kubectl, waivers)
    apply(kubectl, "PodPolicy", "own", podSecurityStandard={"level": "restricted"})
    columns = ["NAME", "LEVEL", "ENFORCEMENT", "ENFORCED", "BY", "DENIALS", "IMPACT", "AGE"]
    assert kubectl.check("get", "cpp", waivers).split()[:8] == columns
    assert kubectl.check("get", "pp").split()[:11] == [*columns, "own", "restricted", "Deny"]
    line = kubectl.check("get", "pw", f"{waivers}-w").splitlines()[1]
    assert f"privileged of {waivers} " in line
    together = kubectl.check("get", "sekisho", "-o", "name").split()
    assert {"podpolicy.sekisho.dev/own", f"policywaiver.sekisho.dev/{waivers}-w"} <= set(together)

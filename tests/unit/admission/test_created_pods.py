"""Templates and manifests are judged as the pods that the API server creates, and the message says what it set."""

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sekisho
from sekisho import admission, manifests
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.unit.cli.sekisho_command import sekisho as command

Json = dict[str, Any]


def policy_of(**spec: Any) -> Json:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": "p"},
        "spec": {"templates": "Deny", **spec},
    }


def policies(**spec: Any) -> PolicySet:
    return PolicySet.of([msgspec.convert(policy_of(**spec), ClusterPodPolicy)])


def deployment(spec: Json, **metadata: Any) -> Json:
    template = {"metadata": {"labels": {"app": "web"}, **metadata}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def webhook_message(spec: Json, policy: PolicySet) -> str:
    """What the webhook says of a Deployment with that pod spec; empty where it admits it."""
    body = review_body(deployment(spec), kind=DEPLOYMENT, resource=DEPLOYMENTS)
    return admission.validate(admission.decode(body), policy, {}).message


def offline_values(spec: Json, policy: PolicySet) -> list[str]:
    """The values that `sekisho.check` complains of in the same Deployment."""
    (checked,) = sekisho.check(deployment(spec), policy)
    return [located.finding.value_and_origin for located in checked.violations]


HOST_PORTS = policies(controls={"hostPorts": {"allowed": [{"min": 9100, "max": 9100}]}})


@pytest.mark.parametrize(("port", "value"), [(10250, "10250, set by hostNetwork"), (9100, None)])
def test_host_ports_of_the_hosts_network_are_judged_before_there_is_a_pod(port: int, value: str | None) -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "agent", "image": "a", "ports": [{"containerPort": port}]}]}
    assert offline_values(spec, HOST_PORTS) == ([value] if value else [])
    message = webhook_message(spec, HOST_PORTS)
    if value is None:
        assert not message
    else:
        assert f"ports[0].hostPort is {value} (allowed: " in message
        assert "Fix: unset spec.template.spec.hostNetwork, or remove the port from the list" in message


REQUESTS = policies(controls={"resources": {"requiredRequests": ["cpu", "memory"]}})


@pytest.mark.parametrize(
    ("resources", "denied"),
    [({"limits": {"cpu": "500m", "memory": "256Mi"}}, 0), ({"limits": {"cpu": "500m"}}, 1), ({}, 2)],
)
def test_limits_are_requests_too(resources: Json, denied: int) -> None:
    spec = {"containers": [{"name": "a", "image": "a", "resources": resources}]}
    assert len(offline_values(spec, REQUESTS)) == denied
    assert bool(webhook_message(spec, REQUESTS)) is (denied > 0)


def test_finding_on_a_request_that_is_copied_from_a_limit_says_so_and_can_be_fixed() -> None:
    maximum = policies(controls={"resources": {"maxRequests": [{"resource": "cpu", "quantity": "1"}]}})
    spec = {"containers": [{"name": "a", "image": "a", "resources": {"limits": {"cpu": "4"}}}]}
    (checked,) = sekisho.check(deployment(spec), maximum)
    finding = checked.violations[0].finding
    assert (finding.value, finding.origin) == ('"4"', "copied from limits")
    assert finding.change is not None
    assert finding.change.path[-3:] == ("resources", "requests", "cpu")


@pytest.mark.parametrize("volume", [{"name": "t"}, {"name": "t", "emptyDir": None}, {"name": "t", "nfs": None}])
def test_volume_without_a_source_is_an_empty_dir(volume: Json) -> None:
    restricted = policies(podSecurityStandard={"level": "restricted"})
    pod = restricted_pod(container(), volumes=[volume])
    assert [checked.is_denied for checked in sekisho.check(pod, restricted)] == [False]
    assert offline_values(pod["spec"], restricted) == []
    before = copy.deepcopy(volume)
    assert volume == before


@pytest.mark.parametrize("volume", [{"name": "t", "nfs": {}}, {"name": "t", "fromTheFuture": {}}])
def test_volume_with_another_source_is_judged(volume: Json) -> None:
    restricted = policies(podSecurityStandard={"level": "restricted"})
    assert [checked.is_denied for checked in sekisho.check(restricted_pod(volumes=[volume]), restricted)] == [True]


def test_null_is_absence_wherever_the_api_server_reads_it_so() -> None:
    spec = {
        "containers": [
            {
                "name": "a",
                "image": "a",
                "volumeMounts": [{"name": None, "mountPath": "/x"}],
                "resources": {"limits": {"cpu": None}},
            }
        ],
        "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": None}]},
    }
    assert offline_values(spec, policies(podSecurityStandard={"level": "baseline"})) == ['"kernel.msgmax"']
    assert offline_values(spec, policies(controls={"resources": {"requiredRequests": ["memory"]}})) == ["unset"]


LIMIT_RANGE = """
apiVersion: v1
kind: LimitRange
metadata: {name: lr, namespace: shop}
spec: {limits: [{type: Container, default: {cpu: 200m, memory: 256Mi}, defaultRequest: {cpu: 100m, memory: 128Mi}}]}
"""
NEEDS = policy_of(controls={"resources": {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]}})


@pytest.mark.parametrize(
    ("limit_range", "code"),
    [
        (LIMIT_RANGE, 0),
        (LIMIT_RANGE.replace("shop", "other"), 1),
        (LIMIT_RANGE.replace("type: Container", "type: Pod"), 1),
    ],
)
@pytest.mark.parametrize("place", ["beside", "context"])
def test_limit_ranges_that_are_there_count(limit_range: str, code: int, place: str, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_bytes(msgspec.json.encode(NEEDS))
    web = msgspec.json.encode(deployment({"containers": [{"name": "a", "image": "a"}]})).decode()
    if place == "beside":
        result = command("check", "-p", tmp_path / "policy.json", "-", text=f"{web}\n---\n{limit_range}")
    else:
        (tmp_path / "lr.yaml").write_text(limit_range)
        result = command("check", "--context-dir", tmp_path, "-", text=web)
    assert result.exit_code == code, result.stderr
    assert ("resources.requests" in result.stdout) is (code == 1)


def test_finding_on_a_value_that_a_limit_range_sets_says_so() -> None:
    maximum = policies(controls={"resources": {"maxLimits": [{"resource": "cpu", "quantity": "100m"}]}})
    sources = manifests.sources_of(LIMIT_RANGE, "lr")
    web = manifests.sources_of(msgspec.json.encode(deployment({"containers": [{"name": "a"}]})).decode(), "web")
    namespaces = manifests.Namespaces(objects=manifests.objects_in(sources, "default"))
    (checked,) = manifests.Checker(maximum, namespaces).check(web[0]).checked
    assert checked.violations[0].finding.value_and_origin == '"200m", set by LimitRange lr'


def test_context_dir_gives_policies_and_labels_and_is_not_checked_itself(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    policy = policy_of(match={"namespaceSelector": {"matchLabels": {"a": "b"}}}, controls={"privileged": {}})
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}}}
    bad = restricted_pod(container(securityContext={"privileged": True}))
    bad["metadata"]["namespace"] = "shop"
    for name, obj in (("policy", policy), ("namespace", namespace), ("pod", bad)):
        (context / f"{name}.json").write_bytes(msgspec.json.encode(obj))
    good = msgspec.json.encode(restricted_pod()).decode()
    assert command("check", "--context-dir", context, "-", text=good).exit_code == 0
    assert command("check", "--context-dir", context, "-", text=msgspec.json.encode(bad).decode()).exit_code == 1
    (context / "policy.json").unlink()
    assert "there are no policies" in command("check", "--context-dir", context, "-", text=good).stderr


# What the StatefulSet controller adds.

VOLUMES = policies(controls={"restrictedVolumes": {"allowed": ["emptyDir", "projected"]}})


@pytest.mark.parametrize(
    ("claims", "volumes", "values"),
    [
        (["data"], [], ["added for volumeClaimTemplates"]),
        (["data"], [{"name": "data", "emptyDir": {}}], ["added for volumeClaimTemplates"]),
        (["data"], [{"name": "data", "hostPath": {"path": "/"}}], ["added for volumeClaimTemplates"]),
        ([], [{"name": "data", "hostPath": {"path": "/"}}], [""]),
        ([], [{"name": "data", "emptyDir": {}}], []),
    ],
)
def test_volume_claim_templates_are_volumes_of_the_pods(
    claims: list[str], volumes: list[Json], values: list[str]
) -> None:
    stateful = deployment({"containers": [{"name": "a", "image": "a"}], "volumes": volumes}) | {"kind": "StatefulSet"}
    stateful["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": name}} for name in claims]
    (checked,) = sekisho.check(stateful, VOLUMES)
    assert [violation.finding.origin for violation in checked.violations] == values
    kind = {"group": "apps", "version": "v1", "kind": "StatefulSet"}
    body = review_body(stateful, kind=kind, resource={"group": "apps", "version": "v1", "resource": "statefulsets"})
    outcome = admission.validate(admission.decode(body), VOLUMES, {})
    assert [violation.finding.origin for violation in outcome.violations] == values
    if claims:
        assert all(
            violation.finding.path[:4] == ("spec", "template", "spec", "volumes") for violation in checked.violations
        )


def test_volume_claim_templates_of_other_kinds_hide_no_volume() -> None:
    baseline = policies(podSecurityStandard={"level": "baseline"})
    spec = {"containers": [{"name": "a", "image": "a"}], "volumes": [{"name": "data", "hostPath": {"path": "/"}}]}
    other = deployment(spec)
    other["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
    assert [checked.is_denied for checked in sekisho.check(other, baseline)] == [True]


# Pods themselves.


@pytest.mark.parametrize(
    ("spec", "annotations", "origin"),
    [
        (
            {"hostNetwork": True, "containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]},
            {},
            "set by hostNetwork",
        ),
        ({"containers": [container(ports=[{"containerPort": 80, "hostPort": 80}])]}, {}, ""),
        (
            {"containers": [container(securityContext={"appArmorProfile": {"type": "Unconfined"}})]},
            {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"},
            "copied from the annotation",
        ),
        ({"containers": [container(securityContext={"appArmorProfile": {"type": "Unconfined"}})]}, {}, ""),
    ],
)
def test_denial_of_a_pod_says_where_a_field_comes_from(spec: Json, annotations: Json, origin: str) -> None:
    baseline = policies(podSecurityStandard={"level": "baseline"})
    pod = {"metadata": {"name": "p", "annotations": annotations}, "spec": spec}
    outcome = admission.validate(admission.decode(review_body(pod)), baseline, {})
    of_containers = [violation.finding for violation in outcome.violations if violation.finding.container is not None]
    assert [finding.origin for finding in of_containers] == [origin]
    assert (origin in outcome.message) is True


@pytest.mark.parametrize(("automount", "origin"), [(None, "added for the service account's token"), (False, "")])
def test_finding_on_a_copied_token_volume_does_not_say_that_it_was_added(automount: bool | None, origin: str) -> None:
    volume = {"name": "kube-api-access-bcdfg", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    spec = {"automountServiceAccountToken": automount, "containers": [container()], "volumes": [volume]}
    body = review_body({"metadata": {"name": "p"}, "spec": spec})
    outcome = admission.validate(admission.decode(body), policies(controls={"restrictedVolumes": {"allowed": []}}), {})
    assert [violation.finding.origin for violation in outcome.violations] == [origin]


NULLS = """
apiVersion: v1
kind: LimitRange
metadata: {name: lr, namespace: shop, labels: null}
spec: {limits: [{type: Container, default: {cpu: 200m, memory: 256Mi}, defaultRequest: null, max: {cpu: null}}]}
"""
OLDER = LIMIT_RANGE.replace("memory: 256Mi", "example.com/x: 1")


@pytest.mark.parametrize(
    ("texts", "code"), [([NULLS], 0), ([OLDER], 1), ([OLDER, LIMIT_RANGE], 0), ([LIMIT_RANGE, OLDER], 1)]
)
def test_limit_range_is_read_as_the_api_server_reads_it_and_the_later_one_counts(
    texts: list[str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "policy.json").write_bytes(msgspec.json.encode(NEEDS))
    web = msgspec.json.encode(deployment({"containers": [{"name": "a", "image": "a"}]})).decode()
    result = command("check", "-p", tmp_path / "policy.json", "-", text="---\n".join([web + "\n", *texts]))
    assert result.exit_code == code, result.stdout


def test_null_in_a_list_of_texts_is_an_empty_text() -> None:
    restricted = policies(podSecurityStandard={"level": "restricted"})
    pod = restricted_pod(container(securityContext={"capabilities": {"drop": [None, "ALL"]}}))
    assert [checked.is_denied for checked in sekisho.check(pod, restricted)] == [False]


def test_finding_on_a_rounded_quantity_says_so() -> None:
    maximum = policies(controls={"resources": {"maxLimits": [{"resource": "memory", "quantity": "1Gi"}]}})
    spec = {"containers": [{"name": "a", "image": "a", "resources": {"limits": {"memory": "1.00000001Gi"}}}]}
    assert offline_values(spec, maximum) == ['"1073741834738m", rounded up from 1.00000001Gi']

"""The chart in a real cluster, by the real helm: what upgrades keep, what break-glass opens, what removal leaves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart import PLATFORM_PAGES, values_and_objects
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import dry_run
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import CommandError, Kubectl
from tests.controlplane.waiting import wait_until

CONFIGURATIONS = "validatingwebhookconfiguration,mutatingwebhookconfiguration"
SOON = 30.0
MANY = 40
PRIVILEGED_POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "app", "image": "registry.example/app", "securityContext": {"privileged": True}}]},
}


@pytest.fixture
def sekisho(cluster: Cluster) -> Iterator[Sekisho]:
    """The release, to change at will: the tests that follow find it as it was."""
    yield cluster.sekisho
    cluster.sekisho.repair()


@pytest.fixture
def policy(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A policy that denies the namespace's privileged pods, enforced."""
    name = f"{namespace}-unprivileged"
    manifest = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"privileged": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(manifest))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    yield name
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def admits_privileged(kubectl: Kubectl) -> bool:
    answer = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(PRIVILEGED_POD))
    return answer.returncode == 0


def items(kubectl: Kubectl, *arguments: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(kubectl.check("get", *arguments, "-o", "json"))["items"]
    return listed


def webhooks(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    listed = items(kubectl, CONFIGURATIONS)
    return {webhook["name"]: webhook for configuration in listed for webhook in configuration["webhooks"]}


def bundles(kubectl: Kubectl) -> dict[str, str]:
    return {name: webhook["clientConfig"].get("caBundle", "") for name, webhook in webhooks(kubectl).items()}


def keys(kubectl: Kubectl) -> dict[str, dict[str, str]]:
    listed = items(kubectl, "secret", "--namespace", NAMESPACE, "--selector", f"app.kubernetes.io/instance={RELEASE}")
    return {secret["metadata"]["name"]: secret["data"] for secret in listed}


def release_objects(kubectl: Kubectl) -> set[str]:
    """Every object of every kind that carries the release's label."""
    kinds = kubectl.check("api-resources", "--verbs=list,delete", "-o", "name").split()
    selector = f"app.kubernetes.io/instance={RELEASE}"
    return set(kubectl.check("get", ",".join(kinds), "-A", "--selector", selector, "-o", "name").split())


def upgrade(sekisho: Sekisho, *arguments: str) -> None:
    sekisho.helm("upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE, "--reuse-values", *arguments)


@pytest.mark.parametrize("method", ["--server-side=true", "--server-side=false"])
def test_upgrade_and_rollback_keep_keys_and_ca_bundles(sekisho: Sekisho, kubectl: Kubectl, method: str) -> None:
    sekisho.controller.stop()  # it would repair what an upgrade breaks
    kept = keys(kubectl), bundles(kubectl)
    assert set(kept[0]) == {f"{RELEASE}-ca", f"{RELEASE}-webhook-tls", f"{RELEASE}-webhook-path"}
    assert all(kept[0].values())
    assert all(kept[1].values())

    upgrade(sekisho, method, "--set", "webhook.timeoutSeconds=7")
    assert (keys(kubectl), bundles(kubectl)) == kept
    assert {webhook["timeoutSeconds"] for webhook in webhooks(kubectl).values()} == {7}

    sekisho.helm("rollback", RELEASE, "--namespace", NAMESPACE)
    assert (keys(kubectl), bundles(kubectl)) == kept
    assert {webhook["timeoutSeconds"] for webhook in webhooks(kubectl).values()} == {3}


def test_upgrade_from_a_webhook_outside_to_one_inside_and_back(sekisho: Sekisho, kubectl: Kubectl) -> None:
    sekisho.controller.stop()
    kept = bundles(kubectl)
    called = {name: webhook["clientConfig"]["url"] for name, webhook in webhooks(kubectl).items()}

    upgrade(sekisho, "--set", "webhook.url=", "--set", "image.repository=registry.example/sekisho")
    assert {webhook["clientConfig"]["service"]["name"] for webhook in webhooks(kubectl).values()} == {
        f"{RELEASE}-webhook"
    }
    assert not any("url" in webhook["clientConfig"] for webhook in webhooks(kubectl).values())
    assert bundles(kubectl) == kept
    assert f"deployment.apps/{RELEASE}-webhook" in release_objects(kubectl)

    sekisho.helm("rollback", RELEASE, "--namespace", NAMESPACE)
    assert {name: webhook["clientConfig"].get("url") for name, webhook in webhooks(kubectl).items()} == called
    assert bundles(kubectl) == kept
    assert f"deployment.apps/{RELEASE}-webhook" not in release_objects(kubectl)


def edit_as_aks(kubectl: Kubectl) -> int:
    """Add exclusions to all webhooks, as AKS's admissions enforcer does where no annotation forbids it. How many."""
    added = {"key": "kubernetes.azure.com/managedby", "operator": "NotIn", "values": ["aks"]}
    edited = 0
    for configuration in items(kubectl, CONFIGURATIONS):
        if configuration["metadata"].get("annotations", {}).get("admissions.enforcer/disabled") != "true":
            patch = [
                {"op": "add", "path": f"/webhooks/{index}/namespaceSelector/matchExpressions/-", "value": added}
                for index, webhook in enumerate(configuration["webhooks"])
                if "matchExpressions" in webhook["namespaceSelector"]
            ]
            command = ("patch", configuration["kind"], RELEASE, "--type=json", "-p", json.dumps(patch))
            kubectl.check(*command, "--field-manager=admissionsenforcer")
            edited += len(patch)
    return edited


def test_upgrades_go_on_beside_the_admissions_enforcer_of_aks(sekisho: Sekisho, kubectl: Kubectl) -> None:
    before = {name: webhook["namespaceSelector"] for name, webhook in webhooks(kubectl).items()}
    assert edit_as_aks(kubectl) == 0
    upgrade(sekisho)

    without = ("--set", "webhookConfigurations.annotations.admissions\\.enforcer/disabled=null")
    upgrade(sekisho, *without)
    assert edit_as_aks(kubectl) > 1
    with pytest.raises(CommandError, match=r'conflicts? with "admissionsenforcer"'):
        upgrade(sekisho, *without)
    upgrade(sekisho, *without, "--force-conflicts")
    assert {name: webhook["namespaceSelector"] for name, webhook in webhooks(kubectl).items()} == before
    edit_as_aks(kubectl)
    upgrade(sekisho, "--set-string", without[1].replace("null", "true"), "--force-conflicts")
    assert edit_as_aks(kubectl) == 0
    assert {name: webhook["namespaceSelector"] for name, webhook in webhooks(kubectl).items()} == before


@pytest.mark.usefixtures("policy")
def test_fail_open_admits_pods_until_an_upgrade_sets_it_back(sekisho: Sekisho, kubectl: Kubectl) -> None:
    assert not admits_privileged(kubectl)
    kubectl.check("delete", CONFIGURATIONS, RELEASE)
    wait_until(lambda: admits_privileged(kubectl), SOON, "pods are admitted unjudged")
    upgrade(sekisho)
    wait_until(lambda: all(bundles(kubectl).values()), SOON, "the controller set the caBundle again")
    wait_until(lambda: not admits_privileged(kubectl), SOON, "pods are judged again")


def test_a_dead_webhook_denies_pods_in_its_scope_only(sekisho: Sekisho, kubectl: Kubectl) -> None:
    sekisho.webhook.kill()
    assert not admits_privileged(kubectl)
    assert admits_privileged(kubectl.in_namespace("kube-system"))
    assert admits_privileged(kubectl.in_namespace(NAMESPACE))


def test_uninstalling_with_dead_processes_keeps_policies_and_blocks_no_pods(
    sekisho: Sekisho, kubectl: Kubectl, policy: str
) -> None:
    for component in sekisho.components:
        component.kill()
    assert not admits_privileged(kubectl)

    sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    wait_until(lambda: admits_privileged(kubectl), SOON, "no pod is blocked")
    assert release_objects(kubectl) == {
        f"customresourcedefinition.apiextensions.k8s.io/{plural}.sekisho.dev"
        for plural in (
            "clusterpodpolicies",
            "podpolicies",
            "policywaivers",
            "imageauthorities",
            "imagecatalogs",
            "imageevidences",
        )
    } | {
        f"namespace/{RELEASE}-proof",
        f"serviceaccount/{RELEASE}-controller",
        f"clusterrole.rbac.authorization.k8s.io/{RELEASE}-controller-status",
        f"clusterrolebinding.rbac.authorization.k8s.io/{RELEASE}-controller-status",
    }
    assert items(kubectl, "secret", "--namespace", NAMESPACE) == []
    wait_until(lambda: items(kubectl, "lease", "--namespace", NAMESPACE) == [], SOON, "no replica is reported")
    assert kubectl("get", "clusterpodpolicy", policy).returncode == 0

    sekisho.install()
    wait_until(lambda: not admits_privileged(kubectl), SOON, "the policy that was kept is enforced again")


def owners(kubectl: Kubectl) -> list[list[str]]:
    """The kinds and names of the owners of each webhook configuration."""
    return [
        [f"{owner['kind']}/{owner['name']}" for owner in item["metadata"].get("ownerReferences", [])]
        for item in items(kubectl, CONFIGURATIONS)
    ]


OWNED = [[f"Namespace/{NAMESPACE}"]] * 2


def test_who_deletes_the_releases_namespace_deletes_the_webhooks(
    sekisho: Sekisho, kubectl: Kubectl, policy: str
) -> None:
    wait_until(lambda: owners(kubectl) == OWNED, SOON, lambda: f"both have their owner: {owners(kubectl)}")
    sekisho.controller.stop()
    for method in ("--server-side=true", "--server-side=false"):
        upgrade(sekisho, method, "--set", "webhook.timeoutSeconds=7")
        assert owners(kubectl) == OWNED
    assert not admits_privileged(kubectl)

    sekisho.webhook.kill()
    kubectl.check("delete", "namespace", NAMESPACE, "--timeout=60s")
    wait_until(lambda: items(kubectl, CONFIGURATIONS) == [], SOON, "the webhook configurations are gone")
    wait_until(lambda: admits_privileged(kubectl), SOON, "no pod is blocked")
    assert kubectl("get", "clusterpodpolicy", policy).returncode == 0

    sekisho.install()
    wait_until(lambda: not admits_privileged(kubectl), SOON, "the policy is enforced again")
    wait_until(lambda: owners(kubectl) == OWNED, SOON, "both have their new owner")


def test_a_webhook_configuration_that_helm_does_not_manage_gets_no_owner(sekisho: Sekisho, kubectl: Kubectl) -> None:
    wait_until(lambda: owners(kubectl) == OWNED, SOON, "both have their owner")
    metadata = {"ownerReferences": None, "annotations": {"meta.helm.sh/release-namespace": None}}
    kubectl.check(
        *("patch", "mutatingwebhookconfiguration", RELEASE, "--type=merge", "-p", json.dumps({"metadata": metadata}))
    )
    try:
        for _ in range(2):  # the owner is the last thing of a round, so the second proves that the first left it alone
            patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]
            kubectl.check(*("patch", "mutatingwebhookconfiguration", RELEASE, "--type=json", "-p", json.dumps(patch)))
            wait_until(lambda: all(bundles(kubectl).values()), SOON, "the controller set the caBundle again")
        assert sorted(owners(kubectl)) == [[], *OWNED[:1]]
    finally:
        annotation = f"meta.helm.sh/release-namespace={NAMESPACE}"
        kubectl.check("annotate", "mutatingwebhookconfiguration", RELEASE, annotation)
    wait_until(lambda: owners(kubectl) == OWNED, SOON, "both have their owner again")


def test_after_uninstalling_no_policy_says_that_it_is_enforced(
    sekisho: Sekisho, kubectl: Kubectl, namespace: str
) -> None:
    names = [f"{namespace}-{number}" for number in range(MANY)]
    spec = {"match": {"namespaces": [namespace]}, "controls": {"privileged": {}}}
    policies = [
        {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec}
        for name in names
    ]
    kubectl.check("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": policies}))
    try:
        kubectl.check("wait", "--for=condition=Enforced", *(f"cpp/{name}" for name in names), "--timeout=60s")
        sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
        sekisho.controller.terminate()  # as the kubelet does a moment later
        wait_until(lambda: enforced(kubectl) == [], SOON, lambda: f"nothing says Enforced; {len(enforced(kubectl))} do")
    finally:
        kubectl("delete", "clusterpodpolicies", *names, "--wait=false")


def enforced(kubectl: Kubectl) -> list[str]:
    """The policies that say that they are enforced."""
    return [
        item["metadata"]["name"]
        for item in items(kubectl, "clusterpodpolicies")
        for condition in item.get("status", {}).get("conditions", [])
        if condition["type"] == "Enforced" and condition["status"] == "True"
    ]


def test_replaced_secrets_still_belong_to_the_release(sekisho: Sekisho, kubectl: Kubectl) -> None:
    by_helm = f"{RELEASE}-webhook-path"
    before = keys(kubectl)
    kubectl.check("delete", "secret", "--namespace", NAMESPACE, *before)
    names = set(before) - {by_helm}
    wait_until(lambda: {name for name, held in keys(kubectl).items() if held} == names, SOON, "both are there again")
    upgrade(sekisho)
    assert keys(kubectl)[by_helm]["path"] != before[by_helm]["path"]
    sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
    assert items(kubectl, "secret", "--namespace", NAMESPACE) == []


def test_a_second_release_can_be_installed_and_uninstalled_beside_the_first(sekisho: Sekisho, kubectl: Kubectl) -> None:
    before = release_objects(kubectl)
    second = ("other", "--namespace", "other-system")
    values = ("webhook.url=https://127.0.0.1:1", "controller.replicas=0", f"excludeNamespaces={{{NAMESPACE}}}")
    settings = [argument for value in (*values, "crds.install=false") for argument in ("--set", value)]
    sekisho.helm("install", *second, "--create-namespace", str(CHART), *settings)
    try:
        wait_until(lambda: not admits_privileged(kubectl), SOON, "the second one's webhook, which nobody serves")
        assert admits_privileged(kubectl.in_namespace(NAMESPACE))
    finally:
        sekisho.helm("uninstall", *second)
        kubectl("delete", "namespace", "other-system", "--wait=false")
    wait_until(lambda: admits_privileged(kubectl), SOON, "the second one's webhook is not called any more")
    assert release_objects(kubectl) == before


def use_accounts(sekisho: Sekisho, prefix: str) -> None:
    """Start both processes again with the accounts of this prefix."""
    for name, process in (("controller", sekisho.controller), ("webhook", sekisho.webhook)):
        sekisho.use_account(name, f"{prefix}-{name}")
        process.restart()


def test_both_processes_work_with_accounts_that_the_chart_does_not_create(
    sekisho: Sekisho, kubectl: Kubectl, namespace: str
) -> None:
    own = "accounts-of-the-platform"
    namespace_objects = kubectl.in_namespace(NAMESPACE)
    policy = object_of("PodPolicy", "unprivileged", controls={"privileged": {}})
    for process in ("webhook", "controller"):
        namespace_objects.check("create", "serviceaccount", f"{own}-{process}")
    names = (f"{process}.serviceAccount.name={own}-{process}" for process in ("webhook", "controller"))
    without = (f"{process}.serviceAccount.create=false" for process in ("webhook", "controller"))
    upgrade(sekisho, *(argument for value in (*names, *without) for argument in ("--set", value)))
    try:
        assert "serviceaccount/sekisho-webhook" not in release_objects(kubectl)
        use_accounts(sekisho, own)
        kubectl.check("apply", "-f", "-", input=policy)
        kubectl.check("wait", "--for=condition=Enforced", "podpolicy/unprivileged", f"--timeout={SOON:g}s")
        assert not admits_privileged(kubectl)
        assert admits_privileged(kubectl.in_namespace("default"))
    finally:
        sekisho.helm("rollback", RELEASE, "--namespace", NAMESPACE)
        use_accounts(sekisho, RELEASE)
    for process in ("webhook", "controller"):
        namespace_objects.check("delete", "serviceaccount", f"{own}-{process}")


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("networkPolicy.egress[0].ports[0].port=6443", "networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b"),
        (
            "global.imageRegistry=mirror.example",
            "image.registry=other.example",
            "webhook.hostNetwork=true",
            "webhook.port=10260",
            "webhook.metricsPort=10261",
            "webhook.dnsPolicy=None",
            "webhook.dnsConfig.nameservers[0]=192.0.2.53",
            "webhook.hostAliases[0].ip=192.0.2.80",
            "webhook.hostAliases[0].hostnames[0]=registry.corp.example",
            "webhook.service.annotations.team=platform",
            "webhook.service.ipFamilyPolicy=SingleStack",
            "webhook.service.ipFamilies[0]=IPv4",
            "networkPolicy.webhookFrom[0].ipBlock.cidr=192.0.2.0/24",
        ),
        (
            "podSecurityContext=null",
            "securityContext=null",
            "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
            ".matchExpressions[0].key=pool",
            "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
            ".matchExpressions[0].operator=Exists",
            "topologySpreadConstraints[0].maxSkew=1",
            "topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
            "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
            "podLabels.team=platform",
            "webhookConfigurations.annotations.admissions\\.enforcer/disabled=yes",
            "webhookConfigurations.labels.team=platform",
            "webhook.podDisruptionBudget.minAvailable=50%",
            "webhook.lifecycle.preStop.sleep.seconds=5",
            "webhook.terminationGracePeriodSeconds=60",
            "autoscaling.enabled=true",
            "autoscaling.behavior.scaleDown.stabilizationWindowSeconds=60",
            "commonLabels.cost-centre=c4711",
            "deploymentAnnotations.team=platform",
            "revisionHistoryLimit=2",
            "runtimeClassName=kata",
            "hostUsers=false",
            "global.imagePullSecrets[0].name=shared-login",
            "livenessProbe.failureThreshold=5",
            "readinessProbe.periodSeconds=5",
            "dashboard.enabled=true",
            "dashboard.annotations.grafana_folder=Security",
            "extraObjects[0].apiVersion=v1",
            "extraObjects[0].kind=ConfigMap",
            f"extraObjects[0].metadata.namespace={NAMESPACE}",
            "extraObjects[0].metadata.name=extra",
            *(
                f"{component}.{value}"
                for component in ("webhook", "controller")
                for value in (
                    "extraEnv[0].name=TZ",
                    "extraArgs[0]=--log-level=debug",
                    "extraVolumes[0].name=more",
                    "extraVolumes[0].emptyDir.medium=Memory",
                    "extraVolumeMounts[0].name=more",
                    "extraVolumeMounts[0].mountPath=/more",
                    "extraInitContainers[0].name=wait",
                    "extraInitContainers[0].image=registry.example/wait",
                    "extraContainers[0].name=proxy",
                    "extraContainers[0].image=registry.example/proxy",
                    "updateStrategy.type=RollingUpdate",
                    "updateStrategy.rollingUpdate.maxSurge=50%",
                    "serviceAccount.annotations.role=images",
                    "nodeSelector.pool=system",
                    "tolerations[0].operator=Exists",
                    "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone",
                    "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels.app=db",
                    "topologySpreadConstraints[0].maxSkew=2",
                    "topologySpreadConstraints[0].topologyKey=zone",
                    "topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
                    "podAnnotations.team=platform",
                    "podLabels.team=platform",
                )
            ),
        ),
    ],
    ids=["defaults", "network policies", "host network", "everything else"],
)
def test_the_api_server_accepts_the_rendered_chart_without_a_warning(cluster: Cluster, values: tuple[str, ...]) -> None:
    answer = dry_run(cluster.plane, rendered(cluster, *(argument for value in values for argument in ("--set", value))))
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_api_server_accepts_where_the_service_sends_its_traffic(cluster: Cluster) -> None:
    until_1_33, since_1_34 = (
        dry_run(cluster.plane, rendered(cluster, "--set", f"webhook.service.trafficDistribution={distribution}"))
        for distribution in ("PreferClose", "PreferSameZone")
    )
    assert (0, "") in [(answer.returncode, answer.stderr) for answer in (until_1_33, since_1_34)]


def rendered(cluster: Cluster, *options: str) -> str:
    """Another release of the chart, with an image, in the namespace of the one that is installed."""
    settings = ("--set", "image.repository=registry.example/sekisho", "--set", "crds.install=false", *options)
    return cluster.sekisho.helm("template", "another", str(CHART), "--skip-tests", "--namespace", NAMESPACE, *settings)


@pytest.mark.parametrize("page", PLATFORM_PAGES, ids=lambda page: page.stem)
def test_the_api_server_accepts_what_the_page_of_a_platform_says(cluster: Cluster, page: Path, tmp_path: Path) -> None:
    values, objects = values_and_objects(page)
    file = tmp_path / "values.yaml"
    file.write_text(values)
    answers = [dry_run(cluster.plane, rendered(cluster, "--values", str(file)))]
    answers += [cluster.plane.kubectl("create", "--dry-run=server", "-f", "-", input=one) for one in objects]
    assert [(answer.returncode, answer.stderr) for answer in answers] == [(0, "")] * len(answers)


CLUSTER = "--all-namespaces"
OWN = f"--namespace={NAMESPACE}"
ELSEWHERE = "--namespace=kube-system"
PROOF = f"--namespace={RELEASE}-proof"
PERMISSIONS = [
    ("webhook", True, ("get", f"secret/{RELEASE}-webhook-tls", OWN)),
    ("webhook", False, ("get", f"secret/{RELEASE}-ca", OWN)),
    ("webhook", False, ("patch", f"secret/{RELEASE}-webhook-tls", OWN)),
    ("webhook", False, ("list", "secrets", OWN)),
    ("webhook", True, ("watch", "podpolicies.sekisho.dev", CLUSTER)),
    ("webhook", True, ("watch", "policywaivers.sekisho.dev", CLUSTER)),
    ("webhook", False, ("patch", "policywaivers.sekisho.dev", CLUSTER)),
    ("webhook", False, ("watch", "imageauthorities.sekisho.dev", CLUSTER)),
    ("webhook", False, ("watch", "imageevidences.sekisho.dev", CLUSTER)),
    ("controller", False, ("watch", "imageauthorities.sekisho.dev", CLUSTER)),
    ("webhook", False, ("patch", "imageauthorities.sekisho.dev", CLUSTER)),
    ("webhook", True, ("watch", "imagecatalogs.sekisho.dev", CLUSTER)),
    ("webhook", False, ("patch", "imagecatalogs.sekisho.dev", CLUSTER)),
    ("controller", True, ("watch", "podpolicies.sekisho.dev", CLUSTER)),
    ("controller", True, ("watch", "policywaivers.sekisho.dev", CLUSTER)),
    ("controller", False, ("patch", "policywaivers.sekisho.dev", CLUSTER)),
    ("controller", True, ("create", "pods", PROOF)),
    ("controller", False, ("create", "pods", CLUSTER)),
    ("controller", True, ("create", "podpolicies.sekisho.dev", PROOF)),
    ("controller", True, ("create", "events.events.k8s.io", CLUSTER)),
    ("controller", False, ("patch", "events.events.k8s.io", CLUSTER)),
    ("controller", False, ("create", "podpolicies.sekisho.dev", CLUSTER)),
    ("controller", False, ("delete", "podpolicies.sekisho.dev", PROOF)),
    ("controller", False, ("patch", "imageauthorities.sekisho.dev", CLUSTER)),
    ("controller", False, ("patch", "imageauthorities.sekisho.dev", "--subresource=status")),
    ("webhook", True, ("get", "replicasets.apps", CLUSTER)),
    ("webhook", False, ("get", "deployments.apps", CLUSTER)),
    ("webhook", True, ("create", "events.events.k8s.io", CLUSTER)),
    ("webhook", False, ("get", "pods", CLUSTER)),
    ("webhook", True, ("patch", "leases.coordination.k8s.io", OWN)),
    ("webhook", False, ("patch", "leases.coordination.k8s.io", ELSEWHERE)),
    ("webhook", False, ("patch", f"validatingwebhookconfiguration/{RELEASE}")),
    ("controller", True, ("patch", f"secret/{RELEASE}-ca", OWN)),
    ("controller", False, ("patch", f"secret/{RELEASE}-ca", ELSEWHERE)),
    ("controller", False, ("get", "secret/another", OWN)),
    ("controller", True, ("patch", f"validatingwebhookconfiguration/{RELEASE}")),
    ("controller", False, ("patch", "validatingwebhookconfiguration/another")),
    ("controller", True, ("get", f"namespace/{NAMESPACE}", OWN)),
    ("controller", False, ("get", "namespace/default", "--namespace=default")),
    ("controller", False, ("patch", f"namespace/{NAMESPACE}", OWN)),
    ("controller", False, ("delete", f"validatingwebhookconfiguration/{RELEASE}")),
    ("controller", True, ("patch", "clusterpodpolicies.sekisho.dev", "--subresource=status")),
    ("controller", False, ("patch", "clusterpodpolicies.sekisho.dev")),
    ("controller", True, ("delete", "leases.coordination.k8s.io", OWN)),
    ("controller", False, ("delete", "leases.coordination.k8s.io", ELSEWHERE)),
]


@pytest.mark.parametrize(("account", "allowed", "wanted"), PERMISSIONS)
def test_accounts_have_the_permissions_that_their_process_uses_and_no_others(
    cluster: Cluster, account: str, allowed: bool, wanted: tuple[str, ...]
) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-{account}"
    answer = cluster.plane.kubectl("auth", "can-i", *wanted, "--as", user)
    assert answer.stdout.strip() == ("yes" if allowed else "no"), answer.stderr


TENANTS = [
    ("view", True, ("list", "podpolicies.sekisho.dev")),
    ("view", False, ("create", "podpolicies.sekisho.dev")),
    ("view", True, ("watch", "events.events.k8s.io")),
    ("edit", True, ("create", "podpolicies.sekisho.dev")),
    ("admin", True, ("delete", "podpolicies.sekisho.dev")),
    ("admin", False, ("patch", "podpolicies.sekisho.dev", "--subresource=status")),
    ("admin", False, ("get", "clusterpodpolicies.sekisho.dev", CLUSTER)),
    ("admin", False, ("create", "clusterpodpolicies.sekisho.dev")),
    ("admin", False, ("get", f"validatingwebhookconfiguration/{RELEASE}")),
    ("admin", False, ("get", f"mutatingwebhookconfiguration/{RELEASE}")),
    ("admin", False, ("get", f"secret/{RELEASE}-webhook-path", OWN)),
    ("admin", False, ("create", "leases.coordination.k8s.io", OWN)),
    ("admin", False, ("delete", "namespace")),
]


@pytest.mark.parametrize(("role", "allowed", "request_"), TENANTS)
def test_what_a_role_in_a_namespace_permits(
    kubectl: Kubectl, namespace: str, role: str, allowed: bool, request_: tuple[str, ...]
) -> None:
    kubectl.check("create", "rolebinding", "tenant", f"--clusterrole={role}", "--user=tenant")
    expected = "yes" if allowed else "no"

    def answer() -> str:
        return kubectl("auth", "can-i", *request_, "--as=tenant").stdout.strip()

    wait_until(lambda: answer() == expected, SOON, lambda: f"the answer is {expected}; it is {answer()}")


def object_of(kind: str, name: str, **spec: Any) -> str:
    return json.dumps({"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def test_what_users_do_with_policies_by_their_roles(kubectl: Kubectl, namespace: str) -> None:
    users = ("view", "edit", "admin")
    for user in users:
        kubectl.check("create", "rolebinding", user, f"--clusterrole={user}", f"--user={user}")
    kubectl.check("create", "clusterrolebinding", namespace, "--clusterrole=view", f"--user={namespace}")
    everyone = (*users, namespace)
    own = object_of("PodPolicy", "own", controls={"privileged": {}})
    for_all = object_of("ClusterPodPolicy", f"{namespace}-own", controls={"privileged": {}})
    kinds = "podpolicies,clusterpodpolicies,policywaivers"
    change = ("patch", "podpolicy", "own", "--type=merge", "--patch", '{"spec": {"enforcement": "Warn"}}')

    def does(user: str, *arguments: str, input: str | None = None) -> bool:  # noqa: A002
        answer = kubectl(*arguments, "--as", user, input=input)
        assert answer.returncode == 0 or "forbidden" in answer.stderr.lower(), answer.stderr
        return answer.returncode == 0

    def who(*arguments: str, input: str | None = None) -> list[str]:  # noqa: A002
        return [user for user in everyone if does(user, *arguments, input=input)]

    try:
        wait_until(lambda: who("get", "podpolicies") == [*everyone], SOON, "the roles are bound")
        assert who("create", "--dry-run=server", "-f", "-", input=own) == ["edit", "admin"]
        assert does("admin", "create", "-f", "-", input=own)
        assert who("create", "-f", "-", input=for_all) == []
        assert who(*change) == ["edit", "admin"]
        assert who("get", kinds) == [namespace]
        assert who("get", "imageauthorities") == []  # images are not verified in this release
        assert who("delete", "--dry-run=server", "podpolicy", "own") == ["edit", "admin"]
        assert does("edit", "delete", "podpolicy", "own")
    finally:
        kubectl.check("delete", "clusterrolebinding", namespace)

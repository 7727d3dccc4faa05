"""The chart as Helm renders it: names, webhook rules, permissions, values."""

import base64
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from sekisho.cli import main
from sekisho.custom_kinds import COMPOSED_KINDS, CUSTOM_KINDS
from tests.chart import (
    CHART,
    CONSTRAINT,
    IMAGE,
    OUTSIDE,
    PLATFORM_PAGES,
    REPOSITORY,
    Object,
    deployments,
    helm,
    identities,
    identity,
    manifests,
    pick,
    render,
    settings,
    template,
    values_and_objects,
)

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm

POLICIES = "validate.policies.sekisho.dev"
BY_SECRET = ("certificates.mode=secret", "certificates.secretName=corp-tls")
BY_CERT_MANAGER = ("certificates.mode=cert-manager",)


def webhooks(*values: str) -> dict[str, Object]:
    """The webhooks of both configurations by name."""
    return {
        webhook["name"]: webhook
        for manifest in render(*values)
        if manifest["kind"].endswith("WebhookConfiguration")
        for webhook in manifest["webhooks"]
    }


def arguments(pod: Object) -> list[str]:
    (container,) = pod["containers"]
    return [str(argument) for argument in container["args"]]


def notes(*values: str, namespace: str = "sekisho-system") -> str:
    finished = helm(
        *("install", "sekisho", str(CHART), "--dry-run=client", "--namespace", namespace),
        *settings((IMAGE, *values)),
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.partition("NOTES:")[2]


# Objects and their names.


def test_a_release_has_these_objects_and_no_others() -> None:
    assert {name for name in identities(render()) if not name.startswith("CustomResourceDefinition/")} == {
        "ClusterRole/sekisho-controller",
        "ClusterRole/sekisho-controller-status",
        "ClusterRole/sekisho-podpolicies-edit",
        "ClusterRole/sekisho-podpolicies-view",
        "ClusterRole/sekisho-webhook",
        "ClusterRoleBinding/sekisho-controller",
        "ClusterRoleBinding/sekisho-controller-status",
        "ClusterRoleBinding/sekisho-webhook",
        "Deployment/sekisho-controller",
        "Deployment/sekisho-webhook",
        "Lease/sekisho-controller",
        "MutatingWebhookConfiguration/sekisho",
        "Namespace/sekisho-proof",
        "NetworkPolicy/sekisho-controller",
        "NetworkPolicy/sekisho-webhook",
        "PodDisruptionBudget/sekisho-controller",
        "PodDisruptionBudget/sekisho-webhook",
        "ResourceQuota/sekisho-no-pods",
        "Role/sekisho-controller",
        "Role/sekisho-controller-events",
        "Role/sekisho-webhook",
        "RoleBinding/sekisho-controller",
        "RoleBinding/sekisho-controller-events",
        "RoleBinding/sekisho-webhook",
        "Secret/sekisho-ca",
        "Secret/sekisho-webhook-path",
        "Secret/sekisho-webhook-tls",
        "Service/sekisho-webhook",
        "ServiceAccount/sekisho-controller",
        "ServiceAccount/sekisho-webhook",
        "ValidatingAdmissionPolicy/sekisho-bindings.sekisho-system",
        "ValidatingAdmissionPolicy/sekisho-webhook-leases.sekisho-system",
        "ValidatingAdmissionPolicyBinding/sekisho-bindings.sekisho-system",
        "ValidatingAdmissionPolicyBinding/sekisho-webhook-leases.sekisho-system",
        "ValidatingWebhookConfiguration/sekisho",
    }


def test_rendered_without_a_cluster_evidence_still_comes_from_the_webhook_only() -> None:
    evidence = "sekisho-webhook-evidence.sekisho-system"
    assert {f"ValidatingAdmissionPolicy/{evidence}", f"ValidatingAdmissionPolicyBinding/{evidence}"} <= identities(
        render("imageVerification.enabled=true")
    )


def test_with_a_webhook_outside_the_cluster_only_its_permissions_are_rendered() -> None:
    assert identities(render()) - identities(render(OUTSIDE)) == {
        "Deployment/sekisho-webhook",
        "NetworkPolicy/sekisho-webhook",
        "PodDisruptionBudget/sekisho-webhook",
        "Secret/sekisho-webhook-path",
        "Service/sekisho-webhook",
    }


def test_without_controller_replicas_only_its_permissions_are_rendered() -> None:
    assert identities(render()) - identities(render("controller.replicas=0")) == {
        "Deployment/sekisho-controller",
        "NetworkPolicy/sekisho-controller",
        "PodDisruptionBudget/sekisho-controller",
    }
    assert identities(render()) - identities(render("controller.replicas=1")) == {
        "PodDisruptionBudget/sekisho-controller"
    }


def test_two_releases_share_only_the_custom_resource_definitions() -> None:
    first = identities(render())
    second = identities(render("crds.install=false", release="other"))
    assert first & second == set()
    assert "Deployment/other-sekisho-webhook" in second


@pytest.mark.parametrize("release", ["r" * 53, "sekisho-" + "r" * 45])
def test_names_leave_room_for_a_pods_host_name(release: str) -> None:
    names = [manifest["metadata"]["name"] for manifest in render(release=release) if manifest["kind"] == "Deployment"]
    assert len(names) == 2
    assert max(len(f"{name}-0123456789-01234") for name in names if name.endswith("-webhook")) <= 63


@pytest.mark.parametrize("release", ["1sekisho", "sekisho.prod"])
def test_a_release_whose_name_no_service_can_have_needs_another_prefix(release: str) -> None:
    assert f'the release\'s name "{release}" cannot be used' in template(IMAGE, release=release).stderr
    assert template(IMAGE, "fullnameOverride=sekisho", release=release).returncode == 0


def test_names_that_yaml_would_read_as_something_else_stay_texts() -> None:
    """A number or `true` where a name must be is an error of the API server, after half of the release is installed."""
    values = ("certificates.mode=secret", 'certificates.secretName:="456"', 'webhook.clientCA.configMap:="789"')
    more = ('webhook.serviceAccount.name:="11"', 'controller.serviceAccount.name:="1e5"', 'priorityClassName:="12"')
    monitoring = ("prometheusRule.enabled=true", "prometheusRule.runbookUrl=@corp", "serviceMonitor.enabled=true")
    settings_ = settings((IMAGE, "crds.install=false", 'fullnameOverride:="true"', *values, *more, *monitoring))
    finished = helm("template", "123", str(CHART), "--namespace", "2024", *settings_)
    assert finished.returncode == 0, finished.stderr
    for manifest in manifests(finished.stdout):
        for path, name in names_in(manifest):
            assert isinstance(name, str), (identity(manifest), path)


def names_in(value: Any, path: str = "", *, is_map_of_texts: bool = False) -> Iterator[tuple[str, Any]]:
    """Every value of a field that holds a name, a label or a URL, with its path."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from names_in(item, f"{path}[{index}]", is_map_of_texts=path.endswith("resourceNames"))
    elif isinstance(value, dict):
        texts = path.endswith(("labels", "matchLabels", "annotations"))
        for key, item in value.items():
            yield from names_in(item, f"{path}.{key}", is_map_of_texts=texts)
    elif is_map_of_texts or path.endswith(("name", "Name", "namespace", "runbook_url")):
        yield path, value


def test_every_object_has_the_labels_of_the_release() -> None:
    optional = ("serviceMonitor", "prometheusRule", "dashboard", "autoscaling")
    for manifest in render(*(f"{name}.enabled=true" for name in optional)):
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "sekisho", identity(manifest)
        assert labels["app.kubernetes.io/managed-by"] == "Helm", identity(manifest)


def test_secrets_and_lease_are_rendered_empty() -> None:
    empty = {"apiVersion", "kind", "metadata", "type"}
    assert [set(manifest) for manifest in render() if manifest["kind"] == "Secret"] == [empty] * 3
    assert [set(manifest) for manifest in render() if manifest["kind"] == "Lease"] == [empty - {"type"}]


def test_the_chart_has_the_packages_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


# Rules of the webhooks.


def test_pods_and_their_writable_subresources_are_validated() -> None:
    assert webhooks()["validate.pods.sekisho.dev"]["rules"] == [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods"],
            "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced",
        },
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods/ephemeralcontainers", "pods/resize"],
            "operations": ["UPDATE"],
            "scope": "Namespaced",
        },
    ]


def test_new_pods_and_new_ephemeral_containers_are_mutated() -> None:
    webhook = webhooks()["mutate.pods.sekisho.dev"]
    sent = {(*rule["resources"], *rule["operations"]) for rule in webhook["rules"]}
    assert sent == {("pods", "CREATE"), ("pods/ephemeralcontainers", "UPDATE")}
    assert webhook["reinvocationPolicy"] == "IfNeeded"


def test_templates_of_every_built_in_workload_are_validated() -> None:
    rules = webhooks()["validate.templates.sekisho.dev"]["rules"]
    assert {(rule["apiGroups"][0], name) for rule in rules for name in rule["resources"]} == {
        ("", "podtemplates"),
        ("", "replicationcontrollers"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
    }
    assert {tuple(rule["operations"]) for rule in rules} == {("CREATE", "UPDATE")}


def test_custom_kinds_are_validated_where_a_value_names_them() -> None:
    kinds = "webhook.customKinds={rollouts.argoproj.io,services.serving.knative.dev}"
    rules = webhooks(kinds)["validate.templates.sekisho.dev"]["rules"]
    assert rules[: len(rules) - 2] == webhooks()["validate.templates.sekisho.dev"]["rules"]
    assert [(rule["apiGroups"], rule["apiVersions"], rule["resources"]) for rule in rules[-2:]] == [
        (["argoproj.io"], ["*"], ["rollouts"]),
        (["serving.knative.dev"], ["*"], ["services"]),
    ]
    assert {(tuple(rule["operations"]), rule["scope"]) for rule in rules} == {(("CREATE", "UPDATE"), "Namespaced")}


def test_the_chart_knows_the_custom_kinds_of_namespaces_that_are_judged() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["webhook"]["properties"]["customKinds"]["items"]["enum"]
    in_cluster = {"ClusterTask", "ClusterWorkflowTemplate"}
    kinds = [(group, kind) for group, kind in (*CUSTOM_KINDS, *COMPOSED_KINDS) if group and kind not in in_cluster]
    assert known == sorted(f"{kind.lower()}s.{group}" for group, kind in kinds)


@pytest.mark.parametrize("values", [(), (OUTSIDE,), ("webhook.admitPodsUnjudged=true",)])
def test_only_the_namespaces_name_exempts_pods_from_the_webhooks(values: tuple[str, ...]) -> None:
    rendered = webhooks(*values)
    assert len(rendered) == 4
    del rendered[POLICIES]
    for webhook in rendered.values():
        assert not {"matchConditions", "objectSelector"} & set(webhook)
        assert webhook["namespaceSelector"] == {
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["kube-system", "sekisho-system"],
                }
            ]
        }
        assert webhook["matchPolicy"] == "Equivalent"
        assert webhook["admissionReviewVersions"] == ["v1"]
        assert webhook["sideEffects"] == "NoneOnDryRun"


@pytest.mark.parametrize("values", [(), ("webhook.admitPodsUnjudged=true",), ("webhook.templatesFailurePolicy=Fail",)])
def test_creating_and_changing_policies_is_reviewed_and_deleting_is_not(values: tuple[str, ...]) -> None:
    webhook = webhooks(*values)[POLICIES]
    assert webhook["rules"] == [
        {
            "apiGroups": ["sekisho.dev"],
            "apiVersions": ["v1alpha1"],
            "resources": ["clusterpodpolicies", "podpolicies", "policywaivers", "imageauthorities", "imagecatalogs"],
            "operations": ["CREATE", "UPDATE"],
            "scope": "*",
        }
    ]
    assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Fail", "None")
    assert [condition["name"] for condition in webhook["matchConditions"]] == ["spec-changes"]
    assert not {"namespaceSelector", "objectSelector"} & set(webhook)


def test_excluded_namespaces_have_no_duplicates() -> None:
    for name, webhook in webhooks('excludeNamespaces:=["calico-system", "kube-system"]').items():
        if name == POLICIES:
            continue
        (expression,) = webhook["namespaceSelector"]["matchExpressions"]
        assert expression["values"] == ["kube-system", "sekisho-system", "calico-system"]


def test_pods_fail_closed_and_templates_do_not() -> None:
    assert {name: webhook["failurePolicy"] for name, webhook in webhooks().items()} == {
        "validate.pods.sekisho.dev": "Fail",
        "validate.templates.sekisho.dev": "Ignore",
        "mutate.pods.sekisho.dev": "Fail",
        POLICIES: "Fail",
    }
    assert {webhook["timeoutSeconds"] for webhook in webhooks().values()} == {3}


def test_failing_open_requires_its_value_and_is_warned_about() -> None:
    opened = webhooks("webhook.admitPodsUnjudged=true")
    assert {name for name, webhook in opened.items() if webhook["failurePolicy"] == "Fail"} == {POLICIES}
    assert "WARNING: webhook.admitPodsUnjudged" in notes("webhook.admitPodsUnjudged=true")
    assert "--admit-pods-unjudged" in arguments(deployments("webhook.admitPodsUnjudged=true")["sekisho-controller"])
    assert "--admit-pods-unjudged" not in arguments(deployments()["sekisho-controller"])
    assert "webhook.admitPodsUnjudged" not in notes()


def test_templates_can_fail_closed() -> None:
    closed = webhooks("webhook.templatesFailurePolicy=Fail")
    assert {webhook["failurePolicy"] for webhook in closed.values()} == {"Fail"}


@pytest.mark.parametrize("values", [(), (OUTSIDE,)])
def test_the_chart_never_sets_the_certificate_authority(values: tuple[str, ...]) -> None:
    assert all("caBundle" not in webhook["clientConfig"] for webhook in webhooks(*values).values())


def test_the_webhooks_are_called_through_the_service() -> None:
    objects = render()
    service = pick(objects, "Service/sekisho-webhook")
    (port,) = service["spec"]["ports"]
    pod = pick(objects, "Deployment/sekisho-webhook")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    for webhook in webhooks().values():
        called = webhook["clientConfig"]["service"]
        assert (called["name"], called["namespace"]) == ("sekisho-webhook", "sekisho-system")
        assert called["port"] == port["port"]
        assert "path" not in called
    assert {port["name"]: port["containerPort"] for port in container["ports"]}[port["targetPort"]] == 8443
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_the_controller_sets_the_paths_of_the_webhooks_unless_it_cannot() -> None:
    option = "--path-secret=sekisho-webhook-path"
    for values in ((), BY_SECRET):
        pods = deployments(*values)
        assert option in arguments(pods["sekisho-webhook"])
        assert option in arguments(pods["sekisho-controller"])
    assert option not in arguments(deployments(OUTSIDE)["sekisho-controller"])
    pods = deployments(*BY_CERT_MANAGER)
    assert not any(option in arguments(pod) for pod in pods.values())
    paths = {"mutate.pods.sekisho.dev": "/mutate", POLICIES: "/validate-policies"}
    for name, webhook in webhooks(*BY_CERT_MANAGER).items():
        assert webhook["clientConfig"]["service"]["path"] == paths.get(name, "/validate")


SECRET_PART = "0123456789abcdef" * 2


@pytest.mark.parametrize("values", [BY_CERT_MANAGER, (OUTSIDE,), (*BY_CERT_MANAGER, OUTSIDE), (), BY_SECRET])
def test_the_chart_sets_the_paths_with_a_secret_part_that_is_set(values: tuple[str, ...]) -> None:
    values = (*values, f"webhook.secretPath={SECRET_PART}")
    objects = render(*values)
    secret = pick(objects, "Secret/sekisho-webhook-path")
    assert base64.b64decode(secret["data"]["path"]).decode() == SECRET_PART
    paths = {"mutate.pods.sekisho.dev": "/mutate", POLICIES: "/validate-policies"}
    for name, webhook in webhooks(*values).items():
        called = webhook["clientConfig"]
        path = (
            called["url"].removeprefix("https://webhook.example:9443") if "url" in called else called["service"]["path"]
        )
        assert path == f"{paths.get(name, '/validate')}/{SECRET_PART}"
    option, pods = "--path-secret=sekisho-webhook-path", deployments(*values)
    assert option not in arguments(pods["sekisho-controller"])
    if "sekisho-webhook" in pods:
        assert option in arguments(pods["sekisho-webhook"])
    readers = {role for role, rule in rules(*values) if "sekisho-webhook-path" in rule.get("resourceNames", ())}
    assert readers == {"Role/sekisho-webhook"}


@pytest.mark.parametrize("base", ["https://webhook.example:9443", "https://webhook.example:9443/"])
def test_a_webhook_outside_the_cluster_is_called_by_its_url(base: str) -> None:
    called = {name: webhook["clientConfig"] for name, webhook in webhooks(f"webhook.url={base}").items()}
    assert called == {
        "validate.pods.sekisho.dev": {"url": "https://webhook.example:9443/validate"},
        "validate.templates.sekisho.dev": {"url": "https://webhook.example:9443/validate"},
        "mutate.pods.sekisho.dev": {"url": "https://webhook.example:9443/mutate"},
        POLICIES: {"url": "https://webhook.example:9443/validate-policies"},
    }


# The pods.


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((), ["sekisho-webhook.sekisho-system.svc", "sekisho-webhook.sekisho-system.svc.cluster.local"]),
        ((OUTSIDE,), ["webhook.example"]),
        (("webhook.url=https://127.0.0.1:9443/sekisho",), ["127.0.0.1"]),
        (("webhook.url=https://[::1]:9443",), ["::1"]),
    ],
)
def test_certificates_are_for_the_names_that_the_api_server_calls(values: tuple[str, ...], names: list[str]) -> None:
    options = arguments(deployments(*values)["sekisho-controller"])
    assert [value.removeprefix("--serving-name=") for value in options if value.startswith("--serving-name")] == names


VERIFIED = (
    "imageVerification.enabled=true",
    'imageVerification.secrets:=["release-key", "shared"]',
    'imageVerification.pullSecrets:=["registry-login", "shared"]',
    "imageVerification.registryCA.configMap=corp-ca",
    'imageVerification.registryNetworks:=["127.0.0.0/8"]',
)


@pytest.mark.parametrize(
    "values",
    [(), ("logLevel=debug",), VERIFIED, ("certificates.mode=secret", "certificates.secretName=sekisho-webhook-tls")],
)
def test_the_processes_accept_their_arguments(values: tuple[str, ...]) -> None:
    for name, pod in deployments(*values).items():
        command, *options = arguments(pod)
        assert name == f"sekisho-{command}"
        group = click.Context(main)
        process = main.get_command(group, command)
        assert process is not None
        parsed = process.make_context(command, options, parent=group).params
        assert parsed["namespace"] == "sekisho-system"
        assert parsed["certificate_secret"] == "sekisho-webhook-tls"
        assert parsed["log_level"] == ("debug" if values == ("logLevel=debug",) else "info")
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["metrics"] == parsed["metrics_port"]
        assert ports.get("https") == parsed.get("port")


@pytest.mark.parametrize(
    ("values", "reasons", "per_second"),
    [
        ((), {"PodDenied", "WaiverUsed", "ImageNoLongerTrusted"}, 50),
        (("webhook.events.reasons:=[]",), set(), 50),
        (
            ('webhook.events.reasons:=["PodDenied", "PodWarned", "PodDefaulted"]', "webhook.events.perSecond:=0.5"),
            {"PodDenied", "PodWarned", "PodDefaulted"},
            0.5,
        ),
    ],
)
def test_events_are_configured_by_values(values: tuple[str, ...], reasons: set[str], per_second: float) -> None:
    command, *options = arguments(deployments(*values)["sekisho-webhook"])
    group = click.Context(main)
    process = main.get_command(group, command)
    assert process is not None
    parsed = process.make_context(command, options, parent=group).params
    assert (parsed["events"], parsed["events_per_second"]) == (reasons, per_second)


def test_service_variables_are_not_read_as_options() -> None:
    """Kubernetes would set SEKISHO_WEBHOOK_PORT=tcp://…, which is the variable of `sekisho webhook --port`."""
    assert {name: pod["enableServiceLinks"] for name, pod in deployments().items()} == {
        "sekisho-controller": False,
        "sekisho-webhook": False,
    }


def test_images_are_set_by_tag_and_digest() -> None:
    digest = f"sha256:{'a' * 64}"
    for values, image in (
        ((), "registry.example/sekisho:0.2.0"),
        (("image.tag=1.2",), "registry.example/sekisho:1.2"),
        ((f"image.digest={digest}",), f"registry.example/sekisho:0.2.0@{digest}"),
    ):
        pods = deployments(*values).values()
        assert [pod["containers"][0]["image"] for pod in pods] == [image] * 2


@pytest.mark.parametrize(
    ("values", "image"),
    [
        (
            ("image.registry=other.example:5000", "image.repository=platform/sekisho"),
            "other.example:5000/platform/sekisho",
        ),
        (
            ("global.imageRegistry=mirror.example", "image.registry=other.example", "image.repository=sekisho"),
            "mirror.example/sekisho",
        ),
        (
            ("global.imageRegistry=mirror.example/hub", "image.repository=registry.example:5000/platform/sekisho"),
            "mirror.example/hub/platform/sekisho",
        ),
        (
            ("global.imageRegistry=mirror.example", "image.repository=platform/sekisho"),
            "mirror.example/platform/sekisho",
        ),
        (
            ("image.registry=mirror.example", "image.repository=registry.example/platform/sekisho"),
            "mirror.example/platform/sekisho",
        ),
        (("image.repository=localhost/sekisho",), "localhost/sekisho"),
    ],
)
def test_images_come_from_the_registry_that_is_set(values: tuple[str, ...], image: str) -> None:
    for pod in deployments(*values, "image.tag=v1").values():
        assert pod["containers"][0]["image"] == f"{image}:v1"


def test_an_image_is_required_if_the_chart_runs_pods() -> None:
    assert "image.repository is required" in template().stderr
    assert template(OUTSIDE, "controller.replicas=0").returncode == 0


def test_the_pods_meet_the_restricted_standard() -> None:
    command = [sys.executable, "-m", "sekisho", "check", "--standard", "restricted", "-"]
    finished = subprocess.run(command, input=template(IMAGE).stdout, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "2 checked: 2 pass" in finished.stdout


def test_the_pod_of_helm_test_tries_once_as_the_controller_and_meets_the_restricted_standard() -> None:
    rendered = helm_test()
    (pod,) = manifests(rendered)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    spec = pod["spec"]
    assert (spec["serviceAccountName"], spec["restartPolicy"]) == ("sekisho-controller", "Never")
    command, *options = arguments(spec)
    group = click.Context(main)
    process = main.get_command(group, command)
    assert process is not None
    params = process.make_context(command, options, parent=group).params
    assert (params["prove_once"], params["proof_namespace"]) == (True, "sekisho-proof")
    check = [sys.executable, "-m", "sekisho", "check", "--standard", "restricted", "-"]
    assert "1 checked: 1 pass" in subprocess.run(check, input=rendered, capture_output=True, text=True).stdout


def test_without_an_image_there_is_no_pod_for_helm_test() -> None:
    assert "could not find template" in helm_test(image=("image.repository=", OUTSIDE, "controller.replicas=0"))


def helm_test(image: tuple[str, ...] = (IMAGE,)) -> str:
    """The pod of `helm test`, as Helm renders it, or Helm's error."""
    only = ("--show-only", "templates/tests/proof.yaml")
    finished = helm("template", "sekisho", str(CHART), "--namespace", "sekisho-system", *only, *settings(image))
    return finished.stdout or finished.stderr


# Platforms.


@pytest.mark.parametrize("page", PLATFORM_PAGES, ids=lambda page: page.stem)
def test_the_values_on_the_pages_of_platforms_render(page: Path, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(values_and_objects(page)[0])
    finished = helm("template", "sekisho", str(CHART), *settings((IMAGE,)), "--values", str(file))
    assert finished.returncode == 0, finished.stderr


def test_on_the_nodes_network_a_rollout_frees_a_nodes_ports_first() -> None:
    values = ("webhook.hostNetwork=true", "webhook.port=10260", "webhook.metricsPort=10261")
    deployment = pick(render(*values), "Deployment/sekisho-webhook")
    pod = deployment["spec"]["template"]["spec"]
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert [port["containerPort"] for port in pod["containers"][0]["ports"]] == [10260, 10261]
    assert {"--port=10260", "--metrics-port=10261"} <= set(arguments(pod))
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    plain = pick(render(), "Deployment/sekisho-webhook")["spec"]
    assert not {"hostNetwork", "dnsPolicy"} & set(plain["template"]["spec"])
    assert plain["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_platform_can_set_ids() -> None:
    ids = ("runAsUser", "runAsGroup", "fsGroup")
    for pod in deployments(*(f"podSecurityContext.{name}=null" for name in ids)).values():
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for pod in deployments("podSecurityContext=null", "securityContext=null").values():
        assert "securityContext" not in pod
        assert "securityContext" not in pod["containers"][0]


def test_constraints_select_their_own_deployments_pods() -> None:
    selector = {"matchLabels": {"app": "all"}}
    constraints = [CONSTRAINT, CONSTRAINT | {"labelSelector": selector}]
    for name, pod in deployments(f"topologySpreadConstraints:={json.dumps(constraints)}").items():
        first, second = pod["topologySpreadConstraints"]
        component = first["labelSelector"]["matchLabels"]["app.kubernetes.io/component"]
        assert name == f"sekisho-{component}"
        assert second["labelSelector"] == selector


def test_added_labels_never_change_what_deployments_select() -> None:
    values = 'podLabels:={"app.kubernetes.io/component": "other", "team": "platform"}'
    for manifest in render(values):
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert labels == manifest["spec"]["selector"]["matchLabels"] | {"team": "platform"}


def test_added_metadata_never_replaces_the_charts_own() -> None:
    own = "app.kubernetes.io/managed-by"
    for values in (BY_CERT_MANAGER, ()):
        configurations = [
            manifest["metadata"]
            for manifest in render(
                *values,
                f'webhookConfigurations.labels:={{"{own}": "other", "team": "platform"}}',
                'webhookConfigurations.annotations:={"team": "platform", "removed": null}',
            )
            if manifest["kind"].endswith("WebhookConfiguration")
        ]
        assert len(configurations) == 2
        for metadata in configurations:
            assert (metadata["labels"][own], metadata["labels"]["team"]) == ("Helm", "platform")
            assert metadata["annotations"]["team"] == "platform"
            assert "removed" not in metadata["annotations"]
            assert metadata["annotations"]["admissions.enforcer/disabled"] == "true"
            assert ("cert-manager.io/inject-ca-from" in metadata["annotations"]) == bool(values)


def test_metrics_can_be_relabelled() -> None:
    rule = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    monitor = pick(
        render("serviceMonitor.enabled=true", f"serviceMonitor.relabelings:={json.dumps([rule])}"),
        "ServiceMonitor/sekisho",
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "interval": "30s", "relabelings": [rule]}


# Certificates.


def certificate_specs(*values: str) -> dict[str, Object]:
    """The specs of cert-manager's objects."""
    return {
        identity(manifest): manifest["spec"]
        for manifest in render(*values)
        if manifest["apiVersion"].startswith("cert-manager.io/")
    }


def test_secrets_are_rendered_only_if_the_controller_makes_the_certificate() -> None:
    own = {"Secret/sekisho-ca", "Secret/sekisho-webhook-tls"}
    assert identities(render()) - identities(render(*BY_SECRET)) == own
    assert identities(render(*BY_SECRET)) - identities(render()) == set()
    assert identities(render()) - identities(render(*BY_CERT_MANAGER)) == own | {"Secret/sekisho-webhook-path"}
    assert certificate_specs() == certificate_specs(*BY_SECRET) == {}


def test_cert_manager_makes_an_authority_and_a_certificate() -> None:
    specs = certificate_specs(*BY_CERT_MANAGER)
    assert set(specs) == {
        "Issuer/sekisho-selfsigned",
        "Certificate/sekisho-ca",
        "Issuer/sekisho-ca",
        "Certificate/sekisho-webhook",
    }
    authority, certificate = specs["Certificate/sekisho-ca"], specs["Certificate/sekisho-webhook"]
    assert authority["isCA"]
    assert authority["issuerRef"]["name"] == "sekisho-selfsigned"
    assert specs["Issuer/sekisho-selfsigned"] == {"selfSigned": {}}
    assert specs["Issuer/sekisho-ca"] == {"ca": {"secretName": authority["secretName"]}}
    assert certificate["issuerRef"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "sekisho-ca"}
    assert certificate["secretName"] != authority["secretName"]
    assert certificate["dnsNames"] == [
        "sekisho-webhook.sekisho-system.svc",
        "sekisho-webhook.sekisho-system.svc.cluster.local",
    ]
    for spec in (authority, certificate):  # renewed at two thirds of its life
        life, before = (int(spec[name].removesuffix("h")) for name in ("duration", "renewBefore"))
        assert before * 3 == life


def test_a_custom_issuer_signs_the_certificate() -> None:
    ref = {"name": "corp", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    specs = certificate_specs(*BY_CERT_MANAGER, "certificates.issuerRef.name=corp")
    assert set(specs) == {"Certificate/sekisho-webhook"}
    assert specs["Certificate/sekisho-webhook"]["issuerRef"] == ref


@pytest.mark.parametrize(
    ("url", "field", "names"),
    [
        ("https://webhook.example:9443", "dnsNames", ["webhook.example"]),
        ("https://1a.example", "dnsNames", ["1a.example"]),
        ("https://192.0.2.1:9443", "ipAddresses", ["192.0.2.1"]),
        ("https://[2001:db8::1]:9443", "ipAddresses", ["2001:db8::1"]),
    ],
)
def test_a_webhook_outside_the_cluster_gets_a_certificate_for_its_name_or_address(
    url: str, field: str, names: list[str]
) -> None:
    spec = certificate_specs(*BY_CERT_MANAGER, f"webhook.url={url}")["Certificate/sekisho-webhook"]
    assert spec[field] == names
    assert not {"dnsNames", "ipAddresses"} - {field} & set(spec)


def test_the_ca_injector_is_annotated_with_the_certificate() -> None:
    for values, annotations in (
        ((), None),
        (BY_SECRET, None),
        (BY_CERT_MANAGER, {"cert-manager.io/inject-ca-from": "sekisho-system/sekisho-webhook"}),
    ):
        manifests = render(*values, "webhookConfigurations.annotations=null")
        configurations = [manifest for manifest in manifests if manifest["kind"].endswith("WebhookConfiguration")]
        assert [configuration["metadata"].get("annotations") for configuration in configurations] == [annotations] * 2


def test_both_processes_use_the_same_secret() -> None:
    for values, secret in (
        ((), "sekisho-webhook-tls"),
        (BY_SECRET, "corp-tls"),
        (BY_CERT_MANAGER, certificate_specs(*BY_CERT_MANAGER)["Certificate/sekisho-webhook"]["secretName"]),
    ):
        pods = deployments(*values)
        assert f"--certificate-secret={secret}" in arguments(pods["sekisho-webhook"])
        options = [value for value in arguments(pods["sekisho-controller"]) if value.startswith("--certificate-secret")]
        assert options == ([] if values == BY_CERT_MANAGER else [f"--certificate-secret={secret}"])


def test_mode_secret_requires_the_name_of_the_secret() -> None:
    assert "certificates.secretName is required" in template(IMAGE, "certificates.mode=secret").stderr


def test_client_certificates_are_checked_against_a_config_map() -> None:
    assert not [value for value in arguments(deployments()["sekisho-webhook"]) if value.startswith("--client")]
    pods = deployments(
        "webhook.clientCA.configMap=callers", "webhook.clientCA.key=a.crt", "webhook.clientCA.names={b,c}"
    )
    webhook = pods["sekisho-webhook"]
    (container,) = webhook["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "client-ca"]
    (volume,) = [volume for volume in webhook["volumes"] if volume["name"] == "client-ca"]
    assert volume["configMap"] == {"name": "callers"}
    options = arguments(webhook)
    assert f"--client-ca-file={mount['mountPath']}/a.crt" in options
    assert [value for value in options if value.startswith("--client-name")] == ["--client-name=b", "--client-name=c"]
    assert "client-ca" not in json.dumps(pods["sekisho-controller"])


# Permissions.


def rules(*values: str) -> Iterator[tuple[str, Object]]:
    for manifest in render(*values):
        if manifest["kind"] in ("Role", "ClusterRole"):
            yield from ((identity(manifest), rule) for rule in manifest["rules"])


def test_no_permission_uses_wildcards_or_escalating_verbs() -> None:
    for role, rule in rules():
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not words & {"*", "escalate", "bind", "impersonate", "deletecollection"}, role


READ = ["get", "list", "watch"]
SECRETS_BY_MODE: list[tuple[tuple[str, ...], list[tuple[str, list[str] | None, list[str]]]]] = [
    (
        (),
        [
            (
                "Role/sekisho-controller",
                ["sekisho-webhook-tls", "sekisho-ca", "sekisho-webhook-path"],
                [*READ, "patch"],
            ),
            ("Role/sekisho-controller", None, ["create"]),
            ("Role/sekisho-webhook", ["sekisho-webhook-tls", "sekisho-webhook-path"], READ),
        ],
    ),
    (
        BY_SECRET,
        [
            ("Role/sekisho-controller", ["corp-tls"], READ),
            ("Role/sekisho-controller", ["sekisho-webhook-path"], [*READ, "patch"]),
            ("Role/sekisho-webhook", ["corp-tls", "sekisho-webhook-path"], READ),
        ],
    ),
    (BY_CERT_MANAGER, [("Role/sekisho-webhook", ["sekisho-webhook-cert-manager"], READ)]),
]


@pytest.mark.parametrize(("values", "wanted"), SECRETS_BY_MODE)
def test_access_to_secrets_is_limited_by_name_and_certificate_mode(
    values: tuple[str, ...], wanted: list[tuple[str, list[str] | None, list[str]]]
) -> None:
    rendered = [
        (role, rule.get("resourceNames"), rule["verbs"])
        for role, rule in rules(*values)
        if "secrets" in rule["resources"]
    ]
    assert rendered == wanted


WORDS = {
    "configmaps": "ConfigMaps",
    "cronjobs": "CronJobs",
    "daemonsets": "DaemonSets",
    "deployments": "Deployments",
    "endpointslices": "EndpointSlices",
    "events": "Events",
    "imageauthorities": "ImageAuthorities",
    "imageevidences": "ImageEvidence",
    "jobs": "Jobs",
    "leases": "Lease",
    "limitranges": "LimitRanges",
    "mutatingwebhookconfigurations": "webhook configurations",
    "namespaces": "namespace",
    "pods": "pods",
    "policyreports": "policyreports",
    "replicasets": "ReplicaSets",
    "replicationcontrollers": "ReplicationControllers",
    "reports": "reports",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccounts",
    "statefulsets": "StatefulSets",
    "validatingwebhookconfigurations": "webhook configurations",
} | dict.fromkeys(("clusterpodpolicies", "imagecatalogs", "podpolicies", "policywaivers"), "policies")


@pytest.mark.parametrize("account", ["controller", "webhook"])
def test_the_security_page_says_what_each_permission_is_worth(account: str) -> None:
    page = (CHART.parents[1] / "docs" / "security.md").read_text()
    section = page.partition(f"### The {account}'s token")[2].partition("\n### ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    granted = rules(*VERIFIED, "imageVerification.podPullSecrets=true", "audit.reports=true")
    for resource in {resource for role, rule in granted if f"-{account}" in role for resource in rule["resources"]}:
        name, _, subresource = resource.partition("/")
        assert any(WORDS[name] in row and subresource in row for row in rows), resource


def test_controller_may_list_what_runs_only_where_it_audits() -> None:
    def listed(*values: str) -> set[str]:
        of_controller = [rule for role, rule in rules(*values) if role == "ClusterRole/sekisho-controller"]
        return {resource for rule in of_controller for resource in rule["resources"]}

    assert "--audit" in arguments(deployments()["sekisho-controller"])
    assert {"pods", "deployments", "cronjobs", "namespaces"} <= listed()
    assert "--audit" not in arguments(deployments("audit.enabled=false")["sekisho-controller"])
    assert listed("audit.enabled=false") == {"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}


def test_controller_may_write_reports_only_where_they_are_enabled() -> None:
    verbs = ["list", "create", "patch", "delete"]
    added = [rule for rule in rules("audit.reports=true") if rule not in rules()]
    assert added == [
        ("ClusterRole/sekisho-controller", {"apiGroups": [group], "resources": [name], "verbs": verbs})
        for group, name in (("openreports.io", "reports"), ("wgpolicyk8s.io", "policyreports"))
    ]
    options = ({*arguments(deployments(*values)["sekisho-controller"])} for values in ((), ("audit.reports=true",)))
    assert ["--audit-reports" in option for option in options] == [False, True]
    assert list(rules("audit.reports=true", "audit.enabled=false")) == list(rules("audit.enabled=false"))


def test_verification_of_images_is_off_until_it_is_enabled() -> None:
    for values in ((), VERIFIED[1:]):
        webhook = deployments(*values)["sekisho-webhook"]
        assert not [option for option in arguments(webhook) if "verify" in option or "registry" in option]
        assert list(rules(*values)) == list(rules())


def test_nobody_may_use_authorities_and_evidence_until_images_are_verified() -> None:
    of_images = {"imageauthorities", "imageauthorities/status", "imageevidences"}
    assert not [role for role, rule in rules() if of_images & set(rule["resources"])]
    granted = {(role, tuple(of_images & set(rule["resources"]))) for role, rule in rules(*VERIFIED)}
    assert {(role, *resources) for role, resources in granted if resources} == {
        ("ClusterRole/sekisho-controller-status", "imageauthorities"),
        ("ClusterRole/sekisho-controller-status", "imageauthorities/status"),
        ("ClusterRole/sekisho-podpolicies-view", "imageauthorities"),
        ("ClusterRole/sekisho-webhook", "imageauthorities"),
        ("ClusterRole/sekisho-webhook", "imageevidences"),
    }


def test_the_webhook_reads_only_the_secrets_that_verification_names() -> None:
    added = [rule for role, rule in rules(*VERIFIED) if role.endswith("Role/sekisho-webhook")]
    assert [rule for rule in added if rule not in [rule for _, rule in rules()]] == [
        {"apiGroups": ["sekisho.dev"], "resources": ["imageauthorities"], "verbs": READ},
        {
            "apiGroups": ["sekisho.dev"],
            "resources": ["imageevidences"],
            "verbs": ["list", "watch", "create", "patch", "delete"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["release-key", "shared", "registry-login"],
            "verbs": READ,
        },
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["sekisho-image-evidence"],
            "verbs": ["get"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": READ},
    ]
    webhook = deployments(*VERIFIED)["sekisho-webhook"]
    assert [option for option in arguments(webhook) if "verify" in option or "secret=" in option] == [
        "--certificate-secret=sekisho-webhook-tls",
        "--path-secret=sekisho-webhook-path",
        "--verify-images",
        "--authority-secret=release-key",
        "--authority-secret=shared",
        "--pull-secret=registry-login",
        "--pull-secret=shared",
    ]


def test_the_webhook_reads_the_pull_secrets_of_pods_only_where_that_is_enabled() -> None:
    added = [rule for rule in rules(*VERIFIED, "imageVerification.podPullSecrets=true") if rule not in rules(*VERIFIED)]
    assert added == [("ClusterRole/sekisho-webhook", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})]
    webhook = deployments(*VERIFIED, "imageVerification.podPullSecrets=true")["sekisho-webhook"]
    assert "--pod-pull-secrets" in arguments(webhook)


def test_registries_of_an_own_authority_are_trusted() -> None:
    spec = deployments(*VERIFIED)["sekisho-webhook"]
    assert {"name": "registry-ca", "configMap": {"name": "corp-ca"}} in spec["volumes"]
    assert "--registry-ca-file=/registry-ca/ca.crt" in spec["containers"][0]["args"]
    assert {"name": "registry-ca", "mountPath": "/registry-ca", "readOnly": True} in spec["containers"][0][
        "volumeMounts"
    ]


def test_the_controller_can_patch_webhook_configurations_unless_cert_manager_does() -> None:
    for values, is_allowed in (((), True), (BY_SECRET, True), (BY_CERT_MANAGER, False)):
        (verbs,) = (
            rule["verbs"] for _, rule in rules(*values) if "validatingwebhookconfigurations" in rule["resources"]
        )
        assert verbs == [*READ, *(["patch"] if is_allowed else [])]


def test_the_controller_watches_endpoint_slices_if_the_webhook_has_a_service() -> None:
    for values, is_there in (((), True), ((OUTSIDE,), False)):
        resources = [name for _, rule in rules(*values) for name in rule["resources"]]
        options = [option for option in arguments(deployments(*values)["sekisho-controller"]) if "service" in option]
        assert ("endpointslices" in resources) == is_there
        assert options == (["--webhook-service=sekisho-webhook"] if is_there else [])


def test_in_other_namespaces_the_controller_can_write_events_and_prove() -> None:
    elsewhere = {
        (identity(manifest), manifest["metadata"]["namespace"]): manifest
        for manifest in render()
        if manifest["metadata"].get("namespace", "sekisho-system") != "sekisho-system"
    }
    assert set(elsewhere) == {
        ("Role/sekisho-controller-events", "default"),
        ("RoleBinding/sekisho-controller-events", "default"),
        ("ResourceQuota/sekisho-no-pods", "sekisho-proof"),
        ("Role/sekisho-controller", "sekisho-proof"),
        ("RoleBinding/sekisho-controller", "sekisho-proof"),
    }
    assert elsewhere["Role/sekisho-controller-events", "default"]["rules"] == [
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}
    ]
    assert elsewhere["Role/sekisho-controller", "sekisho-proof"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
        {"apiGroups": ["sekisho.dev"], "resources": ["podpolicies"], "verbs": ["create"]},
    ]


def test_no_pod_can_be_created_where_the_controller_proves_that_pods_are_judged() -> None:
    objects = render("excludeNamespaces={shop}")
    assert pick(objects, "ResourceQuota/sekisho-no-pods")["spec"] == {"hard": {"pods": "0"}}
    options = arguments(deployments("excludeNamespaces={shop}")["sekisho-controller"])
    assert "--proof-namespace=sekisho-proof" in options
    excluded = [option for option in options if option.startswith("--exclude-namespace=")]
    assert excluded == [f"--exclude-namespace={name}" for name in ("kube-system", "sekisho-system", "shop")]
    options = arguments(deployments("excludeNamespaces={shop}")["sekisho-webhook"])
    assert [option for option in options if option.startswith("--exclude-namespace=")] == excluded


def test_cluster_wide_write_permissions() -> None:
    reading = {"get", "list", "watch"}
    changing = {
        (role, tuple(rule["resources"]), tuple(rule.get("resourceNames", ())), tuple(rule["verbs"]))
        for role, rule in rules()
        if role.startswith("ClusterRole/") and not set(rule["verbs"]) <= reading
    }
    assert changing == {
        (
            "ClusterRole/sekisho-podpolicies-edit",
            ("podpolicies",),
            (),
            ("create", "update", "patch", "delete"),
        ),
        ("ClusterRole/sekisho-webhook", ("events",), (), ("create", "patch")),
        (
            "ClusterRole/sekisho-controller-status",
            (
                "clusterpodpolicies/status",
                "podpolicies/status",
                "policywaivers/status",
                "imagecatalogs/status",
            ),
            (),
            ("patch",),
        ),
        (
            "ClusterRole/sekisho-controller",
            ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
            ("sekisho",),
            ("get", "list", "watch", "patch"),
        ),
        ("ClusterRole/sekisho-controller", ("events",), (), ("create",)),
    }


def test_only_the_pods_mount_tokens_not_the_service_accounts() -> None:
    accounts = [account for account in render() if account["kind"] == "ServiceAccount"]
    assert [account["automountServiceAccountToken"] for account in accounts] == [False, False]
    assert {name: pod["serviceAccountName"] for name, pod in deployments().items()} == {
        "sekisho-controller": "sekisho-controller",
        "sekisho-webhook": "sekisho-webhook",
    }
    assert all(pod["automountServiceAccountToken"] for pod in deployments().values())


# Custom resource definitions.


@pytest.fixture(scope="module")
def chart_with_definition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart with an additional small CRD that has its own labels and annotations."""
    chart = tmp_path_factory.mktemp("chart") / "sekisho"
    shutil.copytree(CHART, chart)
    (chart / "files" / "crds").mkdir(parents=True, exist_ok=True)
    (chart / "files" / "crds" / "sekisho.dev_gates.yaml").write_text(json.dumps(GATES))
    return chart


GATES: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gates.sekisho.dev", "annotations": {"own": "yes"}, "labels": {"own": "yes"}},
    "spec": {
        "group": "sekisho.dev",
        "versions": [{"schema": {"openAPIV3Schema": {"maxLength": 1048576, "maximum": 2147483647}}}],
    },
}


def test_crds_are_rendered_unchanged_and_kept(chart_with_definition: Path) -> None:
    crd = pick(render(chart=chart_with_definition), "CustomResourceDefinition/gates.sekisho.dev")
    assert crd["spec"] == GATES["spec"]
    assert crd["metadata"]["annotations"] == {"own": "yes", "helm.sh/resource-policy": "keep"}
    assert crd["metadata"]["labels"].items() >= {"own": "yes", "app.kubernetes.io/instance": "sekisho"}.items()


def test_crds_are_deleted_with_the_release_if_keep_is_false(chart_with_definition: Path) -> None:
    rendered = render("crds.keep=false", chart=chart_with_definition)
    gates = pick(rendered, "CustomResourceDefinition/gates.sekisho.dev")
    assert gates["metadata"]["annotations"] == {"own": "yes"}


def test_crds_are_not_rendered_if_install_is_false(chart_with_definition: Path) -> None:
    rendered = render("crds.install=false", chart=chart_with_definition)
    assert not [name for name in identities(rendered) if name.startswith("CustomResourceDefinition/")]


def test_generated_crds_are_rendered_unchanged_where_images_are_verified() -> None:
    objects = render(*VERIFIED)
    for path in (CHART / "files" / "crds").glob("*.yaml"):
        (generated,) = manifests(path.read_text())
        assert pick(objects, identity(generated))["spec"] == generated["spec"]


def test_authorities_have_no_status_until_images_are_verified() -> None:
    authorities = "CustomResourceDefinition/imageauthorities.sekisho.dev"
    verified, unverified = (pick(render(*values), authorities)["spec"] for values in (VERIFIED, ()))
    [version] = verified["versions"]
    assert version["schema"]["openAPIV3Schema"]["properties"]["status"].pop("properties")
    assert unverified == verified


# Notes.


def test_the_notes_list_excluded_namespaces_and_the_emergency_command() -> None:
    text = notes('excludeNamespaces:=["calico-system"]')
    assert "\n  kube-system\n  sekisho-system\n  calico-system\n" in text
    assert "kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration sekisho\n" in text
    assert "\n\n\n" not in text


def test_the_notes_warn_of_a_release_in_the_default_namespace() -> None:
    assert 'WARNING: the release is in the namespace "default"' in notes(namespace="default")


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        (("webhook.replicas=1",), True),
        (("autoscaling.enabled=true", "autoscaling.minReplicas=1"), True),
        (("webhook.replicas=1", "autoscaling.enabled=true"), False),
        (("webhook.replicas=1", OUTSIDE), False),
        (("webhook.replicas=2",), False),
    ],
)
def test_the_notes_warn_of_one_replica(values: tuple[str, ...], warned: bool) -> None:
    assert ("WARNING: the webhook has one replica" in notes(*values)) == warned


def test_the_notes_warn_where_no_controller_runs() -> None:
    warning = "WARNING: the chart runs no controller"
    assert warning not in notes()
    assert f"{warning}. Until you run `sekisho controller` elsewhere, no certificate is made" in notes(
        "controller.replicas=0"
    )
    assert f"{warning}. Until you run `sekisho controller` elsewhere, policies get no status" in notes(
        "controller.replicas=0", *BY_SECRET
    )


def test_the_notes_say_what_to_do_next() -> None:
    text = notes()
    assert "WARNING: there is no policy yet" in text
    assert (REPOSITORY / "policies" / "audit-starter" / "policy.yaml").exists()
    assert "\n  kubectl apply -f policies/audit-starter/policy.yaml\n" in text
    assert "\n  helm test sekisho --namespace sekisho-system\n" in text
    assert "helm test" not in notes("image.repository=", OUTSIDE, "controller.replicas=0")


def test_with_the_policies_the_permission_to_write_their_status_is_kept() -> None:
    kept = {"ServiceAccount/sekisho-controller"} | {
        f"{kind}/sekisho-controller-status" for kind in ("ClusterRole", "ClusterRoleBinding")
    }
    for values, expected in (((), kept), (("crds.install=false",), kept), (("crds.keep=false",), set[str]())):
        objects = {
            identity(manifest)
            for manifest in render(*values)
            if (manifest["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
            and manifest["kind"] not in ("CustomResourceDefinition", "Namespace")
        }
        assert objects == expected

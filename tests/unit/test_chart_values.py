"""The chart's values: every one has an effect, and what is misspelt or invalid is an error."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart import (
    CHART,
    CONSTRAINT,
    IMAGE,
    OUTSIDE,
    VALUES,
    Object,
    deployments,
    helm,
    identities,
    identity,
    pick,
    render,
    settings,
    template,
)

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm

BY_CERT_MANAGER = ("certificates.mode=cert-manager",)
EXTRA_OBJECT = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "extra"},
    "data": {"text": "{{ not a template }}"},
}

ACCOUNT = re.compile(
    r"(?:serviceAccountName: |ServiceAccount, name: |kind: ServiceAccount\nmetadata:\n  name: |"
    r"system:serviceaccount:sekisho-system:)([a-z-]+)"
)
SIDECAR = '[{"name": "proxy", "image": "registry.example/proxy"}]'
COMPONENTS = ("webhook", "controller")
OF_COMPONENTS = {
    "affinity": ':={"nodeAffinity": {}}',
    "extraContainers": f":={SIDECAR}",
    "extraEnv": ':=[{"name": "TZ", "value": "UTC"}]',
    "extraInitContainers": f":={SIDECAR}",
    "extraVolumeMounts": ':=[{"name": "more", "mountPath": "/more"}]',
    "extraVolumes": ':=[{"name": "more", "emptyDir": {}}]',
    "nodeSelector": ".pool=system",
    "podAnnotations": ".team=platform",
    "podLabels": ".team=platform",
    "serviceAccount.annotations": ".role=images",
    "serviceAccount.create": "=false",
    "serviceAccount.name": "=robot",
    "tolerations": ':=[{"operator": "Exists"}]',
    "topologySpreadConstraints": f":={json.dumps([CONSTRAINT])}",
    "updateStrategy": ".type=Recreate",
}

# A different valid setting for every value.
OTHER_VALUES: dict[str, tuple[str, ...]] = {
    **{f"{one}.{path}": (f"{one}.{path}{value}",) for one in COMPONENTS for path, value in OF_COMPONENTS.items()},
    "webhook.extraArgs": ('webhook.extraArgs:=["--bind-address=::"]',),
    "webhook.lifecycle": ("webhook.lifecycle.preStop.sleep.seconds=5",),
    "webhook.terminationGracePeriodSeconds": ("webhook.terminationGracePeriodSeconds=60",),
    "webhook.dnsConfig": ('webhook.dnsConfig:={"nameservers": ["192.0.2.53"]}',),
    "webhook.hostAliases": ('webhook.hostAliases:=[{"ip": "192.0.2.80", "hostnames": ["registry.corp.example"]}]',),
    "webhook.service.annotations": ("webhook.service.annotations.team=platform",),
    "webhook.service.ipFamilyPolicy": ("webhook.service.ipFamilyPolicy=PreferDualStack",),
    "webhook.service.ipFamilies": ('webhook.service.ipFamilies:=["IPv6"]',),
    "webhook.service.trafficDistribution": ("webhook.service.trafficDistribution=PreferSameZone",),
    "webhook.podDisruptionBudget.minAvailable": ("webhook.podDisruptionBudget.minAvailable=1",),
    "controller.extraArgs": ('controller.extraArgs:=["--metrics-bind-address=::"]',),
    "controller.podDisruptionBudget.maxUnavailable": ("controller.podDisruptionBudget.maxUnavailable=50%",),
    "commonLabels": ("commonLabels.team=platform",),
    "crds.annotations": ("crds.annotations.team=platform",),
    "global.imagePullSecrets": ('global.imagePullSecrets:=[{"name": "shared-login"}]',),
    "autoscaling.behavior": ("autoscaling.behavior.scaleDown.stabilizationWindowSeconds=60",),
    "deploymentAnnotations": ("deploymentAnnotations.team=platform",),
    "revisionHistoryLimit": ("revisionHistoryLimit=2",),
    "runtimeClassName": ("runtimeClassName=kata",),
    "hostUsers": ("hostUsers=false",),
    **{
        f"{probe}.{field}": (f"{probe}.{field}=7",)
        for probe in ("livenessProbe", "readinessProbe")
        for field in ("periodSeconds", "timeoutSeconds", "failureThreshold")
    },
    "networkPolicy.webhookFrom": ('networkPolicy.webhookFrom:=[{"ipBlock": {"cidr": "192.0.2.0/24"}}]',),
    "serviceMonitor.annotations": ("serviceMonitor.annotations.team=platform",),
    "serviceMonitor.namespace": ("serviceMonitor.namespace=monitoring",),
    "serviceMonitor.scrapeTimeout": ("serviceMonitor.scrapeTimeout=5s",),
    "serviceMonitor.endpoint": ("serviceMonitor.endpoint.honorLabels=true",),
    "prometheusRule.annotations": ("prometheusRule.annotations.team=platform",),
    "prometheusRule.namespace": ("prometheusRule.namespace=monitoring",),
    "prometheusRule.extraGroups": ('prometheusRule.extraGroups:=[{"name": "own", "rules": []}]',),
    "dashboard.annotations": ("dashboard.annotations.grafana_folder=Security",),
    "dashboard.namespace": ("dashboard.namespace=monitoring",),
    "extraObjects": (f"extraObjects:={json.dumps([EXTRA_OBJECT])}",),
    "fullnameOverride": ("fullnameOverride=gate",),
    "global.imageRegistry": ("global.imageRegistry=mirror.example",),
    "image.registry": ("image.registry=other.example",),
    "image.repository": ("image.repository=other.example/sekisho",),
    "image.tag": ("image.tag=other",),
    "image.digest": (f"image.digest=sha256:{'0' * 64}",),
    "image.pullPolicy": ("image.pullPolicy=Always",),
    "imagePullSecrets": ('imagePullSecrets:=[{"name": "login"}]',),
    "crds.install": ("crds.install=false",),
    "crds.keep": ("crds.keep=false",),
    "excludeNamespaces": ('excludeNamespaces:=["calico-system"]',),
    "certificates.mode": ("certificates.mode=cert-manager",),
    "certificates.secretName": ("certificates.secretName=other-tls",),
    "certificates.issuerRef.name": ("certificates.issuerRef.name=corp",),
    "certificates.issuerRef.kind": ("certificates.issuerRef.kind=Issuer",),
    "certificates.issuerRef.group": ("certificates.issuerRef.group=issuers.example",),
    "audit.enabled": ("audit.enabled=false",),
    "audit.reports": ("audit.reports=true",),
    "imageVerification.enabled": ("imageVerification.enabled=true",),
    "imageVerification.secrets": ('imageVerification.secrets:=["release-key"]',),
    "imageVerification.pullSecrets": ('imageVerification.pullSecrets:=["registry-login"]',),
    "imageVerification.podPullSecrets": ("imageVerification.podPullSecrets=true",),
    "imageVerification.registryCA.configMap": ("imageVerification.registryCA.configMap=corp-ca",),
    "imageVerification.registryCA.key": ("imageVerification.registryCA.key=corp.crt",),
    "imageVerification.registryNetworks": ('imageVerification.registryNetworks:=["127.0.0.0/8"]',),
    "webhookConfigurations.annotations": ("webhookConfigurations.annotations.team=platform",),
    "webhookConfigurations.labels": ("webhookConfigurations.labels.team=platform",),
    "webhook.url": (OUTSIDE,),
    "webhook.secretPath": (f"webhook.secretPath={'0' * 32}",),
    "webhook.port": ("webhook.port=10250",),
    "webhook.metricsPort": ("webhook.metricsPort=9090",),
    "webhook.hostNetwork": ("webhook.hostNetwork=true",),
    "webhook.dnsPolicy": ("webhook.dnsPolicy=Default",),
    "webhook.podDisruptionBudget.maxUnavailable": ("webhook.podDisruptionBudget.maxUnavailable=50%",),
    "webhook.clientCA.configMap": ("webhook.clientCA.configMap=callers",),
    "webhook.clientCA.key": ("webhook.clientCA.key=callers.crt",),
    "webhook.clientCA.names": ("webhook.clientCA.names={kube-apiserver}",),
    "webhook.replicas": ("webhook.replicas=5",),
    "webhook.timeoutSeconds": ("webhook.timeoutSeconds=5",),
    "webhook.admitPodsUnjudged": ("webhook.admitPodsUnjudged=true",),
    "webhook.longestWaiverDays": ("webhook.longestWaiverDays=30",),
    "webhook.customKinds": ("webhook.customKinds={rollouts.argoproj.io}",),
    "webhook.templatesFailurePolicy": ("webhook.templatesFailurePolicy=Fail",),
    "webhook.events.reasons": ('webhook.events.reasons:=["PodWarned"]',),
    "webhook.events.perSecond": ("webhook.events.perSecond=5",),
    "webhook.resources": ('webhook.resources:={"limits": {"memory": "1Gi"}}',),
    "autoscaling.enabled": ("autoscaling.enabled=true",),
    "autoscaling.minReplicas": ("autoscaling.minReplicas=4",),
    "autoscaling.maxReplicas": ("autoscaling.maxReplicas=20",),
    "autoscaling.targetCPUUtilizationPercentage": ("autoscaling.targetCPUUtilizationPercentage=50",),
    "controller.replicas": ("controller.replicas=3",),
    "controller.resources": ('controller.resources:={"limits": {"memory": "1Gi"}}',),
    "controller.metricsPort": ("controller.metricsPort=9090",),
    "logLevel": ("logLevel=debug",),
    "priorityClassName": ("priorityClassName=",),
    "nodeSelector": ("nodeSelector.pool=system",),
    "tolerations": ('tolerations:=[{"operator": "Exists"}]',),
    "aggregateRoles": ("aggregateRoles=false",),
    "affinity": ('affinity:={"nodeAffinity": {}}',),
    "topologySpreadConstraints": (f"topologySpreadConstraints:={json.dumps([CONSTRAINT])}",),
    "podAnnotations": ("podAnnotations.team=platform",),
    "podLabels": ("podLabels.team=platform",),
    "podSecurityContext": ("podSecurityContext.runAsUser=null",),
    "securityContext": ("securityContext.runAsUser=20000",),
    "networkPolicy.enabled": ("networkPolicy.enabled=false",),
    "networkPolicy.metricsFrom": ('networkPolicy.metricsFrom:=[{"podSelector": {}}]',),
    "networkPolicy.egress": ('networkPolicy.egress:=[{"ports": [{"port": 6443}]}]',),
    "serviceMonitor.enabled": ("serviceMonitor.enabled=true",),
    "serviceMonitor.labels": ("serviceMonitor.labels.release=prometheus",),
    "serviceMonitor.interval": ("serviceMonitor.interval=10s",),
    "serviceMonitor.relabelings": ('serviceMonitor.relabelings:=[{"action": "labeldrop", "regex": "pod"}]',),
    "serviceMonitor.metricRelabelings": ('serviceMonitor.metricRelabelings:=[{"action": "labeldrop", "regex": "le"}]',),
    "prometheusRule.enabled": ("prometheusRule.enabled=true",),
    "prometheusRule.labels": ("prometheusRule.labels.release=prometheus",),
    "prometheusRule.runbookUrl": ("prometheusRule.runbookUrl=https://runbooks.example/sekisho/",),
    "dashboard.enabled": ("dashboard.enabled=true",),
    "dashboard.labels": ("dashboard.labels.team=platform",),
}
ENABLED = [path.removesuffix(".enabled") for path in OTHER_VALUES if path.endswith(".enabled")]
NEEDED_FIRST = {
    "autoscaling.behavior": ("autoscaling.enabled=true",),
    **{
        path: (f"{section}.enabled=true",)
        for path in OTHER_VALUES
        for section in ("serviceMonitor", "prometheusRule", "dashboard")
        if path.startswith(f"{section}.") and path != f"{section}.enabled"
    },
    "imageVerification.secrets": ("imageVerification.enabled=true",),
    "imageVerification.pullSecrets": ("imageVerification.enabled=true",),
    "imageVerification.podPullSecrets": ("imageVerification.enabled=true",),
    "imageVerification.registryCA.configMap": ("imageVerification.enabled=true",),
    "imageVerification.registryCA.key": ("imageVerification.enabled=true", "imageVerification.registryCA.configMap=ca"),
    "imageVerification.registryNetworks": ("imageVerification.enabled=true",),
    "autoscaling.minReplicas": ("autoscaling.enabled=true",),
    "autoscaling.maxReplicas": ("autoscaling.enabled=true",),
    "autoscaling.targetCPUUtilizationPercentage": ("autoscaling.enabled=true",),
    "certificates.secretName": ("certificates.mode=secret", "certificates.secretName=corp-tls"),
    "certificates.issuerRef.name": BY_CERT_MANAGER,
    "certificates.issuerRef.kind": (*BY_CERT_MANAGER, "certificates.issuerRef.name=corp"),
    "certificates.issuerRef.group": (*BY_CERT_MANAGER, "certificates.issuerRef.name=corp"),
    "webhook.clientCA.key": ("webhook.clientCA.configMap=callers",),
    "webhook.clientCA.names": ("webhook.clientCA.configMap=callers",),
}


def fixed_objects(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every object in the schema that allows no additional properties, with its path."""
    if schema.get("additionalProperties") is False:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        if inner is not False:
            yield from fixed_objects(inner, f"{path}.{name}".lstrip("."))


SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FIXED = dict(fixed_objects(SCHEMA))


def value_at(path: str) -> Any:
    value = VALUES
    for name in filter(None, path.split(".")):
        value = value[name]
    return value


def test_the_schema_and_the_values_have_the_same_fields() -> None:
    for path, schema in FIXED.items():
        assert set(schema["properties"]) == set(value_at(path)), path


@pytest.mark.parametrize("nested", [False, True], ids=["sections", "sections of sections"])
def test_a_section_without_values_is_an_error_with_its_name(*, nested: bool) -> None:
    sections = [path for path in FIXED if path and ("." in path) == nested]
    finished = template(IMAGE, *(f"{path}=null" for path in sections))
    assert finished.returncode == 1
    missing = {name for line in finished.stderr.splitlines() if "missing propert" in line for name in line.split("'")}
    assert missing >= {path.rpartition(".")[2] for path in sections}


def test_null_is_an_error_where_the_default_means_something_else() -> None:
    defaults = {
        f"{path}.{name}".lstrip("."): value
        for path, schema in FIXED.items()
        if not path.endswith("podDisruptionBudget")  # one of its two numbers is unset by null
        for name, value in value_at(path).items()
        if isinstance(value, str | int) and value != ""
    }
    finished = template(IMAGE, *(f"{path}=null" for path in defaults))
    assert finished.returncode == 1
    missing = {name for line in finished.stderr.splitlines() if "missing propert" in line for name in line.split("'")}
    assert missing >= {path.rpartition(".")[2] for path in defaults}


def test_null_is_the_same_as_an_empty_default() -> None:
    url = "webhook.url=https://webhook.example:8443"
    for value in ("image.digest", "webhook.secretPath"):
        assert render(url, f"{value}=null") == render(url)


def test_a_key_without_values_is_an_empty_list_or_map() -> None:
    empty = [path for path in OTHER_VALUES if isinstance(value_at(path), dict | list)]
    assert len(empty) > 20
    render(*(f"{path}=null" for path in empty), *(f"{section}.enabled=true" for section in ENABLED))


def test_every_value_has_a_different_setting_in_the_table() -> None:
    leaves = {
        f"{path}.{name}".lstrip(".")
        for path, schema in FIXED.items()
        for name in schema["properties"]
        if f"{path}.{name}".lstrip(".") not in FIXED
    }
    of_parents = {f"global.{name}" for name in SCHEMA["properties"]["global"]["properties"]}
    assert leaves - {"global"} | of_parents == set(OTHER_VALUES)


@pytest.mark.parametrize("path", OTHER_VALUES)
def test_every_value_changes_what_is_rendered(path: str) -> None:
    # The CRDs take most of the time of rendering, and only their own values concern them.
    needed = (*NEEDED_FIRST.get(path, ()), *(() if path.startswith("crds.") else ("crds.install=false",)))
    assert render(*needed, *OTHER_VALUES[path]) != render(*needed)


@pytest.mark.parametrize("path", FIXED)
def test_a_misspelt_value_is_an_error(path: str) -> None:
    finished = template(IMAGE, f"{path}.replica=1".lstrip("."))
    assert finished.returncode == 1
    assert "additional properties 'replica' not allowed" in finished.stderr


@pytest.mark.parametrize(
    "value",
    [
        'excludeNamespaces:=["team-*"]',
        'excludeNamespaces:=[""]',
        "webhook.url=http://webhook.example",
        "webhook.url=https://user@webhook.example",
        "webhook.url=https://webhook.example?x",
        "webhook.replicas=0",
        "webhook.port=443",
        "webhook.dnsPolicy=ClusterLast",
        "webhook.podDisruptionBudget.maxUnavailable=0",
        "webhook.podDisruptionBudget.maxUnavailable=all",
        "webhook.podDisruptionBudget.maxUnavailable=150%",
        "webhook.podDisruptionBudget.minAvailable=150%",
        'webhook.extraEnv:=["TZ=UTC"]',
        "image.registry=https://registry.example",
        "global.imageRegistry=registry.example/",
        "image.repository=registry.example/",
        "image.repository=https://registry.example/sekisho",
        "image.repository=registry.example/Acme/sekisho",
        "fullnameOverride=123",
        'commonLabels:={"rbac.authorization.k8s.io/aggregate-to-edit": "true"}',
        "webhook.timeoutSeconds=0",
        "webhook.timeoutSeconds=30",
        "webhook.admitPodsUnjudged=yes",
        "webhook.templatesFailurePolicy=ignore",
        "webhook.customKinds={rollouts}",
        "webhook.customKinds={deployments.apps}",
        "webhook.customKinds={widgets.example.com}",
        "webhook.longestWaiverDays=0",
        'webhook.events.reasons:=["PodEaten"]',
        "webhook.events.perSecond=0",
        "controller.replicas=-1",
        "autoscaling.targetCPUUtilizationPercentage=0",
        "prometheusRule.runbookUrl=",
        "logLevel=loud",
        "image.repository=registry.example/sekisho:1.0",
        "image.digest=sha256:0",
        f"fullnameOverride={'x' * 39}",
        "imagePullSecrets[0]=login",
        "global.imagePullSecrets[0]=login",
        "commonLabels.team:=1",
        "livenessProbe.periodSeconds=0",
        "revisionHistoryLimit=-1",
        "hostUsers=no",
        "webhook.dnsConfig.servers:=[]",
        "webhook.lifecycle.preStart:={}",
        "webhook.service.ipFamilyPolicy=DualStack",
        'webhook.service.ipFamilies:=["IPv5"]',
        "webhook.podDisruptionBudget.minAvailable=none",
        "webhook.updateStrategy.maxSurge=1",
        "webhook.terminationGracePeriodSeconds=5",
        "controller.podDisruptionBudget.maxUnavailable=0",
        'controller.extraContainers:=[{"name": "proxy"}]',
        'webhook.extraInitContainers:=[{"image": "registry.example/init"}]',
        "autoscaling.behavior.scaleSideways=1",
        "serviceMonitor.endpoint.interval=5s",
        "serviceMonitor.scrapeTimeout=5",
        "serviceMonitor.namespace=Monitoring",
        "prometheusRule.extraGroups[0].name=own",
        "dashboard.namespace=-",
        "extraObjects[0]=",
        "extraObjects:=[1]",
    ],
)
def test_an_invalid_value_is_an_error_with_its_path(value: str) -> None:
    path = re.split(r":?=|\[", value)[0].replace(".", "/")
    finished = template(IMAGE, value)
    assert finished.returncode == 1
    assert f"at '/{path}" in finished.stderr


def test_the_chart_can_be_a_dependency() -> None:
    assert template(IMAGE, "global.region=north").returncode == 0


def test_common_labels_are_on_all_objects_and_pods_and_never_replace_the_charts_own() -> None:
    selected = {"app.kubernetes.io/component": "other", "app.kubernetes.io/instance": "other"}
    labels = selected | {"team": "platform", "app.kubernetes.io/managed-by": "other"}
    values = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true")
    plain = {identity(manifest): manifest for manifest in render(*values)}
    labelled = render(*values, f"commonLabels:={json.dumps(labels)}")
    assert identities(labelled) == set(plain)
    for manifest in labelled:
        expected = plain[identity(manifest)]
        assert manifest["metadata"]["labels"] == expected["metadata"]["labels"] | {"team": "platform"}
        if manifest["kind"] == "Deployment":
            assert manifest["spec"]["selector"] == expected["spec"]["selector"]
            pod = expected["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["template"]["metadata"]["labels"] == pod | {
                "team": "platform",
                "app.kubernetes.io/managed-by": "other",
            }


def test_labels_of_one_kind_of_object_win_over_common_labels() -> None:
    values = ("dashboard.enabled=true", "dashboard.labels.grafana_dashboard=sre", "commonLabels.grafana_dashboard=none")
    labels = pick(render(*values), "ConfigMap/sekisho-dashboard")["metadata"]["labels"]
    assert labels["grafana_dashboard"] == "sre"


def test_values_of_a_component_replace_those_of_both() -> None:
    values = ("nodeSelector.pool=all", "webhook.nodeSelector.pool=control-plane")
    pods = deployments(*values, 'tolerations:=[{"key": "all"}]', 'controller.tolerations:=[{"key": "own"}]')
    assert pods["sekisho-webhook"]["nodeSelector"] == {"pool": "control-plane"}
    assert pods["sekisho-controller"]["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "all"}
    assert pods["sekisho-webhook"]["tolerations"] == [{"key": "all"}]
    assert pods["sekisho-controller"]["tolerations"] == [{"key": "own"}]


def test_metadata_of_a_components_pods_is_added_to_that_of_both() -> None:
    values = ("podAnnotations.team=platform", "podAnnotations.port=p8081", "controller.podAnnotations.port=p8082")
    annotations = {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["metadata"]["annotations"]
        for manifest in render(*values)
        if manifest["kind"] == "Deployment"
    }
    assert annotations == {
        "sekisho-webhook": {"team": "platform", "port": "p8081"},
        "sekisho-controller": {"team": "platform", "port": "p8082"},
    }


def test_pull_secrets_of_a_parent_chart_are_added() -> None:
    own, shared = {"name": "login"}, {"name": "shared"}
    for values, expected in (
        ((f"global.imagePullSecrets:={json.dumps([shared])}",), [shared]),
        (
            (f"global.imagePullSecrets:={json.dumps([shared, own])}", f"imagePullSecrets:={json.dumps([own])}"),
            [own, shared],
        ),
    ):
        assert [pod["imagePullSecrets"] for pod in deployments(*values).values()] == [expected] * 2


def test_more_containers_leave_the_charts_own_as_it_is() -> None:
    plain = deployments()
    values = [f"{one}.{name}:={SIDECAR}" for one in COMPONENTS for name in ("extraContainers", "extraInitContainers")]
    for name, pod in deployments(*values).items():
        assert pod["containers"] == [*plain[name]["containers"], *json.loads(SIDECAR)]
        assert pod["initContainers"] == json.loads(SIDECAR)


def test_the_annotations_of_a_service_account_leave_what_helm_keeps() -> None:
    objects = render(*(f"{one}.serviceAccount.annotations.role=images" for one in COMPONENTS))
    assert pick(objects, "ServiceAccount/sekisho-webhook")["metadata"]["annotations"] == {"role": "images"}
    assert pick(objects, "ServiceAccount/sekisho-controller")["metadata"]["annotations"] == {
        "role": "images",
        "helm.sh/resource-policy": "keep",
    }


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_service_account_of_ones_own_takes_the_place_of_the_charts(component: str) -> None:
    images, own = "imageVerification.enabled=true", f"{component}.serviceAccount.name=robot"
    usual = [("robot" if name == f"sekisho-{component}" else name) for name in accounts_in(images)]
    assert accounts_in(images, own) == usual
    made_by_users = render(own, f"{component}.serviceAccount.create=false")
    assert identities(render(own)) - identities(made_by_users) == {"ServiceAccount/robot"}


def accounts_in(*values: str) -> list[str]:
    """The ServiceAccounts that are named in pods, bindings and the rules of admission policies, in order."""
    return ACCOUNT.findall(template(IMAGE, *values).stdout)


def test_both_processes_must_have_accounts_of_their_own() -> None:
    finished = template(IMAGE, "webhook.serviceAccount.name=robot", "controller.serviceAccount.name=robot")
    assert 'must be different: "robot" would have the permissions of both' in finished.stderr


@pytest.mark.parametrize("component", ["webhook", "controller"])
def test_no_process_uses_the_account_of_pods_without_one(component: str) -> None:
    finished = template(IMAGE, f"{component}.serviceAccount.name=default", f"{component}.serviceAccount.create=false")
    assert f'{component}.serviceAccount.name must not be "default"' in finished.stderr


def test_a_pod_in_the_nodes_network_has_no_user_namespace_of_its_own() -> None:
    finished = template(IMAGE, "webhook.hostNetwork=true", "hostUsers=false")
    assert "hostUsers must be true with webhook.hostNetwork" in finished.stderr


def test_the_webhook_listens_on_two_ports() -> None:
    finished = template(IMAGE, "webhook.port=9443", "webhook.metricsPort=9443")
    assert "webhook.port and webhook.metricsPort must be different: both are 9443" in finished.stderr
    assert template(IMAGE, "webhook.port=9443", "webhook.metricsPort=9444").returncode == 0


def test_a_budget_has_one_of_its_two_numbers() -> None:
    for values, expected in (
        ((), {"maxUnavailable": 1}),
        (("webhook.podDisruptionBudget.minAvailable=2",), {"minAvailable": 2}),
    ):
        spec = pick(render(*values), "PodDisruptionBudget/sekisho-webhook")["spec"]
        assert {name: spec[name] for name in ("maxUnavailable", "minAvailable") if name in spec} == expected


def test_a_strategy_replaces_the_one_for_the_nodes_network_too() -> None:
    strategy = {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
    for values in ((), ("webhook.hostNetwork=true",)):
        objects = render(*values, f"webhook.updateStrategy:={json.dumps(strategy)}")
        assert pick(objects, "Deployment/sekisho-webhook")["spec"]["strategy"] == strategy


def test_objects_for_monitoring_can_be_in_its_namespace() -> None:
    sections = ("serviceMonitor", "prometheusRule", "dashboard")
    objects = render(
        *(f"{section}.enabled=true" for section in sections), *(f"{one}.namespace=mon" for one in sections)
    )
    moved = {identity(manifest) for manifest in objects if manifest["metadata"].get("namespace") == "mon"}
    assert moved == {"ServiceMonitor/sekisho", "PrometheusRule/sekisho", "ConfigMap/sekisho-dashboard"}
    assert pick(objects, "ServiceMonitor/sekisho")["spec"]["namespaceSelector"] == {"matchNames": ["sekisho-system"]}


def test_an_extra_text_is_a_template_and_an_extra_object_is_not() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\ndata: {release: {{ .Release.Name }}}\n"
    objects = render(f"extraObjects:={json.dumps([EXTRA_OBJECT, text])}")
    assert pick(objects, "ConfigMap/extra") == EXTRA_OBJECT
    assert pick(objects, "ConfigMap/text")["data"] == {"release": "sekisho"}


def test_numbers_can_be_strings() -> None:
    numbers = {
        "webhook.replicas": "2",
        "webhook.port": "9443",
        "webhook.metricsPort": "9090",
        "webhook.timeoutSeconds": "5",
        "webhook.longestWaiverDays": "30",
        "webhook.podDisruptionBudget.maxUnavailable": "2",
        "controller.replicas": "0",
        "controller.metricsPort": "9091",
        "webhook.terminationGracePeriodSeconds": "60",
        "webhook.podDisruptionBudget.minAvailable": "1",
        "revisionHistoryLimit": "2",
        "livenessProbe.periodSeconds": "20",
        "readinessProbe.failureThreshold": "5",
    }
    as_numbers = render(*(f"{path}={number}" for path, number in numbers.items()))
    as_strings = render(*(f'{path}:="{number}"' for path, number in numbers.items()))
    assert as_strings == as_numbers
    assert "Deployment/sekisho-controller" not in identities(as_strings)


VALUE_SETS = {
    "plain": (IMAGE,),
    "outside": (OUTSIDE, "controller.replicas=0"),
    "all": (IMAGE, "serviceMonitor.enabled=true", *(value for path in OTHER_VALUES for value in OTHER_VALUES[path])),
}


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_helm_lint_reports_nothing(values: tuple[str, ...]) -> None:
    finished = helm("lint", "--strict", "--quiet", str(CHART), *settings(values))
    assert (finished.returncode, finished.stdout.strip()) == (0, "")


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_rendered_manifests_pass_yamllint(values: tuple[str, ...]) -> None:
    rules = """
        extends: default
        rules:
          comments-indentation: disable
          empty-lines: disable
          indentation: {indent-sequences: whatever}
          line-length: disable
    """
    yamllint = Path(sys.executable).parent / "yamllint"
    rendered = template(*values).stdout
    finished = subprocess.run([yamllint, "--strict", "-d", rules, "-"], input=rendered, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, "")

"""The controls that a policy names: what their parameters deny, beside a near-twin that they allow."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, ParameterError, complete
from sekisho.findings import Finding
from sekisho.pods import container_refs
from tests.pods import container, restricted_pod, typed

SHA = "@sha256:" + "0" * 64


def findings(control: str, parameters: dict[str, Any], pod: dict[str, Any]) -> list[Finding]:
    found = CONTROLS[control]
    given = complete(found, msgspec.convert(parameters, found.parameters), "privileged", 37)
    judged = typed(pod)
    return list(found.check(given, 37)(judged, container_refs(judged.spec)))


def image(reference: str) -> dict[str, Any]:
    return restricted_pod(container(image=reference))


def spec(**fields: Any) -> dict[str, Any]:
    return restricted_pod(**fields)


def context(**fields: Any) -> dict[str, Any]:
    return restricted_pod(container(securityContext=fields))


def pod_context(**fields: Any) -> dict[str, Any]:
    return restricted_pod(securityContext=fields)


def host_path(path: str) -> dict[str, Any]:
    return restricted_pod(volumes=[{"name": "v", "hostPath": {"path": path}}])


def mounted(path: str, *, read_only: bool) -> dict[str, Any]:
    mount = {"name": "v", "mountPath": "/x"} | ({"readOnly": True} if read_only else {})
    one = container(volumeMounts=[mount])
    return restricted_pod(one, volumes=[{"name": "v", "hostPath": {"path": path}}])


def resources(**amounts: Any) -> dict[str, Any]:
    return restricted_pod(container(resources=amounts))


RANGE = {"ranges": [{"min": 1000, "max": 1999}]}
MUST = RANGE | {"rule": "MustRunAs"}
LOGS = {"allowed": [{"pathPrefix": "/var/log", "readOnly": True}, {"pathPrefix": "/data/"}]}

CASES = [
    ("images", {"deniedRegistries": ["evil.io"]}, image("evil.io/x"), image("evil.io.example.com/x"), "image"),
    (
        "images",
        {"trustedRegistries": ["a.io"], "deniedRegistries": ["a.io/old"]},
        image("a.io/old/x"),
        image("a.io/older/x"),
        "image",
    ),
    ("images", {"requireDigest": True}, image("a.io/x:1"), image("a.io/x:1" + SHA), "image"),
    ("images", {"requireTag": True}, image("a.io/x"), image("a.io/x:1"), "image"),
    ("images", {"requireTag": True}, image("a.io/x"), image("a.io/x" + SHA), "image"),
    ("images", {"deniedTags": ["latest"]}, image("a.io/x:latest"), image("a.io/x:1"), "image"),
    ("images", {"deniedTags": ["latest"]}, image("a.io/x"), image("a.io/x:latest" + SHA), "image"),
    ("images", {}, image("a.io/X"), image("a.io/x"), "image"),
    (
        "capabilities",
        {"allowedAdd": ["SYS_TIME"]},
        context(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        context(capabilities={"drop": ["ALL"], "add": ["SYS_TIME"]}),
        "add[0]",
    ),
    (
        "capabilities",
        {"requiredDrop": ["NET_RAW"]},
        context(capabilities={"drop": ["ALL"]}),
        context(capabilities={"drop": ["NET_RAW"]}),
        "drop",
    ),
    ("hostPathVolumes", LOGS, host_path("/var/log-old"), mounted("/var/log/app", read_only=True), "hostPath"),
    ("hostPathVolumes", LOGS, host_path("/var/log/../../etc"), mounted("/var/log", read_only=True), "hostPath"),
    (
        "hostPathVolumes",
        LOGS,
        mounted("/var/log/app", read_only=False),
        mounted("/var/log/app", read_only=True),
        "readOnly",
    ),
    ("hostPathVolumes", LOGS, host_path("/"), mounted("/data/x", read_only=False), "hostPath"),
    (
        "restrictedVolumes",
        {"allowed": ["nfs"]},
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        spec(volumes=[{"name": "v", "nfs": {}}]),
        "emptyDir",
    ),
    (
        "hostPorts",
        {"allowed": [{"min": 80, "max": 81}]},
        restricted_pod(container(ports=[{"hostPort": 82}])),
        restricted_pod(container(ports=[{"hostPort": 81}])),
        "hostPort",
    ),
    (
        "sysctls",
        {"allowed": ["kernel.msgmax"]},
        pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1"}]),
        pod_context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
        "name",
    ),
    (
        "sysctls",
        {"allowed": ["net.*"], "forbidden": ["net.core.*"]},
        pod_context(sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
        pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1 2 3"}]),
        "name",
    ),
    (
        "sysctls",
        {},
        pod_context(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1+kernel.core_pattern=|/x"}]),
        pod_context(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1"}]),
        "value",
    ),
    (
        "seccompProfile",
        {"localhostProfiles": ["team/*.json"]},
        context(seccompProfile={"type": "Localhost", "localhostProfile": "x.json"}),
        context(seccompProfile={"type": "Localhost", "localhostProfile": "team/x.json"}),
        "localhostProfile",
    ),
    (
        "seccompProfile",
        {"allowedTypes": ["Localhost"]},
        spec(),
        pod_context(seccompProfile={"type": "Localhost"}),
        "type",
    ),
    (
        "appArmorProfile",
        {"localhostProfiles": ["k8s-*"]},
        context(appArmorProfile={"type": "Localhost", "localhostProfile": "x"}),
        context(appArmorProfile={"type": "Localhost", "localhostProfile": "k8s-x"}),
        "localhostProfile",
    ),
    (
        "seLinuxOptions",
        {"allowedTypes": ["my_t"]},
        context(seLinuxOptions={"type": "container_t"}),
        context(seLinuxOptions={"type": "my_t"}),
        "type",
    ),
    ("runAsUser", RANGE, context(runAsUser=999), context(runAsUser=1000), "runAsUser"),
    ("runAsUser", RANGE, pod_context(runAsUser=2000), pod_context(runAsUser=1999), "runAsUser"),
    ("runAsUser", MUST, spec(), pod_context(runAsUser=1000), "runAsUser"),
    ("runAsUser", {}, context(runAsUser=0), context(runAsUser=1), "runAsUser"),
    ("runAsGroup", {}, context(runAsGroup=0), context(runAsGroup=1), "runAsGroup"),
    ("runAsGroup", MUST, spec(), context(runAsGroup=1000), "runAsGroup"),
    ("fsGroup", RANGE, pod_context(fsGroup=0), pod_context(fsGroup=1000), "fsGroup"),
    ("fsGroup", MUST, spec(), pod_context(fsGroup=1000), "fsGroup"),
    ("supplementalGroups", {}, pod_context(supplementalGroups=[1, 0]), pod_context(supplementalGroups=[1]), "[1]"),
    ("supplementalGroups", MUST, spec(), pod_context(supplementalGroups=[1000]), "supplementalGroups"),
    (
        "readOnlyRootFilesystem",
        {},
        context(readOnlyRootFilesystem=False),
        context(readOnlyRootFilesystem=True),
        "readOnlyRootFilesystem",
    ),
    ("readOnlyRootFilesystem", {}, spec(), context(readOnlyRootFilesystem=True), "readOnlyRootFilesystem"),
    ("readOnlyRootFilesystem", {}, spec(), spec(os={"name": "windows"}), "readOnlyRootFilesystem"),
    ("criSockets", {}, host_path("/var/run/docker.sock"), host_path("/var/run/docker.socket"), "path"),
    ("criSockets", {}, host_path("/run/containerd/"), host_path("/run/containers"), "path"),
    ("criSockets", {}, host_path("//run/../run/crio/./crio.sock"), host_path("/opt/run/crio/crio.sock"), "path"),
    ("criSockets", {}, host_path("/"), host_path("/srv"), "path"),
    ("criSockets", {"furtherSockets": ["/opt/rt.sock"]}, host_path("/opt"), host_path("/opt2"), "path"),
    ("serviceAccountToken", {}, spec(), spec(automountServiceAccountToken=False), "automountServiceAccountToken"),
    (
        "serviceAccountToken",
        {"allowedServiceAccounts": ["ci"]},
        spec(serviceAccountName="cin"),
        spec(serviceAccountName="ci"),
        "automountServiceAccountToken",
    ),
    (
        "shareProcessNamespace",
        {},
        spec(shareProcessNamespace=True),
        spec(shareProcessNamespace=False),
        "shareProcessNamespace",
    ),
    ("nodeName", {}, spec(nodeName="n1"), spec(nodeName=""), "nodeName"),
    ("ephemeralContainers", {}, spec(ephemeralContainers=[container("d")]), spec(ephemeralContainers=[]), "name"),
    (
        "resources",
        {"requiredRequests": ["cpu"]},
        resources(requests={"memory": "1Gi"}),
        resources(requests={"cpu": "1m"}),
        "cpu",
    ),
    (
        "resources",
        {"requiredLimits": ["memory"]},
        resources(requests={"memory": "1Gi"}),
        resources(limits={"memory": 1}),
        "memory",
    ),
    (
        "resources",
        {"maxLimits": [{"resource": "memory", "quantity": "1Gi"}]},
        resources(limits={"memory": "1073741825"}),
        resources(limits={"memory": "1024Mi"}),
        "memory",
    ),
    (
        "resources",
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "1001m"}),
        resources(requests={"cpu": 1}),
        "cpu",
    ),
    (
        "resources",
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "lots"}),
        resources(requests={"cpu": "1e0"}),
        "cpu",
    ),
    ("probes", {}, spec(), restricted_pod(container(readinessProbe={})), "readinessProbe"),
    (
        "probes",
        {"required": ["livenessProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(livenessProbe={})),
        "livenessProbe",
    ),
]


@pytest.mark.parametrize(("control", "parameters", "bad", "good", "field"), CASES)
def test_parameter_denies_and_allows(control: str, parameters: Any, bad: Any, good: Any, field: str) -> None:
    (found,) = findings(control, parameters, bad)
    assert found.control == control
    assert found.field.endswith(field)
    assert found.allowed
    assert found.fix
    assert findings(control, parameters, good) == []


@pytest.mark.parametrize(
    ("control", "parameters", "where"),
    [
        ("runAsUser", {"ranges": [{"min": 2, "max": 1}]}, "ranges[0]"),
        ("runAsUser", {"rule": "MustRunAs"}, "ranges"),
        ("fsGroup", {"ranges": [{"min": 1, "max": 1}, {"min": 2, "max": 1}]}, "ranges[1]"),
        ("images", {"deniedRegistries": ["evil"]}, "deniedRegistries[0]"),
    ],
)
def test_parameter_that_makes_no_sense_is_denied_with_its_path(control: str, parameters: Any, where: str) -> None:
    given = msgspec.convert(parameters, CONTROLS[control].parameters)
    with pytest.raises(ParameterError) as raised:
        CONTROLS[control].check(given, 37)
    assert raised.value.where == where


def test_probes_are_asked_of_sidecars_and_not_of_init_containers() -> None:
    init, sidecar = container("init"), container("side", restartPolicy="Always")
    pod = restricted_pod(
        container(readinessProbe={}), initContainers=[init, sidecar], ephemeralContainers=[container("d")]
    )
    assert [f.container for f in findings("probes", {}, pod)] == ["side"]


def test_resources_are_not_asked_of_ephemeral_containers() -> None:
    pod = restricted_pod(container(resources={"requests": {"cpu": "1"}}), ephemeralContainers=[container("d")])
    assert findings("resources", {"requiredRequests": ["cpu"]}, pod) == []


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_is_documented(name: str) -> None:
    control = CONTROLS[name]
    assert control.summary.endswith(".")
    assert not control.reason.endswith(".")
    assert control.parameters.__doc__


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("robot:s3cret@registry.example.com/x", "…@registry.example.com/x"),
        ("https://robot:s3@cret@registry.example.com/x", "…@registry.example.com/x"),
        ("registry.example.com/X" + SHA, "registry.example.com/X" + SHA),
        ("", None),
    ],
)
def test_credentials_before_an_images_host_are_not_shown(written: str, shown: str | None) -> None:
    (finding,) = findings("images", {}, image(written))
    assert finding.value == (f'"{shown}"' if shown else "unset")
    assert "s3" not in repr(finding)

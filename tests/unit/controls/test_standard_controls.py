"""Every control of the Pod Security Standards: what it denies, beside a near-twin that it allows, in every list."""

from typing import Any

import pytest

from sekisho.controls import CONTROLS, Level, complete
from sekisho.findings import Finding
from sekisho.pods import container_refs
from sekisho.standards import controls_of
from tests.pods import container, restricted_pod, typed, with_container_in

LISTS = ("containers", "initContainers", "sidecar", "ephemeralContainers")


def findings(pod: dict[str, Any], control: str, level: Level = "restricted", minor: int = 37) -> list[Finding]:
    """What one control of a level finds; nothing when the level does not have it."""
    parameters = controls_of(level, minor).get(control)
    if parameters is None:
        return []
    judged = typed(pod)
    return list(CONTROLS[control].check(parameters, minor)(judged, container_refs(judged.spec)))


def security(**context: Any) -> dict[str, Any]:
    return container(securityContext=context)


CONTAINER_CASES = [
    ("privileged", security(privileged=True), security(privileged=False), "securityContext.privileged", "true"),
    (
        "allowPrivilegeEscalation",
        security(allowPrivilegeEscalation=True),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "true",
    ),
    (
        "allowPrivilegeEscalation",
        security(allowPrivilegeEscalation=None),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "unset",
    ),
    (
        "runAsNonRoot",
        security(runAsNonRoot=False),
        security(runAsNonRoot=True),
        "securityContext.runAsNonRoot",
        "false",
    ),
    ("runAsUser", security(runAsUser=0), security(runAsUser=1000), "securityContext.runAsUser", "0"),
    (
        "capabilities",
        security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        security(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        "securityContext.capabilities.add[0]",
        '"SYS_ADMIN"',
    ),
    (
        "capabilities",
        security(capabilities={"drop": ["all"]}),
        security(capabilities={"drop": ["NET_RAW", "ALL"]}),
        "securityContext.capabilities.drop",
        '["all"]',
    ),
    (
        "capabilities",
        security(capabilities=None),
        security(capabilities={"drop": ["ALL"]}),
        "securityContext.capabilities.drop",
        "unset",
    ),
    (
        "seccompProfile",
        security(seccompProfile={"type": "Unconfined"}),
        security(seccompProfile={"type": "Localhost", "localhostProfile": "p.json"}),
        "securityContext.seccompProfile.type",
        '"Unconfined"',
    ),
    (
        "appArmorProfile",
        security(appArmorProfile={"type": "Unconfined"}),
        security(appArmorProfile={"type": "RuntimeDefault"}),
        "securityContext.appArmorProfile.type",
        '"Unconfined"',
    ),
    (
        "seLinuxOptions",
        security(seLinuxOptions={"type": "spc_t"}),
        security(seLinuxOptions={"type": "container_t", "level": "s0"}),
        "securityContext.seLinuxOptions.type",
        '"spc_t"',
    ),
    (
        "seLinuxOptions",
        security(seLinuxOptions={"user": "system_u"}),
        security(seLinuxOptions={"user": ""}),
        "securityContext.seLinuxOptions.user",
        '"system_u"',
    ),
    (
        "seLinuxOptions",
        security(seLinuxOptions={"role": "system_r"}),
        security(seLinuxOptions={}),
        "securityContext.seLinuxOptions.role",
        '"system_r"',
    ),
    (
        "procMount",
        security(procMount="Unmasked"),
        security(procMount="Default"),
        "securityContext.procMount",
        '"Unmasked"',
    ),
    (
        "windowsHostProcess",
        security(windowsOptions={"hostProcess": True}),
        security(windowsOptions={"hostProcess": False}),
        "securityContext.windowsOptions.hostProcess",
        "true",
    ),
    (
        "hostPorts",
        container(ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]),
        container(ports=[{"containerPort": 80, "hostPort": 0}]),
        "ports[1].hostPort",
        "81",
    ),
    (
        "hostProbesAndHostLifecycle",
        container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}),
        container(livenessProbe={"httpGet": {"host": "", "port": 80}}),
        "livenessProbe.httpGet.host",
        '"169.254.169.254"',
    ),
    (
        "hostProbesAndHostLifecycle",
        container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}),
        container(lifecycle={"preStop": {"tcpSocket": {"port": 80}}}),
        "lifecycle.preStop.tcpSocket.host",
        '"10.0.0.1"',
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("control", "bad", "good", "field", "value"), CONTAINER_CASES)
def test_container_field_is_denied_in_every_list(
    control: str, bad: dict[str, Any], good: dict[str, Any], field: str, value: str, where: str
) -> None:
    (found,) = findings(with_container_in(where, bad), control)
    assert found.field.endswith(field)
    assert found.field.startswith(f"spec.{'initContainers' if where == 'sidecar' else where}[")
    assert (found.container, found.value) == ("tested", value)
    assert '"tested"' in found.subject
    assert findings(with_container_in(where, good), control) == []


POD_CASES = [
    ("hostNamespaces", {"hostNetwork": True}, {"hostNetwork": False}, "spec.hostNetwork"),
    ("hostNamespaces", {"hostPID": True}, {"hostPID": False}, "spec.hostPID"),
    ("hostNamespaces", {"hostIPC": True}, {"hostIPC": None}, "spec.hostIPC"),
    (
        "runAsNonRoot",
        {"securityContext": {"runAsNonRoot": False}},
        {"securityContext": {"runAsNonRoot": True}},
        "spec.securityContext.runAsNonRoot",
    ),
    (
        "runAsUser",
        {"securityContext": {"runAsUser": 0}},
        {"securityContext": {"runAsUser": 1}},
        "spec.securityContext.runAsUser",
    ),
    (
        "seccompProfile",
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        "spec.securityContext.seccompProfile.type",
    ),
    (
        "appArmorProfile",
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        {"securityContext": {"appArmorProfile": {"type": "Localhost"}}},
        "spec.securityContext.appArmorProfile.type",
    ),
    (
        "seLinuxOptions",
        {"securityContext": {"seLinuxOptions": {"type": "init_t"}}},
        {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}},
        "spec.securityContext.seLinuxOptions.type",
    ),
    (
        "windowsHostProcess",
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        {"securityContext": {"windowsOptions": {}}},
        "spec.securityContext.windowsOptions.hostProcess",
    ),
    (
        "sysctls",
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}},
        "spec.securityContext.sysctls[0].name",
    ),
    (
        "restrictedVolumes",
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "v", "emptyDir": {}}]},
        "spec.volumes[0].hostPath",
    ),
    (
        "restrictedVolumes",
        {"volumes": [{"name": "v", "gitRepo": {"repository": "x"}}]},
        {"volumes": [{"name": "v", "image": {}}]},
        "spec.volumes[0].gitRepo",
    ),
    (
        "restrictedVolumes",
        {"volumes": [{"name": "v", "fromTheFuture": {}}]},
        {"volumes": [{"name": "v", "downwardAPI": {}}]},
        "spec.volumes[0]",
    ),
    (
        "restrictedVolumes",
        {"volumes": [{"name": "v", "emptyDir": None}]},
        {"volumes": [{"name": "v", "csi": {"driver": "d"}}]},
        "spec.volumes[0]",
    ),
]


@pytest.mark.parametrize(("control", "bad", "good", "field"), POD_CASES)
def test_pod_field_is_denied(control: str, bad: dict[str, Any], good: dict[str, Any], field: str) -> None:
    (found,) = findings(restricted_pod(**bad), control)
    assert (found.field, found.container) == (field, None)
    assert findings(restricted_pod(**good), control) == []


def test_baseline_denies_host_path_and_allows_nfs() -> None:
    host_path = restricted_pod(volumes=[{"name": "v", "hostPath": {"path": "/etc"}}])
    (found,) = findings(host_path, "hostPathVolumes", "baseline")
    assert (found.field, found.value, found.subject) == ("spec.volumes[0].hostPath", '"/etc"', 'volume "v"')
    assert findings(restricted_pod(volumes=[{"name": "v", "nfs": {}}]), "hostPathVolumes", "baseline") == []


@pytest.mark.parametrize(
    "name", ["\u017fYS_ADMIN", "CAP_SYS_ADMIN", "sys_admin", "CAP_NET_BIND_SERVICE", "net_bind_service"]
)
def test_capability_names_are_compared_to_the_letter(name: str) -> None:
    pod = restricted_pod(security(capabilities={"drop": ["ALL"], "add": [name]}))
    assert [found.control for found in findings(pod, "capabilities")] == ["capabilities"]


def test_pod_level_true_answers_for_containers_that_say_nothing() -> None:
    unset = restricted_pod(container("a"), container("b"), securityContext={"runAsNonRoot": None})
    assert [f.container for f in findings(unset, "runAsNonRoot")] == ["a", "b"]
    assert findings(restricted_pod(container("a"), container("b")), "runAsNonRoot") == []


def test_pod_level_false_is_denied_even_where_every_container_says_true() -> None:
    pod = restricted_pod(security(runAsNonRoot=True), securityContext={"runAsNonRoot": False})
    assert [f.field for f in findings(pod, "runAsNonRoot")] == ["spec.securityContext.runAsNonRoot"]


INHERITED = [
    ("runAsNonRoot", {"runAsNonRoot": False}),
    ("runAsUser", {"runAsUser": 0}),
    ("seccompProfile", {"seccompProfile": {"type": "Unconfined"}}),
    ("appArmorProfile", {"appArmorProfile": {"type": "Unconfined"}}),
    ("seLinuxOptions", {"seLinuxOptions": {"type": "spc_t"}}),
]


@pytest.mark.parametrize(("control", "context"), INHERITED)
def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself(
    control: str, context: dict[str, Any]
) -> None:
    pod = with_container_in("ephemeralContainers", container(), securityContext=context)
    assert [f.container for f in findings(pod, control)] == [None, "tested"]


@pytest.mark.parametrize(
    ("control", "minor", "allowed"),
    [("runAsNonRoot", 34, False), ("runAsNonRoot", 35, True), ("runAsUser", 34, False), ("runAsUser", 35, True)],
)
def test_user_namespace_relaxes_from_1_35(control: str, minor: int, allowed: bool) -> None:
    pod = restricted_pod(security(runAsUser=0, runAsNonRoot=False), hostUsers=False)
    assert (findings(pod, control, minor=minor) == []) is allowed
    pod["spec"]["hostUsers"] = True
    assert findings(pod, control, minor=minor) != []


def test_proc_mount_in_a_user_namespace_is_relaxed_at_baseline_only() -> None:
    pod = restricted_pod(security(procMount="Unmasked"), hostUsers=False)
    assert findings(pod, "procMount", "baseline", 35) == []
    assert findings(pod, "procMount", "baseline", 34) != []
    assert findings(pod, "procMount", "restricted", 35) != []


@pytest.mark.parametrize("control", ["allowPrivilegeEscalation", "capabilities", "seccompProfile"])
def test_windows_pods_are_exempt_from_1_25(control: str) -> None:
    windows: dict[str, Any] = {"spec": {"os": {"name": "windows"}, "containers": [{"name": "app", "image": "x"}]}}
    assert findings(windows, control, minor=24) != []
    assert findings(windows, control, minor=25) == []
    windows["spec"]["os"]["name"] = "linux"
    assert findings(windows, control, minor=25) != []


def test_windows_pods_are_not_exempt_from_running_as_non_root() -> None:
    windows = {"spec": {"os": {"name": "windows"}, "containers": [{"name": "app", "image": "x"}]}}
    assert findings(windows, "runAsNonRoot") != []


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_notsent_lowat", 37),
    ],
)
def test_sysctls_become_safe_with_a_version(name: str, since: int) -> None:
    pod = restricted_pod(securityContext={"sysctls": [{"name": name, "value": "1"}]})
    assert findings(pod, "sysctls", "baseline", since) == []
    assert since == 0 or findings(pod, "sysctls", "baseline", since - 1) != []


def test_seccomp_annotations_count_before_1_19_only() -> None:
    pod = restricted_pod()
    pod["metadata"]["annotations"] = {"container.seccomp.security.alpha.kubernetes.io/app": "unconfined"}
    assert [f.field for f in findings(pod, "seccompProfile", "baseline", 18)] == [
        "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/app]"
    ]
    assert findings(pod, "seccompProfile", "baseline", 19) == []
    pod["metadata"]["annotations"] = {"seccomp.security.alpha.kubernetes.io/pod": "localhost/x"}
    assert findings(pod, "seccompProfile", "baseline", 18) == []


def test_app_armor_annotations_count_in_every_version() -> None:
    pod = restricted_pod()
    pod["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}
    assert len(findings(pod, "appArmorProfile", "baseline", 0)) == 1
    assert len(findings(pod, "appArmorProfile", "baseline", 37)) == 1
    pod["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/app": "runtime/default"}
    assert findings(pod, "appArmorProfile") == []


@pytest.mark.parametrize(
    "absent", [{}, {"containers": None, "initContainers": None, "volumes": None, "securityContext": None}]
)
def test_null_means_absent(absent: dict[str, Any]) -> None:
    for name in controls_of("baseline", 37):
        assert findings({"spec": absent}, name, "baseline") == []


def test_a_named_control_takes_what_it_leaves_out_from_the_standard() -> None:
    control = CONTROLS["capabilities"]
    assert complete(control, control.parameters(), "restricted", 37) == controls_of("restricted", 37)["capabilities"]
    assert complete(control, control.parameters(), "baseline", 37) == controls_of("baseline", 37)["capabilities"]
    assert complete(control, control.parameters(), "privileged", 37) == controls_of("restricted", 37)["capabilities"]

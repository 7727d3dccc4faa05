"""Every field that a check of the Pod Security Standards reads, with the values that it is tried at.

null is tried where Go has a pointer, a list, a map or a bool. For a plain string such as a container's name the API
server never sends it, and the engine does not accept it.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

ABSENT: Final = object()
"""Stands for a field that is left out."""


class Field(msgspec.Struct, frozen=True):
    """A field as JSON text, `"key":value` or an empty text where it is absent, for each of its values.

    tame: with values that the restricted standard allows, so that pods are made which differ in one other thing.
    wild: with these and all others.
    """

    tame: tuple[str, ...]
    wild: tuple[str, ...]


def field(key: str, tame: Iterable[Any], wild: Iterable[Any]) -> Field:
    """A field by its key and values."""
    texts = tuple(_text(key, value) for value in tame)
    return Field(texts, texts + tuple(_text(key, value) for value in wild))


def _text(key: str, value: Any) -> str:
    return "" if value is ABSENT else f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}"


def objects(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Every object that has one of its values for each key."""
    return [
        {key: value for key, value in zip(values, combination, strict=True) if value is not ABSENT}
        for combination in itertools.product(*values.values())
    ]


def _switch(key: str, *, safe: bool) -> Field:
    return field(key, [ABSENT, None, safe], [not safe])


_USERS = (0, 0, -1, 1, 65534, 2147483648, 9223372036854775807)
_SECCOMP = [{}, *objects(type=("Unconfined", "", "runtimeDefault", "Runtime/Default", "unconfined"))]
_APP_ARMOR = [*_SECCOMP, {"type": "RuntimeDefault "}]
_GOOD_PROFILES = [
    {"type": "RuntimeDefault"},
    {"type": "Localhost", "localhostProfile": "profiles/app.json"},
    {"type": "Localhost", "localhostProfile": ""},
]
_SE_LINUX = objects(
    type=(ABSENT, None, "", "container_t", "container_engine_t", "container_kvm_t", "Container_t", "spc_t"),
    user=(ABSENT, None, "", "system_u"),
    role=(ABSENT, None, "", "system_r"),
    level=(ABSENT, "s0:c123,c456"),
)
_GOOD_SE_LINUX = objects(
    type=(ABSENT, None, "", "container_t", "container_init_t", "container_kvm_t"),
    user=(ABSENT, None, ""),
    role=(ABSENT, None, ""),
    level=(ABSENT, "s0:c123,c456"),
)
_WINDOWS = field(
    "windowsOptions",
    [ABSENT, None, {}, *objects(hostProcess=(None, False), runAsUserName=(ABSENT, "app"))],
    [{"hostProcess": True}, {"hostProcess": True, "runAsUserName": "NT AUTHORITY\\SYSTEM"}, {"HostProcess": True}],
)

_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
)
_UNSAFE_SYSCTLS = ("", "kernel.msgmax", "net/ipv4/tcp_syncookies", "net.ipv4.tcp_syncookies ", "NET.IPV4.TCP_RMEM")
_SYSCTL_PAIRS = itertools.product(_SYSCTLS, (*_SYSCTLS, *_UNSAFE_SYSCTLS))

POD_CONTEXT: Final = (
    field("runAsNonRoot", [True], [ABSENT, ABSENT, None, False]),
    field("runAsUser", [ABSENT, None, 1000], _USERS),
    field("seccompProfile", _GOOD_PROFILES, [ABSENT, ABSENT, None, *_SECCOMP]),
    field("appArmorProfile", [ABSENT, None, *_GOOD_PROFILES], _APP_ARMOR),
    field("seLinuxOptions", [ABSENT, ABSENT, None, *_GOOD_SE_LINUX], _SE_LINUX),
    _WINDOWS,
    field(
        "sysctls",
        [ABSENT, None, [], *([{"name": name, "value": "1"}] for name in _SYSCTLS[:5])],
        [
            # No value with + or =: there the engine is stricter than the standard, on purpose (CVE-2022-0811).
            *([{"name": name, "value": "1 2 3"}] for name in (*_SYSCTLS, *_UNSAFE_SYSCTLS)),
            *([{"name": one}, {"name": other, "value": ""}] for one, other in _SYSCTL_PAIRS),
            [{}],
        ],
    ),
    field("supplementalGroups", [ABSENT, None, [], [0]], []),
)
"""Fields of the pod's securityContext."""

_ADDED = (
    "SYS_ADMIN",
    "CAP_SYS_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "net_bind_service",
    "NET_BIND_SERVICE ",
    "ALL",
    "",
    "\u017fYS_ADMIN",
)
_DEFAULT_SET = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
_GOOD_ADD: Sequence[Any] = (ABSENT, None, [], ["NET_BIND_SERVICE"])
_GOOD_DROP = (["ALL"], ["ALL", "ALL"], ["NET_RAW", "ALL"], ["ALL", ""])
_BAD_ADD = (*([name] for name in (*_ADDED, *_DEFAULT_SET)), ["NET_BIND_SERVICE", "NET_ADMIN"], ["KILL", "SYS_TIME"])
_BAD_DROP: Sequence[Any] = (ABSENT, None, [], ["all"], ["All"], ["CAP_ALL"], ["ALL "], ["NET_RAW"], [""])

CONTAINER_CONTEXT: Final = (
    _switch("privileged", safe=False),
    field("allowPrivilegeEscalation", [False], [ABSENT, None, True]),
    field(
        "capabilities",
        objects(add=_GOOD_ADD, drop=_GOOD_DROP),
        [
            *[ABSENT, None, {}] * 8,
            *objects(add=_BAD_ADD, drop=_GOOD_DROP),
            *objects(add=(*_GOOD_ADD, *_BAD_ADD), drop=_BAD_DROP),
        ],
    ),
    _switch("runAsNonRoot", safe=True),
    field("runAsUser", [ABSENT, None, 1000], _USERS),
    field("procMount", [ABSENT, None, "Default"], ["Unmasked", "", "default", "Default "]),
    field("seccompProfile", [ABSENT, ABSENT, None, *_GOOD_PROFILES], _SECCOMP),
    field("appArmorProfile", [ABSENT, None, *_GOOD_PROFILES], _APP_ARMOR),
    field("seLinuxOptions", [ABSENT, ABSENT, None, *_GOOD_SE_LINUX], _SE_LINUX),
    _WINDOWS,
    field("Privileged", [ABSENT, ABSENT, True], []),
    field("readOnlyRootFilesystem", [ABSENT, None, True, False], []),
)
"""Fields of a container's securityContext; a key in the wrong case is another key."""

_HOSTS = (ABSENT, None, "", "127.0.0.1", "example.com")
_HANDLERS = [
    *[ABSENT] * 12,
    None,
    {},
    {"exec": {"command": ["true"]}},
    {"httpGet": None, "tcpSocket": None},
    {"httpGet": {}, "tcpSocket": {}},
    *objects(httpGet=objects(host=_HOSTS, port=(8080, "http"))),
    *objects(tcpSocket=objects(host=_HOSTS, port=(8080,))),
    *objects(httpGet=objects(host=_HOSTS), tcpSocket=objects(host=_HOSTS)),
    {"httpGet": {"Host": "127.0.0.1"}},
]


def _hosts_of(handler: Any) -> list[str]:
    actions = [handler.get(key) or {} for key in ("httpGet", "tcpSocket")] if isinstance(handler, dict) else []
    return [action["host"] for action in actions if action.get("host")]


_GOOD_HANDLERS = [handler for handler in _HANDLERS if not _hosts_of(handler)]
_BAD_HANDLERS = [handler for handler in _HANDLERS if _hosts_of(handler)]
_HOOKS = objects(postStart=_HANDLERS, preStop=_HANDLERS)

CONTAINER_NAMES: Final = ("app", "app", "sidecar", "istio-proxy", "", "\u95a2\u6240")
CONTAINER: Final = (
    field("name", CONTAINER_NAMES, [ABSENT]),
    field("image", [ABSENT, None, "registry.example.com/app:1"], []),
    field(
        "ports",
        [ABSENT, None, [], *([port] for port in objects(containerPort=(8080,), hostPort=(ABSENT, None, 0)))],
        [
            *([{"containerPort": 8080, "hostPort": port}] for port in (1, 80, 8080, 65535, 70000, -1)),
            [{"containerPort": 8080}, {"containerPort": 8081, "hostPort": 8081, "protocol": "UDP"}],
            [{}],
        ],
    ),
    field("livenessProbe", _GOOD_HANDLERS, _BAD_HANDLERS),
    field("readinessProbe", _GOOD_HANDLERS, _BAD_HANDLERS),
    field("startupProbe", _GOOD_HANDLERS, _BAD_HANDLERS),
    field(
        "lifecycle",
        [*[ABSENT] * 200, None, *(hooks for hooks in _HOOKS if not any(map(_hosts_of, hooks.values())))],
        [hooks for hooks in _HOOKS if any(map(_hosts_of, hooks.values()))],
    ),
    field("env", [ABSENT, ABSENT, [{"name": "privileged", "value": "true"}]], []),
)
"""Fields of a container of any list, its securityContext aside."""

_ALLOWED_VOLUMES = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
)
_OTHER_VOLUMES = (
    *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "fc", "flexVolume", "flocker"),
    *("gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "iscsi", "nfs", "photonPersistentDisk"),
    *("portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
)
_VOLUMES = (*_ALLOWED_VOLUMES, *_OTHER_VOLUMES)


def _volumes() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    good: list[dict[str, Any]] = [{"name": "v", kind: {}} for kind in _ALLOWED_VOLUMES] * 8
    good += [{"name": "v", kind: {}, other: None} for kind in _ALLOWED_VOLUMES for other in ("hostPath", "nfs", "rbd")]
    bad: list[dict[str, Any]] = [{"name": "v", kind: {}} for kind in _OTHER_VOLUMES] * 8
    bad += [{"name": "v", kind: None} for kind in _VOLUMES]
    bad += [{"name": "v", one: {}, other: {}} for one, other in itertools.combinations(_VOLUMES, 2)]
    bad += [{"hostPath": {"path": "/"}}, {"name": "v", "hostPath": {"path": "/", "type": None}}] * 40
    bad += [{}, {"name": "v"}, {"name": "v", "fromTheFuture": {}}, {"name": "v", "HostPath": {"path": "/"}}]
    return good, bad


_GOOD_VOLUMES, _BAD_VOLUMES = _volumes()
VOLUME: Final = Field(
    tuple(json.dumps(volume) for volume in _GOOD_VOLUMES),
    tuple(json.dumps(volume) for volume in (*_GOOD_VOLUMES, *_BAD_VOLUMES)),
)
"""An entry of spec.volumes: one whole object."""

_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
SPEC: Final = (
    *(_switch(key, safe=False) for key in _NAMESPACES),
    field("hostUsers", [ABSENT, ABSENT, None, True, False, False], []),
    field(
        "os", [ABSENT, ABSENT, None, {}, *objects(name=("linux", "windows", "windows"))], objects(name=("Windows", ""))
    ),
    field("hostPid", [ABSENT, ABSENT, True], []),
    field("nodeName", [ABSENT, None, "", "node-1"], []),
)
"""Fields of the pod's spec that are neither its securityContext nor a list."""

_PROFILES = ("runtime/default", "docker/default", "localhost/app", "localhost/")
_BAD_PROFILES = ("unconfined", "", "localhost", "Runtime/Default", "runtime/default ", " localhost/app")
ANNOTATIONS: Final = (
    *(
        field(key, [ABSENT, ABSENT, *_PROFILES], _BAD_PROFILES)
        for key in (
            "seccomp.security.alpha.kubernetes.io/pod",
            *(f"container.seccomp.security.alpha.kubernetes.io/{name}" for name in sorted(set(CONTAINER_NAMES))),
            "container.seccomp.security.alpha.kubernetes.io/nobody",
        )
    ),
    *(
        field(key, [ABSENT, ABSENT, "runtime/default", "localhost/app", ""], [*_BAD_PROFILES, "docker/default"])
        for key in (
            "container.apparmor.security.beta.kubernetes.io/app",
            "container.apparmor.security.beta.kubernetes.io/nobody",
            "container.apparmor.security.beta.kubernetes.io/",
        )
    ),
    field("container.apparmor.security.beta.kubernetes.ioo/app", [ABSENT, "unconfined"], []),
)
"""Entries of metadata.annotations."""

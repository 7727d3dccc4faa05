"""Pods that the API server accepts, by a seed: with what the floor judges, and with what it leaves to the webhook."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

Json = dict[str, Any]

IMAGES: Final = (
    *(
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "docker.io/nginx",
        "DOCKER.IO/nginx:1",
        "index.docker.io/acme/web:latest",
    ),
    *("registry.example.com/app", "registry.example.com:443/app:2", "registry.example.com:5000/app:3"),
    *("ghcr.io/acme/web:1", "ghcr.io/acmeevil/web:1", "GHCR.io/acme/tools/web:1", "evil.io:8443/x:1", "Nginx", "a//b"),
    f"ghcr.io/acme/web:1@sha256:{'0123456789abcdef' * 4}",
)
"""Images that pods have; some are no valid references, which the API server does not check."""
NAMESPACES: Final = ("shop", "team-a", "team-b", "sandbox")
LABELS: Final[Sequence[dict[str, str]]] = ({}, {}, {"tier": "agent"}, {"tier": "web", "app": "a"}, {"app": ""})
_CAPABILITIES: Final = ("NET_ADMIN", "NET_BIND_SERVICE", "CHOWN", "SYS_TIME", "CAP_SYS_ADMIN", "ALL", "net_admin")
_PROFILES: Final = (
    {"type": "RuntimeDefault"},
    {"type": "Unconfined"},
    {"type": "Localhost", "localhostProfile": "profiles/app.json"},
    {"type": "Localhost", "localhostProfile": "other/x.json"},
)
_SYSCTLS: Final = (
    *("kernel.shm_rmid_forced", "net.ipv4.tcp_syncookies", "kernel.msgmax", "net.ipv4.tcp_rmem", "net.core.somaxconn"),
    *("net/ipv4/tcp_syncookies", "kernel.sem"),
)
_VOLUMES: Final[Sequence[Json]] = (
    {"emptyDir": {}},
    {"configMap": {"name": "c"}},
    {"secret": {"secretName": "s"}},
    {"hostPath": {"path": "/var/log"}},
    {"hostPath": {"path": "/"}},
    {"nfs": {"server": "s", "path": "/"}},
    {"persistentVolumeClaim": {"claimName": "c"}},
    {"downwardAPI": {"items": []}},
    {"projected": {"sources": []}},
    {"csi": {"driver": "d.example.com"}},
    {"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:storage", "lun": 0}},
    *({"image": {"reference": image}} for image in IMAGES[:8]),
)
_OWNERS: Final = (
    ("ReplicaSet", "agent-6b4f5c"),
    ("ReplicaSet", "agent"),
    ("Job", "nightly-29000000"),
    ("Job", "nightly"),
    ("DaemonSet", "agent"),
    ("Node", "agent"),
)
_TAME_TO_WILD: Final = (0.0, 0.02, 0.05, 0.15, 0.4)
"""How likely each field is set, so that some pods breach nothing, and others one thing or many."""


class _Dice(Random):
    """Random choices for one pod; `wild` is true more often for some pods than for others."""

    wildness = 0.0

    def wild(self) -> bool:
        return self.random() < self.wildness


def valid_pods(seed: str, count: int) -> Iterator[tuple[str, Json]]:
    """`count` pods, each with its namespace; always the same for a seed."""
    dice = _Dice(seed)
    for number in range(count):
        dice.wildness = dice.choice(_TAME_TO_WILD)
        pod = _windows_pod(dice) if dice.random() < 0.03 else _pod(dice)
        metadata = {"name": dice.choice(("agent-1", "p")), "labels": dict(dice.choice(LABELS)), **pod["metadata"]}
        _add_owner(dice, metadata, number)
        yield dice.choice(NAMESPACES), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def _add_owner(dice: _Dice, metadata: Json, number: int) -> None:
    if dice.random() < 0.5:
        return
    kind, name = dice.choice(_OWNERS)
    owner = {"apiVersion": "v1", "kind": kind, "name": name, "uid": f"u-{number}"}
    metadata["ownerReferences"] = [owner | ({"controller": True} if dice.random() < 0.9 else {})]
    if dice.random() < 0.6:
        metadata["labels"]["pod-template-hash"] = "6b4f5c"


def _windows_pod(dice: _Dice) -> Json:
    options = {"windowsOptions": {"hostProcess": True}}
    container: Json = {"name": "app", "image": dice.choice(IMAGES)}
    spec: Json = {"os": {"name": "windows"}, "containers": [container]}
    where = dice.choice(("pod", "container", "none"))
    if where != "none":
        (spec if where == "pod" else container)["securityContext"] = options
        spec["hostNetwork"] = True
    return {"metadata": {}, "spec": spec}


def _pod(dice: _Dice) -> Json:
    spec: Json = {key: True for key in ("hostNetwork", "hostPID", "hostIPC") if dice.wild()}
    if not spec and dice.random() < 0.2:
        spec["hostUsers"] = dice.choice((True, False))
    lists = {kind: _containers(dice, kind, spec) for kind in ("app", "init")}
    spec |= {"containers": lists["app"], "initContainers": lists["init"]}
    if dice.random() < 0.4:
        volumes = _VOLUMES if dice.random() < 0.4 else _VOLUMES[:3]
        spec["volumes"] = [{"name": f"v{n}", **dice.choice(volumes)} for n in range(dice.randint(1, 3))]
    spec["securityContext"] = context = _pod_context(dice, spec)
    metadata = {}
    if dice.random() < 0.1:  # the API server rejects an annotation that differs from a field
        profile = dice.choice(("unconfined", "runtime/default", "localhost/profiles/app.json"))
        metadata["annotations"] = {f"container.apparmor.security.beta.kubernetes.io/{lists['app'][0]['name']}": profile}
    else:
        for some in (context, *(container["securityContext"] for container in (*lists["app"], *lists["init"]))):
            some.update({"appArmorProfile": dict(dice.choice(_PROFILES))} if dice.wild() else {})
    return {"metadata": metadata, "spec": spec}


def _pod_context(dice: _Dice, spec: Json) -> Json:
    context: Json = {}
    if dice.wild():
        context["seccompProfile"] = dict(dice.choice(_PROFILES))
    if dice.wild() and not spec.get("hostNetwork") and not spec.get("hostIPC"):
        names = dice.sample(_SYSCTLS[:-2] if dice.wild() else _SYSCTLS[2:], dice.randint(1, 2))
        context["sysctls"] = [{"name": name, "value": dice.choice(("1", "4096 4096", "1=2"))} for name in names]
    return context


def _containers(dice: _Dice, kind: str, spec: Json) -> list[Json]:
    count = dice.randint(1, 3) if kind == "app" else dice.choice((0, 0, 1, 2))
    return [_container(dice, f"{kind}-{number}", spec) for number in range(count)]


def _container(dice: _Dice, name: str, spec: Json) -> Json:
    image = dice.choice(IMAGES) if dice.wild() else "registry.example.com/app:1"
    context: Json = {}
    container: Json = {"name": name, "image": image, "securityContext": context}
    if dice.wild():
        context["privileged"] = dice.choice((True, False))
    if dice.wild():
        context["capabilities"] = {"add": dice.sample(_CAPABILITIES, dice.randint(1, 2))}
    if dice.random() < 0.2:
        context.setdefault("capabilities", {})["drop"] = ["ALL"]
    if dice.wild():
        context["seccompProfile"] = dict(dice.choice(_PROFILES))
    if spec.get("hostUsers") is False and dice.random() < 0.4:
        context["procMount"] = dice.choice(("Unmasked", "Default"))
    if dice.wild():
        port = dice.choice((80, 8080, 9100, 30000))
        ports = [{"containerPort": port, "hostPort": port}, {"containerPort": 7000}]
        container["ports"] = ports[: dice.randint(1, 2)]
    return container

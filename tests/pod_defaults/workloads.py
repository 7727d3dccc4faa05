"""Workloads after the kinds that clusters really run, made from the one-line descriptions in `workloads.txt`.

A line is `name: KIND pod-words; container-words; …`. The first word of a container is its name, after `init:` or
`sidecar:` where it is not a regular one. Every other word is `flag` or `key=value`; an unknown one is an error.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

Json = dict[str, Any]

_FILE: Final = Path(__file__).with_name("workloads.txt")
KINDS: Final = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"})
_ONCE: Final = frozenset({"Job", "CronJob"})


class ContainerText(Struct, frozen=True):
    """A container's description: its name, the list that it is in, and its words."""

    name: str
    of: str
    words: tuple[str, ...]


class Workload(Struct, frozen=True):
    """A workload's description."""

    name: str
    kind: str
    words: tuple[str, ...]
    containers: tuple[ContainerText, ...]


@lru_cache(maxsize=1)
def workloads() -> tuple[Workload, ...]:
    """All descriptions, in the file's order."""
    lines = (line for line in _FILE.read_text().splitlines() if line and not line.startswith("#"))
    return tuple(map(_parsed, lines))


def _parsed(line: str) -> Workload:
    name, _, rest = line.partition(": ")
    (kind, *words), *containers = (part.split() for part in rest.split(";"))
    if kind not in KINDS:
        raise ValueError(f"{name}: {kind} is not a kind")
    return Workload(name, kind, tuple(words), tuple(_container_text(container) for container in containers))


def _container_text(words: list[str]) -> ContainerText:
    of, _, name = words[0].rpartition(":")
    return ContainerText(name, of or "regular", tuple(words[1:]))


def spec_of(workload: Workload) -> Json:
    """The pod's spec. Claims that a StatefulSet makes are volumes of an existing claim in it."""
    spec: Json = {"containers": []}
    for word in workload.words:
        key, _, value = word.partition("=")
        _POD_WORDS[key](spec, value)
    if workload.kind in _ONCE:
        spec.setdefault("restartPolicy", "OnFailure")
    for described in workload.containers:
        container: Json = {"name": described.name, "image": f"registry.example.com/{workload.name}/{described.name}:1"}
        if described.of == "sidecar":
            container["restartPolicy"] = "Always"
        for word in described.words:
            key, _, value = word.partition("=")
            if key in _VOLUMES:
                _mount(spec, container, key, value)
            else:
                _CONTAINER_WORDS[key](container, value)
        spec.setdefault("containers" if described.of == "regular" else "initContainers", []).append(container)
    return spec


def manifest_of(workload: Workload) -> Json:
    """The object as its author writes it."""
    labels = {"app": workload.name}
    template: Json = {"metadata": {"labels": labels}, "spec": spec_of(workload)}
    meta: Json = {"name": workload.name}
    if workload.kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta | {"labels": labels}, "spec": template["spec"]}
    if workload.kind == "Job":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
    if workload.kind == "CronJob":
        job = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}}
        return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": job}
    spec: Json = {"selector": {"matchLabels": labels}, "template": template}
    if workload.kind == "StatefulSet":
        spec |= {"serviceName": workload.name, "volumeClaimTemplates": _taken_claims(template["spec"])}
    return {"apiVersion": "apps/v1", "kind": workload.kind, "metadata": meta, "spec": spec}


def _taken_claims(spec: Json) -> list[Json]:
    """Templates of the claims in a spec, whose volumes are taken out of it."""
    volumes = spec.get("volumes", [])
    claims = [volume for volume in volumes if "persistentVolumeClaim" in volume]
    if claims:
        spec["volumes"] = [volume for volume in volumes if volume not in claims]
    request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [{"metadata": {"name": volume["name"]}, "spec": request} for volume in claims]


def _context(holder: Json) -> Json:
    context: Json = holder.setdefault("securityContext", {})
    return context


def _in_context(key: str, parse: Callable[[str], Any] = str) -> Callable[[Json, str], None]:
    def set_field(holder: Json, value: str) -> None:
        _context(holder)[key] = parse(value)

    return set_field


def _field(key: str, parse: Callable[[str], Any] = str) -> Callable[[Json, str], None]:
    def set_field(holder: Json, value: str) -> None:
        holder[key] = parse(value)

    return set_field


def _true(_: str) -> bool:
    return True


def _false(_: str) -> bool:
    return False


def _profile(value: str) -> Json:
    kind, _, file = value.partition(":")
    return {"type": kind, **({"localhostProfile": file} if file else {})}


def _sysctls(value: str) -> list[Json]:
    pairs = (pair.split(":") for pair in value.split(","))
    return [{"name": name, "value": text.replace("_", " ")} for name, text in pairs]


def _selinux(value: str) -> Json:
    return dict(zip(("type", "level"), value.split(","), strict=False))


_POD_WORDS: Final[Mapping[str, Callable[[Json, str], None]]] = {
    "host-network": _field("hostNetwork", _true),
    "host-pid": _field("hostPID", _true),
    "host-ipc": _field("hostIPC", _true),
    "share-pid": _field("shareProcessNamespace", _true),
    "user-namespace": _field("hostUsers", _false),
    "account": _field("serviceAccountName"),
    "old-account": _field("serviceAccount"),
    "no-token": _field("automountServiceAccountToken", _false),
    "token": _field("automountServiceAccountToken", _true),
    "pull": _field("imagePullSecrets", lambda value: [{"name": name} for name in value.split(",")]),
    "restart": _field("restartPolicy"),
    "runtime": _field("runtimeClassName"),
    "os": _field("os", lambda value: {"name": value}),
    "everywhere": _field("tolerations", lambda _: [{"operator": "Exists"}]),
    "node": _field("nodeSelector", lambda value: {"role": value}),
    "dns": _field("dnsPolicy"),
    "grace": _field("terminationGracePeriodSeconds", int),
    "scheduler": _field("schedulerName"),
    "pod-requests": lambda spec, value: _resources(spec, "requests", value),
    "pod-limits": lambda spec, value: _resources(spec, "limits", value),
    "non-root": _in_context("runAsNonRoot", _true),
    "user": _in_context("runAsUser", int),
    "group": _in_context("runAsGroup", int),
    "fs-group": _in_context("fsGroup", int),
    "groups": _in_context("supplementalGroups", lambda value: list(map(int, value.split(",")))),
    "groups-policy": _in_context("supplementalGroupsPolicy"),
    "seccomp": _in_context("seccompProfile", _profile),
    "apparmor": _in_context("appArmorProfile", _profile),
    "selinux": _in_context("seLinuxOptions", _selinux),
    "sysctls": _in_context("sysctls", _sysctls),
    "empty-context": lambda spec, _: spec.setdefault("securityContext", {}) and None,
}


def _resources(holder: Json, key: str, value: str) -> None:
    holder.setdefault("resources", {})[key] = dict(pair.split(":") for pair in value.split(","))


def _capabilities(key: str) -> Callable[[Json, str], None]:
    def set_field(container: Json, value: str) -> None:
        _context(container).setdefault("capabilities", {})[key] = value.split(",")

    return set_field


def _ports(value: str) -> list[Json]:
    made = []
    for text in value.split(","):
        numbers, _, protocol = text.partition("/")
        port, _, host = numbers.partition(":")
        made.append(
            {"containerPort": int(port)}
            | ({"hostPort": int(host)} if host else {})
            | ({"protocol": protocol.upper()} if protocol else {})
        )
    return made


def _handler(value: str) -> Json:
    """What is asked: exec, http:8080, tcp:5432, grpc:9000, or http@127.0.0.1:8080."""
    kind, _, port = value.partition(":")
    kind, _, host = kind.partition("@")
    if kind == "exec":
        return {"exec": {"command": ["/bin/check"]}}
    action: Json = {"port": int(port)} | ({"host": host} if host else {})
    return {{"http": "httpGet", "tcp": "tcpSocket", "grpc": "grpc"}[kind]: action}


def _hook(key: str) -> Callable[[Json, str], None]:
    def set_field(container: Json, value: str) -> None:
        container.setdefault("lifecycle", {})[key] = _handler(value)

    return set_field


_CONTAINER_WORDS: Final[Mapping[str, Callable[[Json, str], None]]] = {
    "image": _field("image"),
    "ports": _field("ports", _ports),
    "requests": lambda container, value: _resources(container, "requests", value),
    "limits": lambda container, value: _resources(container, "limits", value),
    "live": _field("livenessProbe", _handler),
    "ready": _field("readinessProbe", _handler),
    "startup": _field("startupProbe", _handler),
    "started": _hook("postStart"),
    "stopping": _hook("preStop"),
    "command": _field("command", lambda value: ["/bin/sh", "-c", value]),
    "tty": lambda container, _: container.update(stdin=True, tty=True),
    "pull-policy": _field("imagePullPolicy"),
    "privileged": _in_context("privileged", _true),
    "unprivileged": _in_context("privileged", _false),
    "non-root": _in_context("runAsNonRoot", _true),
    "may-be-root": _in_context("runAsNonRoot", _false),
    "user": _in_context("runAsUser", int),
    "group": _in_context("runAsGroup", int),
    "read-only": _in_context("readOnlyRootFilesystem", _true),
    "no-escalation": _in_context("allowPrivilegeEscalation", _false),
    "escalation": _in_context("allowPrivilegeEscalation", _true),
    "add": _capabilities("add"),
    "drop": _capabilities("drop"),
    "seccomp": _in_context("seccompProfile", _profile),
    "apparmor": _in_context("appArmorProfile", _profile),
    "selinux": _in_context("seLinuxOptions", _selinux),
    "proc": _in_context("procMount"),
    "host-process": _in_context("windowsOptions", lambda _: {"hostProcess": True}),
    "empty-context": lambda container, _: container.setdefault("securityContext", {}) and None,
}

_TOKEN: Final = {
    "sources": [{"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 7200}}]
}
_MIXED: Final = {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}]}
_CLAIM: Final = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
_VOLUMES: Final[Mapping[str, Callable[[str], Json]]] = {
    "host": lambda path: {"hostPath": {"path": path}},
    "host-file": lambda path: {"hostPath": {"path": path, "type": "FileOrCreate"}},
    "host-ro": lambda path: {"hostPath": {"path": path, "type": "Directory"}},
    "empty": lambda _: {"emptyDir": {}},
    "memory": lambda _: {"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    "no-source": lambda _: {},
    "config": lambda path: {"configMap": {"name": path.rpartition("/")[2].lower() or "c"}},
    "secret": lambda path: {"secret": {"secretName": path.rpartition("/")[2].lower() or "s"}},
    "claim": lambda _: {"persistentVolumeClaim": {"claimName": "data"}},
    "scratch": lambda _: {"ephemeral": {"volumeClaimTemplate": {"spec": _CLAIM}}},
    "token-file": lambda _: {"projected": _TOKEN},
    "projected": lambda _: {"projected": _MIXED},
    "podinfo": lambda _: {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    "csi": lambda _: {"csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}},
    "nfs": lambda _: {"nfs": {"server": "nfs.example.com", "path": "/export"}},
    "model": lambda _: {"image": {"reference": "registry.example.com/models/small:1", "pullPolicy": "IfNotPresent"}},
}


def _mount(spec: Json, container: Json, key: str, value: str) -> None:
    """Mount volumes at paths, which are separated by commas; one of the same kind and path is shared."""
    for path in value.split(","):
        name = f"{key}{path}".replace("/", "-").replace(".", "-").replace("_", "-").strip("-").lower()[:60].rstrip("-")
        volumes: list[Json] = spec.setdefault("volumes", [])
        if not any(volume["name"] == name for volume in volumes):
            volumes.append({"name": name, **_VOLUMES[key](path)})
        mount: Json = {"name": name, "mountPath": path if path != "/" else "/host"}
        if key == "host-ro":
            mount["readOnly"] = True
        container.setdefault("volumeMounts", []).append(mount)


def pod_of(workload: Workload) -> Json:
    """The pod that the workload's controller creates, with a volume for each claim of a StatefulSet."""
    manifest = manifest_of(workload)
    if workload.kind == "Pod":
        return manifest
    of = manifest["spec"]["jobTemplate"]["spec"] if workload.kind == "CronJob" else manifest["spec"]
    spec: Json = of["template"]["spec"]
    for claim in of.get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        spec.setdefault("volumes", []).append({"name": name, "persistentVolumeClaim": {"claimName": f"{name}-0"}})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **of["template"]["metadata"]}, "spec": spec}


def words_of(key: str) -> list[str]:
    """The distinct values that the descriptions give one of a pod's words, sorted."""
    words = (word.partition("=") for workload in workloads() for word in workload.words)
    return sorted({value for name, _, value in words if name == key})

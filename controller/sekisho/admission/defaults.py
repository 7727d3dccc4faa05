"""Defaults: what the policies fill in where a pod leaves it unset, as operations of a JSON patch.

Defaults fill and never override: a field that is there, `false` and `0` included, stays and is then judged. Nothing is
filled in that the API server or the kubelet would reject in that pod. Filling twice changes nothing.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.findings import render_path
from sekisho.pods import Container, ObjectMeta, Placed, Pod, in_user_namespace, is_windows, placed_containers
from sekisho.policies import Default

ANNOTATION: Final = "sekisho.dev/defaulted"
MOST_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all annotations of one object; the API server refuses more."""

_INHERITED = frozenset({"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"})
"""Fields of the pod's securityContext that hold for every container which does not set its own."""

_ON_WINDOWS = frozenset({"runAsNonRoot", "automountServiceAccountToken"})
"""Fields that the API server accepts in a pod whose spec.os.name is windows."""

_ATTRIBUTES = {
    "runAsNonRoot": "run_as_non_root",
    "runAsUser": "run_as_user",
    "runAsGroup": "run_as_group",
    "fsGroup": "fs_group",
    "seccompProfile": "seccomp_profile",
    "allowPrivilegeEscalation": "allow_privilege_escalation",
    "readOnlyRootFilesystem": "read_only_root_filesystem",
    "capabilities": "capabilities",
}


class Operation(Struct, frozen=True, gc=False):
    """One operation of a JSON patch (RFC 6902)."""

    op: str
    path: str
    value: Any


class Filled(Struct, frozen=True):
    """What was filled in: the operations, and the fields by the policy that set them."""

    operations: tuple[Operation, ...] = ()
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()


class _Filler:
    """Collects the fields to set in one securityContext after the other."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.fields: dict[str, list[str]] = {}

    def add(self, path: tuple[str | int, ...], value: Any) -> None:
        self.operations.append(Operation("add", "/" + "/".join(map(str, path)), value))

    def credit(self, policy: str, path: tuple[str | int, ...]) -> None:
        self.fields.setdefault(policy, []).append(render_path(path))

    def fill_context(self, at: tuple[str | int, ...], exists: bool, wanted: Iterable[Default]) -> None:
        """Set fields of the securityContext below `at`, which may have to be made first."""
        context = (*at, "securityContext")
        wanted = tuple(wanted)
        if not wanted:
            return
        if not exists:
            self.add(context, {default.key: default.value for default in wanted})
        for default in wanted:
            if exists:
                self.add((*context, default.key), default.value)
            self.credit(default.policy, (*context, default.key))


def fill(pod: Pod, defaults: Sequence[Default], only: frozenset[str] | None = None) -> Filled:
    """What the defaults fill in for a pod.

    `only` names the containers that may still be changed, and then nothing of the pod itself can be: that is so when
    ephemeral containers are added to a running pod.
    """
    if not defaults:
        return Filled()
    filler = _Filler()
    containers = [p for p in placed_containers(pod.spec) if only is None or p.container.name in only]
    windows = is_windows(pod.spec)
    defaults = [d for d in defaults if not windows or d.key in _ON_WINDOWS]
    down = _fill_pod(filler, pod, defaults, containers, may_change_pod=only is None)
    for placed in containers:
        own = [
            d for d in defaults if d.level == "container" and not (d.key in _INHERITED and _pod_sets(pod, d.key, down))
        ]
        taken = {d.key for d in own}
        _fill_container(filler, pod, placed, own + [d for d in down if d.level == "down" and d.key not in taken])
    if filler.operations and only is None:
        _annotate(filler, pod.metadata)
    return Filled(
        tuple(filler.operations), tuple((name, tuple(fields)) for name, fields in sorted(filler.fields.items()))
    )


def _fill_pod(
    filler: _Filler, pod: Pod, defaults: Sequence[Default], containers: Sequence[Placed], *, may_change_pod: bool
) -> list[Default]:
    """Fill the pod's own fields. Gives what became of the inherited ones: level `pod` where the pod answers for its
    containers now, level `down` where each container has to be filled instead."""
    answered: list[Default] = []
    wanted: list[Default] = []
    for default in defaults:
        if default.level == "spec":
            if may_change_pod and pod.spec.automount_service_account_token is None:
                filler.add(("spec", default.key), default.value)
                filler.credit(default.policy, ("spec", default.key))
        elif default.level == "pod" and _pod_value(pod, default.key) is None:
            if default.key not in _INHERITED:
                wanted += [default] if may_change_pod else []
                continue
            unset = [p for p in containers if _value(p.container, default.key) is None]
            if not unset:
                continue
            fits = all(_suits(pod, p.container, default) for p in unset)
            if fits and may_change_pod:
                wanted.append(default)
            answered.append(msgspec.structs.replace(default, level="pod" if fits and may_change_pod else "down"))
    filler.fill_context(("spec",), pod.spec.security_context is not None, wanted)
    return answered


def _fill_container(filler: _Filler, pod: Pod, placed: Placed, defaults: Sequence[Default]) -> None:
    container = placed.container
    wanted = [
        default for default in defaults if _value(container, default.key) is None and _suits(pod, container, default)
    ]
    filler.fill_context(placed.path, container.security_context is not None, wanted)
    if _value(container, "capabilities") is not None:
        for default in defaults:
            if default.key == "capabilities":
                _drop_more(filler, placed, default)


def _drop_more(filler: _Filler, placed: Placed, default: Default) -> None:
    """`capabilities.drop` is a set: what the container drops already stays, the default's are added."""
    context = placed.container.security_context
    capabilities = context.capabilities if context is not None else None
    dropped = capabilities.drop if capabilities is not None else None
    path = (*placed.path, "securityContext", "capabilities", "drop")
    missing = [name for name in default.value["drop"] if name not in (dropped or ())]
    if not missing:
        return
    if dropped is None:
        filler.add(path, missing)
    else:
        for name in missing:
            filler.add((*path, "-"), name)
    filler.credit(default.policy, path)


def _value(container: Container, key: str) -> Any:
    context = container.security_context
    return None if context is None else getattr(context, _ATTRIBUTES[key])


def _pod_value(pod: Pod, key: str) -> Any:
    context = pod.spec.security_context
    return None if context is None else getattr(context, _ATTRIBUTES[key])


def _pod_sets(pod: Pod, key: str, answered: Iterable[Default]) -> bool:
    return _pod_value(pod, key) is not None or any(d.key == key and d.level == "pod" for d in answered)


def _suits(pod: Pod, container: Container, default: Default) -> bool:
    """Whether the API server and the kubelet accept the default in this container."""
    if default.key == "allowPrivilegeEscalation" and default.value is False:
        return not _needs_escalation(container)
    if default.key == "runAsNonRoot" and default.value is True:
        user = _value(container, "runAsUser")
        user = _pod_value(pod, "runAsUser") if user is None else user
        return user != 0 and not in_user_namespace(pod.spec)
    return True


def _needs_escalation(container: Container) -> bool:
    """The API server rejects allowPrivilegeEscalation=false beside these."""
    context = container.security_context
    if context is None:
        return False
    added = (context.capabilities.add if context.capabilities is not None else None) or ()
    return bool(context.privileged) or "CAP_SYS_ADMIN" in added or "SYS_ADMIN" in added


def _annotate(filler: _Filler, metadata: ObjectMeta) -> None:
    """Say which policy set which fields, beside what an earlier call on the same pod said."""
    annotations = metadata.annotations
    told = _told(annotations.get(ANNOTATION) if annotations else None)
    for policy, fields in filler.fields.items():
        told[policy] = [*(f for f in told.get(policy, ()) if f not in fields), *fields]
    text = json.dumps(told, separators=(",", ":"), sort_keys=True)
    others = sum(len(k.encode()) + len(v.encode()) for k, v in (annotations or {}).items() if k != ANNOTATION)
    if others + len(ANNOTATION) + len(text.encode()) > MOST_ANNOTATIONS:
        return
    if annotations is None:
        filler.add(("metadata", "annotations"), {ANNOTATION: text})
    else:
        filler.add(("metadata", "annotations", ANNOTATION.replace("/", "~1")), text)


def _told(annotation: str | None) -> dict[str, list[str]]:
    try:
        return msgspec.json.decode(annotation or "{}", type=dict[str, list[str]])
    except (msgspec.DecodeError, RecursionError):
        return {}


def with_operations(pod: Pod, operations: Sequence[Operation]) -> Pod:
    """The pod with operations of `fill` applied, for judging a pod template as its pods will be."""
    if not operations:
        return pod
    root = msgspec.to_builtins(pod)
    for operation in operations:
        *above, last = (part.replace("~1", "/") for part in operation.path[1:].split("/"))
        target: Any = root
        for part in above:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if isinstance(target, list):
            target.append(operation.value)
        else:
            target[last] = operation.value
    return msgspec.convert(root, Pod)

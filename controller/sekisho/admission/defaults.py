"""Defaults: the values that policies give to unset fields of a pod, as operations of a JSON patch.

Defaults never override: a field that is set, to `false` or `0` too, stays and is then judged. No default is applied
that the API server or the kubelet would reject in that pod, none for what waivers exempt it from, and none that a
policy would deny it for. Applying defaults again changes nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from sekisho.admission.pod_defaults import is_token_mount, is_token_volume
from sekisho.admission.waivers import Clock, Exempt, exemptions
from sekisho.findings import render_path
from sekisho.pods import (
    Container,
    ContainerRef,
    ObjectMeta,
    Pod,
    PodSpec,
    container_refs,
    in_user_namespace,
    is_windows,
)
from sekisho.policies import Default, Plan, PolicySet
from sekisho.policies.defaults import DefaultLevel
from sekisho.policies.safe_defaults import first_per_field

ANNOTATION: Final = "sekisho.dev/defaulted"
MAX_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all annotations of one object; the API server rejects more."""

_INHERITED = frozenset({"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"})
"""Fields of the pod's securityContext that containers inherit where they do not set their own."""

_ON_WINDOWS = frozenset({"runAsNonRoot", "automountServiceAccountToken"})
"""Fields that the API server accepts in a pod whose spec.os.name is windows."""

_ATTRIBUTES = {
    "runAsNonRoot": "run_as_non_root",
    "runAsUser": "run_as_user",
    "runAsGroup": "run_as_group",
    "fsGroup": "fs_group",
    "supplementalGroupsPolicy": "supplemental_groups_policy",
    "seccompProfile": "seccomp_profile",
    "allowPrivilegeEscalation": "allow_privilege_escalation",
    "readOnlyRootFilesystem": "read_only_root_filesystem",
    "capabilities": "capabilities",
}


class Operation(Struct, frozen=True, gc=False):
    """One operation of a JSON patch (RFC 6902): add, or remove, which has no value."""

    op: str
    path: str
    value: Any = UNSET


class Filled(Struct, frozen=True):
    """The defaults for one pod: the operations that set them, and the fields by the policy whose defaults they are."""

    operations: tuple[Operation, ...] = ()
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()


class _Filler:
    """Collects the operations, and the fields by policy."""

    def __init__(self, is_exempt: Exempt | None) -> None:
        self.is_exempt = is_exempt
        self.operations: list[Operation] = []
        self.fields: dict[str, list[str]] = {}

    def add(self, pointer: str, value: Any) -> None:
        self.operations.append(Operation("add", pointer, value))

    def remove(self, pointer: str) -> None:
        self.operations.append(Operation("remove", pointer))

    def credit(self, policy: str, field: str) -> None:
        self.fields.setdefault(policy, []).append(field)

    def fill_context(self, at: tuple[str | int, ...], exists: bool, wanted: Sequence[Default]) -> None:
        """Set fields of the securityContext below `at`, which is created where it does not exist."""
        if not wanted:
            return
        pointer, field = _pointer(at) + "/securityContext", render_path(at) + ".securityContext."
        if not exists:
            self.add(pointer, {default.key: default.value for default in wanted})
        for default in wanted:
            if exists:
                self.add(f"{pointer}/{default.key}", default.value)
            self.credit(default.policy, field + default.key)


def defaults_for(
    pod: Pod,
    plan: Plan,
    policies: PolicySet,
    namespace: str,
    clock: Clock | None,
    only: frozenset[str] | None = None,
) -> Filled:
    """The defaults for a pod, without those of controls that waivers exempt it from.

    clock: gives the time for waivers, called only where there is something to set; with None no waiver applies.
    only: as for `fill`.
    """
    filled = fill(pod, plan.defaults, only)
    if not filled.operations or clock is None or not policies.has_waivers:
        return filled
    is_exempt = exemptions(pod, namespace, policies, clock())
    left = [default for default in plan.all_defaults if not is_exempt(default.policy, default.control, None)]
    return fill(pod, first_per_field(left), only, is_exempt)


def fill(
    pod: Pod, defaults: Sequence[Default], only: frozenset[str] | None = None, is_exempt: Exempt | None = None
) -> Filled:
    """Defaults applied to a pod.

    only: the names of the containers that may still be changed, as when ephemeral containers are added to a running
        pod; the pod's own fields then stay. None for a new pod, of which everything may be changed.
    is_exempt: tells the containers that a default is not applied to; None for no container.
    """
    if not defaults:
        return Filled()
    filler = _Filler(is_exempt)
    containers = container_refs(pod.spec)
    if only is not None:
        containers = [placed for placed in containers if placed.container.name in only]
    if is_windows(pod.spec):
        defaults = [default for default in defaults if default.key in _ON_WINDOWS]
    container_defaults = _fill_pod(filler, pod, defaults, containers, may_change_pod=only is None)
    for placed in containers:
        _fill_container(filler, pod, placed, container_defaults)
    if filler.operations and only is None:
        _annotate(filler, pod.metadata)
    return Filled(
        tuple(filler.operations), tuple((name, tuple(fields)) for name, fields in sorted(filler.fields.items()))
    )


def _fill_pod(
    filler: _Filler, pod: Pod, defaults: Sequence[Default], containers: Sequence[ContainerRef], *, may_change_pod: bool
) -> list[Default]:
    """Set the pod's own fields, and give the defaults to apply to each container.

    Those are the defaults for containers, without the fields that containers inherit from the pod now, and those of the
    pod's inherited fields that some container cannot have.
    """
    wanted: list[Default] = []
    own: list[Default] = []
    for_containers: list[Default] = []
    for default in defaults:
        if default.level is DefaultLevel.CONTAINER:
            own.append(default)
        elif default.level is DefaultLevel.SPEC:
            if may_change_pod and _leaves_token_to_default(pod, default):
                filler.add(f"/spec/{default.key}", default.value)
                filler.credit(default.policy, f"spec.{default.key}")
                if default.value is False:
                    _remove_token(filler, pod.spec)
        elif _pod_value(pod, default.key) is None:
            if default.key not in _INHERITED:
                wanted += [default] if may_change_pod else []
                continue
            unset = [p.container for p in containers if _value(p.container, default.key) is None]
            if unset:
                fits = may_change_pod and all(_suits(pod, container, default) for container in unset)
                if fits and filler.is_exempt is not None:
                    fits = all(_without_exempt(filler.is_exempt, container, [default]) for container in unset)
                (wanted if fits else for_containers).append(default)
    filler.fill_context(("spec",), pod.spec.security_context is not None, wanted)
    inherited = {default.key for default in wanted}
    left = [d for d in own if d.key not in _INHERITED or (d.key not in inherited and _pod_value(pod, d.key) is None)]
    taken = {default.key for default in left}
    return left + [default for default in for_containers if default.key not in taken]


def _fill_container(filler: _Filler, pod: Pod, placed: ContainerRef, defaults: list[Default]) -> None:
    container = placed.container
    if filler.is_exempt is not None:
        defaults = _without_exempt(filler.is_exempt, container, defaults)
    wanted = [
        default for default in defaults if _value(container, default.key) is None and _suits(pod, container, default)
    ]
    filler.fill_context(placed.path, container.security_context is not None, wanted)
    if _value(container, "capabilities") is not None:
        for default in defaults:
            if default.key == "capabilities":
                _drop_more(filler, placed, default)


def _without_exempt(is_exempt: Exempt, container: Container, defaults: list[Default]) -> list[Default]:
    return [default for default in defaults if not is_exempt(default.policy, default.control, container)]


def _drop_more(filler: _Filler, placed: ContainerRef, default: Default) -> None:
    """Add the default's capabilities to those that the container drops already: `capabilities.drop` is a set."""
    context = placed.container.security_context
    capabilities = context.capabilities if context is not None else None
    dropped = capabilities.drop if capabilities is not None else None
    missing = [name for name in default.value["drop"] if name not in (dropped or ())]
    if not missing:
        return
    path = (*placed.path, "securityContext", "capabilities", "drop")
    if dropped is None:
        filler.add(_pointer(path), missing)
    else:
        for name in missing:
            filler.add(_pointer(path) + "/-", name)
    filler.credit(default.policy, render_path(path))


def _leaves_token_to_default(pod: Pod, default: Default) -> bool:
    """Whether the pod does not say if it gets a token, and is not of an account that may have one."""
    return (
        pod.spec.automount_service_account_token is None
        and (pod.spec.service_account_name or "default") not in default.exempt_accounts
    )


def _remove_token(filler: _Filler, spec: PodSpec) -> None:
    """Remove the volume and the mounts of the token, which the ServiceAccount plugin adds before webhooks are called.

    Mounts that are not as the plugin makes them stay, and then the volume does.
    """
    names = {volume.name for volume in spec.volumes or () if is_token_volume(volume)}
    if not names:
        return
    kept: set[str] = set()
    for placed in container_refs(spec):
        mounts = placed.container.volume_mounts or ()
        for index in range(len(mounts) - 1, -1, -1):
            mount = mounts[index]
            if mount.name in names and is_token_mount(mount):
                filler.remove(_pointer((*placed.path, "volumeMounts", index)))
            elif mount.name in names:
                kept.add(mount.name)
    volumes = spec.volumes or ()
    for index in range(len(volumes) - 1, -1, -1):
        if volumes[index].name in names - kept:
            filler.remove(_pointer(("spec", "volumes", index)))


def _pointer(path: tuple[str | int, ...]) -> str:
    """A path of plain keys as a JSON pointer (RFC 6901)."""
    return "/" + "/".join(map(str, path))


def _value(container: Container, key: str) -> Any:
    context = container.security_context
    return None if context is None else getattr(context, _ATTRIBUTES[key])


def _pod_value(pod: Pod, key: str) -> Any:
    context = pod.spec.security_context
    return None if context is None else getattr(context, _ATTRIBUTES[key])


def _suits(pod: Pod, container: Container, default: Default) -> bool:
    """Whether the API server and the kubelet accept the default in this container."""
    if default.key == "allowPrivilegeEscalation" and default.value is False:
        return not _needs_escalation(container)
    if default.key == "runAsNonRoot" and default.value is True:
        user = _value(container, "runAsUser")
        user = _pod_value(pod, "runAsUser") if user is None else user
        return user != 0 and (default.in_user_namespaces or not in_user_namespace(pod.spec))
    if default.key == "runAsUser" and default.value == 0:
        non_root = _value(container, "runAsNonRoot")
        return not (_pod_value(pod, "runAsNonRoot") if non_root is None else non_root)
    return True


def _needs_escalation(container: Container) -> bool:
    """The API server rejects allowPrivilegeEscalation=false beside these."""
    context = container.security_context
    if context is None:
        return False
    added = (context.capabilities.add if context.capabilities is not None else None) or ()
    return bool(context.privileged) or "CAP_SYS_ADMIN" in added or "SYS_ADMIN" in added


def _annotate(filler: _Filler, metadata: ObjectMeta) -> None:
    """Record which policy set which fields, in addition to what an earlier call on the same pod recorded."""
    annotations = metadata.annotations
    recorded = _recorded(annotations.get(ANNOTATION) if annotations else None)
    for policy, fields in filler.fields.items():
        added = frozenset(fields)
        recorded[policy] = [*(f for f in recorded.get(policy, ()) if f not in added), *fields]
    text = msgspec.json.encode(recorded, order="sorted").decode()
    others = sum(len(k.encode()) + len(v.encode()) for k, v in (annotations or {}).items() if k != ANNOTATION)
    if others + len(ANNOTATION) + len(text.encode()) > MAX_ANNOTATIONS:
        return
    if annotations is None:
        filler.add("/metadata/annotations", {ANNOTATION: text})
    else:
        filler.add("/metadata/annotations/" + ANNOTATION.replace("/", "~1"), text)


def _recorded(annotation: str | None) -> dict[str, list[str]]:
    if annotation is None:
        return {}
    try:
        return msgspec.json.decode(annotation, type=dict[str, list[str]])
    except (msgspec.DecodeError, RecursionError):
        return {}


def with_defaults(pod: Pod, filled: Filled) -> Pod:
    """The pod with what `fill` gave for it applied."""
    if not filled.operations:
        return pod
    root = msgspec.to_builtins(pod)
    for operation in filled.operations:
        *above, last = (part.replace("~1", "/") for part in operation.path[1:].split("/"))
        target: Any = root
        for part in above:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if operation.op == "remove":
            del target[int(last)]
        elif isinstance(target, list):
            target.append(operation.value)
        else:
            target[last] = operation.value
    return msgspec.convert(root, Pod)

"""Defaults: the values that policies give to unset fields of a pod, as operations of a JSON patch.

Defaults never override: a field that is set, to `false` or `0` too, stays and is then judged. Only images are changed,
to those of a mirror and to the digests of their tags. No default is applied that the API server or the kubelet would
reject in that pod, that a waiver exempts it from, or that a policy would deny it for.
Applying defaults again changes nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sekisho.admission.changed_images import ChangedImage
from sekisho.admission.context import Context
from sekisho.admission.patch import MAX_ANNOTATIONS, Filled, PatchOfDefaults, annotate, bytes_of, pointer_of, pointer_to
from sekisho.admission.pod_defaults import is_token_mount, is_token_volume
from sekisho.admission.resource_defaults import resources_wanted
from sekisho.admission.time_checks import CheckTime, timed
from sekisho.admission.waivers import Group, exemptions, is_default_exempt, waivers_of_defaults
from sekisho.findings import render_path
from sekisho.images.reference import default_pull_policy
from sekisho.pods import (
    Container,
    ContainerKind,
    ContainerRef,
    ObjectMeta,
    Pod,
    PodSpec,
    container_refs,
    in_user_namespace,
    is_windows,
)
from sekisho.policies import Default, Plan
from sekisho.policies.compiled_defaults import DefaultLevel
from sekisho.policies.safe_defaults import first_per_field

APP_ARMOR_ANNOTATION: Final = "container.apparmor.security.beta.kubernetes.io/"
"""Followed by a container's name: its AppArmor profile, as pods said it before appArmorProfile was a field."""

_INHERITED = frozenset({"runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "appArmorProfile"})
"""Fields of the pod's securityContext that containers inherit where they do not set their own."""

_ADMINISTRATOR: Final = "containeradministrator"

_ON_WINDOWS = frozenset({"runAsNonRoot", "automountServiceAccountToken"})
"""Fields that the API server accepts in a pod whose spec.os.name is windows."""

_ATTRIBUTES = {
    "runAsNonRoot": "run_as_non_root",
    "runAsUser": "run_as_user",
    "runAsGroup": "run_as_group",
    "fsGroup": "fs_group",
    "supplementalGroupsPolicy": "supplemental_groups_policy",
    "seccompProfile": "seccomp_profile",
    "appArmorProfile": "app_armor_profile",
    "allowPrivilegeEscalation": "allow_privilege_escalation",
    "readOnlyRootFilesystem": "read_only_root_filesystem",
    "capabilities": "capabilities",
}


# To look a member up by its name is slow in Python 3.11.
_OF_SPEC, _OF_POD, _OF_CONTAINER, _METADATA, _PULL, _RESOURCES, _MIRRORS = DefaultLevel
_CONTEXTS = (_OF_SPEC, _OF_POD, _OF_CONTAINER)
_EPHEMERAL = ContainerKind.EPHEMERAL

OfContainer = Callable[[Container], Sequence[Default]]
"""The defaults that may be applied to a container."""


def defaults_for(
    pod: Pod,
    plan: Plan,
    context: Context,
    only: frozenset[str] | None = None,
    images: Sequence[ChangedImage] = (),
) -> Filled:
    """The defaults for a pod, without those that waivers exempt the pod from.

    only, images: as for `fill`.

    Raises UnjudgedError as `context.check_time` does.
    """
    filled = fill(pod, plan.defaults, only, images=images, check_time=context.check_time)
    if not filled.operations or context.clock is None or not context.policies.has_waivers:
        return filled
    now = context.clock()
    waivers = waivers_of_defaults(plan, pod, context, now)
    if not waivers:
        return filled
    exempt = exemptions(pod, context, now)
    is_exempt = is_default_exempt(plan, exempt)
    container_defaults = [default for default in plan.all_defaults if default.level not in (_METADATA, _MIRRORS)]
    by_group: dict[Group, Sequence[Default]] = {}

    def of(container: Container) -> Sequence[Default]:
        group = exempt.group(container)
        if group not in by_group:
            by_group[group] = first_per_field([one for one in container_defaults if not is_exempt(one, container)])
        return by_group[group]

    pod_defaults = first_per_field([default for default in plan.all_defaults if not is_exempt(default, None)])
    are_alike = not any(waiver.images or waiver.containers for waiver in waivers)
    return fill(pod, pod_defaults, only, None if are_alike else of, images, context.check_time)


def fill(
    pod: Pod,
    defaults: Sequence[Default],
    only: frozenset[str] | None = None,
    of_container: OfContainer | None = None,
    images: Sequence[ChangedImage] = (),
    check_time: CheckTime | None = None,
) -> Filled:
    """Defaults applied to a pod.

    pod: with its changed images.
    only: the names of the containers that may still be changed, as when ephemeral containers are added to a running
        pod; the pod's own fields then stay. None for a new pod, of which everything may be changed.
    of_container: gives the defaults for a container, where waivers may exempt it; None for the same for all.
    images: those that are changed, in the order of the changes.
    check_time: called for each container; None where this is quick.
    """
    if not defaults and of_container is None and not images:
        return Filled()
    patch = PatchOfDefaults()
    containers = timed(_changeable(pod, only), check_time)
    if is_windows(pod.spec):
        defaults = _on_windows(defaults)
    lists = None if of_container is None else _lists(pod, containers, of_container)
    inherited = _fill_pod(patch, pod, defaults, containers, lists, may_change_pod=only is None)
    others = _others(defaults)
    if others and only is None:
        _fill_metadata(patch, pod.metadata, others)
        _fill_volumes(patch, pod.spec, others)
    if lists is None:
        defaults_of_all = _for_containers(defaults, inherited)
        for ref in containers:
            _fill_container(patch, pod, ref, defaults_of_all, others)
    else:
        inherited |= {key for key in _INHERITED if _pod_value(pod, key) is not None}
        for ref, own in zip(containers, lists, strict=True):
            _fill_container(patch, pod, ref, _for_containers(own, inherited), _others(own))
    for image in images:
        patch.change(image)
    if patch.operations and only is None:
        annotate(patch, pod.metadata)
    return patch.filled


def _changeable(pod: Pod, only: frozenset[str] | None) -> list[ContainerRef]:
    """The containers with these names; all for None."""
    containers = container_refs(pod.spec)
    return containers if only is None else [ref for ref in containers if ref.container.name in only]


def _lists(pod: Pod, containers: Sequence[ContainerRef], of_container: OfContainer) -> list[Sequence[Default]]:
    """The defaults for each container."""
    lists = [of_container(ref.container) for ref in containers]
    return list(map(_on_windows, lists)) if is_windows(pod.spec) else lists


def _on_windows(defaults: Sequence[Default]) -> list[Default]:
    return [default for default in defaults if default.key in _ON_WINDOWS or default.level not in _CONTEXTS]


def _fill_pod(
    patch: PatchOfDefaults,
    pod: Pod,
    defaults: Sequence[Default],
    containers: Sequence[ContainerRef],
    lists: Sequence[Sequence[Default]] | None,
    *,
    may_change_pod: bool,
) -> set[str]:
    """Set the pod's own fields, and give the names of those that it has then.

    A field that containers inherit is set only if each container that does not set it may have it.

    lists: the defaults for each container; None where they are the same as for the pod.
    """
    wanted: list[Default] = []
    present: set[str] = set()
    for default in defaults:
        level, key = default.level, default.key
        if level is _OF_POD:
            if _pod_value(pod, key) is not None:
                present.add(key)
            elif may_change_pod and (key not in _INHERITED or _is_inheritable(pod, default, containers, lists)):
                wanted.append(default)
                present.add(key)
        elif level is _OF_CONTAINER:
            if key in _INHERITED and _pod_value(pod, key) is not None:
                present.add(key)
        elif level is _OF_SPEC and may_change_pod and _leaves_token_to_default(pod, default):
            patch.add(f"/spec/{key}", default.value)
            patch.credit(default.policy, f"spec.{key}")
            if default.value is False:
                _remove_token(patch, pod.spec)
    patch.fill_context(("spec",), pod.spec.security_context is not None, wanted)
    return present


def _fill_metadata(patch: PatchOfDefaults, metadata: ObjectMeta, defaults: Sequence[Default]) -> None:
    """Add labels and annotations that the pod does not have, as far as its annotations stay within their bound."""
    wanted = [default for default in defaults if default.level is _METADATA]
    room = MAX_ANNOTATIONS - bytes_of(metadata.annotations or {}) if wanted else 0
    for default in wanted:
        field, _, name = default.key.partition(".")
        present, added = metadata.labels, patch.labels
        if field == "annotations":
            present, added = metadata.annotations, patch.annotations
        if present is not None and name in present:
            continue
        if field == "annotations":
            size = bytes_of({name: default.value})
            if size > room:
                continue
            room -= size
        if present is None and not added:
            patch.add(f"/metadata/{field}", {})
        added[name] = default.value
        patch.add(pointer_to(("metadata", field), name), default.value)
        patch.credit(default.policy, render_path(("metadata", field, name)))


def _fill_volumes(patch: PatchOfDefaults, spec: PodSpec, defaults: Sequence[Default]) -> None:
    """Set the pull policy of image volumes."""
    for default in defaults:
        if default.level is not _PULL:
            continue
        for index, volume in enumerate(spec.volumes or ()):
            image = volume.image
            if image is not None and _has_default_pull_policy(image.reference, image.pull_policy, default):
                path = ("spec", "volumes", index, "image", "pullPolicy")
                patch.add(pointer_of(path), default.value)
                patch.credit(default.policy, render_path(path))


def _has_default_pull_policy(image: str | None, policy: str | None, default: Default) -> bool:
    """Whether an image has the pull policy that the API server sets where none is, and the default is another."""
    return policy != default.value and (policy is None or policy == default_pull_policy(image or ""))


def _is_inheritable(
    pod: Pod,
    default: Default,
    containers: Sequence[ContainerRef],
    lists: Sequence[Sequence[Default]] | None,
) -> bool:
    """Whether a container leaves the default's field to the pod, and each of those may have the default."""
    is_inherited = False
    for index, ref in enumerate(containers):
        if _value(ref.container, default.key) is None:
            if not _suits(pod, ref.container, default) or (lists is not None and default not in lists[index]):
                return False
            is_inherited = True
    return is_inherited


def _for_containers(defaults: Sequence[Default], inherited: set[str]) -> list[Default]:
    """The defaults to apply to a container: none for a field that it inherits from the pod.

    Those are the defaults for containers, and those for the pod that could not be set there.
    """
    remaining = [
        default
        for default in defaults
        if (default.key not in inherited if default.key in _INHERITED else default.level is _OF_CONTAINER)
    ]
    if all(default.level is _OF_CONTAINER for default in remaining):
        return remaining
    own = {default.key for default in remaining if default.level is _OF_CONTAINER}
    return [default for default in remaining if default.level is _OF_CONTAINER or default.key not in own]


def _fill_container(
    patch: PatchOfDefaults, pod: Pod, ref: ContainerRef, defaults: list[Default], others: list[Default]
) -> None:
    """Set what a container does not inherit. `others` are the defaults other than those of its securityContext."""
    container = ref.container
    wanted = [
        default for default in defaults if _value(container, default.key) is None and _suits(pod, container, default)
    ]
    patch.fill_context(ref.path, container.security_context is not None, wanted)
    if _value(container, "capabilities") is not None:
        for default in defaults:
            if default.key == "capabilities":
                _drop_more(patch, ref, default)
    if others:
        _fill_others(patch, pod, ref, others)


def _others(defaults: Sequence[Default]) -> list[Default]:
    """The defaults other than those of the pod's spec and of the securityContext of the pod and its containers."""
    return [default for default in defaults if default.level not in _CONTEXTS]


def _fill_others(patch: PatchOfDefaults, pod: Pod, ref: ContainerRef, defaults: Sequence[Default]) -> None:
    """Set the pull policy and the resources of a container."""
    container = ref.container
    for default in defaults:
        if default.level is _PULL and _has_default_pull_policy(container.image, container.image_pull_policy, default):
            patch.add(pointer_of((*ref.path, default.key)), default.value)
            patch.credit(default.policy, render_path((*ref.path, default.key)))
    # The API server rejects resources in ephemeral containers, and those of containers must fit into those of the pod.
    if ref.kind is _EPHEMERAL or pod.spec.resources is not None:
        return
    resources = container.resources
    made: set[str] = set()
    for field, name, default in resources_wanted(
        resources, [default for default in defaults if default.level is _RESOURCES]
    ):
        if resources is None and not made:
            patch.add(pointer_of((*ref.path, "resources")), {})
        if field not in made and (resources is None or getattr(resources, field) is None):
            patch.add(pointer_of((*ref.path, "resources", field)), {})
        made.add(field)
        patch.add(pointer_to((*ref.path, "resources", field), name), default.value)
        patch.credit(default.policy, render_path((*ref.path, "resources", field, name)))


def _drop_more(patch: PatchOfDefaults, ref: ContainerRef, default: Default) -> None:
    """Add the default's capabilities to those that the container drops already: `capabilities.drop` is a set."""
    context = ref.container.security_context
    capabilities = context.capabilities if context is not None else None
    dropped = capabilities.drop if capabilities is not None else None
    added = (capabilities.add if capabilities is not None else None) or ()
    # Runtimes drop a capability by its name after they add it, so the default would override what is written.
    by_name = {name.upper().removeprefix("CAP_") for name in added}
    missing = [name for name in default.value["drop"] if name not in (dropped or ()) and name not in by_name]
    if not missing or "ALL" in by_name or "ALL" in (dropped or ()):
        return
    path = (*ref.path, "securityContext", "capabilities", "drop")
    if dropped is None:
        patch.add(pointer_of(path), missing)
    else:
        for name in missing:
            patch.add(pointer_of(path) + "/-", name)
    patch.credit(default.policy, render_path(path))


def _leaves_token_to_default(pod: Pod, default: Default) -> bool:
    """Whether the pod does not say if it gets a token, and is not of an account that may have one."""
    return (
        pod.spec.automount_service_account_token is None
        and (pod.spec.service_account_name or "default") not in default.exempt_accounts
    )


def _remove_token(patch: PatchOfDefaults, spec: PodSpec) -> None:
    """Remove the volume and the mounts of the token, which the ServiceAccount plugin adds before webhooks are called.

    Mounts that are not as the plugin makes them stay, and then the volume does.
    """
    names = {volume.name for volume in spec.volumes or () if is_token_volume(volume)}
    if not names:
        return
    kept: set[str] = set()
    for ref in container_refs(spec):
        mounts = ref.container.volume_mounts or ()
        for index in range(len(mounts) - 1, -1, -1):
            mount = mounts[index]
            if mount.name in names and is_token_mount(mount):
                patch.remove(pointer_of((*ref.path, "volumeMounts", index)))
            elif mount.name in names:
                kept.add(mount.name)
    volumes = spec.volumes or ()
    for index in range(len(volumes) - 1, -1, -1):
        if volumes[index].name in names - kept:
            patch.remove(pointer_of(("spec", "volumes", index)))


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
        if user == 0 or _is_administrator(pod, container):
            return False
        return default.in_user_namespaces or not in_user_namespace(pod.spec)
    if default.key == "appArmorProfile":
        return APP_ARMOR_ANNOTATION + container.name not in (pod.metadata.annotations or {})
    if default.key == "runAsUser" and default.value == 0:
        non_root = _value(container, "runAsNonRoot")
        return not (_pod_value(pod, "runAsNonRoot") if non_root is None else non_root)
    return True


def _is_administrator(pod: Pod, container: Container) -> bool:
    """Whether the container runs as the user that the kubelet takes for root on Windows, whatever the case."""
    for context in (container.security_context, pod.spec.security_context):
        options = context.windows_options if context is not None else None
        if options is not None and options.run_as_user_name is not None:
            return options.run_as_user_name.casefold() == _ADMINISTRATOR
    return False


def _needs_escalation(container: Container) -> bool:
    """The API server rejects allowPrivilegeEscalation=false beside these."""
    context = container.security_context
    if context is None:
        return False
    added = (context.capabilities.add if context.capabilities is not None else None) or ()
    return bool(context.privileged) or "CAP_SYS_ADMIN" in added or "SYS_ADMIN" in added

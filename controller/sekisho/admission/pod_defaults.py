"""A pod as the API server creates it: with what its defaulting and its built-in plugins set before webhooks see it.

A template or a manifest is judged as the pod that will run. Only fields that `sekisho.pods` declares are set. Defaults
of Sekisho's own policies come afterwards; see `sekisho.admission.defaults`.

Sources: Kubernetes 1.37, pkg/apis/core/v1/defaults.go (SetDefaults_Pod, SetDefaults_PodSpec),
plugin/pkg/admission/{defaulttolerationseconds,limitranger,serviceaccount},
pkg/registry/core/pod/strategy.go (PrepareForCreate)
"""

import re
from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.origins import Origin, Origins
from sekisho.admission.pod_resources import LimitRange, container_resources, pod_resources
from sekisho.admission.probe_defaults import with_probes
from sekisho.findings import FieldPath, remove, set_to
from sekisho.images.reference import default_pull_policy
from sekisho.pods import (
    CLAIM_FROM_TEMPLATE,
    DEFAULT_GRACE_SECONDS,
    AppArmorProfile,
    Container,
    ContainerPort,
    LocalObjectReference,
    Pod,
    PodSpec,
    Projected,
    ProjectedSource,
    SecurityContext,
    ServiceAccountTokenProjection,
    Toleration,
    Volume,
    VolumeMount,
    annotations_of,
    container_refs,
    is_windows,
)

TOKEN_VOLUME: Final = "kube-api-access-"  # noqa: S105 - a volume's name
"""The API server names the volume of a service account's token this, and adds a random suffix."""
TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path

_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_MIRROR: Final = "kubernetes.io/config.mirror"
_MAX_PROFILE: Final = 4095
"""Bytes of the name of an AppArmor profile; the API server does not copy a longer one."""

_TOKEN_VOLUME: Final = re.compile(rf"{TOKEN_VOLUME}([bcdfghjklmnpqrstvwxz2456789]{{5}}|…)")
"""The suffix is made of the characters of k8s.io/apimachinery/pkg/util/rand."""
_NEW_TOKEN_VOLUME: Final = Volume(
    name=f"{TOKEN_VOLUME}…",
    projected=Projected([ProjectedSource(ServiceAccountTokenProjection()), ProjectedSource(), ProjectedSource()]),
)
"""The volume that the API server adds for a token; what is not read of its other two sources is the same as unset."""

_FOR_TOKEN: Final = Origin(
    "added for the service account's token",
    "set spec.automountServiceAccountToken to false",
    set_to(("spec", "automountServiceAccountToken"), value=False),
)
_FROM_CLAIM_TEMPLATE: Final = Origin(
    "added for volumeClaimTemplates", "remove the entry of that name from spec.volumeClaimTemplates"
)
_DEFAULT: Final = Origin("the API server's default")
_FROM_HOST_NETWORK: Final = Origin(
    "set by hostNetwork", "unset spec.hostNetwork, or remove the port from the list, which only informs"
)


class ServiceAccount(Struct, frozen=True, rename="camel"):
    """The fields of a ServiceAccount that change its pods; None is unset."""

    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()


class NamespaceObjects(Struct, frozen=True):
    """The objects of a pod's namespace that change the pod, as far as they are known.

    limit_ranges: in the order in which they apply; the API server promises none.
    service_accounts: by name. One that is not known here mounts its token, as it does by default.
    """

    limit_ranges: tuple[LimitRange, ...] = ()
    service_accounts: Mapping[str, ServiceAccount] = {}


NO_OBJECTS: Final = NamespaceObjects()


class CreatedPod(Struct, frozen=True):
    """The pod as created, and the origin of each field that it did not have before."""

    pod: Pod
    origins: Mapping[FieldPath, Origin]


def as_created(pod: Pod, objects: NamespaceObjects = NO_OBJECTS) -> CreatedPod:
    """The pod as the API server creates it in a namespace with these objects.

    A pod that was created already stays the same object. What the API server would reject is left as it is.
    """
    origins: Origins = {
        ("spec", "volumes", index): _FROM_CLAIM_TEMPLATE
        for index, volume in enumerate(pod.spec.volumes or ())
        if volume.persistent_volume_claim is CLAIM_FROM_TEMPLATE
    }
    is_mirror = _MIRROR in annotations_of(pod)
    spec = _with_account(pod.spec, is_mirror=is_mirror)
    if spec.termination_grace_period_seconds is None:
        origins[("spec", "terminationGracePeriodSeconds")] = _DEFAULT
        spec = replace(spec, termination_grace_period_seconds=DEFAULT_GRACE_SECONDS)
    spec = _with_tolerations(_with_pull_policies_of_volumes(spec, origins))
    if not is_mirror and not spec.image_pull_secrets:
        spec = _with_pull_secrets(spec, objects)
    spec = _with_containers(pod, spec, objects.limit_ranges, origins)
    if spec.service_account_name and _mounts_token(spec, objects):
        spec = _with_token(spec, origins)
    resources = pod_resources(spec, origins)
    if resources is not spec.resources:
        spec = replace(spec, resources=resources)
    return CreatedPod(pod if spec is pod.spec else replace(pod, spec=spec), origins)


def may_have_origin(path: FieldPath) -> bool:
    """Whether `apparent_origins` may have the origin of a field; quick, as most fields have none."""
    return path[1:2] == ("volumes",) or "hostPort" in path or "appArmorProfile" in path


def apparent_origins(pod: Pod) -> Origins:
    """The origins of the fields of a created pod that look as the API server sets them.

    What a user wrote in the same way has the same effect, and the same fix.
    """
    origins: Origins = {}
    is_annotated = any(key.startswith(_APP_ARMOR) for key in annotations_of(pod))
    for ref in container_refs(pod.spec) if is_annotated or pod.spec.host_network else ():
        if pod.spec.host_network:
            for index, port in enumerate(ref.container.ports or ()):
                if port.host_port and port.host_port == port.container_port:
                    origins[(*ref.path, "ports", index, "hostPort")] = _FROM_HOST_NETWORK
        context, annotation = ref.container.security_context, annotations_of(pod).get(_APP_ARMOR + ref.container.name)
        profile = context.app_armor_profile if context is not None else None
        if annotation is not None and profile is not None and profile == _annotated_profile(annotation):
            path = (*ref.path, "securityContext", "appArmorProfile")
            origins[path] = _from_annotation(_APP_ARMOR + ref.container.name)
    mounts_token = pod.spec.automount_service_account_token is not False
    for index, volume in enumerate(pod.spec.volumes or ()) if mounts_token else ():
        if is_token_volume(volume):
            origins[("spec", "volumes", index)] = _FOR_TOKEN
    return origins


def _from_annotation(key: str) -> Origin:
    fix = "remove the annotation or set it to runtime/default"
    return Origin("copied from the annotation", fix, remove(("metadata", "annotations", key)))


def _with_account(spec: PodSpec, *, is_mirror: bool) -> PodSpec:
    """The spec with its restart policy, and its service account under both names; a mirror pod has no account."""
    account = spec.service_account_name or spec.service_account or (None if is_mirror else "default")
    if account == spec.service_account_name == spec.service_account and spec.restart_policy:
        return spec
    return replace(
        spec,
        service_account_name=account,
        service_account=account,
        restart_policy=spec.restart_policy or "Always",
    )


_NO_EXECUTE: Final = "NoExecute"
_ADDED_TOLERATIONS: Final = tuple(
    Toleration(f"node.kubernetes.io/{condition}", "Exists", "", _NO_EXECUTE)
    for condition in ("not-ready", "unreachable")
)


def _with_tolerations(spec: PodSpec) -> PodSpec:
    """The spec with the tolerations that the plugin DefaultTolerationSeconds adds where the pod has none like them."""
    own = spec.tolerations or []
    own_keys = {toleration.key for toleration in own if toleration.effect in ("", _NO_EXECUTE)}
    added = [toleration for toleration in _ADDED_TOLERATIONS if "" not in own_keys and toleration.key not in own_keys]
    return replace(spec, tolerations=[*own, *added]) if added else spec


def _with_pull_secrets(spec: PodSpec, objects: NamespaceObjects) -> PodSpec:
    """The spec with the pull secrets of its account, which the API server adds where the pod names none."""
    account = objects.service_accounts.get(spec.service_account_name or "")
    if account is None or not account.image_pull_secrets:
        return spec
    return replace(spec, image_pull_secrets=list(account.image_pull_secrets))


def _with_containers(pod: Pod, spec: PodSpec, limit_ranges: Sequence[LimitRange], origins: Origins) -> PodSpec:
    def regular(path: FieldPath, container: Container) -> Container:
        ports = _host_ports(container.ports, path, origins) if spec.host_network else container.ports
        resources = container_resources(container.resources, path, limit_ranges, origins)
        if ports is not container.ports or resources is not container.resources:
            container = replace(container, ports=ports, resources=resources)
        return confined(path, container)

    def confined(path: FieldPath, container: Container) -> Container:
        if not container.image_pull_policy:
            origins[(*path, "imagePullPolicy")] = _DEFAULT
            container = replace(container, image_pull_policy=default_pull_policy(container.image or ""))
        container = with_probes(container)
        return _with_app_armor(container, path, pod, origins) if annotations else container

    annotations = not is_windows(spec) and any(key.startswith(_APP_ARMOR) for key in annotations_of(pod))
    initial = _mapped(("spec", "initContainers"), spec.init_containers, regular)
    containers = _mapped(("spec", "containers"), spec.containers, regular)
    ephemeral = _mapped(("spec", "ephemeralContainers"), spec.ephemeral_containers, confined)
    if initial is spec.init_containers and containers is spec.containers and ephemeral is spec.ephemeral_containers:
        return spec
    return replace(spec, init_containers=initial, containers=containers, ephemeral_containers=ephemeral)


def _mapped(
    path: FieldPath, containers: list[Container] | None, change: Callable[[FieldPath, Container], Container]
) -> list[Container] | None:
    """The list with each container changed; the same list where none is."""
    if not containers:
        return containers
    changed = [change((*path, index), container) for index, container in enumerate(containers)]
    return changed if any(map(is_not, changed, containers)) else containers


def _with_pull_policies_of_volumes(spec: PodSpec, origins: Origins) -> PodSpec:
    """The spec with a pull policy for the image of each volume that has one."""
    volumes = []
    for index, volume in enumerate(spec.volumes or ()):
        image = volume.image
        if image is not None and not image.pull_policy:
            origins[("spec", "volumes", index, "image", "pullPolicy")] = _DEFAULT
            policy = default_pull_policy(image.reference or "")
            volume = replace(volume, image=replace(image, pull_policy=policy))
        volumes.append(volume)
    return replace(spec, volumes=volumes) if any(map(is_not, volumes, spec.volumes or ())) else spec


def _host_ports(ports: list[ContainerPort] | None, path: FieldPath, origins: Origins) -> list[ContainerPort] | None:
    """The ports of a container of the node's network: each port is one of the node's."""
    if not ports or all(port.host_port or not port.container_port for port in ports):
        return ports
    made = []
    for index, port in enumerate(ports):
        if not port.host_port and port.container_port:
            origins[(*path, "ports", index, "hostPort")] = _FROM_HOST_NETWORK
            port = replace(port, host_port=port.container_port)
        made.append(port)
    return made


def _with_app_armor(container: Container, path: FieldPath, pod: Pod, origins: Origins) -> Container:
    """The container with the profile that its annotation names, unless it or the pod has that profile already."""
    key = _APP_ARMOR + container.name
    annotation = annotations_of(pod).get(key)
    context = container.security_context
    if annotation is None or (context is not None and context.app_armor_profile is not None):
        return container
    profile = _annotated_profile(annotation)
    of_pod = pod.spec.security_context.app_armor_profile if pod.spec.security_context is not None else None
    if profile is None or profile == of_pod:
        return container
    origins[(*path, "securityContext", "appArmorProfile")] = _from_annotation(key)
    return replace(container, security_context=replace(context or SecurityContext(), app_armor_profile=profile))


def _annotated_profile(annotation: str) -> AppArmorProfile | None:
    """The profile that an annotation names; None where the API server does not copy it."""
    if annotation == "unconfined":
        return AppArmorProfile("Unconfined")
    if annotation == "runtime/default":
        return AppArmorProfile("RuntimeDefault")
    name = annotation.removeprefix("localhost/")
    if name == annotation or not name.strip() or name != name.strip() or len(name.encode()) > _MAX_PROFILE:
        return None
    return AppArmorProfile("Localhost", name)


def is_token_volume(volume: Volume) -> bool:
    """Whether the API server added the volume for a service account's token, by its name and sources."""
    if volume.projected is None or _TOKEN_VOLUME.fullmatch(volume.name) is None:
        return False
    return any(source.service_account_token is not None for source in volume.projected.sources or ())


def is_token_mount(mount: VolumeMount) -> bool:
    """Whether the API server mounts a token so."""
    return mount.mount_path == TOKEN_PATH and bool(mount.read_only) and not (mount.sub_path or mount.sub_path_expr)


def _mounts_token(spec: PodSpec, objects: NamespaceObjects) -> bool:
    """Whether the pod's own setting, else its account's, is to mount a token."""
    if spec.automount_service_account_token is not None:
        return spec.automount_service_account_token
    account = objects.service_accounts.get(spec.service_account_name or "")
    return account is None or account.automount_service_account_token is not False


def _with_token(spec: PodSpec, origins: Origins) -> PodSpec:
    """The spec with the account's token mounted in each container that has nothing at its path."""
    volumes = spec.volumes or []
    name = next((volume.name for volume in volumes if volume.name.startswith(TOKEN_VOLUME)), None)
    token_mount = VolumeMount(name=name or _NEW_TOKEN_VOLUME.name, read_only=True, mount_path=TOKEN_PATH)

    def mounting(path: FieldPath, container: Container) -> Container:
        mounts = container.volume_mounts or []
        if any(mount.mount_path == TOKEN_PATH for mount in mounts):
            return container
        origins[(*path, "volumeMounts", len(mounts))] = _FOR_TOKEN
        return replace(container, volume_mounts=[*mounts, token_mount])

    initial = _mapped(("spec", "initContainers"), spec.init_containers, mounting)
    containers = _mapped(("spec", "containers"), spec.containers, mounting)
    if initial is spec.init_containers and containers is spec.containers:
        return spec
    if name is None:
        origins[("spec", "volumes", len(volumes))] = _FOR_TOKEN
        volumes = [*volumes, _NEW_TOKEN_VOLUME]
    return replace(spec, init_containers=initial, containers=containers, volumes=volumes)

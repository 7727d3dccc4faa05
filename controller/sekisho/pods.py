"""The typed view of a pod: the fields that judging reads, spelled as in the Kubernetes API, and no others.

Decoding skips every field that is not declared here, so arguments and secrets never become objects. The environment
stays text in the reviews that API servers write; only the control that judges it decodes it.

None means that a field is unset; `null` for a field, a list or a map means the same, as in the API server.
Fields are declared in the order in which the API server writes them, which decodes fastest.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct, field
from msgspec.structs import fields, replace

MAX_REFERENCE_LENGTH: Final = 317
"""Characters of each name in a reference to an object. An apiVersion is the longest: a subdomain, a slash, a label."""


class OwnerReference(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of metadata.ownerReferences."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


def controller_of(references: Sequence[OwnerReference] | None) -> OwnerReference | None:
    """The controller among an object's owner references; None where there is none."""
    return next((owner for owner in references or () if owner.controller), None)


def stored_controller_of(references: Sequence[OwnerReference] | None) -> OwnerReference | None:
    """The controller among the owner references of an object as the API server has it.

    None where there is none, where it is a Node, which is that of mirror pods, or where no object can have its names:
    the API server does not bound their lengths in references.
    """
    owner = controller_of(references)
    if owner is None or (owner.api_version, owner.kind) == ("v1", "Node"):
        return None
    texts = (owner.api_version, owner.kind, owner.name, owner.uid)
    return owner if all(len(text) <= MAX_REFERENCE_LENGTH and text.isascii() for text in texts) else None


class ObjectMeta(Struct, frozen=True, gc=False, rename="camel"):
    """The fields of metadata that matching, defaults and Events read."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class Present(Struct, frozen=True, gc=False):
    """An object whose content does not matter, only whether it is set."""


class SeccompProfile(Struct, frozen=True, gc=False, rename="camel"):
    """securityContext.seccompProfile."""

    type: str = ""
    localhost_profile: str | None = None


class AppArmorProfile(Struct, frozen=True, gc=False, rename="camel"):
    """securityContext.appArmorProfile."""

    type: str = ""
    localhost_profile: str | None = None


class SELinuxOptions(Struct, frozen=True, gc=False, rename="camel"):
    """securityContext.seLinuxOptions."""

    type: str | None = None
    user: str | None = None
    role: str | None = None


class WindowsOptions(Struct, frozen=True, gc=False, rename="camel"):
    """securityContext.windowsOptions."""

    run_as_user_name: str | None = None
    host_process: bool | None = None


class Capabilities(Struct, frozen=True, gc=False):
    """securityContext.capabilities."""

    add: list[str] | None = None
    drop: list[str] | None = None


class SecurityContext(Struct, frozen=True, gc=False, rename="camel"):
    """A container's securityContext."""

    capabilities: Capabilities | None = None
    privileged: bool | None = None
    se_linux_options: SELinuxOptions | None = None
    windows_options: WindowsOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    proc_mount: str | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Sysctl(Struct, frozen=True, gc=False):
    """One entry of the pod's securityContext.sysctls."""

    name: str = ""
    value: str = ""


class PodSecurityContext(Struct, frozen=True, gc=False, rename="camel"):
    """The pod's securityContext."""

    se_linux_options: SELinuxOptions | None = None
    windows_options: WindowsOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] | None = None
    supplemental_groups_policy: str | None = None
    fs_group: int | None = None
    sysctls: list[Sysctl] | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class HostAction(Struct, frozen=True, gc=False):
    """The `host` of an httpGet or tcpSocket action."""

    host: str | None = None


class Handler(Struct, frozen=True, gc=False, rename="camel"):
    """A lifecycle handler."""

    http_get: HostAction | None = None
    tcp_socket: HostAction | None = None


class ExecAction(Struct, frozen=True, gc=False):
    """A probe's exec."""

    command: list[str] | None = None


class HTTPHeader(Struct, frozen=True, gc=False):
    """One entry of a probe's httpGet.httpHeaders."""

    name: str = ""
    value: str = ""


class HTTPGetAction(Struct, frozen=True, gc=False, rename="camel"):
    """A probe's httpGet."""

    path: str | None = None
    port: int | str | None = None
    host: str | None = None
    scheme: str | None = None
    http_headers: list[HTTPHeader] | None = None
    protocol: str | None = None


class TCPSocketAction(Struct, frozen=True, gc=False):
    """A probe's tcpSocket."""

    port: int | str | None = None
    host: str | None = None


class GRPCAction(Struct, frozen=True, gc=False):
    """A probe's grpc."""

    port: int | None = None
    service: str | None = None
    mode: str | None = None


class Probe(Struct, frozen=True, gc=False, rename="camel"):
    """A probe. Its command and its headers may hold secrets, so they are not in the text that `repr` gives."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    termination_grace_period_seconds: int | None = None

    def __repr__(self) -> str:
        return "Probe()"


class Lifecycle(Struct, frozen=True, gc=False, rename="camel"):
    """A container's lifecycle hooks."""

    post_start: Handler | None = None
    pre_stop: Handler | None = None


class ContainerPort(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of a container's ports."""

    host_port: int | None = None
    container_port: int | None = None


class VolumeMount(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of a container's volumeMounts."""

    name: str = ""
    read_only: bool | None = None
    mount_path: str | None = None
    sub_path: str | None = None
    mount_propagation: str | None = None
    sub_path_expr: str | None = None


class VolumeDevice(Struct, frozen=True, gc=False):
    """One entry of a container's volumeDevices."""

    name: str = ""


class Resources(Struct, frozen=True, gc=False):
    """Requests and limits by resource; a manifest may write a quantity as a number."""

    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class EnvVarSource(Struct, frozen=True, gc=False, rename="camel"):
    """containers[*].env[*].valueFrom."""

    secret_key_ref: Present | None = None


class EnvVar(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of a container's env. Its value may be a secret, so it is not in the text that `repr` gives."""

    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None

    def __repr__(self) -> str:
        return f"EnvVar(name={self.name!r})"


class EnvFromSource(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of a container's envFrom."""

    secret_ref: Present | None = None


class Container(Struct, frozen=True, gc=False, rename="camel"):
    """A container, init container or ephemeral container."""

    name: str = ""
    image: str | None = None
    ports: list[ContainerPort] | None = None
    env_from: list[EnvFromSource] | None = None
    env: list[EnvVar] | None = None
    resources: Resources | None = None
    restart_policy: str | None = None
    volume_mounts: list[VolumeMount] | None = None
    volume_devices: list[VolumeDevice] | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    image_pull_policy: str | None = None
    security_context: SecurityContext | None = None
    stdin: bool | None = None
    tty: bool | None = None


class HostPath(Struct, frozen=True, gc=False):
    """volumes[*].hostPath."""

    path: str = ""


class ServiceAccountTokenProjection(Struct, frozen=True, gc=False, rename="camel"):
    """volumes[*].projected.sources[*].serviceAccountToken."""

    audience: str | None = None


class PodCertificateProjection(Struct, frozen=True, gc=False, rename="camel"):
    """volumes[*].projected.sources[*].podCertificate."""

    signer_name: str | None = None


class ProjectedSource(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of volumes[*].projected.sources."""

    service_account_token: ServiceAccountTokenProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class Projected(Struct, frozen=True, gc=False):
    """volumes[*].projected."""

    sources: list[ProjectedSource] | None = None


class ImageVolume(Struct, frozen=True, gc=False, rename="camel"):
    """volumes[*].image."""

    reference: str | None = None
    pull_policy: str | None = None


class FlexVolume(Struct, frozen=True, gc=False):
    """volumes[*].flexVolume."""

    driver: str = ""


class CSIVolume(Struct, frozen=True, gc=False):
    """volumes[*].csi."""

    driver: str = ""


class ClaimSpec(Struct, frozen=True, gc=False, rename="camel"):
    """The spec of a generic ephemeral volume's claim."""

    volume_name: str | None = None
    storage_class_name: str | None = None


class ClaimMeta(Struct, frozen=True, gc=False):
    """The metadata of a generic ephemeral volume's claim."""

    annotations: dict[str, str] | None = None


class ClaimTemplate(Struct, frozen=True, gc=False):
    """volumes[*].ephemeral.volumeClaimTemplate."""

    metadata: ClaimMeta = ClaimMeta()
    spec: ClaimSpec = ClaimSpec()


class EphemeralVolume(Struct, frozen=True, gc=False, rename="camel"):
    """volumes[*].ephemeral."""

    volume_claim_template: ClaimTemplate | None = None


class Volume(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of spec.volumes: its name, and which of the known sources it has."""

    name: str = ""
    host_path: HostPath | None = None
    config_map: Present | None = None
    csi: CSIVolume | None = None
    downward_api: Present | None = field(default=None, name="downwardAPI")
    empty_dir: Present | None = None
    ephemeral: EphemeralVolume | None = None
    image: ImageVolume | None = None
    persistent_volume_claim: Present | None = None
    projected: Projected | None = None
    secret: Present | None = None
    aws_elastic_block_store: Present | None = None
    azure_disk: Present | None = None
    azure_file: Present | None = None
    cephfs: Present | None = None
    cinder: Present | None = None
    fc: Present | None = None
    flex_volume: FlexVolume | None = None
    flocker: Present | None = None
    gce_persistent_disk: Present | None = None
    git_repo: Present | None = None
    glusterfs: Present | None = None
    iscsi: Present | None = None
    nfs: Present | None = None
    photon_persistent_disk: Present | None = None
    portworx_volume: Present | None = None
    quobyte: Present | None = None
    rbd: Present | None = None
    scale_io: Present | None = field(default=None, name="scaleIO")
    storageos: Present | None = None
    vsphere_volume: Present | None = None


VOLUME_KINDS: Mapping[str, str] = {
    source.encode_name: source.name for source in fields(Volume) if source.encode_name != "name"
}
"""The attribute of `Volume` for each kind of volume, by the kind's name in the API."""


def volume_kinds(volume: Volume) -> list[str]:
    """The kinds of source that a volume has: one in a valid pod, none where the kind is not declared here."""
    return [kind for kind, attribute in VOLUME_KINDS.items() if getattr(volume, attribute) is not None]


class PodOS(Struct, frozen=True, gc=False):
    """spec.os."""

    name: str = ""


class PodResourceClaim(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of spec.resourceClaims."""

    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class LocalObjectReference(Struct, frozen=True, gc=False):
    """One entry of spec.imagePullSecrets: a Secret of the pod's namespace."""

    name: str = ""


class Toleration(Struct, frozen=True, gc=False, rename="camel"):
    """One entry of spec.tolerations. An empty key tolerates every taint; an unset operator is Equal."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class NodeSelectorRequirement(Struct, frozen=True, gc=False):
    """A condition on a node's labels, or on its name."""

    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class NodeSelectorTerm(Struct, frozen=True, gc=False, rename="camel"):
    """Conditions that a node meets together."""

    match_expressions: list[NodeSelectorRequirement] | None = None
    match_fields: list[NodeSelectorRequirement] | None = None


class NodeSelector(Struct, frozen=True, gc=False, rename="camel"):
    """Terms of which a node meets one."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class PreferredSchedulingTerm(Struct, frozen=True, gc=False):
    """A term that the scheduler prefers nodes by."""

    preference: NodeSelectorTerm | None = None


class NodeAffinity(Struct, frozen=True, gc=False, rename="camel"):
    """spec.affinity.nodeAffinity."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] | None = None


class Affinity(Struct, frozen=True, gc=False, rename="camel"):
    """spec.affinity."""

    node_affinity: NodeAffinity | None = None


class PodSpec(Struct, frozen=True, gc=False, rename="camel"):
    """The pod's spec."""

    volumes: list[Volume] | None = None
    init_containers: list[Container] | None = None
    containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None
    node_selector: dict[str, str] | None = None
    service_account_name: str | None = None
    service_account: str | None = None
    automount_service_account_token: bool | None = None
    node_name: str | None = None
    host_network: bool | None = None
    host_pid: bool | None = field(default=None, name="hostPID")
    host_ipc: bool | None = field(default=None, name="hostIPC")
    share_process_namespace: bool | None = None
    security_context: PodSecurityContext | None = None
    image_pull_secrets: list[LocalObjectReference] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    priority_class_name: str | None = None
    runtime_class_name: str | None = None
    os: PodOS | None = None
    host_users: bool | None = None
    resource_claims: list[PodResourceClaim] | None = None
    resources: Resources | None = None


class Pod(Struct, frozen=True, gc=False):
    """A pod, or a pod template as the pod that it creates."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class ContainerKind(StrEnum):
    """The list that a container is in, as messages call it."""

    INIT = "init container"
    REGULAR = "container"
    EPHEMERAL = "ephemeral container"


class ContainerRef(Struct, frozen=True, gc=False):
    """A container with its kind and its path from the pod's root, such as ("spec", "containers", 0)."""

    container: Container
    kind: ContainerKind
    path: tuple[str | int, ...]


_INIT, _REGULAR, _EPHEMERAL = ContainerKind  # to look a member up by its name is slow in Python 3.11


def container_refs(spec: PodSpec) -> list[ContainerRef]:
    """All containers of the pod in the order in which they start. Whatever judges containers gets them from here."""
    refs: list[ContainerRef] = []
    for containers, kind, key in (
        (spec.init_containers, _INIT, "initContainers"),
        (spec.containers, _REGULAR, "containers"),
        (spec.ephemeral_containers, _EPHEMERAL, "ephemeralContainers"),
    ):
        if containers:
            refs += [ContainerRef(container, kind, ("spec", key, index)) for index, container in enumerate(containers)]
    return refs


def is_windows(spec: PodSpec) -> bool:
    """Whether spec.os.name is windows; the API server rejects Linux-only fields in such a pod."""
    return spec.os is not None and spec.os.name == "windows"


def in_user_namespace(spec: PodSpec) -> bool:
    """Whether hostUsers is false: root in the pod is then another user on the node."""
    return spec.host_users is False


DEFAULT_GRACE_SECONDS = 30
"""How long a pod may take to stop that does not say it."""
DEFAULTED_ANNOTATION = "sekisho.dev/defaulted"
"""The annotation that says which policy set which defaults."""
WAIVED_ANNOTATION = "sekisho.dev/waived"
"""The annotation that says which waivers exempted a new pod, and from which controls."""
OWN_ANNOTATIONS = frozenset({DEFAULTED_ANNOTATION, WAIVED_ANNOTATION})
"""What Sekisho writes on pods. No policy denies a pod for it."""
DEFAULT_SERVICE_ACCOUNT = "default"
"""The account that a pod runs as which names none."""


def service_account_of(pod: Pod) -> str:
    """The name of the service account that the pod runs as."""
    return pod.spec.service_account_name or pod.spec.service_account or DEFAULT_SERVICE_ACCOUNT


NAME_OF_CRON_JOB = re.compile(r"-[0-9]{8,}$")
"""The end of the name of a Job that a CronJob makes: the CronJob's own name, and the time in minutes."""


def owner_names(pod: Pod) -> tuple[str, ...]:
    """The names of what a user created that the pod comes from: of the pod itself, or of its workload.

    A pod of a Deployment names a ReplicaSet, and shows in a label what the ReplicaSet's name has in addition. The
    pod of a Job may come from a CronJob, so it has both names. A generated name that is not known yet ends in `…`.
    """
    meta = pod.metadata
    owner = controller_of(meta.owner_references)
    if owner is None or owner.kind == "Node":
        return (meta.name or f"{meta.generate_name or ''}…",)
    if owner.kind == "ReplicaSet":
        template_hash = (meta.labels or {}).get("pod-template-hash")
        return (owner.name.removesuffix(f"-{template_hash}") if template_hash else owner.name,)
    if owner.kind == "Job" and NAME_OF_CRON_JOB.search(owner.name):
        return owner.name, NAME_OF_CRON_JOB.sub("", owner.name)
    return (owner.name,)


def in_namespace(pod: Pod, namespace: str) -> Pod:
    """The pod in its namespace: a template or manifest may name none, or one that the API server does not read."""
    return (
        pod
        if pod.metadata.namespace == namespace
        else replace(pod, metadata=replace(pod.metadata, namespace=namespace))
    )


def annotations_of(pod: Pod) -> Mapping[str, str]:
    """The pod's annotations, empty when unset."""
    return pod.metadata.annotations or {}


class JobTemplate(Struct, frozen=True, gc=False):
    """A CronJob's spec.jobTemplate."""

    spec: "WorkloadSpec | None" = None


class VolumeClaimTemplate(Struct, frozen=True, gc=False):
    """One entry of a StatefulSet's spec.volumeClaimTemplates."""

    metadata: ObjectMeta = ObjectMeta()


class WorkloadSpec(PodSpec, frozen=True, gc=False, rename="camel"):
    """The spec of a pod or of a workload: one type, so that one pass decodes either."""

    template: Pod | None = None
    job_template: JobTemplate | None = None
    volume_claim_templates: list[VolumeClaimTemplate] | None = None


class Workload(Pod, frozen=True, gc=False):
    """A pod, or an object that holds a pod template."""

    spec: WorkloadSpec = WorkloadSpec()
    template: Pod | None = None


class WorkloadMeta(Struct, frozen=True, gc=False):
    """What an object with a pod template is: its kind, and its own metadata."""

    kind: str
    metadata: ObjectMeta

    @property
    def has_maker(self) -> bool:
        """Whether a Deployment or a CronJob made the object, and not a user."""
        owner = controller_of(self.metadata.owner_references)
        return owner is not None and (owner.kind, self.kind) in _MADE

    @property
    def name(self) -> str:
        """The name that a user gave it, without what the API server adds."""
        return self.metadata.generate_name or self.metadata.name or ""


_MADE = frozenset((("Deployment", "ReplicaSet"), ("CronJob", "Job")))
TemplatePath = tuple[str, ...]
_SPEC_TEMPLATE = ("spec", "template")
POD_TEMPLATES: Mapping[tuple[str, str], TemplatePath] = {
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _SPEC_TEMPLATE,
    ("apps", "ReplicaSet"): _SPEC_TEMPLATE,
    ("apps", "Deployment"): _SPEC_TEMPLATE,
    ("apps", "StatefulSet"): _SPEC_TEMPLATE,
    ("apps", "DaemonSet"): _SPEC_TEMPLATE,
    ("batch", "Job"): _SPEC_TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""The path of the pod template in each kind of workload, by group and kind."""


def pod_template(workload: Workload, group: str, kind: str) -> Pod | None:
    """The pod template of a workload as the pod that it creates; None where the workload has none.

    group, kind: those of the workload, which must be in POD_TEMPLATES.

    The pod's controller is the workload.
    """
    template = _template(workload, group, kind)
    return None if template is None else made_by(template, kind, workload.metadata)


def made_by(template: Pod, kind: str, meta: ObjectMeta) -> Pod:
    """A pod template as the pod that the object with it creates; kind and meta are the object's."""
    # Never what that object comes from: pods do not show it, so nothing may be judged by it.
    owner = OwnerReference(kind=kind, name=meta.name or f"{meta.generate_name or ''}…", controller=True)
    return replace(template, metadata=replace(template.metadata, owner_references=[owner]))


def _template(workload: Workload, group: str, kind: str) -> Pod | None:
    path = POD_TEMPLATES[group, kind]
    if path == ("template",):
        return workload.template
    if path == _SPEC_TEMPLATE:
        # Other kinds do not have the field: the API server drops it, and it must not hide a volume.
        claims = workload.spec.volume_claim_templates if kind == "StatefulSet" else None
        return _with_claims(workload.spec.template, claims)
    job = workload.spec.job_template
    return job.spec.template if job is not None and job.spec is not None else None


CLAIM_FROM_TEMPLATE = Present()
"""The source of a volume that the StatefulSet controller puts into each pod for one of spec.volumeClaimTemplates."""


def _with_claims(template: Pod | None, claims: list[VolumeClaimTemplate] | None) -> Pod | None:
    """The template with a volume for each claim, instead of one of the same name."""
    if template is None or not claims:
        return template
    missing = {claim.metadata.name or "": None for claim in claims}
    volumes = []
    for volume in template.spec.volumes or ():
        if volume.name in missing:
            del missing[volume.name]
            volume = Volume(name=volume.name, persistent_volume_claim=CLAIM_FROM_TEMPLATE)
        volumes.append(volume)
    volumes += [Volume(name=name, persistent_volume_claim=CLAIM_FROM_TEMPLATE) for name in missing]
    return replace(template, spec=replace(template.spec, volumes=volumes))

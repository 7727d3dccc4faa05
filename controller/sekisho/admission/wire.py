"""A review of a pod as an API server writes it: decoded in one pass that also proves that no key is duplicate.

A decoder keeps one of two members of the same name. So when encoding the decoded objects gives the same text again, no
object has a duplicate key. For that, the types here name every key of the objects that judging reads, in the order in
which the API server writes them; other values stay raw and are copied. The attributes are those of the types in
`sekisho.pods`, so that either type can be judged.

Sources: k8s.io/api core/v1 and admission/v1, k8s.io/apimachinery meta/v1 (types.go), Kubernetes 1.37
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Raw, Struct, field

from sekisho import pods

_CONTEXT: Final = "seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot"
_META: Final = (
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp "
    "deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields"
)
_KEYS: Final[Mapping[type[Struct], str]] = {
    pods.SeccompProfile: "type localhostProfile",
    pods.AppArmorProfile: "type localhostProfile",
    pods.SELinuxOptions: "user role type level",
    pods.WindowsOptions: "gmsaCredentialSpecName gmsaCredentialSpec runAsUserName hostProcess",
    pods.Capabilities: "add drop",
    pods.SecurityContext: f"capabilities privileged {_CONTEXT} readOnlyRootFilesystem allowPrivilegeEscalation "
    "procMount seccompProfile appArmorProfile",
    pods.Sysctl: "name! value!",
    pods.PodSecurityContext: f"{_CONTEXT} supplementalGroups supplementalGroupsPolicy fsGroup sysctls "
    "fsGroupChangePolicy seccompProfile appArmorProfile seLinuxChangePolicy",
    pods.HostAction: "path port host scheme httpHeaders protocol",
    pods.Handler: "exec httpGet tcpSocket sleep",
    pods.HTTPHeader: "name! value!",
    pods.HTTPGetAction: "path port! host scheme httpHeaders~ protocol",
    pods.TCPSocketAction: "port! host",
    pods.GRPCAction: "port! service! mode",
    pods.ExecAction: "command",
    pods.Probe: "exec~ httpGet tcpSocket grpc initialDelaySeconds timeoutSeconds periodSeconds successThreshold "
    "failureThreshold terminationGracePeriodSeconds",
    pods.Lifecycle: "postStart preStop stopSignal",
    pods.ContainerPort: "name hostPort containerPort protocol hostIP",
    pods.VolumeMount: "name! readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr "
    "bindMountOptions",
    pods.VolumeDevice: "name! devicePath!",
    pods.Resources: "limits requests claims",
    pods.EnvVarSource: "fieldRef resourceFieldRef configMapKeyRef secretKeyRef fileKeyRef",
    pods.EnvVar: "name! value valueFrom",
    pods.EnvFromSource: "prefix configMapRef secretRef",
    pods.Container: "name! image command args workingDir ports envFrom~ env~ resources resizePolicy restartPolicy "
    "restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle "
    "terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty "
    "targetContainerName",
    pods.HostPath: "path! type",
    pods.ServiceAccountTokenProjection: "audience expirationSeconds path user",
    pods.PodCertificateProjection: "signerName keyType maxExpirationSeconds credentialBundlePath keyPath "
    "certificateChainPath userAnnotations user",
    pods.ProjectedSource: "secret downwardAPI configMap serviceAccountToken clusterTrustBundle podCertificate",
    pods.Projected: "sources! defaultMode defaultUser",
    pods.ImageVolume: "reference pullPolicy",
    pods.FlexVolume: "driver! fsType secretRef readOnly options",
    pods.CSIVolume: "driver! readOnly fsType volumeAttributes nodePublishSecretRef",
    pods.ClaimSpec: "accessModes selector resources volumeName storageClassName volumeMode dataSource dataSourceRef "
    "volumeAttributesClassName",
    pods.ClaimMeta: _META,
    pods.ClaimTemplate: "metadata spec!",
    pods.EphemeralVolume: "volumeClaimTemplate",
    pods.Volume: "name! hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo secret nfs iscsi glusterfs "
    "persistentVolumeClaim rbd flexVolume cinder cephfs flocker downwardAPI fc azureFile configMap vsphereVolume "
    "quobyte azureDisk photonPersistentDisk projected portworxVolume scaleIO storageos csi ephemeral image",
    pods.PodOS: "name!",
    pods.LocalObjectReference: "name",
    pods.PodResourceClaim: "name! resourceClaimName resourceClaimTemplateName",
    pods.Toleration: "key operator value effect tolerationSeconds",
    pods.NodeSelectorRequirement: "key! operator! values",
    pods.NodeSelectorTerm: "matchExpressions matchFields",
    pods.NodeSelector: "nodeSelectorTerms!",
    pods.PreferredSchedulingTerm: "weight! preference!",
    pods.NodeAffinity: "requiredDuringSchedulingIgnoredDuringExecution preferredDuringSchedulingIgnoredDuringExecution",
    pods.Affinity: "nodeAffinity podAffinity podAntiAffinity",
    pods.PodSpec: "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds "
    "activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken "
    "nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain "
    "affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates "
    "runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os "
    "hostUsers schedulingGates resourceClaims resources hostnameOverride workloadRef schedulingGroup "
    "evictionResponders",
    pods.OwnerReference: "apiVersion! kind! name! uid! controller blockOwnerDeletion",
    pods.ObjectMeta: _META,
    pods.Pod: "kind apiVersion metadata! spec! status",
}
"""The keys of each object, in order; those with ! are written even when they are empty, those with ~ stay raw."""

REQUEST: Final = (
    "uid! kind! resource! subResource requestKind requestResource requestSubResource name namespace operation! "
    "userInfo! object! oldObject! dryRun options"
)
"""The keys of a review's request, in the same way."""
POD_SPEC_KEYS: Final = frozenset(_KEYS[pods.PodSpec].split())
"""The keys of a pod's spec that this version knows."""

_UNREAD: Final = Raw()


@cache
def _fields_of(lean: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(lean)


def wire_type(lean: type[Struct], keys: str, others: Mapping[type, Any]) -> type[Struct]:
    """A type with the attributes of `lean` and all `keys`; `others` maps types to those that replace them."""
    read = {known.encode_name: known for known in _fields_of(lean)}
    made: list[tuple[str, Any, Any]] = []
    for key in keys.split():
        name, required = key.rstrip("!~"), key.endswith("!")
        if key.endswith("~"):
            made.append((read[name].name, Raw, field(default=_UNREAD, name=name)))
        elif name in read:
            known = read[name]
            default = NODEFAULT if required else known.default
            made.append((known.name, _replaced(known.type, others), field(default=default, name=name)))
        else:
            made.append((f"unread_{name}", Raw, field(default=_UNREAD, name=name)))
    return msgspec.defstruct(f"Wire{lean.__name__}", made, frozen=True, kw_only=True, gc=False, omit_defaults=True)


def _replaced(hint: Any, others: Mapping[type, Any]) -> Any:
    """A type hint with the types in it replaced as `others` says."""
    if hint in others:
        return others[hint]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_replaced(part, others) for part in get_args(hint))]  # noqa: UP007 - of a tuple
    if get_origin(hint) in (list, dict):
        return get_origin(hint)[tuple(_replaced(part, others) for part in get_args(hint))]
    return hint


def _types_in(hint: Any) -> Iterator[Any]:
    """The types that a type hint is made of, at any depth."""
    yield hint
    for part in get_args(hint):
        yield from _types_in(part)


def require_every_field(lean: type[Struct], keys: str, others: Mapping[type, Any]) -> None:
    """Raises TypeError where the keys lack a field of `lean`, or `others` a type of one: no pod would have it set."""
    fields = _fields_of(lean)
    missing = {known.encode_name for known in fields} - {key.rstrip("!~") for key in keys.split()}
    if missing:
        raise TypeError(f"the keys of {lean.__name__} lack {', '.join(sorted(missing))}; add them in the API's order")
    for known in fields:
        for part in _types_in(known.type):
            if isinstance(part, type) and issubclass(part, Struct) and part not in others:
                raise TypeError(f"the keys of {part.__name__} must be listed before those of {lean.__name__}")


def _pod() -> Any:
    others: dict[type, Any] = {pods.Present: dict[str, Raw]}
    for lean, keys in _KEYS.items():
        require_every_field(lean, keys, others)
        others[lean] = wire_type(lean, keys, others)
    return others[pods.Pod]


POD: Final = _pod()

"""seLinuxOptions: the SELinux type must be one for containers, and user and role must be unset.

Restricted fields: spec.securityContext.seLinuxOptions.{type,user,role},
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.seLinuxOptions.{type,user,role}
Allowed values: type unset, empty, container_t, container_init_t, container_kvm_t, and from v1.31 container_engine_t;
    user and role unset or empty
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (SELinux)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, Parameters, inherits_by_update
from sekisho.findings import FieldPath, Finding, remove, words
from sekisho.pods import ContainerRef, Pod
from sekisho.pods import SELinuxOptions as PodSELinuxOptions

_FIELD = ("securityContext", "seLinuxOptions")
_TYPES = ("container_t", "container_init_t", "container_kvm_t")


class SELinuxOptions(Parameters, frozen=True):
    """Which SELinux types pods and containers may have."""

    allowed_types: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
            Meta(
                description="SELinux types that are allowed; unset always is. Replaces the standard's list.",
                max_length=64,
            ),
        ]
        | None
    ) = None
    additional_allowed_types: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
            Meta(description="SELinux types that are allowed besides those of the standard.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, minor: int) -> SELinuxOptions | None:
    if level == Level.PRIVILEGED:
        return None
    return SELinuxOptions(allowed_types=(*_TYPES, "container_engine_t") if minor >= 31 else _TYPES)


def _check(parameters: SELinuxOptions, _minor: int) -> Check:
    types = parameters.allowed_types or ()
    allowed = words(["unset", *types])

    def options_findings(
        options: PodSELinuxOptions, above: FieldPath, about: ContainerRef | None = None
    ) -> list[Finding]:
        findings = []
        if options.type and options.type not in types:
            findings.append(_not_allowed((*above, *_FIELD, "type"), options.type, allowed, about))
        if options.user:
            findings.append(_not_allowed((*above, *_FIELD, "user"), options.user, "unset", about))
        if options.role:
            findings.append(_not_allowed((*above, *_FIELD, "role"), options.role, "unset", about))
        return findings

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        of_pod = None if context is None else context.se_linux_options
        findings = [] if of_pod is None else options_findings(of_pod, ("spec",))
        is_pod_denied = bool(findings)
        for ref in containers:
            own_context = ref.container.security_context
            own = None if own_context is None else own_context.se_linux_options
            if own is not None:
                findings += options_findings(own, ref.path, ref)
            elif is_pod_denied and inherits_by_update(ref):
                findings.append(_inherits(ref))
        return findings

    return judge


def _not_allowed(path: FieldPath, value: str, allowed: str, about: ContainerRef | None) -> Finding:
    return Finding.of("seLinuxOptions", path, value, allowed=allowed, fix="remove it", change=remove(path), about=about)


def _inherits(ref: ContainerRef) -> Finding:
    return Finding.of(
        "seLinuxOptions",
        ref.path + _FIELD,
        None,
        allowed="set, as the pod's are denied",
        fix="set its type to container_t",
        about=ref,
    )


CONTROL = Control(
    name="seLinuxOptions",
    reason="its seLinuxOptions",
    summary="The SELinux type must be one for containers; user and role may not be set.",
    why="Another type, such as spc_t, or another user or role removes the separation between container and node.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {seLinuxOptions: {type: spc_t}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {seLinuxOptions: {type: container_t, level: "s0:c123,c456"}}
""",
    ),
    parameters=SELinuxOptions,
    standard=_standard,
    check=_check,
)

"""The policy types: the one source of the custom resource definitions, of strict loading and of the documentation.

Every field carries its description; unknown fields are errors everywhere below `spec`.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from sekisho.controls import CONTROLS, Level
from sekisho.controls.control import cel
from sekisho.policies.defaults import Defaults
from sekisho.policies.selectors import Match, PodMatch
from sekisho.standards import VERSION_PATTERN

GROUP: Final = "sekisho.dev"
VERSION: Final = "v1alpha1"


class Enforcement(StrEnum):
    """What happens to a pod that violates a policy."""

    DENY = "Deny"
    WARN = "Warn"
    AUDIT = "Audit"


class TemplateEnforcement(StrEnum):
    """What happens to a workload whose pods would violate a policy, when the workload is applied."""

    DENY = "Deny"
    WARN = "Warn"
    IGNORE = "Ignore"


class Standard(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A level of the Pod Security Standards, at a version."""

    level: (
        Annotated[
            Level,
            Meta(
                description="privileged allows everything, baseline prevents known privilege escalations, "
                "restricted requires least privilege."
            ),
        ]
        | None
    ) = None
    version: (
        Annotated[
            str,
            Meta(
                description="The version of the standard: latest, or v1.0 to v1.37 to pin it; latest if unset.",
                pattern=VERSION_PATTERN,
            ),
        ]
        | None
    ) = None


class PodSecurityStandard(Standard, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A level of the Pod Security Standards, at a version; or the levels that each namespace's labels set."""

    from_namespace_labels: Annotated[
        bool,
        Meta(
            description="Read levels and versions from the namespace's labels pod-security.kubernetes.io/enforce, "
            "warn and audit, as the built-in Pod Security admission does."
        ),
    ] = False


if TYPE_CHECKING:

    class Controls(Struct, frozen=True):
        """One optional field a control, by the control's name: read with getattr."""

else:
    Controls = msgspec.defstruct(
        "Controls",
        [
            (name, Annotated[control.parameters, Meta(description=control.summary)] | None, None)
            for name, control in CONTROLS.items()
        ],
        frozen=True,
        forbid_unknown_fields=True,
        namespace={
            "__doc__": "Controls by name. A control that is set here replaces the one of the same name in the standard."
        },
    )


MAX_MESSAGE: Final = 256
"""Characters of a policy's own message."""
PRINTABLE: Final = "must be one line without control characters"
EITHER_LEVEL_OR_LABELS: Final = "set either level, with or without version, or fromNamespaceLabels: true"
LEVEL: Final = "set level"


class PodPolicySpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the policy requires of pods in its namespace, and of which pods."""

    enforcement: Annotated[
        Enforcement,
        Meta(
            description="What happens to a pod that violates the policy: Deny denies it, Warn admits it with a "
            "warning, Audit only adds a note to the audit log."
        ),
    ] = Enforcement.DENY
    templates: Annotated[
        TemplateEnforcement,
        Meta(
            description="What happens when a workload (Deployment, Job …) is applied whose pods would violate the "
            "policy: Warn returns a warning, Deny denies the workload, Ignore does nothing until its pods "
            "are created."
        ),
    ] = TemplateEnforcement.WARN
    match: Annotated[
        PodMatch, Meta(description="Which pods the policy applies to; every pod of its namespace if unset.")
    ] = PodMatch()
    message: (
        Annotated[
            str,
            Meta(
                description="One line of plain text that follows the fix wherever a violation of the policy is shown, "
                "such as a link to your rules or whom to ask.",
                min_length=1,
                max_length=MAX_MESSAGE,
                pattern="^[^\\s]([^\\n\\r]*[^\\s])?$",
            ),
        ]
        | None
    ) = None
    pod_security_standard: (
        Annotated[
            Standard,
            Meta(
                description="The level of the Pod Security Standards that pods must meet.",
                extra_json_schema=cel("has(self.level)", LEVEL),
            ),
        ]
        | None
    ) = None
    controls: Annotated[
        Controls, Meta(description="Controls by name, in addition to or instead of the standard's.")
    ] = Controls()
    defaults: Annotated[
        Defaults, Meta(description="Defaults for fields that a pod leaves unset, and mirrors of registries.")
    ] = Defaults()


class ClusterPodPolicySpec(PodPolicySpec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the policy requires of pods, and of which pods."""

    match: Annotated[Match, Meta(description="Which pods the policy applies to; every pod if unset.")] = Match()
    pod_security_standard: (
        Annotated[
            PodSecurityStandard,
            Meta(
                description="The level of the Pod Security Standards that pods must meet.",
                extra_json_schema=cel(
                    "has(self.level) != (has(self.fromNamespaceLabels) && self.fromNamespaceLabels) && "
                    "!(has(self.version) && !has(self.level))",
                    EITHER_LEVEL_OR_LABELS,
                ),
            ),
        ]
        | None
    ) = None


class PolicyMeta(Struct, frozen=True, rename="camel"):
    """The metadata of a policy or a waiver that Sekisho reads."""

    name: str
    namespace: str = ""
    generation: int = 0
    uid: str = ""
    resource_version: str = ""


class ClusterPodPolicy(Struct, frozen=True, rename="camel"):
    """A policy for pods in the cluster: what it requires of them, and the defaults that it applies."""

    metadata: PolicyMeta
    spec: ClusterPodPolicySpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "ClusterPodPolicy"
    status: Any = None

    @property
    def title(self) -> str:
        """The policy's name in findings, waivers and metrics."""
        return self.metadata.name


class PodPolicy(Struct, frozen=True, rename="camel"):
    """A policy for the pods of its own namespace. It adds requirements to the ClusterPodPolicies', and removes none."""

    metadata: PolicyMeta
    spec: PodPolicySpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "PodPolicy"
    status: Any = None

    @property
    def title(self) -> str:
        """The policy's name in findings, waivers and metrics: namespace/name, which no ClusterPodPolicy can have."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

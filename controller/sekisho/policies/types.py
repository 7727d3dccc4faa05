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
                description="privileged allows all, baseline stops known escalations, restricted asks for the "
                "least privilege."
            ),
        ]
        | None
    ) = None
    version: (
        Annotated[
            str,
            Meta(
                description="The version of the standard: latest, or v1.0 to v1.37 to pin it; latest when left out.",
                pattern=VERSION_PATTERN,
            ),
        ]
        | None
    ) = None


class PodSecurityStandard(Standard, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A level of the Pod Security Standards, at a version; or the levels that each namespace's labels ask for."""

    from_namespace_labels: Annotated[
        bool,
        Meta(
            description="Take levels and versions from the namespace's labels pod-security.kubernetes.io/enforce, "
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
        namespace={"__doc__": "Controls by name. One named here replaces the standard's control of the same name."},
    )


EITHER_LEVEL_OR_LABELS: Final = "set either level, with or without version, or fromNamespaceLabels: true"
LEVEL: Final = "set level"


class PodPolicySpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the policy asks of the pods of its namespace, and of which."""

    enforcement: Annotated[
        Enforcement,
        Meta(
            description="What happens to a pod that violates the policy: Deny denies it, Warn admits it with a "
            "warning, Audit only notes it in the audit log."
        ),
    ] = Enforcement.DENY
    templates: Annotated[
        TemplateEnforcement,
        Meta(
            description="What happens when a workload (Deployment, Job …) is applied whose pods would violate the "
            "policy: Warn tells at once, Deny denies the workload, Ignore waits for its pods."
        ),
    ] = TemplateEnforcement.WARN
    match: Annotated[
        PodMatch, Meta(description="Which pods the policy is about; every pod of its namespace when left out.")
    ] = PodMatch()
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
    controls: Annotated[Controls, Meta(description="Controls by name, beside or instead of the standard's.")] = (
        Controls()
    )
    defaults: Annotated[Defaults, Meta(description="What is filled in where a pod leaves it unset.")] = Defaults()


class ClusterPodPolicySpec(PodPolicySpec, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the policy asks of pods, and of which."""

    match: Annotated[Match, Meta(description="Which pods the policy is about; every pod when left out.")] = Match()
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
    """A policy about pods: what they must be like to enter the cluster, and what is filled in for them."""

    metadata: PolicyMeta
    spec: ClusterPodPolicySpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "ClusterPodPolicy"
    status: Any = None

    @property
    def title(self) -> str:
        """How findings, waivers and metrics name the policy."""
        return self.metadata.name


class PodPolicy(Struct, frozen=True, rename="camel"):
    """A policy about the pods of its own namespace. It adds to what the cluster's policies ask, and lifts nothing."""

    metadata: PolicyMeta
    spec: PodPolicySpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "PodPolicy"
    status: Any = None

    @property
    def title(self) -> str:
        """How findings, waivers and metrics name the policy: namespace/name, as no ClusterPodPolicy is named."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

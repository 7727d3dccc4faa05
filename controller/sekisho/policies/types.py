"""The policy types: the one source of the custom resource definitions, of strict loading and of the documentation.

Every field carries its description; unknown fields are errors everywhere below `spec`.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from sekisho.controls import CONTROLS, Level
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


class SelectorOperator(StrEnum):
    """How a label selector compares a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class DefaultsProfile(StrEnum):
    """Defaults that go with a level of the Pod Security Standards."""

    BASELINE = "baseline"
    RESTRICTED = "restricted"


NamespacePattern = Annotated[str, Meta(pattern="^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$", max_length=63)]
LabelKey = Annotated[str, Meta(min_length=1, max_length=317)]
LabelValue = Annotated[str, Meta(max_length=63)]
SubjectName = Annotated[str, Meta(min_length=1, max_length=512)]
ServiceAccount = Annotated[
    str, Meta(pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=317)
]
RuntimeClass = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
UserId = Annotated[int, Meta(ge=0, le=2147483647)]


class LabelSelectorRequirement(Struct, frozen=True, forbid_unknown_fields=True):
    """One condition on a label."""

    key: Annotated[LabelKey, Meta(description="The label's key.")]
    operator: Annotated[
        SelectorOperator, Meta(description="How the label is compared: In, NotIn, Exists or DoesNotExist.")
    ]
    values: (
        Annotated[
            tuple[LabelValue, ...],
            Meta(description="The values for In and NotIn; none for Exists and DoesNotExist.", max_length=256),
        ]
        | None
    ) = None


class LabelSelector(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A label selector as everywhere in Kubernetes: all conditions must hold; an empty one selects everything."""

    match_labels: (
        Annotated[dict[str, LabelValue], Meta(description="Labels that must have exactly these values.")] | None
    ) = None
    match_expressions: (
        Annotated[tuple[LabelSelectorRequirement, ...], Meta(description="Conditions on labels.", max_length=64)] | None
    ) = None


class Subjects(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who makes a request, by exact name; a request matches if its user is in any of the lists."""

    users: (
        Annotated[
            tuple[SubjectName, ...],
            Meta(description="Users by their exact names, as the API server authenticates them.", max_length=256),
        ]
        | None
    ) = None
    groups: (
        Annotated[tuple[SubjectName, ...], Meta(description="Groups of users by their exact names.", max_length=256)]
        | None
    ) = None
    service_accounts: (
        Annotated[
            tuple[ServiceAccount, ...],
            Meta(
                description="Service accounts as namespace/name. Pods of a Deployment, a Job and the like are created "
                "by the controllers' accounts and not by whoever applied it.",
                max_length=256,
            ),
        ]
        | None
    ) = None


class PodMatch(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods of its namespace a policy is about: those for which every field that is set holds."""

    pod_selector: Annotated[LabelSelector, Meta(description="Selects pods by their labels.")] | None = None
    exclude_subjects: (
        Annotated[
            Subjects,
            Meta(
                description="Requests of these users, groups and service accounts are left out. It is about who "
                "creates or changes the pod, not about the account that the pod runs as."
            ),
        ]
        | None
    ) = None
    exclude_runtime_classes: (
        Annotated[
            tuple[RuntimeClass, ...],
            Meta(
                description="Pods with one of these as spec.runtimeClassName are left out, such as those of a sandbox.",
                max_length=64,
            ),
        ]
        | None
    ) = None


class Match(PodMatch, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods a policy is about: those for which every field that is set holds; empty means every pod."""

    namespaces: (
        Annotated[
            tuple[NamespacePattern, ...],
            Meta(
                description="Namespaces by name; * stands for any characters, so team-* covers team-a and team-b.",
                min_length=1,
                max_length=1024,
            ),
        ]
        | None
    ) = None
    exclude_namespaces: (
        Annotated[
            tuple[NamespacePattern, ...],
            Meta(
                description="Namespaces that the policy leaves out, in the same form; it outweighs the others.",
                max_length=1024,
            ),
        ]
        | None
    ) = None
    namespace_selector: Annotated[LabelSelector, Meta(description="Selects namespaces by their labels.")] | None = None


class PodSecurityStandard(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A level of the Pod Security Standards, at a version; or the levels that each namespace's labels ask for."""

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
    from_namespace_labels: Annotated[
        bool,
        Meta(
            description="Take levels and versions from the namespace's labels pod-security.kubernetes.io/enforce, "
            "warn and audit, as the built-in Pod Security admission does."
        ),
    ] = False


class SeccompDefault(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A seccomp profile."""

    type: Annotated[Literal["RuntimeDefault", "Localhost"], Meta(description="The type of the profile.")]
    localhost_profile: (
        Annotated[
            str,
            Meta(description="The profile's file on the node, for the type Localhost.", min_length=1, max_length=253),
        ]
        | None
    ) = None


class CapabilitiesDefault(Struct, frozen=True, forbid_unknown_fields=True):
    """Linux capabilities."""

    drop: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]*$", max_length=64)], ...],
        Meta(
            description="Capabilities added to the list of those that the container drops.", min_length=1, max_length=64
        ),
    ]


class PodSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fields of the pod's securityContext that are filled in where the pod leaves them unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    fs_group: Annotated[UserId, Meta(description="Default of fsGroup.")] | None = None
    seccomp_profile: Annotated[SeccompDefault, Meta(description="Default of seccompProfile.")] | None = None


class ContainerSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fields of each container's securityContext that are filled in where container and pod leave them unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    allow_privilege_escalation: (
        Annotated[
            Literal[False],
            Meta(description="Default of allowPrivilegeEscalation; left out where the API would reject it."),
        ]
        | None
    ) = None
    read_only_root_filesystem: Annotated[bool, Meta(description="Default of readOnlyRootFilesystem.")] | None = None
    capabilities: Annotated[CapabilitiesDefault, Meta(description="Capabilities to drop.")] | None = None
    seccomp_profile: Annotated[SeccompDefault, Meta(description="Default of seccompProfile.")] | None = None


class PodDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for the pod itself."""

    security_context: (
        Annotated[PodSecurityContextDefaults, Meta(description="Defaults for the pod's securityContext.")] | None
    ) = None
    automount_service_account_token: (
        Annotated[bool, Meta(description="Default of automountServiceAccountToken.")] | None
    ) = None


class ContainerDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for every container."""

    security_context: (
        Annotated[ContainerSecurityContextDefaults, Meta(description="Defaults for each container's securityContext.")]
        | None
    ) = None


class Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    """What is filled in where a pod leaves it unset. An explicit value is never changed, and is then judged."""

    profile: (
        Annotated[
            DefaultsProfile,
            Meta(
                description="restricted fills in what that level asks for; baseline, which asks for nothing, the "
                "seccomp profile RuntimeDefault."
            ),
        ]
        | None
    ) = None
    pod: (
        Annotated[PodDefaults, Meta(description="Defaults for the pod itself; they outweigh the profile's.")] | None
    ) = None
    container: (
        Annotated[ContainerDefaults, Meta(description="Defaults for every container; they outweigh the profile's.")]
        | None
    ) = None


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


_EITHER_LEVEL_OR_LABELS: Final = {
    "rule": "has(self.level) != (has(self.fromNamespaceLabels) && self.fromNamespaceLabels) && "
    "!(has(self.version) && !has(self.level))",
    "message": "set either level, with or without version, or fromNamespaceLabels: true",
}


class ClusterPodPolicySpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the policy asks of pods, and of which."""

    enforcement: Annotated[
        Enforcement,
        Meta(
            description="What happens to a pod that violates the policy: Deny refuses it, Warn admits it with a "
            "warning, Audit only notes it in the audit log."
        ),
    ] = Enforcement.DENY
    templates: Annotated[
        TemplateEnforcement,
        Meta(
            description="What happens when a workload (Deployment, Job …) is applied whose pods would violate the "
            "policy: Warn tells at once, Deny refuses the workload, Ignore waits for its pods."
        ),
    ] = TemplateEnforcement.WARN
    match: Annotated[Match, Meta(description="Which pods the policy is about; every pod when left out.")] = Match()
    pod_security_standard: (
        Annotated[
            PodSecurityStandard,
            Meta(
                description="The level of the Pod Security Standards that pods must meet.",
                extra_json_schema={"x-kubernetes-validations": [_EITHER_LEVEL_OR_LABELS]},
            ),
        ]
        | None
    ) = None
    controls: Annotated[Controls, Meta(description="Controls by name, beside or instead of the standard's.")] = (
        Controls()
    )
    defaults: Annotated[Defaults, Meta(description="What is filled in where a pod leaves it unset.")] = Defaults()


class Condition(Struct, frozen=True, rename="camel"):
    """A condition, in the form that Kubernetes gives all of them."""

    type: Annotated[str, Meta(description="Accepted, or Enforced.", max_length=316)]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether the condition holds.")]
    reason: Annotated[str, Meta(description="Why, in one word.", min_length=1, max_length=1024)]
    message: Annotated[str, Meta(description="Why, for people.", max_length=32768)]
    last_transition_time: Annotated[
        str, Meta(description="When the status last changed.", extra_json_schema={"format": "date-time"})
    ]
    observed_generation: (
        Annotated[int, Meta(description="The generation that the condition is about.", ge=0)] | None
    ) = None


class ClusterPodPolicyStatus(Struct, frozen=True, rename="camel"):
    """What became of the policy."""

    observed_generation: Annotated[int, Meta(description="The generation that this status is about.", ge=0)] | None = (
        None
    )
    enforced_by: (
        Annotated[
            str,
            Meta(description="How many of the webhook's replicas enforce this generation, such as 3/3.", max_length=32),
        ]
        | None
    ) = None
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the policy is valid. Enforced: every replica enforces this generation.",
                extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
                max_length=16,
            ),
        ]
        | None
    ) = None


class PolicyMeta(Struct, frozen=True, rename="camel"):
    """The metadata of a policy that Sekisho reads."""

    name: str
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

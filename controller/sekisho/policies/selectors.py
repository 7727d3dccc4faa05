"""Which pods a policy applies to: the types. `matching` compiles them."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import cel


class SelectorOperator(StrEnum):
    """How a label selector compares a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


NamespacePattern = Annotated[str, Meta(pattern="^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$", max_length=63)]
LABEL_KEY = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LabelKey = Annotated[str, Meta(pattern=LABEL_KEY, max_length=317)]
LabelValue = Annotated[str, Meta(pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$", max_length=63)]
SubjectName = Annotated[str, Meta(min_length=1, max_length=512)]
ServiceAccount = Annotated[
    str, Meta(pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=317)
]
RuntimeClass = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class LabelSelectorRequirement(Struct, frozen=True, forbid_unknown_fields=True):
    """One condition on a label."""

    key: Annotated[LabelKey, Meta(description="The label's key.")]
    operator: Annotated[
        SelectorOperator, Meta(description="How the label is compared: In, NotIn, Exists or DoesNotExist.")
    ]
    values: (
        Annotated[
            tuple[LabelValue, ...],
            Meta(
                description="The values for In and NotIn; must be unset or empty for Exists and DoesNotExist.",
                max_length=256,
                extra_json_schema={"x-kubernetes-list-type": "atomic"},
            ),
        ]
        | None
    ) = None


class LabelSelector(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A Kubernetes label selector: all conditions must hold; an empty one selects everything."""

    match_labels: (
        Annotated[dict[str, LabelValue], Meta(description="Labels that must have exactly these values.", max_length=64)]
        | None
    ) = None
    match_expressions: (
        Annotated[
            tuple[
                Annotated[
                    LabelSelectorRequirement,
                    Meta(
                        extra_json_schema=cel(
                            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                            "In and NotIn require values; Exists and DoesNotExist allow none",
                        )
                    ),
                ],
                ...,
            ],
            Meta(description="Conditions on labels.", max_length=64),
        ]
        | None
    ) = None

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the labels that it reads."""
        expressions = self.match_expressions or ()
        return frozenset((*(self.match_labels or ()), *(requirement.key for requirement in expressions)))


class Subjects(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who makes a request, by exact name; a request matches if any of the lists has its user."""

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
                description="Service accounts as namespace/name. The pods of a Deployment, a Job or another workload "
                "are created by Kubernetes' controllers, not by the user who applied the workload.",
                max_length=256,
            ),
        ]
        | None
    ) = None


class PodMatch(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods of its namespace a policy applies to: those that match every field that is set."""

    pod_selector: Annotated[LabelSelector, Meta(description="Selects pods by their labels.")] | None = None
    exclude_subjects: (
        Annotated[
            Subjects,
            Meta(
                description="The policy does not apply to requests of these users, groups and service accounts: those "
                "who create or change the pod, not the account that the pod runs as."
            ),
        ]
        | None
    ) = None
    exclude_runtime_classes: (
        Annotated[
            tuple[RuntimeClass, ...],
            Meta(
                description="The policy does not apply to pods with one of these as spec.runtimeClassName.",
                max_length=64,
            ),
        ]
        | None
    ) = None


class Match(PodMatch, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods a policy applies to: those that match every field that is set; every pod if none is set."""

    namespaces: (
        Annotated[
            tuple[NamespacePattern, ...],
            Meta(
                description="Namespaces by name; * matches any characters, so team-* matches team-a and team-b.",
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
                description="Namespaces that the policy does not apply to, in the same form; overrides the other "
                "fields.",
                max_length=1024,
            ),
        ]
        | None
    ) = None
    namespace_selector: Annotated[LabelSelector, Meta(description="Selects namespaces by their labels.")] | None = None

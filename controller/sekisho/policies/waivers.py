"""Waivers: an administrator exempts pods from controls until a date. The types, and their compilation.

A waiver exempts from a finding only if all of its conditions hold for the container of that finding. So two waivers
together exempt from what each of them does alone, and from nothing more.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from sekisho.controls import CONTROLS
from sekisho.controls.control import cel
from sekisho.controls.image_signatures import Registry
from sekisho.documents import Problem
from sekisho.images import ImageError, RegistryPattern, parse, parse_pattern
from sekisho.pods import Container, Pod, owner_names
from sekisho.policies.index import Cues, cues_of
from sekisho.policies.matching import Selects, compile_selector, pattern_cost, selects_names
from sekisho.policies.problems import PolicyError, Problems
from sekisho.policies.selectors import LabelSelector, NamespacePattern
from sekisho.policies.types import GROUP, VERSION, PolicyMeta
from sekisho.spelling import MAX_HINTS, Suggestions
from sekisho.timestamps import rfc3339

MIN_EXPIRES: Final = datetime(2000, 1, 1, tzinfo=UTC)
MAX_EXPIRES: Final = datetime(3000, 1, 1, tzinfo=UTC)
EXPIRES_RANGE: Final = "must be between the years 2000 and 2999"

PolicyTitle = Annotated[
    str,
    Meta(
        pattern="^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        max_length=317,
    ),
]
ControlName = Annotated[str, Meta(pattern="^[A-Za-z]+$", max_length=64)]
ObjectName = Annotated[str, Meta(pattern="^[a-z0-9*]([-a-z0-9.*]*[a-z0-9*])?$", max_length=253)]
ContainerName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class WaiverMatch(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods and containers a waiver applies to: those that match every field that is set.

    With images or containers set, it does not apply to findings about the pod as a whole, such as its volumes.
    """

    names: (
        Annotated[
            tuple[ObjectName, ...],
            Meta(
                description="Names of the objects that users create and pods come from: of the Deployment, DaemonSet, "
                "CronJob …, or of a pod without such an owner; * matches any characters.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None

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
    pod_selector: Annotated[LabelSelector, Meta(description="Selects pods by their labels.")] | None = None
    images: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories of the container's image, such as "
                "quay.io/prometheus/node-exporter. Matched like trustedRegistries: segment by segment from the left.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None
    containers: (
        Annotated[
            tuple[ContainerName, ...],
            Meta(description="Names of containers of any kind.", min_length=1, max_length=256),
        ]
        | None
    ) = None


class PolicyWaiverSpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which controls the waiver exempts pods from, which pods, until when, and why."""

    policies: Annotated[
        tuple[PolicyTitle, ...],
        Meta(
            description="The policies whose controls it exempts pods from: ClusterPodPolicies by name, PodPolicies as "
            "namespace/name.",
            min_length=1,
            max_length=64,
        ),
    ]
    controls: Annotated[
        tuple[ControlName, ...],
        Meta(
            description="The controls that it exempts pods from, by their names in a policy's spec.controls.",
            min_length=1,
            max_length=64,
        ),
    ]
    expires: Annotated[
        datetime,
        Meta(
            tz=True,
            extra_json_schema=cel(
                f"self >= timestamp('{rfc3339(MIN_EXPIRES)}') && self < timestamp('{rfc3339(MAX_EXPIRES)}')",
                EXPIRES_RANGE,
            ),
            description="When it ends, such as 2027-01-31T00:00:00Z. After that it exempts no pod; pods that it "
            "admitted keep running.",
        ),
    ]
    reason: Annotated[
        str,
        Meta(
            description="Why it was granted; shown wherever it is used.",
            min_length=1,
            max_length=1024,
            pattern="[^\\s]",
        ),
    ]
    values: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...],
            Meta(
                description="The values that it exempts pods from, as a denial shows them without quotes: NET_ADMIN, "
                '/var/log, or "9100" of a port; every value if unset. No wildcards.',
                min_length=1,
                max_length=64,
            ),
        ]
        | None
    ) = None
    match: Annotated[WaiverMatch, Meta(description="Which pods and containers it applies to; every pod if unset.")] = (
        WaiverMatch()
    )
    requested_by: Annotated[str, Meta(description="Who requested it.", max_length=256)] | None = None


class PolicyWaiver(Struct, frozen=True, rename="camel"):
    """Exempts pods or containers from named controls of named policies until it expires."""

    metadata: PolicyMeta
    spec: PolicyWaiverSpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "PolicyWaiver"
    status: Any = None

    @property
    def title(self) -> str:
        """The waiver's name in answers and metrics."""
        return self.metadata.name


class CompiledWaiver(Struct, frozen=True, eq=False):
    """A waiver ready to apply to findings.

    selects_labels, selects_name: None if it applies to pods with any labels, of any name.
    values: the values of findings that it exempts from; empty for all.
    literals: the beginnings of `images` without wildcards.
    cues: its place in the index of a PolicySet.
    cost: the policies, values, patterns of names, and conditions on labels: what a denied pod may be compared with.
    namespace_cost: what selecting it for a namespace costs, as `pattern_cost` gives it.
    """

    name: str
    policies: frozenset[str]
    controls: frozenset[str]
    expires: datetime
    reason: str
    selects_namespace: Callable[[str], bool]
    selects_labels: Selects | None
    selects_name: Callable[[str], bool] | None
    images: tuple[RegistryPattern, ...]
    containers: frozenset[str]
    label_keys: frozenset[str]
    values: frozenset[str]
    literals: frozenset[tuple[str, ...]]
    cues: Cues
    cost: int
    namespace_cost: int

    def selects(self, pod: Pod) -> bool:
        """Whether it applies to the pod or to some of its containers. The namespace is not checked."""
        if self.selects_labels is not None and not self.selects_labels(pod.metadata.labels or {}):
            return False
        return self.selects_name is None or any(map(self.selects_name, owner_names(pod)))

    def covers(self, container: Container) -> bool:
        """Whether it applies to a container of a pod that it selects."""
        if self.containers and container.name not in self.containers:
            return False
        return not self.images or _lies_in(container.image or "", self.images)


def compile_waiver(waiver: PolicyWaiver) -> CompiledWaiver:
    """Compile a waiver. Raises PolicyError with every problem, each with its field's path."""
    spec, match = waiver.spec, waiver.spec.match
    problems = Problems()
    suggestions = Suggestions(MAX_HINTS)
    for index, name in enumerate(spec.controls):
        if name not in CONTROLS:
            hint = suggestions.did_you_mean(name, CONTROLS)
            problems.add(f"spec.controls[{index}]", f"there is no control {name!r}{hint}")
    if not MIN_EXPIRES <= spec.expires < MAX_EXPIRES:
        problems.add("spec.expires", EXPIRES_RANGE)
    images = problems.of(lambda: tuple(_patterns(match.images or ()))) or ()
    selector = match.pod_selector or LabelSelector()
    compared = (spec.policies, spec.values or (), selector.match_labels or (), selector.match_expressions or ())
    compiled = CompiledWaiver(
        name=waiver.title,
        policies=frozenset(spec.policies),
        controls=frozenset(spec.controls),
        expires=spec.expires,
        reason=" ".join(spec.reason.split()),
        selects_namespace=selects_names(match.namespaces),
        selects_labels=problems.of(compile_selector, match.pod_selector, "spec.match.podSelector"),
        selects_name=None if match.names is None else selects_names(match.names),
        values=frozenset(spec.values or ()),
        cues=cues_of(match.namespaces, None),
        cost=sum(map(len, compared)) + pattern_cost(match.names or ()),
        namespace_cost=pattern_cost(match.namespaces or ()),
        images=images,
        literals=frozenset(pattern.literal for pattern in images),
        containers=frozenset(match.containers or ()),
        label_keys=frozenset() if match.pod_selector is None else match.pod_selector.keys,
    )
    problems.raise_any()
    return compiled


def _patterns(written: tuple[str, ...]) -> Iterator[RegistryPattern]:
    for index, pattern in enumerate(written):
        try:
            yield parse_pattern(pattern)
        except ValueError as error:
            raise PolicyError(Problem(f"spec.match.images[{index}]", f"{pattern!r} {error}")) from None


def _lies_in(image: str, patterns: tuple[RegistryPattern, ...]) -> bool:
    try:
        reference = parse(image)
    except ImageError:
        return False
    return any(pattern.covers(reference) for pattern in patterns)

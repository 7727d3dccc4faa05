"""Waivers: what an administrator lifts, for which pods, and until when. The types, and their compilation.

A waiver is about a finding as a whole or not at all: all of its conditions hold for the one container that the finding
is about. So two waivers together lift what each of them lifts, and nothing more.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from sekisho.controls import CONTROLS
from sekisho.controls.images import Registry
from sekisho.documents import Problem
from sekisho.images import ImageError, RegistryPattern, parse, parse_pattern
from sekisho.pods import Container, Pod
from sekisho.policies.matching import Selects, compile_selector, selects_names
from sekisho.policies.problems import PolicyError, Problems
from sekisho.policies.selectors import LabelSelector, NamespacePattern
from sekisho.policies.types import GROUP, VERSION, PolicyMeta
from sekisho.spelling import did_you_mean

PolicyTitle = Annotated[
    str,
    Meta(
        pattern="^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        max_length=317,
    ),
]
ControlName = Annotated[str, Meta(pattern="^[A-Za-z]+$", max_length=64)]
ContainerName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class WaiverMatch(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which pods and containers a waiver is about: those for which every field that is set holds.

    With images or containers, what is said about the pod as a whole, such as its volumes, is never lifted.
    """

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
    pod_selector: Annotated[LabelSelector, Meta(description="Selects pods by their labels.")] | None = None
    images: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories that the container's image lies in, such as "
                "quay.io/prometheus/node-exporter. Matched as trustedRegistries are: segment by segment from the left.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None
    containers: (
        Annotated[
            tuple[ContainerName, ...],
            Meta(description="Names of containers, of whichever kind.", min_length=1, max_length=256),
        ]
        | None
    ) = None


class PolicyWaiverSpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is lifted, for which pods, until when, and why."""

    policies: Annotated[
        tuple[PolicyTitle, ...],
        Meta(
            description="The policies that it lifts controls of: ClusterPodPolicies by name, PodPolicies as "
            "namespace/name.",
            min_length=1,
            max_length=64,
        ),
    ]
    controls: Annotated[
        tuple[ControlName, ...],
        Meta(
            description="The controls that it lifts, as a policy names them under spec.controls.",
            min_length=1,
            max_length=64,
        ),
    ]
    expires: Annotated[
        datetime,
        Meta(
            tz=True,
            description="When it ends, such as 2027-01-31T00:00:00Z. From then on it lifts nothing; pods that entered "
            "by it run on.",
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
    match: Annotated[
        WaiverMatch, Meta(description="Which pods and containers it is about; every pod when left out.")
    ] = WaiverMatch()
    requested_by: Annotated[str, Meta(description="Who asked for it.", max_length=256)] | None = None


class PolicyWaiver(Struct, frozen=True, rename="camel"):
    """Lifts named controls of named policies for some pods or containers, until it expires."""

    metadata: PolicyMeta
    spec: PolicyWaiverSpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "PolicyWaiver"
    status: Any = None

    @property
    def title(self) -> str:
        """How answers and metrics name the waiver."""
        return self.metadata.name


class CompiledWaiver(Struct, frozen=True, eq=False):
    """A waiver ready to be looked at."""

    name: str
    policies: frozenset[str]
    controls: frozenset[str]
    expires: datetime
    reason: str
    selects_namespace: Callable[[str], bool]
    selects_labels: Selects | None
    images: tuple[RegistryPattern, ...]
    containers: frozenset[str]

    def covers(self, pod: Pod, container: Container | None) -> bool:
        """Whether it is about a container of a pod, in a namespace that it selects; with None, about the pod itself."""
        if self.selects_labels is not None and not self.selects_labels(pod.metadata.labels or {}):
            return False
        if not self.images and not self.containers:
            return True
        if container is None or (self.containers and container.name not in self.containers):
            return False
        return not self.images or _lies_in(container.image or "", self.images)


def compile_waiver(waiver: PolicyWaiver) -> CompiledWaiver:
    """Compile a waiver. Raises PolicyError with all that is wrong, each with its field's path."""
    spec, match = waiver.spec, waiver.spec.match
    found = Problems()
    for index, name in enumerate(spec.controls):
        if name not in CONTROLS:
            found.add(f"spec.controls[{index}]", f"there is no control {name!r}{did_you_mean(name, CONTROLS)}")
    compiled = CompiledWaiver(
        name=waiver.title,
        policies=frozenset(spec.policies),
        controls=frozenset(spec.controls),
        expires=spec.expires,
        reason=" ".join(spec.reason.split()),
        selects_namespace=selects_names(match.namespaces),
        selects_labels=found.of(compile_selector, match.pod_selector, "spec.match.podSelector"),
        images=found.of(lambda: tuple(_patterns(match.images or ()))) or (),
        containers=frozenset(match.containers or ()),
    )
    found.raise_any()
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

"""What a control is: typed parameters, what the Pod Security Standards set them to, and a check of a pod."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeVar

from msgspec import Meta, Struct, structs

from sekisho.errors import SekishoError
from sekisho.findings import FieldPath, Finding
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import ContainerKind, ContainerRef, Pod, WorkloadMeta

if TYPE_CHECKING:  # it imports this module
    from sekisho.controls.image_catalogs import Catalogs


class Level(StrEnum):
    """A level of the Pod Security Standards, in the order in which the CRDs list them."""

    BASELINE = "baseline"
    PRIVILEGED = "privileged"
    RESTRICTED = "restricted"


LEVELS: Final = (Level.PRIVILEGED, Level.BASELINE, Level.RESTRICTED)
"""From the one that allows everything to the one that requires most."""

NEWEST: Final = 37
"""The newest known minor version of the Pod Security Standards: v1.37."""

Check = Callable[[Pod, Sequence[ContainerRef]], list[Finding]]
"""Judges a pod and its containers, in their order; returns the findings, an empty list when the pod passes."""


class ImageFinding(Struct, frozen=True, gc=False):
    """An image that does not have the evidence that a rule requires.

    lookup: the image, if a look-up may find the evidence; None if it cannot.
    is_pending: whether that look-up goes on.
    needs_trust: whether it only says that this installation does not verify images.
    """

    finding: Finding
    lookup: Lookup | None = None
    is_pending: bool = False
    needs_trust: bool = False


EvidenceCheck = Callable[
    [Pod, Sequence[ContainerRef], Collection[FieldPath], Trust | None, "Catalogs"], list[ImageFinding]
]
"""Judges the images of a pod by evidence and catalogs, but those at the given paths, which are denied already.

Without Trust this installation does not verify images, and no image passes that must be verified.
"""


WorkloadCheck = Callable[[WorkloadMeta], list[Finding]]
"""Judges what an object with a pod template says of itself. The findings' paths begin with WORKLOAD."""


class ControlEnforcement(StrEnum):
    """What happens to a pod that violates a control."""

    DENY = "Deny"
    WARN = "Warn"
    AUDIT = "Audit"
    OFF = "Off"


class Parameters(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a policy may set for any control. A parameter that is None is taken from the policy's standard."""

    enforcement: (
        Annotated[
            # YAML reads Off without quotes as false.
            ControlEnforcement | Literal[False],
            Meta(
                description="What happens to a pod that violates this control; the policy's own enforcement when "
                "unset. Off removes the control from the policy's standard."
            ),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.enforcement is False:
            structs.force_setattr(self, "enforcement", ControlEnforcement.OFF)


P = TypeVar("P", bound=Parameters)


class ParameterError(SekishoError, ValueError):
    """A parameter that the schema allows but that makes no sense; `where` is its path below the control."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


class Example(Struct, frozen=True, kw_only=True):
    """Two specs of pods in YAML, one that the control denies and one that it admits; documented and tested.

    has_metadata: whether both are pods with metadata and spec, because the control judges metadata.
    parameters: what the policy sets below the control's name, in YAML; empty for what the lowest level of the
        standards that has the control sets.
    """

    denied: str
    allowed: str
    parameters: str = ""
    has_metadata: bool = False


def opt_in(_level: Level, _minor: int) -> None:
    """The `standard` of a control that no level has: it applies only where a policy names it."""


class Control(Struct, Generic[P], frozen=True, kw_only=True):
    """One control.

    name: as policies, findings and metrics spell it.
    reason: why a denial says that a pod is denied, in the words of the built-in plugin where it has the control.
    summary: one sentence for the documentation and the CRD: what the control requires.
    why: one or two sentences for the documentation: what a pod that violates it could do.
    example: for the documentation, and run by the tests.
    parameters: the type of what a policy may set.
    standard: takes a level and a minor version (0 for v1.0); returns the parameters that the level has at that
        version, None where it does not have the control.
    check: compiles complete parameters (see `complete`) at a minor version; raises ParameterError.
    evidence_check: compiles what is judged from evidence about images; None where the parameters require none of it.
    workload_check: compiles what is required of objects with a pod template; None where the parameters require nothing.
    verify: raises ParameterError where the parameters that one policy sets contradict each other.
    of_pod_only: whether all its findings are about the pod as a whole, none about a container.
    needs_parameters: whether it requires nothing of pods while no parameter is set.
    unset: for the documentation: what applies while a parameter that no level sets is unset, by the parameter's path.
    """

    name: str
    reason: str
    summary: str
    why: str
    example: Example
    parameters: type[P]
    standard: Callable[[Level, int], P | None]
    check: Callable[[P, int], Check]
    evidence_check: Callable[[P], EvidenceCheck | None] = lambda _: None
    workload_check: Callable[[P], WorkloadCheck | None] = lambda _: None
    verify: Callable[[P], None] = lambda _: None
    of_pod_only: bool = False
    needs_parameters: bool = False
    unset: Mapping[str, str] = {}


def complete(control: Control[P], parameters: P, level: Level, minor: int) -> P:
    """The parameters, each unset one replaced by the standard's value, and lists with the additions to them.

    Where the level does not have the control, the values are those of the restricted level at that version, and where
    it does not have it either, those of the newest one. So a named control never requires less than the standard.
    """
    standard = (
        control.standard(level, minor)
        or control.standard(Level.RESTRICTED, minor)
        or control.standard(Level.RESTRICTED, NEWEST)
    )
    fields: dict[str, Any] = {
        name: getattr(standard, name) if value is None and standard is not None else value
        for name, value in structs.asdict(parameters).items()
    }
    fields["enforcement"] = None
    for name in fields:
        if name.startswith(_ADDITIONAL) and fields[name] is not None:
            replaced = name.removeprefix(_ADDITIONAL)
            listed = fields[replaced] or ()
            fields[replaced] = (*listed, *(value for value in fields[name] if value not in listed))
            fields[name] = None
    return structs.replace(parameters, **fields)


_ADDITIONAL: Final = "additional_"
"""Begins the name of a parameter that adds to a list: `additional_allowed_add` to `allowed_add`."""


def no_longer_allowed(
    control: Control[P], parameters: P, level: Level, minor: int
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """The lists that replace the level's own, though they seem meant to add to it: they have a new value.

    Gives the parameter, the parameter that adds to it, and the values of the level that are lost; no list that has all
    values of the level's is among them.
    """
    standard = control.standard(level, minor)
    names = {field.name: field.encode_name for field in structs.fields(control.parameters)}
    for additional in names if standard is not None else ():
        name = additional.removeprefix(_ADDITIONAL)
        if name == additional:
            continue
        own, listed = getattr(parameters, name), getattr(standard, name) or ()
        lost = [value for value in listed if own is not None and value not in own]
        if lost and not set(own) <= set(listed):
            yield names[name], names[additional], lost


def inherits_by_update(ref: ContainerRef) -> bool:
    """Whether a value that the container inherits from the pod needs a finding of its own.

    An update adds ephemeral containers, and excuses the pod's own finding because the pod had it before.
    """
    return ref.kind is ContainerKind.EPHEMERAL


MIN_ABOVE_MAX: Final = "min is above max"


def cel(rule: str, message: str, *more: tuple[str, str]) -> dict[str, object]:
    """The part of a schema that makes the API server check CEL rules; compiling the policy checks the same.

    more: further rules with their messages.
    """
    rules = [{"rule": expression, "message": text} for expression, text in ((rule, message), *more)]
    return {"x-kubernetes-validations": rules}

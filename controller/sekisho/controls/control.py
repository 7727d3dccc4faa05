"""What a control is: a name, typed parameters, what the Pod Security Standards ask of it, and a check."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from sekisho.errors import SekishoError
from sekisho.findings import Change, Finding, render_value
from sekisho.pods import ContainerRef, Pod

Level = Literal["privileged", "baseline", "restricted"]

Check = Callable[[Pod, Sequence[ContainerRef]], list[Finding]]
"""Judges one pod, given with its containers in order; gives the findings, an empty list when the pod passes."""


class ControlEnforcement(StrEnum):
    """What happens to a pod that a control finds fault with."""

    DENY = "Deny"
    WARN = "Warn"
    AUDIT = "Audit"
    OFF = "Off"


class Parameters(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a policy may say of any control. A parameter left out is as the policy's standard has it."""

    enforcement: (
        Annotated[
            ControlEnforcement,
            Meta(
                description="What happens to a pod that violates this control; the policy's own enforcement when left "
                "out. Off leaves the control out of the policy's standard."
            ),
        ]
        | None
    ) = None


class ParameterError(SekishoError, ValueError):
    """A parameter that the schema allows and that makes no sense; `where` is its path below the control."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


def opt_in(_level: Level, _minor: int) -> None:
    """The `standard` of a control that no level has: a policy names it, or it does not apply."""


class Control(Struct, frozen=True):
    """One control.

    name: as in policies, findings and metrics.
    reason: what a pod that violates it is denied for, in the words of the built-in plugin where it has some.
    summary: one sentence for the documentation and the CRD.
    parameters: the type of what a policy may set.
    standard: the parameters that a level of the Pod Security Standards at a minor version (0 for v1.0) implies,
        None where that level does not have the control.
    check: compiles parameters, complete by `complete`, at a minor version into a Check; raises ParameterError.
    verify: raises ParameterError where what one policy gives contradicts itself.
    of_pod_only: whether its findings are about the pod as a whole and never about a container.
    """

    name: str
    reason: str
    summary: str
    parameters: type[Parameters]
    standard: Callable[[Level, int], Parameters | None]
    check: Callable[[Parameters, int], Check]
    verify: Callable[[Parameters], None] = lambda given: None
    of_pod_only: bool = False


def complete(control: Control, given: Parameters, level: Level, minor: int) -> Parameters:
    """The given parameters with each one that was left out taken from the standard.

    A level that does not have the control lends nothing; then the restricted level at the same version does, and where
    that has no such control either, its newest form. So to name a control never means less than the standard does.
    """
    model = (
        control.standard(level, minor)
        or control.standard("restricted", minor)
        or control.standard("restricted", NEWEST)
    )
    fields = {
        name: (getattr(model, name) if getattr(given, name) is None and model is not None else getattr(given, name))
        for name in control.parameters.__struct_fields__
    }
    fields["enforcement"] = None
    return structs.replace(given, **fields)


NEWEST = 37
"""The newest minor version of the Pod Security Standards known here: v1.37."""


def inherits_by_update(placed: ContainerRef) -> bool:
    """Whether a container's inherited value needs a finding of its own.

    An ephemeral container arrives by an update, when the pod's own finding is no longer new and would excuse it.
    """
    return placed.path[1] == "ephemeralContainers"


def of_container(
    control: str,
    placed: ContainerRef,
    tail: tuple[str | int, ...],
    found: object,
    allowed: str,
    fix: str,
    change: Change | None = None,
) -> Finding:
    """A finding on a container's field, `tail` being the path below the container."""
    name = placed.container.name
    return Finding(
        control=control,
        path=placed.path + tail,
        value=render_value(found),
        allowed=allowed,
        fix=fix,
        subject=f"{placed.kind} {render_value(name)}",
        container=name,
        change=change,
    )


def set_to(path: tuple[str | int, ...], value: object) -> Change:
    """The change that sets the field to a value."""
    return Change("set", path, value)


def remove(path: tuple[str | int, ...]) -> Change:
    """The change that removes the field."""
    return Change("remove", path)


MIN_ABOVE_MAX = "min is above max"


def cel(rule: str, message: str) -> dict[str, object]:
    """The part of a schema that has the API server check a rule in CEL; compiling the type checks the same."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}

"""Controls with parameters, as parts of a translated policy, and how requirements compare with what controls judge."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.documents import Path
from sekisho.manifests.engines.requirements import EVERYWHERE, Presence, Requirement, Target
from sekisho.manifests.engines.results import Remark, looser, stricter


class Part(Struct, frozen=True):
    """A control and its parameters, with remarks on what differs. `path`: where the original says it."""

    control: str
    parameters: dict[str, Any]
    remarks: tuple[Remark, ...] = ()
    path: Path = ()


class Unknown(Struct, frozen=True):
    """Why no control does what a part of the original does, and where it is in the original."""

    reason: str
    path: Path = ()


Translated = Part | Unknown
Translator = Callable[[Sequence[Requirement]], Iterable[Translated]]
"""Translates all requirements of one policy that one control is about."""

_WORDS: Final = {
    Target.POD: "the pod itself",
    Target.CONTAINERS: "containers",
    Target.INIT: "init containers",
    Target.EPHEMERAL: "ephemeral containers",
}


def presence_remarks(requirement: Requirement, *, must_be_set: bool) -> Iterator[Remark]:
    """What differs about a field that is unset."""
    field = requirement.field
    if requirement.presence is Presence.OPTIONAL and must_be_set:
        yield stricter(f"{field} must be set")
    elif requirement.presence is Presence.PARTLY and must_be_set:
        yield stricter(f"{field} must be set, also where a field above it is unset")
    elif requirement.presence is Presence.REQUIRED and not must_be_set:
        yield looser(f"{field} may be unset")
    elif requirement.presence is Presence.PARTLY and not must_be_set:
        yield looser(f"{field} may be unset also where the original requires it or a field above it")


def target_remarks(requirement: Requirement, judged: frozenset[Target]) -> Iterator[Remark]:
    """What differs about the parts of the pod that are judged. `judged`: by the control."""
    missing, further = judged - requirement.targets, requirement.targets - judged
    if missing:
        yield stricter(f"it also judges {_listed(missing)}")
    if further:
        yield looser(f"it does not judge {_listed(further)}")


def _listed(targets: frozenset[Target]) -> str:
    return " and ".join(_WORDS[target] for target in Target if target in targets & EVERYWHERE)


def compared(
    requirements: Sequence[Requirement], judged: frozenset[Target], *, must_be_set: bool
) -> tuple[Remark, ...]:
    """All that differs about targets and presence, once each."""
    remarks = [
        remark
        for one in requirements
        for remark in (*target_remarks(one, judged), *presence_remarks(one, must_be_set=must_be_set))
    ]
    return tuple(dict.fromkeys(remarks))

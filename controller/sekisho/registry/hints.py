"""Hints: what annotations say about attachments, which nobody has signed. What is read, and first, goes by them.

Nothing is a signature, or an attestation, because of a hint.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TypeVar

from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.statements import SIGN_PREDICATE
from sekisho.images.vex import VEX_PREDICATES
from sekisho.registry.manifests import Descriptor
from sekisho.timestamps import in_utc, parse

T = TypeVar("T")


def hint_of(descriptor: Descriptor) -> str:
    """The predicate type of what a manifest attaches, by its descriptor in a list; empty where it is not said."""
    return descriptor.annotations.predicate_type if descriptor.annotations is not None else ""


def layer_type(layer: Descriptor) -> str:
    """The predicate type of an attestation in the older format, by its layer; empty where it is not said."""
    return layer.annotations.layer_type if layer.annotations is not None else ""


def may_be_vex(hint: str) -> bool:
    """Whether something with this predicate type, empty for an unknown one, may be a VEX document."""
    return not hint or hint in VEX_PREDICATES


def may_be_scan(hint: str) -> bool:
    """Whether something with this predicate type, empty for an unknown one, may be a scan."""
    return hint in ("", SCAN_PREDICATE)


def attached_at(written: str) -> datetime:
    """When something was attached, by its annotation; the most distant future where that has no time."""
    try:
        return in_utc(parse(written))
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def without_middle(descriptors: list[Descriptor], maximum: int) -> list[Descriptor]:
    """At most `maximum` of a list: of too many the first and the last ones, and signatures before others.

    Registries list the oldest or the newest first, so that the newest are at one of the ends.
    """
    if len(descriptors) <= maximum:
        return descriptors
    signatures = [descriptor for descriptor in descriptors if hint_of(descriptor) == SIGN_PREDICATE]
    others = [descriptor for descriptor in descriptors if hint_of(descriptor) != SIGN_PREDICATE]
    kept = _ends(signatures, max(maximum // 2, maximum - len(others)))
    return [*kept, *_ends(others, maximum - len(kept))]


def _ends(descriptors: list[Descriptor], maximum: int) -> list[Descriptor]:
    """The first and the last of a list; all of one that is short enough."""
    if len(descriptors) <= maximum:
        return descriptors
    first = maximum // 2
    return [*descriptors[:first], *descriptors[len(descriptors) - (maximum - first) :]]


def ends_first(attached: Sequence[T]) -> list[T]:
    """The last of a list, the first, the last but one, and so on to the middle: the newest is at one of the ends."""
    ordered = list(attached)
    half = len(attached) // 2
    ordered[::2] = attached[half:][::-1]
    ordered[1::2] = attached[:half]
    return ordered


def in_order(descriptors: Sequence[Descriptor], predicates: Collection[str]) -> list[Descriptor]:
    """In which order to read, by hints that nobody has signed: signatures, what gives none, attestations.

    Nothing is left out because of a hint but what is past the bounds. Of the attestations that policies need, the
    newest of each type come first. Where hints say no time, both ends of the list come first.
    """
    by_rank: list[list[Descriptor]] = [[], [], [], []]
    for descriptor in ends_first(descriptors):
        hint = hint_of(descriptor)
        by_rank[0 if hint == SIGN_PREDICATE else 1 if not hint else 2 if hint in predicates else 3].append(descriptor)
    signatures, unknown, needed, others = by_rank
    needed.sort(key=lambda one: one.annotations.created if one.annotations is not None else "", reverse=True)
    numbers: Counter[str] = Counter()
    by_number: dict[int, list[Descriptor]] = {}
    for descriptor in needed:  # many of one type do not hide the others
        numbers[hint_of(descriptor)] += 1
        by_number.setdefault(numbers[hint_of(descriptor)], []).append(descriptor)
    return [*signatures, *unknown, *chain.from_iterable(by_number.values()), *others]

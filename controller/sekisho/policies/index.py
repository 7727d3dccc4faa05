"""An index of policies by the namespaces that they may be about, so that a thousand of them are not asked one by one.

A policy that names namespaces is filed under the literal beginnings of those names, one that selects labels under one
of these, whichever fewer policies share. What is found may still be about other namespaces only; what is not found is
not about this one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Cue: TypeAlias = tuple[str, str]
"""A label, key and value; or, with an empty key, which no label has, the beginning of a namespace's name."""
Cues: TypeAlias = tuple[frozenset[Cue], ...]
"""A namespace that a policy is about has a cue out of each of these."""

_NAME: Final = ""


def cues_of(patterns: Sequence[str] | None, labels: Mapping[str, str] | None) -> Cues:
    """The cues of a policy for namespaces whose name matches one of `patterns` and who have all of `labels`."""
    cues = [frozenset({label}) for label in (labels or {}).items()]
    beginnings = frozenset((_NAME, pattern.partition("*")[0]) for pattern in patterns or ())
    if patterns is not None and (_NAME, "") not in beginnings:
        cues.append(beginnings)
    return tuple(cues)


class NamespaceIndex(Generic[T]):
    """Things by their cues; `candidates` gives them in the order in which they came."""

    def __init__(self, things: Iterable[tuple[Cues, T]]) -> None:
        filed = tuple(things)
        self._things = tuple(thing for _, thing in filed)
        self._everywhere: list[int] = []
        self._places: dict[Cue, list[int]] = {}
        shared = Counter(cue for cues, _ in filed for alternatives in cues for cue in alternatives)
        for place, (cues, _) in enumerate(filed):
            if not cues:
                self._everywhere.append(place)
                continue
            for cue in min(cues, key=lambda alternatives: sum(shared[cue] for cue in alternatives)):
                self._places.setdefault(cue, []).append(place)
        self._lengths = sorted({len(value) for key, value in self._places if key == _NAME})

    def candidates(self, namespace: str, labels: Mapping[str, str]) -> list[T]:
        """What may be about a namespace."""
        places = set(self._everywhere)
        for label in labels.items():
            places.update(self._places.get(label, ()))
        for length in self._lengths:
            places.update(self._places.get((_NAME, namespace[:length]), ()))
        return [self._things[place] for place in sorted(places)]

"""An index of policies by namespace, so that a request does not try a thousand policies one by one.

A policy is filed under the literal beginnings of the namespaces that it names, or under one of the labels that it
selects: under what fewer policies share. A look-up may return policies that do not apply to the namespace, but never
misses one that does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Cue: TypeAlias = tuple[str, str]
"""A label, key and value; or, with an empty key, which no label has, the beginning of a namespace's name."""
Cues: TypeAlias = tuple[frozenset[Cue], ...]
"""A namespace that a policy applies to has a cue from each of these sets."""

_NAME: Final = ""


def cues_of(patterns: Sequence[str] | None, labels: Mapping[str, str] | None) -> Cues:
    """The cues of a policy for namespaces with a name that matches one of `patterns` and with all of `labels`.

    None stands for any name, and for any labels.
    """
    cues = [frozenset({label}) for label in (labels or {}).items()]
    beginnings = frozenset((_NAME, pattern.partition("*")[0]) for pattern in patterns or ())
    if patterns is not None and (_NAME, "") not in beginnings:
        cues.append(beginnings)
    return tuple(cues)


class NamespaceIndex(Generic[T]):
    """Policies by the names and labels of namespaces that they may apply to, in their order."""

    def __init__(self, things: Iterable[tuple[Cues, T]]) -> None:
        filed = tuple(things)
        self._things = tuple(thing for _, thing in filed)
        self._everywhere: list[int] = []
        self._indices: dict[Cue, list[int]] = {}
        shared = Counter(cue for cues, _ in filed for alternatives in cues for cue in alternatives)
        for index, (cues, _) in enumerate(filed):
            if not cues:
                self._everywhere.append(index)
                continue
            for cue in min(cues, key=lambda alternatives: sum(shared[cue] for cue in alternatives)):
                self._indices.setdefault(cue, []).append(index)
        self._lengths = sorted({len(value) for key, value in self._indices if key == _NAME})

    def candidates(self, namespace: str, labels: Mapping[str, str]) -> list[T]:
        """The policies that may apply to a namespace; some of them may not."""
        indices = set(self._everywhere)
        for label in labels.items():
            indices.update(self._indices.get(label, ()))
        for length in self._lengths:
            indices.update(self._indices.get((_NAME, namespace[:length]), ()))
        return [self._things[index] for index in sorted(indices)]

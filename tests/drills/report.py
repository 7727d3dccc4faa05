"""The table at the end."""

from collections.abc import Collection

from msgspec import Struct

from tests.drills.traffic import Counts

_COLUMNS = (
    ("seconds", ""),
    ("ADMITTED", "violating_admitted"),
    ("denied", "violating_denied"),
    ("uncalled", "violating_uncalled"),
    ("admitted", "good_admitted"),
    ("DENIED", "good_denied"),
    ("excused", "good_excused"),
    ("no answer", "unanswered"),
)


class Result(Struct, frozen=True):
    """The outcome of a drill; `failure` is empty when it passed."""

    name: str
    seconds: float
    counts: Counts
    note: str
    failure: str


def table(results: Collection[Result]) -> str:
    """The counts of each drill, and the most frequent reasons for which pods got no verdict, in lines."""
    width = max((len(result.name) for result in results), default=5) + 2
    lines = [
        f"{'':{width}}{'':10}{'violating pods':^30}{'good pods':^30}",
        f"{'drill':{width}}" + "".join(f"{title:>10}" for title, _ in _COLUMNS),
    ]
    for result in results:
        numbers = [f"{getattr(result.counts, field) if field else round(result.seconds):>10}" for _, field in _COLUMNS]
        verdict = f"FAILED: {result.failure.splitlines()[0]}" if result.failure else result.note
        lines.append(f"{result.name:{width}}{''.join(numbers)}  {verdict}".rstrip())
    lines += [
        f"{result.name}: {count} x {reason}"
        for result in results
        for reason, count in result.counts.reasons.most_common(3)
    ]
    return "\n".join(lines)

"""`make bench`: what the engine alone takes for one review, as a ratio to json.loads of the same body in the same run.

Only ratios travel between machines. Each figure is the lowest of several rounds.
"""

import json
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from sekisho import admission
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.load.reviews import pod, review

CALLS, ROUNDS = 4000, 7
LABELS: Mapping[str, str] = {}
SPEC: dict[str, Any] = {
    "podSecurityStandard": {"level": "restricted"},
    "controls": {"images": {"trustedRegistries": ["registry.example.com"]}},
    "defaults": {"profile": "restricted"},
}


def policies(count: int) -> PolicySet:
    """So many policies of restricted and trusted registries."""
    return PolicySet.of(
        msgspec.convert({"metadata": {"name": f"policy-{index:02}"}, "spec": SPEC}, ClusterPodPolicy)
        for index in range(count)
    )


def microseconds(call: Callable[[], object]) -> float:
    """The time of one call."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    """Print the table."""
    good, bad, undressed = review(pod()), review(pod(violates=True)), review(pod(dressed=False))
    twenty, one_policy = policies(20), policies(1)
    passing, failing, naked = map(admission.decode, (good, bad, undressed))
    json_loads = microseconds(lambda: json.loads(good))
    rows: tuple[tuple[str, Callable[[], object]], ...] = (
        ("decode", lambda: admission.decode(good)),
        ("validate, 1 policy, passes", lambda: admission.validate(passing, one_policy, LABELS)),
        ("validate, 20 policies, passes", lambda: admission.validate(passing, twenty, LABELS)),
        ("validate, 20 policies, violates", lambda: admission.validate(failing, twenty, LABELS)),
        ("mutate, 20 policies, nothing to fill", lambda: admission.mutate(passing, twenty, LABELS)),
        ("mutate, 20 policies, all to fill", lambda: admission.mutate(naked, twenty, LABELS)),
    )
    table = Table(title=f"One review of {len(good):,} bytes, three containers; answers are encoded")
    for column in ("what", "us", "x json.loads"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row("json.loads of the body", f"{json_loads:.1f}", "1.00")
    for name, call in rows:
        taken = microseconds(call)
        table.add_row(name, f"{taken:.1f}", f"{taken / json_loads:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

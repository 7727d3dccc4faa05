"""`make bench`: what the engine alone takes for one review, as a ratio to json.loads of the same body in the same run.

Only ratios travel between machines. Each figure is the lowest of several rounds.
"""

import json
import timeit
from collections.abc import Callable, Mapping

import click
import msgspec
from rich.console import Console
from rich.table import Table

from sekisho import admission
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.load.null_server import DECODER
from tests.load.policies import documents
from tests.load.questions import COMPLETE, MUTATE, VALIDATE, VIOLATING

ROUNDS = 7
LABELS: Mapping[str, str] = {}


def policies(count: int) -> PolicySet:
    """`count` policies of restricted and trusted registries."""
    return PolicySet.of(msgspec.convert(policy, ClusterPodPolicy) for policy in documents(count))


def microseconds(call: Callable[[], object], calls: int) -> float:
    """The time of one call, where a round has `calls` of them."""
    return min(timeit.repeat(call, number=calls, repeat=ROUNDS)) / calls * 1e6


@click.command()
@click.option("--calls", type=click.IntRange(min=1), default=4000, help="In each round (4,000).")
def main(calls: int) -> None:
    """Print what reviews cost in the engine."""
    twenty, one_policy = policies(20), policies(1)
    passing, failing, naked = (admission.decode(question.body) for question in (VALIDATE, VIOLATING, MUTATE))
    json_loads = microseconds(lambda: json.loads(VALIDATE.body), calls)
    rows: tuple[tuple[str, Callable[[], object]], ...] = (
        ("decode alone", lambda: DECODER.decode(VALIDATE.body)),
        ("decode, and check for duplicate keys", lambda: admission.decode(VALIDATE.body)),
        (f"{VALIDATE.name}, 1 policy", lambda: admission.validate(passing, one_policy, LABELS)),
        (f"{VALIDATE.name}, 20 policies", lambda: admission.validate(passing, twenty, LABELS)),
        (f"{VIOLATING.name}, 20 policies", lambda: admission.validate(failing, twenty, LABELS)),
        (f"{COMPLETE.name}, 20 policies", lambda: admission.mutate(passing, twenty, LABELS)),
        (f"{MUTATE.name}, 20 policies", lambda: admission.mutate(naked, twenty, LABELS)),
    )
    table = Table(title=f"One review of {len(VALIDATE.body):,} bytes, three containers; answers are encoded")
    for column in ("what", "us", "x json.loads"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row("json.loads of the body", f"{json_loads:.1f}", "1.00")
    for name, call in rows:
        taken = microseconds(call, calls)
        table.add_row(name, f"{taken:.1f}", f"{taken / json_loads:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

"""`make growth`: how the cost of work grows with the cluster. Exits 1 if a curve grows faster than its size.

CPU time of this process, so that other processes of a busy machine disturb it little. Each size is measured several
times, in turn, and the least counts. The exponent is the slope of the line through the logarithms: 1 is linear.
"""

import gc
import math
import sys
import time
import tracemalloc
from collections.abc import Sequence
from typing import Final

import click
from msgspec import Struct

from tests.load import curves
from tests.load.curves import Curve, Work
from tests.load.page import PAGE, machine, table, write_section

OPERATIONS: Final = PAGE.with_name("operations.md")
MAX_EXPONENT: Final = 1.2
_ROUNDS: Final = 3
_RETRIES: Final = 2


class Growing(Struct, frozen=True):
    """A curve: its name, what one item is, the smallest of four sizes that double, and how to do the work."""

    name: str
    item: str
    smallest: int
    curve: Curve


GROWING: Final = (
    Growing("replica, policies when it starts", "ClusterPodPolicy", 250, curves.replica_policies),
    Growing("replica, PodPolicies when it starts", "PodPolicy", 500, curves.replica_pod_policies),
    Growing("replica, after their statuses were written", "PodPolicy", 2000, curves.replica_statuses),
    Growing("replica, LimitRanges and ServiceAccounts", "namespace", 2000, curves.limit_ranges),
    Growing("replica, first review in each namespace", "namespace", 500, curves.namespaces),
    Growing("replica, pods with different labels, 40 podSelectors", "pod", 250, curves.pod_labels),
    Growing("replica, a denied pod of 100 containers and waivers", "waiver", 500, curves.waivers),
    Growing("replica, Events of denied pods", "owner", 1000, curves.owners),
    Growing("controller, PodPolicies when it starts", "PodPolicy", 250, curves.controller_pod_policies),
    Growing("check, a List of Deployments", "Deployment", 25, curves.checked_list),
    Growing("denials --watch", "Event", 500, curves.watched_denials),
)


class Measured(Struct, frozen=True):
    """The CPU seconds of a curve at each of its sizes."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    kept: float
    """KiB that one item takes in memory afterwards."""

    @property
    def exponent(self) -> float:
        """How fast the cost grows: 1 is linear, 2 is quadratic."""
        return slope([math.log(size) for size in self.sizes], [math.log(cost) for cost in self.seconds])

    @property
    def per_unit(self) -> float:
        """CPU seconds of one item at the largest size."""
        return self.seconds[-1] / self.sizes[-1]


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The slope of the line that fits the points best by least squares."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def measure(growing: Growing) -> Measured:
    """Measure a curve at its sizes, in turn, several times."""
    sizes = tuple(growing.smallest * 2**step for step in range(4))
    works = [growing.curve(size) for size in sizes]
    least = [math.inf] * len(sizes)
    for _ in range(_ROUNDS):
        for index, work in enumerate(works):
            gc.collect()
            gc.freeze()  # what a garbage collection costs depends on everything that this process holds
            began = time.process_time()
            work()
            least[index] = min(least[index], time.process_time() - began)
    gc.unfreeze()
    return Measured(sizes, tuple(least), _kept(works[1]) / sizes[1] / 1024)


def _kept(work: Work) -> float:
    """The bytes that the result of the work takes."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if result is not None else 0.0
    finally:
        tracemalloc.stop()


@click.command()
@click.option("--only", default="", help="Only curves whose name has this text.")
@click.option("--write", is_flag=True, help="Write the table into docs/operations.md.")
def main(only: str, write: bool) -> None:
    """Measure the curves, print them, and exit 1 where one grows too fast."""
    rows: list[tuple[str, ...]] = []
    too_fast = False
    for growing in GROWING:
        if only not in growing.name:
            continue
        measured = measure(growing)
        for _ in range(_RETRIES):  # a busy machine may slow down the largest size only
            if measured.exponent > MAX_EXPONENT:
                measured = min(measured, measure(growing), key=lambda one: one.exponent)
        too_fast |= measured.exponent > MAX_EXPONENT
        rows.append(_row(growing, measured))
        points = ", ".join(f"{n:,}: {s:.3f} s" for n, s in zip(measured.sizes, measured.seconds, strict=True))
        click.echo(f"{growing.name}: exponent {measured.exponent:.2f} ({points})")
    shown = table(("what", "grows with", "up to", "CPU ms each", "KiB each", "exponent"), rows, texts=2)
    click.echo(f"\n{shown}")
    if write:
        write_section("growth", f"{machine()}.\n\n{shown}", OPERATIONS)
    sys.exit(too_fast)


def _row(growing: Growing, measured: Measured) -> tuple[str, ...]:
    return (
        growing.name,
        growing.item,
        f"{measured.sizes[-1]:,}",
        f"{measured.per_unit * 1e3:.3f}",
        f"{measured.kept:.1f}" if measured.kept >= 0.05 else "",
        f"{measured.exponent:.2f}",
    )


if __name__ == "__main__":
    main()

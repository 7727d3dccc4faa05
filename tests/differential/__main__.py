"""`python -m tests.differential 1000000`: judge generated pods, or updates of them, by the engine and by Kubernetes."""

import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import click

from sekisho.controls import Level
from tests.controlplane.build import BuildError
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.differential.comparison import Comparison, Difference, compare, compare_updates
from tests.differential.reduction import reduced
from tests.differential.reference import EvaluatorError, evaluator

_BATCH = 2000
_SHOWN = 5

Compare = Callable[[Path, str, int], Comparison]


@click.command()
@click.argument("count", type=click.IntRange(min=1), metavar="N")
@click.option("--updates", is_flag=True, help="Updates of pods, which Kubernetes' admission plugin decides.")
@click.option("--seed", default=lambda: secrets.token_hex(4), help="Another run with it makes the same pods.")
def main(count: int, seed: str, updates: bool) -> None:
    """Judge N generated pods by the engine and by Kubernetes' own evaluator, and show some on which they differ.

    Exits 0 when there is none, 1 when there is one, 2 when the evaluator cannot be built or run.
    """
    progress = Progress()
    try:
        binary = evaluator(progress)
        differing = _run(binary, count, seed, progress, compare_updates if updates else compare)
    except (BuildError, ToolchainError, EvaluatorError) as error:
        progress.say(f"error: {error}")
        sys.exit(2)
    sys.exit(1 if differing else 0)


def _run(binary: Path, count: int, seed: str, progress: Progress, compare_batch: Compare) -> int:
    start, done, differing = time.monotonic(), 0, 0
    first: dict[frozenset[str], Difference] = {}
    verdicts: Counter[tuple[Level, str, bool]] = Counter()
    progress.say(f"{count:,} pods with seed {seed}")
    for comparison in _compare_all(binary, count, seed, compare_batch):
        done += comparison.count
        differing += len(comparison.differences)
        for difference in comparison.differences:
            if len(first) < _SHOWN:
                first.setdefault(difference.engine ^ difference.kubernetes, difference)
        verdicts += comparison.verdicts
        progress.show(
            f"{done:,} of {count:,} pods, {done / (time.monotonic() - start):,.0f} a second, {differing} differ"
        )
    rate = done / (time.monotonic() - start)
    click.echo(f"{done:,} pods in {elapsed(start)}, {rate:,.0f} a second: {differing:,} differ")
    for (level, control, denied), times in verdicts.most_common()[-1:]:
        click.echo(f"rarest verdict: {control} of {level} {'denies' if denied else 'passes'} {times:,} of them")
    for difference in first.values():
        click.echo(_described(reduced(binary, difference)))
    return differing


def _compare_all(binary: Path, count: int, seed: str, compare_batch: Compare) -> Iterator[Comparison]:
    """Comparisons of `count` cases in batches, on all cores, always in the same order."""
    sizes = [min(_BATCH, count - start) for start in range(0, count, _BATCH)]
    seeds = [f"{seed}/{number}" for number in range(len(sizes))]
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, len(sizes)),
        get_context("spawn"),
        # A Ctrl-C is for this process to act on.
        initializer=partial(signal.signal, signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        try:
            yield from pool.map(compare_batch, repeat(binary), seeds, sizes)
        finally:
            pool.shutdown(cancel_futures=True)


def _described(difference: Difference) -> str:
    case = difference.case
    only = {
        "Sekisho": difference.engine - difference.kubernetes,
        "Kubernetes": difference.kubernetes - difference.engine,
    }
    denials = [f"only {who} denies it for {', '.join(sorted(controls))}" for who, controls in only.items() if controls]
    update = f", before the update {case.old}" if case.old else ""
    return f"{case.level} {case.version}: {'; '.join(denials)}: {case.pod}{update}"


if __name__ == "__main__":
    main()

"""`make worst`: the largest pods and policies that a client can send, and what a review of each costs.

Every list, map and string of a pod and of the three policy kinds grows up to the largest request that the API server
accepts, alone and in pairs. The costliest are tried again at the largest body that the webhook reads. Fails when a
review costs more CPU or memory than the bounds, when its cost grows faster than its bytes, or when ordinary pods wait
for the costliest too long.
"""

import gc
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from sekisho.webhook.bodies import MAX_BODY_BYTES
from tests.controlplane.progress import Progress, elapsed
from tests.load.page import machine, table, write_section
from tests.worst.beside import MAX_P99_MS, p99_beside, served
from tests.worst.inputs import (
    Input,
    pairs_of_pods,
    pairs_of_policies,
    pods,
    policies,
    strings_of_pods,
    strings_of_policies,
)
from tests.worst.judging import Answer, answers, bodies, policy_set
from tests.worst.limits import Part, over_limits
from tests.worst.measure import (
    MAX_BYTES,
    MAX_SECONDS,
    Call,
    Cost,
    costs_of,
    grows_faster,
    least,
    made_apart,
    over_bounds,
)

_ENVELOPE = 4096
_SIZES = ((3 << 20) - _ENVELOPE, 384 << 10, 48 << 10)
"""Of a request in bytes; the first is the API server's own limit."""
_SHORT_SIZES = (1 << 20, 64 << 10)
_SHOWN = 15
_ATTEMPTS = 3


class Case(Struct, frozen=True):
    """An input, a request about it, and what the review cost at a size in bytes."""

    input: Input
    request: str
    bytes: int
    cost: Cost
    faults: tuple[str, ...] = ()

    @property
    def badness(self) -> float:
        """Of the two bounds, how much of the nearer one is used; 1.0 is all of it."""
        return max(self.cost.seconds / MAX_SECONDS, self.cost.memory / MAX_BYTES)


class _Measured(Struct, frozen=True):
    """A case, and how to measure it again."""

    case: Case
    call: Call

    def after(self, smaller: "_Measured | None") -> Case:
        """The case with its faults; each is measured again, since a busy machine slows down any of them."""
        case = self.case
        for _ in range(_ATTEMPTS):
            wrong = over_bounds(case.cost)
            if not wrong and smaller:
                wrong = grows_faster(smaller.case.cost, case.cost, case.bytes / smaller.case.bytes)
            case = msgspec.structs.replace(case, faults=tuple(wrong))
            if not wrong or not case.cost.finished:
                break
            case = msgspec.structs.replace(case, cost=least(case.cost, *costs_of([self.call])))
        return case


def measured(inputs: Iterable[Input], sizes: Sequence[int], answer: Mapping[str, Answer]) -> Iterator[Case]:
    """The costs of all requests about the inputs, the largest first.

    At smaller sizes too, down to where less is sent than the engine bounds: past its bounds a review costs little.
    """
    for one in inputs:
        reviews = _reviews(one, sizes if one.is_swept else sizes[:1])
        calls = [partial(answer[name], body) for name, body in reviews]
        gc.freeze()
        larger: dict[str, _Measured] = {}
        for (name, body), call, cost in zip(reviews, calls, costs_of(calls), strict=True):
            now = _Measured(Case(one, name, len(body), cost), call)
            if before := larger.get(name):
                yield before.after(now)
            larger[name] = now
        yield from (last.after(None) for last in larger.values())


def _reviews(one: Input, sizes: Sequence[int]) -> list[tuple[str, bytes]]:
    """The requests about an input at each size, with their names."""
    made = made_apart(lambda: msgspec.msgpack.encode([review for size in sizes for review in bodies(one, size)]))
    return msgspec.msgpack.decode(made, type=list[tuple[str, bytes]])


def _part(_context: click.Context, _option: click.Parameter, text: str) -> Part:
    """A part such as 2/4. Raises BadParameter."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise click.BadParameter("must be a part such as 2/4")
    return Part(int(number), int(of))


@click.command()
@click.option("--short", is_flag=True, help="Only what judging reads, alone, and a few pairs, at 1 MiB.")
@click.option("--only", default="", help="Only inputs whose name has this text.")
@click.option("--part", default="1/1", callback=_part, help="One part of the inputs, such as 2/4.")
@click.option("--write", is_flag=True, help="Write the costliest into docs/performance.md.")
def main(short: bool, only: str, part: Part, write: bool) -> None:
    """Measure, show the costliest, and exit 1 where one is over a bound."""
    if write and part.of > 1:
        raise click.UsageError("--write needs all parts")
    start = time.monotonic()
    every = chain(
        *(pods(), pairs_of_pods(), strings_of_pods()),
        *(policies(), pairs_of_policies(), strings_of_policies()),
    )
    inputs = part.entries([one for one in every if only in one.name and (not short or _is_short(one))])
    sizes = _SHORT_SIZES if short else _SIZES
    answer = answers(policy_set())
    cases: list[Case] = []
    progress = Progress()
    for case in measured(_counted(inputs, progress), sizes, answer):
        cases.append(case)
        if case.faults:
            click.echo(_line(case))
    cases.sort(key=lambda case: case.badness, reverse=True)
    if not short:
        costliest = {case.input.name: case.input for case in cases[:_SHOWN]}
        largest = list(measured(costliest.values(), (MAX_BODY_BYTES - _ENVELOPE,), answer))
        for case in largest:
            if case.faults:
                click.echo(_line(case))
        cases = sorted((*cases, *largest), key=lambda case: case.badness, reverse=True)
    waits = [] if short else list(_waits(cases[:_SHOWN], progress))
    rows = [
        (*_row(case), *(f"{wait:.0f}" for wait in waits[index : index + 1]))
        for index, case in enumerate(cases[:_SHOWN])
    ]
    heads = ("what grows", "request", "MB", "CPU, s", "memory, MiB", "others' p99, ms")
    shown = table(heads[: 5 + bool(waits)], rows, texts=2)
    click.echo(f"\n{len(cases)} reviews in {time.monotonic() - start:.0f} s. The costliest:\n\n{shown}")
    if write:
        write_section(
            "worst", f"{'Short form: ' if short else ''}{len(cases):,} reviews, {machine()}. The costliest:\n\n{shown}"
        )
    over = [] if short else list(over_limits(only, progress, part))
    click.echo("\n".join(over))
    _exit_if_over(sum(bool(case.faults) for case in cases) + len(over), sum(wait > MAX_P99_MS for wait in waits))


def _exit_if_over(failed: int, slow: int) -> None:
    """Say how many reviews are over their bounds, and how many slow down others, and exit 1 where there are some."""
    if failed:
        click.echo(f"\n{failed} over the bounds: {MAX_SECONDS:g} s, {MAX_BYTES >> 20} MiB, or not linear")
    if slow:
        click.echo(f"\nBeside {slow} of the costliest, one in 100 ordinary pods takes more than {MAX_P99_MS:g} ms")
    if failed or slow:
        sys.exit(1)


def _counted(inputs: Sequence[Input], progress: Progress) -> Iterator[Input]:
    """The inputs, telling how many there have been."""
    start = time.monotonic()
    for number, one in enumerate(inputs, 1):
        progress.show(f"{number:,} of {len(inputs):,} inputs ({elapsed(start)})")
        yield one


def _waits(cases: Sequence[Case], progress: Progress) -> Iterator[float]:
    """The p99 of ordinary pods in ms, while a real process judges each case; the least of some attempts."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as process:
        for number, case in enumerate(cases, 1):
            progress.show(f"ordinary pods beside {number} of the {len(cases)} costliest")
            body = dict(bodies(case.input, case.bytes - _ENVELOPE))[case.request]
            wait = p99_beside(process, case.request, body)
            for _ in range(_ATTEMPTS - 1):
                if wait > MAX_P99_MS:
                    wait = min(wait, p99_beside(process, case.request, body))
            yield wait


def _is_short(one: Input) -> bool:
    if "validate" not in one.requests:
        is_list = one.is_swept and one.name.startswith("ClusterPodPolicy: spec.controls.images")
        return is_list or one.name in _SHORT_PAIRS
    if " and " in one.name:
        return one.name in _SHORT_PAIRS
    return one.is_swept and not one.name.startswith(("spec.initContainers", "spec.ephemeralContainers"))


_SHORT_PAIRS = {
    "metadata.annotations.sekisho.dev/defaulted and spec.containers, bare",
    "spec.volumes, full and spec.containers[].volumeMounts, full",
    "ClusterPodPolicy: spec.controls.images.trustedRegistries and spec.controls.images.deniedRegistries",
}


def _line(case: Case) -> str:
    return f"{case.input.name} ({case.request}, {case.bytes:,} bytes): {', '.join(case.faults)}"


def _row(case: Case) -> tuple[str, ...]:
    seconds = f"{case.cost.seconds:.2f}" if case.cost.finished else f"over {case.cost.seconds:.0f}"
    return case.input.name, case.request, f"{case.bytes / 1e6:.1f}", seconds, f"{case.cost.memory / 2**20:.0f}"


if __name__ == "__main__":
    main()

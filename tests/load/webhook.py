"""`make bench`: the real webhook process under load over TLS, beside servers that only decode and answer.

One core is the server's, another one the client's. The servers take turns in rounds, so that what else the machine does
hits all of them, and a ratio is taken within a round; the median of the rounds is reported.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import click
from msgspec import Struct

from tests.controlplane.build import BuildError
from tests.controlplane.component import ComponentError
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.load.figures import Latencies, compared
from tests.load.paced import Request, UnexpectedAnswerError, at_pace
from tests.load.page import machine, table, write_section
from tests.load.questions import COMPLETE, MUTATE, VALIDATE, VIOLATING, Question
from tests.load.servers import NULL_GO, NULL_PYTHON, ONE, TWENTY, UNLIKE, Server, WrongAnswerError, running
from tests.load.usage import cpu_seconds, resident_mib
from tests.load.wrk import Load, WrkError, find_wrk, run_wrk

_PACE: Final = 300
_PACED_SECONDS: Final = 2
"""For each second of a run with wrk."""


class Case(Struct, frozen=True):
    """A server that gets one question over and over, on a number of connections."""

    server: str
    question: Question
    connections: int

    def beside(self, null: str) -> "Case":
        """This question to a null server; what that does with a body depends on its size alone."""
        return Case(null, MUTATE if self.question == MUTATE else VALIDATE, self.connections)


class Run(Struct, frozen=True):
    """One run of a case."""

    load: Load
    cpu: float
    """CPU time of the server, in microseconds a request."""
    memory: float
    """What of the server is resident after it, in MiB."""


Runs = Mapping[Case, Sequence[Run]]

_CASES: Final = (
    *(
        Case(server, question, connections)
        for connections in (1, 10, 50)
        for question in (VALIDATE, MUTATE)
        for server in (NULL_PYTHON, NULL_GO, TWENTY)
    ),
    *(Case(ONE, question, 10) for question in (VALIDATE, MUTATE)),
    *(Case(TWENTY, question, 10) for question in (VIOLATING, COMPLETE)),
    Case(UNLIKE, VALIDATE, 10),
)
_BUDGETS: Final = (
    (Case(TWENTY, VALIDATE, 10), NULL_PYTHON, 1.5),
    (Case(TWENTY, MUTATE, 10), NULL_PYTHON, 1.7),
    (Case(TWENTY, VIOLATING, 10), NULL_PYTHON, 1.8),
    (Case(TWENTY, VALIDATE, 10), NULL_GO, 0.8),
)
_PACED_BUDGET: Final = 10.0

# CPU a request over that of the null Go server, p50 and p99 at 10 connections, memory. Measured on another machine with
# a pod of the same size and shape, on 2026-11-23.
_PEERS: Final = (
    ("null aiohttp + uvloop + msgspec", "0.52", "2.3", "7.7", "41"),
    ("reference Pod Security webhook (Go), restricted", "2", "10", "30", "61-65"),
    ("Kyverno 1.19.1, 17 CEL policies", "17-21", "70", "539", "285-295"),
    ("Kyverno 1.19.1, 18 ClusterPolicies", "26-31", "140", "291", "172-241"),
    ("Gatekeeper, 16 constraints", "41-46", "222", "294", "175-186"),
)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=4, help="More of them are more exact (4).")
@click.option("--seconds", type=click.IntRange(min=1), default=2, help="Length of a run with wrk (2).")
@click.option("--write", is_flag=True, help="Write the result into docs/performance.md.")
def main(rounds: int, seconds: int, write: bool) -> None:
    """Measure the webhook process beside servers that do nothing. Exits 2 when that is not possible."""
    start, progress = time.monotonic(), Progress()
    try:
        find_wrk()
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise click.ClickException("two cores are needed, one for the server and one for the client")
        server_core, client_core = cores[0], cores[1]
        os.sched_setaffinity(0, {client_core})
        with tempfile.TemporaryDirectory() as folder, running(Path(folder), server_core, progress) as servers:
            text = _measured(servers, Path(folder), client_core, (rounds, seconds), progress)
        os.sched_setaffinity(0, cores)
    except (WrkError, WrongAnswerError, UnexpectedAnswerError, BuildError, ToolchainError, ComponentError) as error:
        progress.say(f"error: {error}")
        sys.exit(2)
    click.echo(text)
    if write:
        write_section("webhook", f"{machine()}.\n\n{text}")
    progress.say(f"measured in {elapsed(start)}")


def _measured(
    servers: Mapping[str, Server], folder: Path, core: int, amounts: tuple[int, int], progress: Progress
) -> str:
    rounds, seconds = amounts
    questions = {name: {case.question for case in _CASES if case.server == name} for name in servers}
    for name, server in servers.items():
        for question in questions[name]:
            server.check(question)
            (folder / question.name).write_bytes(question.body)
    runs: dict[Case, list[Run]] = {case: [] for case in _CASES}
    paced: dict[str, list[Latencies]] = {TWENTY: [], NULL_PYTHON: []}
    for number in range(1, rounds + 1):
        progress.say(f"round {number} of {rounds}: {len(_CASES)} runs of {seconds} s")
        for case in _CASES:
            runs[case].append(_run(servers[case.server], case, folder, core, seconds))
            progress.show(f"{case.server}: {case.question.name}, {case.connections} connections")
        for name, latencies in paced.items():
            latencies.append(_at_pace(servers[name], seconds * _PACED_SECONDS))
    for name, server in servers.items():
        server.check_counts(questions[name])
    budgets = [
        f"- {case.question.name}, {case.server}, CPU over {null}: {compared(_ratio(runs, case, null), budget, 'x')}"
        for case, null, budget in _BUDGETS
    ]
    ours, null = ({at: median(run.at(at) for run in paced[name]) for at in (50, 99)} for name in paced)
    budgets.append(
        f"- p99 at {_PACE} requests/s on one core, mutate and validate in turn: "
        f"{compared(ours[99], _PACED_BUDGET, ' ms')} (p50 {ours[50]:.2f} ms; "
        f"{NULL_PYTHON}: p99 {null[99]:.2f} ms, p50 {null[50]:.2f} ms)"
    )
    return "\n\n".join(
        (
            f"Median of {rounds} rounds of {seconds} s; a review is {len(VALIDATE.body):,} bytes.",
            table(_HEADER, _rows(runs), texts=2),
            "Budgets:",
            "\n".join(budgets),
            "Beside the peers:",
            table(("", "x null Go", "p50 ms", "p99 ms", "MiB"), (*_ours(runs), *_PEERS)),
        )
    )


def _run(server: Server, case: Case, folder: Path, core: int, seconds: int) -> Run:
    pid = server.component.pid
    before = cpu_seconds(pid)
    url, body = server.url(case.question), folder / case.question.name
    load = run_wrk(url, body, connections=case.connections, seconds=seconds, core=core)
    return Run(load, (cpu_seconds(pid) - before) / load.requests * 1e6, resident_mib(pid))


def _at_pace(server: Server, seconds: int) -> Latencies:
    """A pod's creation is two requests: one for defaults, one for the verdict."""
    requests = [Request(server.url(question), question.body, b'"allowed":true') for question in (MUTATE, VALIDATE)]
    return at_pace(requests, server.tls, per_second=_PACE, count=_PACE * seconds)


def _ratio(runs: Runs, case: Case, null: str) -> float:
    """CPU a request over a null server's, each pair from the same round."""
    return median(run.cpu / other.cpu for run, other in zip(runs[case], runs[case.beside(null)], strict=True))


_HEADER: Final = (
    "server",
    "request",
    "connections",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU us/request",
    "x null Python",
    "x null Go",
    "RSS MiB",
)


def _rows(runs: Runs) -> Iterator[tuple[str, ...]]:
    for case, taken in runs.items():
        loads = [run.load for run in taken]
        yield (
            case.server,
            case.question.name,
            str(case.connections),
            f"{median(load.per_second for load in loads):,.0f}",
            *(
                f"{median(percentile) / 1e3:.2f}"
                for percentile in zip(*((load.p50, load.p99, load.p999) for load in loads), strict=True)
            ),
            f"{median(run.cpu for run in taken):.0f}",
            f"{_ratio(runs, case, NULL_PYTHON):.2f}",
            f"{_ratio(runs, case, NULL_GO):.2f}",
            f"{max(run.memory for run in taken):.0f}",
        )


def _ours(runs: Runs) -> Iterator[tuple[str, ...]]:
    for question in (VALIDATE, MUTATE):
        case = Case(TWENTY, question, 10)
        taken = runs[case]
        yield (
            f"**{case.server}: {question.name}**",
            f"{_ratio(runs, case, NULL_GO):.2f}",
            f"{median(run.load.p50 for run in taken) / 1e3:.1f}",
            f"{median(run.load.p99 for run in taken) / 1e3:.1f}",
            f"{max(run.memory for run in taken):.0f}",
        )


if __name__ == "__main__":
    main()

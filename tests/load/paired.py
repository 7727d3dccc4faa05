"""`make bench-paired OLD=COMMIT`: the CPU time of this working tree's engine and webhook process over another commit's.

It gives steady ratios on a busy machine too. The processes of both run at the same time and take turns in rounds of a
few milliseconds, and of each the fastest rounds count. All processes are started several times, because the layout of
memory makes each a little faster or slower; the figures are the median of these starts, and their range.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

import click

from tests.controlplane.answers import serves
from tests.controlplane.component import Component, base_environment
from tests.controlplane.pki import write_pki
from tests.controlplane.ports import start_component
from tests.controlplane.progress import Progress
from tests.load.page import table
from tests.load.policies import documents, write_policies
from tests.load.questions import COMPLETE, MUTATE, VALIDATE, VIOLATING, Question

ROOT: Final = Path(__file__).parents[2]
OLD: Final = "old"
NEW: Final = "new"
NULL: Final = "null Python"
REQUESTS: Final = 100
"""In a round, over all connections."""
FASTEST: Final = 0.1
"""The share of the rounds that counts."""
_QUESTIONS: Final = (VALIDATE, MUTATE, COMPLETE, VIOLATING)

T = TypeVar("T")
Times = dict[str, dict[str, list[float]]]
"""Microseconds by case and subject, one for each round."""


@click.command()
@click.argument("old")
@click.option("--starts", type=click.IntRange(min=1), default=5, help="How often all processes are started (5).")
@click.option("--rounds", type=click.IntRange(min=1), default=60, help="In each start (60).")
@click.option("--engine/--no-engine", "with_engine", default=True, help="Time the engine in a process of its own.")
@click.option("--connections", multiple=True, type=click.IntRange(min=1), default=(1, 10))
def main(old: str, starts: int, rounds: int, with_engine: bool, connections: tuple[int, ...]) -> None:
    """Compare with OLD, a commit or the folder of a checkout."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    progress = Progress()
    measured: list[Times] = []
    with ExitStack() as stack:
        sources = {OLD: stack.enter_context(_checkout(old)), NEW: ROOT}
        for number in range(1, starts + 1):
            progress.say(f"start {number} of {starts}")
            times = _time_engines(sources, cores[0], rounds) if with_engine else {}
            measured.append(times | _time_servers(sources, cores[0], rounds, connections))
    click.echo(table(("case", NULL, OLD, NEW, "new / old", "old / null", "new / null"), _rows(measured)))


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """The folder of a checkout, which is removed again where it is not there already."""
    if Path(commit).is_dir():
        yield Path(commit)
        return
    folder = Path(tempfile.mkdtemp())
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run((*git, "add", "--detach", str(folder), commit), check=True, stdout=subprocess.DEVNULL)
    try:
        yield folder
    finally:
        subprocess.run((*git, "remove", "--force", str(folder)), check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _environment(source: Path) -> dict[str, str]:
    return dict(base_environment()) | {"PYTHONPATH": f"{source / 'controller'}:{ROOT}", "PYTHONSAFEPATH": "1"}


def _time_engines(sources: Mapping[str, Path], core: int, rounds: int) -> Times:
    times: Times = {}
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(
                subprocess.Popen(
                    ("taskset", "--cpu-list", str(core), sys.executable, "-m", "tests.load.engine_rounds"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=_environment(source),
                )
            )
            for name, source in sources.items()
        }
        for number in range(rounds):
            for name, engine in _in_turn(engines, number):
                assert engine.stdin is not None
                assert engine.stdout is not None
                engine.stdin.write(b"\n")
                engine.stdin.flush()
                for case, taken in json.loads(engine.stdout.readline()).items():
                    _add(times, f"engine: {case}", name, taken)
        for engine in engines.values():
            assert engine.stdin is not None
            engine.stdin.close()
    return times


def _time_servers(sources: Mapping[str, Path], core: int, rounds: int, connections: Sequence[int]) -> Times:
    times: Times = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_pki(folder / "pki")
        write_policies(folder / "policies", documents(20))
        servers: dict[str, tuple[Component, list[_Client]]] = {}
        for subject in (NULL, *sources):
            component, port = _server(folder, subject, sources.get(subject), core)
            stack.callback(component.stop)
            for client in [_Client(folder, port) for _ in range(max(connections))]:
                client.close()  # as after any use: the null server then no longer maps each block that it reads into
            servers[subject] = (component, [_Client(folder, port) for _ in range(max(connections))])
        for number in range(rounds):
            for question in _QUESTIONS:
                for count in connections:
                    for subject, (component, clients) in _in_turn(servers, number):
                        taken = _cpu_of(component.pid, question, clients[:count])
                        _add(times, f"process: {question.name}, {count} connections", subject, taken)
    return times


def _server(folder: Path, subject: str, source: Path | None, core: int) -> tuple[Component, int]:
    """A started server and its port; the null server where there is no source."""
    certificate, key = str(folder / "pki" / "apiserver.crt"), str(folder / "pki" / "apiserver.key")
    ports: dict[str, int] = {}

    def component(free: dict[str, int]) -> Component:
        ports.update(free)
        command = (
            ("tests.load.null_server", str(free["port"]), certificate, key)
            if source is None
            else (
                *("sekisho", "webhook", f"--policy-dir={folder / 'policies'}", "--bind-address=127.0.0.1"),
                *(f"--port={free['port']}", "--metrics-bind-address=127.0.0.1", f"--metrics-port={free['metrics']}"),
                *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", "--drain-seconds=0"),
            )
        )
        return Component(
            subject,
            ("taskset", "--cpu-list", str(core), sys.executable, "-m", *command),
            folder / f"{subject}.log",
            (lambda: True) if source is None else partial(serves, free["metrics"]),
            free["port"],
            _environment(source or ROOT),
        )

    return start_component(folder / f"{subject}.json", ("port", "metrics"), component), ports["port"]


class _Client:
    """A connection that stays open."""

    def __init__(self, folder: Path, port: int) -> None:
        context = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def send(self, question: Question) -> None:
        head = f"POST {question.path} HTTP/1.1\r\nHost: sekisho\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(question.body)}\r\n\r\n".encode() + question.body)

    def receive(self) -> None:
        """Read an answer. Raises ValueError when its status is not 200."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"expected a 200, found {head!r}")
        [length] = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += self._receive()

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed a connection")
        return received


def _cpu_of(pid: int, question: Question, clients: Sequence[_Client]) -> float:
    """CPU time of the server for one request, in microseconds."""
    before = _cpu_nanoseconds(pid)
    for _ in range(REQUESTS // len(clients)):
        for client in clients:
            client.send(question)
        for client in clients:
            client.receive()
    return (_cpu_nanoseconds(pid) - before) / (REQUESTS // len(clients) * len(clients)) / 1e3


def _cpu_nanoseconds(pid: int) -> int:
    """CPU time of the main thread. Others look at policy files and write logs, at a rate and not for each request."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def _in_turn(things: Mapping[str, T], number: int) -> list[tuple[str, T]]:
    listed = list(things.items())
    index = number % len(listed)
    return listed[index:] + listed[:index]


def _add(times: Times, case: str, subject: str, taken: float) -> None:
    times.setdefault(case, {}).setdefault(subject, []).append(taken)


def _fastest(taken: Sequence[float]) -> float:
    """The mean of the fastest rounds."""
    counted = sorted(taken)[: max(1, round(len(taken) * FASTEST))]
    return sum(counted) / len(counted)


def _rows(starts: Sequence[Times]) -> Iterator[tuple[str, ...]]:
    for case in starts[0]:
        times = [{subject: _fastest(taken) for subject, taken in start[case].items()} for start in starts]
        subjects = times[0].keys()
        yield (
            case,
            *(
                f"{median(t[subject] for t in times):.1f}" if subject in subjects else ""
                for subject in (NULL, OLD, NEW)
            ),
            *(
                _ratio([t[one] / t[other] for t in times]) if other in subjects else ""
                for one, other in ((NEW, OLD), (OLD, NULL), (NEW, NULL))
            ),
        )


def _ratio(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    main()

"""python -m tests.drills.soak [N]: N reviews to one real process, whose memory, descriptors and tasks must not grow."""

import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import uvloop
from msgspec import Struct

from sekisho.operator.certificates import new_authority, new_serving
from tests.controlplane.answers import serves
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.ports import start_on_free_ports
from tests.controlplane.progress import Progress, elapsed
from tests.drills.samples import Sample, sample
from tests.drills.stream import policies, requests, send
from tests.drills.traffic import DrillError

SAMPLES = 50
WARM_UP = 0.1
"""The share of all reviews after which nothing may grow."""
WINDOW = 5
"""Samples at either end, whose medians are compared: the allocator's use of memory varies."""
MAX_GROWTH_KIB = 1024
MAX_MORE = 4
"""Descriptors and tasks; a connection that is being closed still counts."""
_PORTS = ("webhook", "webhook-metrics")


class Webhook(Struct, frozen=True):
    """A process that serves the policies in a folder."""

    process: Component
    port: int
    metrics_port: int
    policies: Path


@contextmanager
def webhook(folder: Path, documents: Iterable[tuple[str, bytes]] = ()) -> Iterator[Webhook]:
    """A real webhook process on loopback with these policies, by name and as YAML. Raises ComponentError."""
    rules = folder / "policies"
    rules.mkdir()
    for name, text in documents:
        (rules / f"{name}.yaml").write_bytes(text)
    pair = new_serving(new_authority(datetime.now(UTC)), ("127.0.0.1",), datetime.now(UTC))
    (folder / "tls.crt").write_bytes(pair.certificate_pem)
    (folder / "tls.key").write_bytes(pair.key_pem)
    started: list[Webhook] = []

    def start(ports: dict[str, int]) -> None:
        command = (
            *(sys.executable, "-m", "sekisho", "webhook", f"--policy-dir={rules}"),
            *(f"--tls-cert-file={folder / 'tls.crt'}", f"--tls-private-key-file={folder / 'tls.key'}"),
            *("--bind-address=127.0.0.1", f"--port={ports['webhook']}", "--drain-seconds=0"),
            *("--metrics-bind-address=127.0.0.1", f"--metrics-port={ports['webhook-metrics']}"),
        )
        metrics_port = ports["webhook-metrics"]
        process = Component("webhook", command, folder / "webhook.log", lambda: serves(metrics_port), metrics_port)
        started[:] = [Webhook(process, ports["webhook"], metrics_port, rules)]
        process.start()

    start_on_free_ports(folder / "ports.json", _PORTS, start, lambda: started[0].process.stop())
    try:
        yield started[0]
    finally:
        started[0].process.stop()


def write_policies(folder: Path, generation: int) -> None:
    """Replace the policies in a folder."""
    kept = {f"{name}.yaml": text for name, text in policies(generation)}
    for file in folder.glob("*.yaml"):
        if file.name not in kept:
            file.unlink()
    for name, text in kept.items():
        (folder / name).write_bytes(text)


def soak(folder: Path, count: int, show: Callable[[str], None]) -> tuple[list[Sample], Counter[str]]:
    """Send `count` reviews while the policies change; samples along the way. Raises DrillError, ComponentError."""
    reviews, sent, samples = requests(seed=count), Counter[str](), list[Sample]()
    with webhook(folder, policies(0)) as served:
        for part in range(SAMPLES):
            sent += uvloop.run(send("127.0.0.1", served.port, reviews, count // SAMPLES))
            samples.append(sample(served.process.pid, served.metrics_port))
            write_policies(served.policies, part)
            served.process.log.write_bytes(b"")  # a line a denial: some hundred MiB
            show(f"{sent.total()} of {count} reviews, {samples[-1]}")
    return samples, sent


def check(samples: list[Sample]) -> str:
    """What grew since the warm-up. Raises DrillError when that is too much."""
    warm = samples[int(len(samples) * WARM_UP) :]
    first, last = warm[:WINDOW], warm[-WINDOW:]
    memory, descriptors, tasks = (
        statistics.median(getattr(one, what) for one in last) - statistics.median(getattr(one, what) for one in first)
        for what in ("resident_kib", "descriptors", "tasks")
    )
    grown = f"memory {memory:+.0f} KiB, descriptors {descriptors:+.0f}, tasks {tasks:+.0f}"
    if memory > MAX_GROWTH_KIB or descriptors > MAX_MORE or tasks > MAX_MORE:
        raise DrillError(f"the process grew: {grown}")
    return grown


@click.command()
@click.argument("count", type=click.IntRange(min=SAMPLES), default=1_000_000)
def main(count: int) -> None:
    """Send COUNT reviews (1,000,000) to one process; exit 1 when it grows."""
    progress, began = Progress(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sekisho-soak-"))
    try:
        samples, sent = soak(folder, count, progress.show)
        for index in sorted({0, int(SAMPLES * WARM_UP), SAMPLES // 4, SAMPLES // 2, 3 * SAMPLES // 4, SAMPLES - 1}):
            progress.say(f"after {(index + 1) * (count // SAMPLES):>9}: {samples[index]}")
        progress.say(f"{dict(sent)} in {elapsed(began)}")
        progress.say(f"since {WARM_UP:.0%} of them: {check(samples)}")
    except (DrillError, ComponentError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(prog_name="python -m tests.drills.soak")

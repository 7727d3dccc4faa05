"""What a process holds at one moment."""

import http.client
from pathlib import Path

from msgspec import Struct

from tests.controlplane.answers import ANSWER_IN, ask
from tests.drills.traffic import DrillError

_TASKS = "sekisho_asyncio_tasks"


class Sample(Struct, frozen=True):
    """A process's resident memory, open descriptors, threads and tasks."""

    resident_kib: int
    descriptors: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        return (
            f"{self.resident_kib / 1024:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.tasks} tasks"
        )


def sample(pid: int, metrics_port: int, address: str = "127.0.0.1") -> Sample:
    """Look at a webhook process. Raises DrillError when its metrics cannot be had."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    connection = http.client.HTTPConnection(address, metrics_port, timeout=ANSWER_IN)
    lines = ask(connection, "GET", "/metrics").body.decode().splitlines()
    tasks = [int(float(line.split()[1])) for line in lines if line.startswith(f"{_TASKS} ")]
    if not tasks:
        raise DrillError(f"the metrics do not tell {_TASKS}")
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(int(status["VmRSS"].split()[0]), descriptors, int(status["Threads"]), tasks[0])

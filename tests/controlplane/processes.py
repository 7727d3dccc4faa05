"""Processes of other times: an id alone may by now be someone else's, so the start time goes with it (Linux)."""

import os
import signal
from pathlib import Path

import msgspec

from tests.controlplane.waiting import DeadlineError, wait_until


class ProcessId(msgspec.Struct, frozen=True):
    """A process id, and when it started in clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """The process of this id; None when there is none, or only its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], int(fields[19])
    return None if state == "Z" else ProcessId(pid, started)


def alive(process: ProcessId) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def end(process: ProcessId, deadline: float) -> None:
    """Ask exactly this process to stop (SIGTERM); after `deadline` seconds end it (SIGKILL)."""
    send(process, signal.SIGTERM)
    try:
        wait_until(lambda: not alive(process), deadline, "it stopped")
    except DeadlineError:
        send(process, signal.SIGKILL)
        wait_until(lambda: not alive(process), deadline, f"process {process.pid} is gone")

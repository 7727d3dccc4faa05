"""Processes of other times: an id alone may by now be someone else's, so the start time goes with it (Linux)."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.controlplane.waiting import DeadlineError, wait_until

_LISTENING = "0A"


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


def listeners(pid: int) -> set[tuple[str, int]]:
    """Address and port of each TCP socket at which a process accepts connections; of one that is gone, none.

    An address is as the kernel writes it: 127.0.0.1 is 0100007F.
    """
    sockets = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                sockets.add(str(descriptor.readlink()))
        tables = [Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    rows = [row.split() for table in tables for row in table]
    own = [row[1].split(":") for row in rows if row[3] == _LISTENING and f"socket:[{row[9]}]" in sockets]
    return {(address, int(port, 16)) for address, port in own}


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

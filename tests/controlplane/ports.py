"""Ports on loopback for servers to come."""

import random
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

_CANDIDATES = range(20000, 32000)  # below the range that Linux takes for outgoing connections
_LOOPBACK = "127.0.0.1"


def choose_ports(record: Path, names: Iterable[str]) -> dict[str, int]:
    """A free port for each name, the one of last time where it is still free; the choice is kept in the file `record`.

    Nothing holds a port until its server listens: when another process was faster, remove `record` and choose again.
    """
    earlier = msgspec.json.decode(record.read_bytes(), type=dict[str, int]) if record.exists() else {}
    chosen: dict[str, int] = {}
    for name in names:
        port = earlier.get(name)
        while port is None or port in chosen.values() or not _free(port):
            port = random.choice(_CANDIDATES)  # noqa: S311 - not a secret
        chosen[name] = port
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(msgspec.json.encode(chosen))
    return chosen


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Go's listeners do: TIME_WAIT is no obstacle
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True

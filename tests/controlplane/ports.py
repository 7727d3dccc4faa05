"""Ports on loopback for servers to come."""

import random
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from tests.controlplane.component import Component, ComponentError

_CANDIDATES = range(20000, 32000)  # below the range that Linux takes for outgoing connections
_LOOPBACK = "127.0.0.1"
_ATTEMPTS = 3


def choose_ports(record: Path, names: Iterable[str]) -> dict[str, int]:
    """A free port for each name, the one of last time where it is still free; the choice is kept in the file `record`.

    Nothing holds a port until its server listens: when another process was faster, remove `record` and choose again.
    """
    earlier = msgspec.json.decode(record.read_bytes(), type=dict[str, int]) if record.exists() else {}
    selected: dict[str, int] = {}
    for name in names:
        port = earlier.get(name)
        while port is None or port in selected.values() or not _free(port):
            port = random.choice(_CANDIDATES)  # noqa: S311 - not a secret
        selected[name] = port
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(msgspec.json.encode(selected))
    return selected


def start_on_free_ports(
    record: Path, names: tuple[str, ...], start: Callable[[dict[str, int]], None], stop: Callable[[], None]
) -> None:
    """Call `start` with a free port for each name; when another process takes one meanwhile, `stop` and try others.

    Raises ComponentError when it fails for another reason, or three times for this one.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return start(choose_ports(record, names))
        except ComponentError as error:
            if not error.port_taken or attempt == _ATTEMPTS:
                raise
        stop()
        record.unlink()
    return None


def start_component(record: Path, names: tuple[str, ...], make: Callable[[dict[str, int]], Component]) -> Component:
    """What `make` makes of a free port for each name, started; others are tried as in start_on_free_ports()."""
    made: list[Component] = []

    def start(ports: dict[str, int]) -> None:
        made[:] = [make(ports)]
        made[0].start()

    def stop() -> None:
        made[0].stop()

    try:
        start_on_free_ports(record, names, start, stop)
    except ComponentError:
        stop()
        raise
    return made[0]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Go's listeners do, in spite of TIME_WAIT
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True

"""Networks for the replicas of the webhook: one namespace of the kernel's each, as a pod has (root and iproute2).

A sandbox has two links to this machine: one on which it is called, one on which it calls the API server. The latter
can be cut like a cable, while the former goes on.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_LOCKS = Path("/run/sekisho-harness")
_NETWORKS = range(16)
_SANDBOXES = 16
"""A network's own; 16 networks of 16 sandboxes are all the third bytes of an address."""
_OURS = "sekisho-"


class NetworkError(Exception):
    """Network namespaces cannot be made here; the message says what is missing."""


class Sandbox:
    """The network of one replica, which is called at `address` and calls the API server at the network's address."""

    def __init__(self, number: int, api_address: str) -> None:
        self.name = f"{_OURS}{number}"
        self.address = f"10.77.{number}.2"
        self._api_link = f"{_OURS}a{number}"
        self._links = (f"{_OURS}r{number}", self._api_link)
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for link, subnet in zip(self._links, (f"10.77.{number}", f"10.79.{number}"), strict=True):
            inside = f"{link}-in"
            _ip("link", "add", link, "type", "veth", "peer", "name", inside, "netns", self.name)
            _ip("address", "add", f"{subnet}.1/24", "dev", link)
            _ip("link", "set", link, "up")
            _ip("-n", self.name, "address", "add", f"{subnet}.2/24", "dev", inside)
            _ip("-n", self.name, "link", "set", inside, "up")
        _ip("-n", self.name, "route", "add", f"{api_address}/32", "via", f"10.79.{number}.1")

    def remove(self) -> None:
        """Remove it; no process may be left in it."""
        for link in self._links:  # with their other ends: the kernel takes its time to remove those of a namespace
            _ip("link", "delete", link)
        _ip("netns", "delete", self.name)

    def command(self, *command: str) -> tuple[str, ...]:
        """The command line that runs a command in here; the process keeps its id."""
        return ("ip", "netns", "exec", self.name, *command)

    def cut_from_api(self) -> None:
        """Drop all packets to and from the API server, without an error to either side."""
        _ip("link", "set", self._api_link, "down")

    def connect_to_api(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._api_link, "up")


class Network:
    """Addresses of this machine that are ours alone: `api_address` for an API server, and a Sandbox a replica.

    Raises NetworkError where there are no network namespaces to be had. What a process left that died is removed.
    """

    def __init__(self) -> None:
        if shutil.which("ip") is None or os.geteuid() != 0:
            raise NetworkError(
                "replicas behind a Service need network namespaces: run this as root, with iproute2 installed (`ip`)"
            )
        self._number, self._lock = _lock_one()
        self.api_address = f"10.78.{self._number}.1"
        self._made: dict[int, Sandbox] = {}
        self._remove_leftovers()
        _ip("address", "add", f"{self.api_address}/32", "dev", "lo")

    def sandbox(self) -> Sandbox:
        """A new sandbox. Raises NetworkError when there are 16."""
        first = self._number * _SANDBOXES
        for number in range(first, first + _SANDBOXES):
            if number not in self._made:
                self._made[number] = Sandbox(number, self.api_address)
                return self._made[number]
        raise NetworkError(f"a network has {_SANDBOXES} sandboxes at most")

    def remove(self, sandbox: Sandbox) -> None:
        """Remove a sandbox; no process may be left in it."""
        number = next(number for number, made in self._made.items() if made is sandbox)
        del self._made[number]
        sandbox.remove()

    def close(self) -> None:
        """Remove everything."""
        for sandbox in list(self._made.values()):
            self.remove(sandbox)
        _ip("address", "delete", f"{self.api_address}/32", "dev", "lo")
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _remove_leftovers(self) -> None:
        present = {line.split()[0] for line in _ip("netns", "list").splitlines() if line}
        first = self._number * _SANDBOXES
        for number in range(first, first + _SANDBOXES):
            if f"{_OURS}{number}" in present:
                _ip("netns", "delete", f"{_OURS}{number}")
        if f" {self.api_address}/" in _ip("-oneline", "address", "show", "dev", "lo"):
            _ip("address", "delete", f"{self.api_address}/32", "dev", "lo")


def _lock_one() -> tuple[int, int]:
    """The number of a network that no living process has, and the lock that keeps it; it goes with the process."""
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    for number in _NETWORKS:
        lock = os.open(_LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return number, lock
    raise NetworkError(f"all {len(_NETWORKS)} networks are in use (locks: {_LOCKS})")


def _ip(*arguments: str) -> str:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout

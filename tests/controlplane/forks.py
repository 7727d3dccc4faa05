"""Start processes of Sekisho without their imports: a server has imported everything, and forks (Linux).

A process of Sekisho takes more than a second of CPU time to import its code, and the tests start hundreds. Run as a
module this is the server: `python -m tests.controlplane.forks SOCKET`, with the file descriptor of a socket.
"""

import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Protocol

import msgspec

from tests.controlplane.lifeline import die_with_parent, lifeline

_MAX_BYTES = 1 << 18
_SEKISHO = (sys.executable, "-m", "sekisho")


class _Request(msgspec.Struct, frozen=True):
    arguments: list[str] = []
    """Those of a process to start."""
    ended: int | None = None
    """The process whose exit code is needed; None to start one."""


class Process(Protocol):
    """What the harness needs of subprocess.Popen."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it ended. Raises subprocess.TimeoutExpired after `timeout` seconds."""

    def terminate(self) -> None:
        """Send SIGTERM; nothing happens when it has ended."""

    def kill(self) -> None:
        """Send SIGKILL; nothing happens when it has ended."""


class ForkServer:
    """Forks processes of `sekisho` with a given environment. They end with the thread that made this.

    Their hashes have one seed, as one process has imported all; two of these make different ones.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._server = subprocess.Popen(
                lifeline((sys.executable, "-m", __name__, str(other.fileno()))),
                stdin=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                env=self.environment,
                start_new_session=True,
            )

    def start(self, arguments: tuple[str, ...], log: IO[bytes]) -> "ForkedProcess":
        """Start `python -m sekisho` with these arguments; `log` gets its output. Raises OSError."""
        pid = self._ask(_Request(list(arguments)), log.fileno())
        return ForkedProcess(pid, self)

    def exit_code(self, pid: int) -> int:
        """The exit code of a process that has ended, which then is forgotten; negative for a signal. Raises OSError."""
        return self._ask(_Request(ended=pid))

    def close(self) -> None:
        """End it, and what it started."""
        self._server.kill()
        self._server.wait()
        self._socket.close()

    def _ask(self, request: _Request, *descriptors: int) -> int:
        with self._lock:
            socket.send_fds(self._socket, [msgspec.json.encode(request)], descriptors)
            answer = self._socket.recv(_MAX_BYTES)
        if not answer:
            raise ChildProcessError("the server that forks processes of Sekisho has ended")
        return int(answer)


class ForkedProcess:
    """A process that a ForkServer started, with the methods that `Process` has."""

    def __init__(self, pid: int, server: ForkServer) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._lock = threading.Lock()
        self._handle = os.pidfd_open(pid)  # also of one that has ended, as only exit_code() lets its id go

    def poll(self) -> int | None:
        """See Process."""
        return self._result(0)

    def wait(self, timeout: float | None = None) -> int:
        """See Process."""
        code = self._result(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("sekisho", timeout or 0)
        return code

    def terminate(self) -> None:
        """See Process."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """See Process."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with self._lock, suppress(ProcessLookupError):
            if self.returncode is None:
                signal.pidfd_send_signal(self._handle, number)

    def _result(self, timeout: float | None) -> int | None:
        if self.returncode is None and _is_readable(self._handle, timeout):
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._server.exit_code(self.pid)
                    os.close(self._handle)
        return self.returncode


def _is_readable(descriptor: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def arguments_of(command: tuple[str, ...]) -> tuple[str, ...] | None:
    """The arguments of a command line that starts Sekisho; None for another one."""
    return command[len(_SEKISHO) :] if command[: len(_SEKISHO)] == _SEKISHO else None


def _serve(requests: socket.socket) -> list[str] | None:
    """Answer requests until their sender has gone: None. In each new process: its arguments."""
    server = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _MAX_BYTES, 1)
        if not message:
            return None
        request = msgspec.json.decode(message, type=_Request)
        if request.ended is not None:
            answer = os.waitstatus_to_exitcode(os.waitpid(request.ended, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                die_with_parent(server)
                os.setsid()
                for output in (1, 2):
                    os.dup2(descriptors[0], output)
                os.close(descriptors[0])
                return request.arguments
            os.close(descriptors[0])
        requests.send(str(answer).encode())


def _main() -> None:
    import sekisho.operator.process
    import sekisho.webhook.process  # noqa: F401

    with socket.socket(fileno=int(sys.argv[1])) as requests:
        arguments = _serve(requests)
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module("sekisho", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

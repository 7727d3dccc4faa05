"""A process of the control plane: started, watched, stopped, and made to fail for a drill."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, ClassVar

from tests.controlplane.forks import ForkServer, Process, arguments_of
from tests.controlplane.lifeline import lifeline
from tests.controlplane.processes import listeners
from tests.controlplane.waiting import DeadlineError, wait_until

READY_IN = 180.0
_STOP_IN = 20.0
_TAIL = 8192

# A component dies with the thread that started it; this one lives as long as the interpreter.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ComponentError(Exception):
    """A component ended, or did not get ready in time. The message has the end of its log and the log's path."""

    def __init__(self, what: str, log: Path) -> None:
        end = tail(log)
        self.port_taken = "address already in use" in end.lower()
        super().__init__(f"{what}\n{end.rstrip()}\n(log: {log})")


class Component:
    """One process, at most one at a time; its output is appended to `log`.

    `ready` says whether it serves, from outside. With a `port` it also has to listen there itself: what answers may be
    another process, which was faster to take the port. `environment` is all that it gets.
    """

    fork_servers: ClassVar[list[ForkServer]] = []
    """Where there are some, they start processes of Sekisho in turn, and without a command line of their own."""

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        log: Path,
        ready: Callable[[], bool],
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self._ready = ready
        self._port = port
        self._environment = environment if environment is not None else base_environment()
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it runs and serves, at this moment."""
        return self.running and self._listens() and self._ready()

    @property
    def pid(self) -> int:
        """The process id. Raises RuntimeError when it was never started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def spawn(self) -> None:
        """Start it and don't wait. Raises RuntimeError when it runs already."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = _SPAWNER.submit(self._start, log).result()

    def wait_ready(self, deadline: float = READY_IN) -> None:
        """Return once it serves. Raises ComponentError when it ended, or did not serve within `deadline` seconds."""
        try:
            wait_until(lambda: not self.running or self.ready, deadline, "it serves")
        except DeadlineError as error:
            raise ComponentError(f"{self.name} is not ready after {deadline:g} s", self.log) from error
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ComponentError(f"{self.name} ended with exit code {code}", self.log)

    def start(self, deadline: float = READY_IN) -> None:
        """Start it and return once it serves. Raises ComponentError."""
        self.spawn()
        self.wait_ready(deadline)

    def restart(self, deadline: float = READY_IN) -> None:
        """Stop it where it runs, start it with the same command and ports, return once it serves."""
        self.stop()
        self.start(deadline)

    def stop(self) -> None:
        """End it as an operator would (SIGTERM), by force after 20 s. Nothing happens when it does not run."""
        if self._process is None or not self.running:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_IN)
        except subprocess.TimeoutExpired:
            self.kill()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and don't wait."""
        os.kill(self._pid_of_running(), signal.SIGTERM)

    def wait_ended(self, deadline: float) -> int:
        """Its exit code, once it ended. Raises ComponentError when it did not within `deadline` seconds."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired as error:
            raise ComponentError(f"{self.name} has not ended after {deadline:g} s", self.log) from error

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        if self._process is not None and self.running:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its port still accepts connections, nothing answers."""
        os.kill(self._pid_of_running(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after pause()."""
        os.kill(self._pid_of_running(), signal.SIGCONT)

    def _start(self, log: IO[bytes]) -> Process:
        arguments = arguments_of(self.command)
        servers = [server for server in self.fork_servers if server.environment == self._environment]
        if arguments is not None and servers:
            server = servers[0]
            self.fork_servers.remove(server)
            self.fork_servers.append(server)
            return server.start(arguments, log)
        return subprocess.Popen(
            lifeline(self.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(self._environment),
            start_new_session=True,  # Ctrl-C at a terminal is for us, who then stop it in order
        )

    def _listens(self) -> bool:
        return self._port is None or self._port in {port for _, port in listeners(self.pid)}

    def _pid_of_running(self) -> int:
        if self._process is None or not self.running:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid


def base_environment() -> dict[str, str]:
    """What a process of the harness sees of the caller's environment: enough to run, nothing that configures it."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def tail(log: Path, size: int = _TAIL) -> str:
    """The last lines of a log, at most `size` bytes; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-15:])

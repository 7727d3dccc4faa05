"""The control plane in the background: one process is the parent of all the others, and this is how to talk with it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec

from tests.controlplane.build import BuildError, control_plane_binaries
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import CommandError
from tests.controlplane.plane import ControlPlane
from tests.controlplane.processes import ProcessId, alive, end, identify, send
from tests.controlplane.progress import Progress
from tests.controlplane.toolchain import ToolchainError
from tests.controlplane.waiting import DeadlineError, wait_until
from tests.trustparts.authority import write_server_tls
from tests.trustparts.build import odd_registry_binary, trust_binaries
from tests.trustparts.odd import OddRegistry, start_odd_registry

_READY_IN = 480.0
_STOP_IN = 90.0
_LOOK_EVERY = 2.0
"""Seconds between two looks at Sekisho's processes: one that ended starts again, as a kubelet would have it."""
_KEYS = ("release-key", "scanner-key", "ci-key")
"""The Secrets with keys that the documentation makes."""
_MADE = (
    "registry",
    "etcd",
    "pki",
    "logs",
    "bin",
    "sekisho",
    ".cache-kubeconfig",
    "kubeconfig",
    "ports.json",
    "state.json",
)


class SupervisorError(Exception):
    """The control plane could not be brought up, or down; the message says why and where the logs are."""


class Mode(StrEnum):
    """What is in the control plane."""

    BARE = "without Sekisho"
    USUAL = "with Sekisho"
    IMAGES = "with Sekisho verifying images"
    """Also a registry on loopback."""


class State(msgspec.Struct, frozen=True):
    """What the supervisor says of itself, in state.json."""

    supervisor: ProcessId
    mode: Mode
    phase: Literal["starting", "ready", "failed"] = "starting"
    checks: int = 0
    """How often it has found or made everything well."""
    processes: dict[str, ProcessId] = {}


def read_state(folder: Path) -> State | None:
    """The state of the control plane in `folder`; None when it never was up."""
    try:
        return msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        return None


def up(folder: Path, say: Callable[[str], None], mode: Mode) -> None:
    """Bring the control plane up in the background, or repair it; return once all is ready. Raises SupervisorError."""
    with _alone(folder):
        state = read_state(folder)
        if state and alive(state.supervisor):
            if state.mode != mode:
                raise SupervisorError(f"it is up {state.mode}: run `make down` first")
            say("it is up: checking it")
            shown = len(_lines(folder))
            send(state.supervisor, signal.SIGHUP)
            _wait_checked(folder, state, shown, say)
        else:
            if state and not state.checks:  # Helm does not go on with a release that was half installed
                say("the last attempt did not come up: beginning anew")
                _remove(folder)
            _wait_checked(folder, _start(folder, mode), 0, say)


def down(folder: Path) -> bool:
    """Stop everything and remove what `up` made; False when there was nothing. Raises SupervisorError."""
    with _alone(folder):
        if not folder.exists():
            return False
        state = read_state(folder)
        try:
            for process in (state.supervisor, *state.processes.values()) if state else ():
                if alive(process):
                    end(process, _STOP_IN)
        except DeadlineError as error:
            raise SupervisorError(str(error)) from error
        _remove(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
    return True


def _remove(folder: Path) -> None:
    for name in _MADE:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def supervise(folder: Path, mode: Mode) -> None:
    """Be the supervisor: run the control plane until SIGTERM and repair it; exit 1 when that fails."""
    sys.stdin.read()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.signal(signal.SIGTERM, _exit)
    say = Progress(sys.stdout).say
    state = read_state(folder)
    if state is None:
        sys.exit(f"{folder} has no state.json")
    try:
        plane = ControlPlane(folder, control_plane_binaries(Progress(sys.stdout)), say)
        binaries = [plane.binaries.kubectl, plane.binaries.helm]
        registry = None
        if mode is Mode.IMAGES:
            binaries.append(trust_binaries(Progress(sys.stdout)).cosign)
            registry = _registry(folder / "registry", say)
        sekisho = None if mode is Mode.BARE else _sekisho(plane, say, registry)
        _link(folder / "bin", (*binaries, Path(sys.executable).with_name("sekisho")))
        try:
            plane.start()
            if sekisho:
                sekisho.install()
            while True:
                parts = (registry.component,) if registry else ()
                state = _checked(state, (*parts, *plane.components, *(sekisho.components if sekisho else ())))
                _write(folder, state)
                _wait_for_repair(sekisho)
                plane.repair()
                if registry and not registry.component.ready:
                    registry.component.restart()
                    _push_images(registry, say)
                if sekisho:
                    sekisho.repair()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if sekisho:
                sekisho.stop()
            plane.stop()
            if registry:
                registry.component.stop()
    except (BuildError, ToolchainError, ComponentError, CommandError, DeadlineError) as error:
        say(str(error))
        _write(folder, msgspec.structs.replace(state, phase="failed"))
        sys.exit(1)


def _wait_for_repair(sekisho: Sekisho | None) -> None:
    """Return at a SIGHUP, and when a process of Sekisho has ended."""
    processes = sekisho.components if sekisho else ()
    while not signal.sigtimedwait({signal.SIGHUP}, _LOOK_EVERY) and all(one.running for one in processes):
        pass


def _registry(folder: Path, say: Callable[[str], None]) -> OddRegistry:
    """A registry on loopback with two images to sign one of, as the page on signed images does."""
    registry = start_odd_registry(odd_registry_binary(Progress(sys.stdout)), folder, write_server_tls(folder))
    _push_images(registry, say)
    return registry


def _push_images(registry: OddRegistry, say: Callable[[str], None]) -> None:
    for tag in ("1.2.3", "1.1.0"):
        image = registry.push_image("acme/pay", tag, tag)
        say(f"an image to try: {image.repository}:{tag}@{image.digest}")


def _sekisho(plane: ControlPlane, say: Callable[[str], None], registry: OddRegistry | None) -> Sekisho:
    """registry: the one whose images are verified, by keys in _KEYS; None to verify none."""
    if registry is None:
        return Sekisho(plane, say=say)
    verify = ("--verify-images", *(f"--authority-secret={name}" for name in _KEYS))
    reach = (f"--registry-ca-file={registry.ca}", "--registry-network=127.0.0.0/8")
    settings = ("imageVerification.enabled=true", f"imageVerification.secrets={{{','.join(_KEYS)}}}")
    return Sekisho(plane, settings, say, {"webhook": (*verify, *reach), "controller": verify})


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _checked(state: State, components: tuple[Component, ...]) -> State:
    processes = {component.name: identify(component.pid) for component in components}
    return msgspec.structs.replace(
        state,
        phase="ready",
        checks=state.checks + 1,
        processes={name: process for name, process in processes.items() if process},
    )


def _link(folder: Path, binaries: Iterable[Path]) -> None:
    folder.mkdir(exist_ok=True)
    for binary in binaries:
        link = folder / binary.name
        link.unlink(missing_ok=True)
        link.symlink_to(binary)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # The lock is on the folder around: that one is there before `up` and after `down`.
    around = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(around, fcntl.LOCK_EX)
        yield
    finally:
        os.close(around)


def _start(folder: Path, mode: Mode) -> State:
    logs = folder / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    logs.mkdir(exist_ok=True)
    command = (sys.executable, "-m", "tests.controlplane", f"--folder={folder}", "supervise")
    with (logs / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(
            (*command, f"--mode={mode.name}"),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    supervisor = identify(process.pid)
    if supervisor is None:
        raise SupervisorError(f"the supervisor ended at once (log: {logs / 'supervisor.log'})")
    state = State(supervisor, mode)
    _write(folder, state)
    if process.stdin:
        process.stdin.close()  # it starts nothing before it is on record
    process.returncode = 0  # it outlives us: nobody here waits for it
    return state


def _lines(folder: Path) -> list[str]:
    return (folder / "logs" / "supervisor.log").read_text().splitlines()


def _wait_checked(folder: Path, before: State, shown: int, say: Callable[[str], None]) -> None:
    """Return when the supervisor has checked all since `before`; pass on its lines after the first `told`."""

    def checked() -> bool:
        nonlocal shown
        state = read_state(folder) or before
        done = state.phase == "failed" or state.checks > before.checks or not alive(before.supervisor)
        for line in _lines(folder)[shown:]:
            say(line)
            shown += 1
        return done

    logs = folder / "logs"
    try:
        wait_until(checked, _READY_IN, "everything is ready")
    except DeadlineError as error:
        raise SupervisorError(f"{error} (logs: {logs})") from error
    state = read_state(folder)
    if state is None or state.phase == "failed" or not alive(before.supervisor):
        raise SupervisorError(f"the control plane did not come up (logs: {logs})")


def _write(folder: Path, state: State) -> None:
    temporary = folder / "logs" / "state.json"
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(folder / "state.json")

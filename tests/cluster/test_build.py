"""Building the control plane: whole or not at all, by one process at a time. Go itself is a stub here."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.build import HELM, KUBERNETES
from tests.controlplane.processes import alive, identify
from tests.controlplane.waiting import wait_until

SOON = 90.0  # the other tests may take both cores meanwhile
ROOT = Path(__file__).parents[2]
COMMANDS = {*KUBERNETES.commands, *HELM.commands}

# Takes the place of go. `go build` writes every binary in two halves; with a gate, the first build waits between them.
STUB = """\
    #!/bin/sh
    case "$1" in
    env) echo go1.99.0 ;;
    list) echo "go: downloading example v1.0.0" >&2; echo example ;;
    build)
        while [ "$1" != -o ]; do shift; done
        folder=$2; shift 2
        for package; do echo half >> "$folder/$(basename "${package%/v3}")"; done
        if [ -n "$GATE" ] && [ ! -e "$GATE.pid" ]; then echo $$ > "$GATE.pid"; read -r line < "$GATE"; fi
        if [ -n "$ERROR" ]; then echo "example" >&2; echo "$ERROR" >&2; exit 1; fi
        for package; do echo "$package" >&2; echo half >> "$folder/$(basename "${package%/v3}")"; done ;;
    esac
"""


class Machine:
    """A cache of its own, and a `go` on PATH whose build waits at a gate, when asked to, until it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self._builds: list[subprocess.Popen[str]] = []
        os.mkfifo(self.gate)
        go = folder / "bin" / "go"
        go.parent.mkdir()
        go.write_text(textwrap.dedent(STUB))
        go.chmod(0o755)

    def build(self, **settings: str) -> "subprocess.Popen[str]":
        """Start `python -m tests.controlplane build`."""
        environment = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
        environment |= {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(self.folder)}
        build = subprocess.Popen(
            (sys.executable, "-m", "tests.controlplane", "build"),
            cwd=ROOT,
            env=environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._builds.append(build)
        return build

    def stop(self) -> None:
        """End every build that still runs."""
        for build in self._builds:
            build.kill()
            build.communicate()

    def wait_at_gate(self) -> int:
        """Return the process id of a `go build` that has written half, and waits."""
        recorded = Path(f"{self.gate}.pid")
        wait_until(lambda: recorded.exists() and recorded.read_text().endswith("\n"), SOON, "go build is half done")
        return int(recorded.read_text())

    def open_gate(self) -> None:
        """Let the `go build` at the gate go on."""
        self.gate.write_text("on\n")

    def binaries(self) -> dict[str, str]:
        """Content of every binary in the cache."""
        finished = set(self.cached()) - set(self.unfinished())
        return {path.name: path.read_text() for path in finished if path.is_file() and path.suffix != ".lock"}

    def cached(self) -> list[Path]:
        """Everything in the cache."""
        return sorted((self.folder / "sekisho").rglob("*"))

    def unfinished(self) -> list[Path]:
        """What a build has left of its work."""
        return [path for path in self.cached() if "unfinished" in str(path)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.stop()


def test_build_makes_every_binary_and_prints_its_path(machine: Machine) -> None:
    build = machine.build()
    output, progress = build.communicate(timeout=SOON)
    assert build.returncode == 0, progress
    assert machine.binaries() == dict.fromkeys(COMMANDS, "half\nhalf\n")
    assert {Path(line).name for line in output.splitlines()} == COMMANDS
    assert machine.unfinished() == []
    assert "\r" not in progress


def test_second_build_needs_no_go(machine: Machine) -> None:
    build = machine.build()
    build.communicate(timeout=SOON)
    (machine.folder / "bin" / "go").write_text("#!/bin/sh\nexit 1\n")
    again = machine.build()
    _, progress = again.communicate(timeout=SOON)
    assert again.returncode == 0
    assert progress == ""


@pytest.fixture
def signals_as_in_a_terminal() -> Iterator[None]:
    """A shell starts what runs in its background with SIGINT ignored, and the build would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("signals_as_in_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_build_leaves_nothing(machine: Machine, number: signal.Signals) -> None:
    build = machine.build(GATE=str(machine.gate))
    go = machine.wait_at_gate()
    build.send_signal(number)
    build.communicate(timeout=SOON)
    assert build.returncode != 0
    assert identify(go) is None
    assert machine.binaries() == {}
    assert machine.unfinished() == []


def test_killed_build_leaves_nothing_that_the_next_one_takes_for_a_binary(machine: Machine) -> None:
    build = machine.build(GATE=str(machine.gate))
    go = identify(machine.wait_at_gate())
    assert go
    build.kill()
    build.communicate(timeout=SOON)
    wait_until(lambda: not alive(go), SOON, "go has died with its parent")
    assert machine.unfinished() != []
    again = machine.build()
    _, progress = again.communicate(timeout=SOON)
    assert again.returncode == 0, progress
    assert machine.binaries() == dict.fromkeys(COMMANDS, "half\nhalf\n")
    assert machine.unfinished() == []


def test_concurrent_build_waits_and_says_so(machine: Machine) -> None:
    first = machine.build(GATE=str(machine.gate))
    machine.wait_at_gate()
    second = machine.build()
    assert second.stderr
    said = second.stderr.readline()
    assert said.startswith(f"waiting for process {first.pid}, which is making kubernetes-v")
    assert machine.binaries() == {}
    machine.open_gate()
    _, progress = second.communicate(timeout=SOON)
    first.communicate(timeout=SOON)
    assert (first.returncode, second.returncode) == (0, 0), progress
    assert machine.binaries() == dict.fromkeys(COMMANDS, "half\nhalf\n")


def test_failed_build_shows_what_go_said(machine: Machine) -> None:
    build = machine.build(ERROR="example.go:1:1: syntax error")
    _, progress = build.communicate(timeout=SOON)
    assert build.returncode == 1
    assert "example.go:1:1: syntax error" in progress
    assert "Traceback" not in progress
    assert machine.binaries() == {}
    assert machine.unfinished() == []


def test_binaries_of_kubebuilder_are_used_and_only_the_others_built(machine: Machine, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    provided = {"etcd", "kube-apiserver", "kubectl"}
    for name in provided:
        (assets / name).write_text("#!/bin/sh\n")
        (assets / name).chmod(0o755)
    build = machine.build(KUBEBUILDER_ASSETS=str(assets))
    output, progress = build.communicate(timeout=SOON)
    assert build.returncode == 0, progress
    assert {str(assets / name) for name in provided} < set(output.splitlines())
    assert set(machine.binaries()) == COMMANDS - provided

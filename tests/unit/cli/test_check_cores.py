"""Checking over several cores: the same results in the same order, and a good end in every case."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sekisho.cli import cores
from sekisho.manifests import Source
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD

COMMAND = [sys.executable, "-m", "sekisho", "check", "--standard", "baseline"]
PADDING = "# " + "x" * 4000 + "\n"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder with as much as several processes share."""
    for number in range(300):
        name = f"n{number:03}"
        text = BAD_POD.replace("bad", name) if number % 7 == 0 else GOOD_POD.replace("good", name)
        (tmp_path / f"{name}.yaml").write_text(text + PADDING)
    (tmp_path / "n150-not.yaml").write_text("kind: Pod\nspec: b: c\n")
    return tmp_path


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True)


def test_several_processes_report_what_one_reports(many: Path) -> None:
    one, three = run("--jobs", "1", many), run("--jobs", "3", many)
    assert (one.returncode, one.stdout, one.stderr) == (three.returncode, three.stdout, three.stderr)
    assert "300 checked: 257 pass, 43 denied; 1 unreadable" in one.stdout


def test_small_inputs_are_checked_by_one_process(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Checker:
        def check(self, _source: object) -> int:
            calls.append(os.getpid())
            return 0

    sources = [Source("f", 0, "x" * 2048)] * 300
    monkeypatch.setattr(cores, "SMALLEST_SHARED", 300 * 2048 + 1)
    assert sum(map(len, cores.check_all(sources, Checker(), 3))) == 300  # type: ignore[arg-type]
    assert set(calls) == {os.getpid()}


DYING = """
import os, sys
from sekisho.manifests import Checker
check = Checker.check
def dying(self, source):
    if source.file.endswith("n200.yaml"):
        {what}
    return check(self, source)
Checker.check = dying
sys.argv[0] = "sekisho"
from sekisho.cli import main
main()
"""


# What a shell starts in the background ignores interrupts, and so do its children.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def fifos(folder: Path) -> tuple[Path, Path]:
    """Two pipes for a process that is to stop in the middle of a file: it opens the first, then waits at the second."""
    opened, release = folder / "opened", folder / "release"
    os.mkfifo(opened)
    os.mkfifo(release)
    return opened, release


@contextmanager
def released(fifo: Path) -> Iterator[None]:
    """Let the process that waits at the pipe go on."""
    both_ends = os.open(fifo, os.O_RDWR)  # for writing alone it would wait for a reader, who may be dead
    try:
        yield
    finally:
        os.close(both_ends)


def run_dying(what: str, many: Path, jobs: int) -> subprocess.CompletedProcess[str]:
    code = DYING.format(what=what)
    command = [sys.executable, "-c", code, "check", "--standard", "baseline", "--jobs", str(jobs), str(many)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_process_that_dies_is_reported(many: Path) -> None:
    done = run_dying("os._exit(9)", many, 2)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: a checking process died, perhaps because it ran out of memory; try --jobs 1\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_unexpected_error_is_one_line(many: Path, jobs: int) -> None:
    done = run_dying("raise KeyError('boo')", many, jobs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: internal error, please report it: KeyError: 'boo' (at ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_ends_a_run_without_a_traceback(many: Path, jobs: int) -> None:
    opened, release = fifos(many)
    code = LISTENING + DYING.format(what=f"open({str(opened)!r}, 'w').close(); open({str(release)!r}).close()")
    command = [sys.executable, "-c", code, "check", "--standard", "baseline", "--jobs", str(jobs), str(many)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    opened.open().close()  # waits until it is in the middle of it
    os.killpg(process.pid, signal.SIGINT)
    with released(release):
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (1, "Aborted!")


def test_a_closed_pipe_ends_a_run_without_a_traceback(many: Path) -> None:
    process = subprocess.Popen([*COMMAND, str(many)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait() != 0
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("- <&-", 2, "Error: <stdin>: is empty\n"),
        ("{many}/n001.yaml >&-", 0, ""),
        ("{many}/n000.yaml >&-", 1, ""),
        ("{many}/n000.yaml >/dev/full", 2, "Error: writing: No space left on device\n"),
        ("{many}/n000.yaml 2>&- >/dev/null", 1, ""),
        ("/proc/self/mem", 2, "Error: /proc/self/mem: cannot be read: Input/output error\n"),
        ("-p $(printf 'x%.0s' $(seq 300)) -", 2, "File name too long\n"),
    ],
)
def test_closed_and_broken_streams_are_reported(redirection: str, code: int, said: str, many: Path) -> None:
    command = f"{' '.join(COMMAND)} {redirection.format(many=many)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr[-len(said) :] if said else done.stderr) == (code, said)


def test_a_run_that_is_killed_leaves_no_process_behind(many: Path) -> None:
    opened, release = fifos(many)
    code = LISTENING + DYING.format(what=f"open({str(opened)!r}, 'w').close(); open({str(release)!r}).close()")
    command = [sys.executable, "-c", code, "check", "--standard", "baseline", "--jobs", "3", str(many)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    opened.open().close()
    process.kill()
    assert process.stderr is not None
    with released(release):
        assert process.stderr.read() == b""  # ends when the last process has let go of it
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL

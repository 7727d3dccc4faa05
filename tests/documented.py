"""Runs the commands that the documentation shows, in blocks below a comment `<!-- test: KIND -->`.

`offline` needs no cluster, `cluster` needs one, and `dry run` is for commands on a cluster that change more than a test
may: the API server is only asked whether it would do it. A block below `<!-- test: file NAME -->` is written to that
file first, and `<!-- setup: COMMAND -->` above a test's comment makes what readers have of their own. `short` is for
benchmarks, which are run with `SHORT=1`, and `CI` for what CI itself runs. A command must succeed, unless the output
below it begins with `Error` or `no`, or says `denied: ` or `would be denied`. The lines below a command are all that it
writes, and `…` in them stands for any text, or none; a command without lines below it may write anything.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from tests.controlplane.waiting import DeadlineError, wait_until

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("policies/**/*.md")])
NEED_A_NODE = ("kubectl logs ", "kubectl get deployment sekisho-")
"""The control plane has no nodes when a page is run, and the webhook runs beside it: other tests run these commands."""

_DENIALS = ("denied: ", "would be denied")
_SOON = 30.0
_BLOCK = re.compile(
    r"(?:^ *<!-- setup: (.*) -->\n)?^ *<!-- test: (offline|cluster|dry run|file|short|CI):? ?(.*) -->\n"
    r" *```\w+\n((?s:.*?))^ *```$",
    re.MULTILINE,
)
_EVENTUALLY = re.compile(r"(kubectl (get|events)|sekisho denials)\b")


class Block(msgspec.Struct, frozen=True):
    """A block: the command before it, its kind, the name of its file, and its text."""

    setup: str
    kind: str
    name: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are tested, in order."""
    matches = _BLOCK.findall(page.read_text())
    return [Block(setup, kind, name, textwrap.dedent(text)) for setup, kind, name, text in matches]


def pages_with(*kinds: str) -> list[Path]:
    """The pages with a block of one of these kinds."""
    return [page for page in PAGES if any(block.kind in kinds for block in blocks(page))]


def commands_of(kind: str) -> list[str]:
    """The commands in all blocks of a kind, without what a comment beside them says."""
    texts = [block.text for page in PAGES for block in blocks(page) if block.kind == kind]
    return [shlex.join(shlex.split(command, comments=True)) for text in texts for command, _ in commands(text)]


def run_short(command: str) -> None:
    """Run a benchmark's `make` command as short as it can be. Raises AssertionError with what it wrote if it fails."""
    here = ("SHORT=1", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.installed", "--no-print-directory")
    words = [*shlex.split(command.replace("=COMMIT", "=HEAD")), *here]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block with the lines of its output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *output = part.replace("\\\n", "").rstrip().splitlines()
        yield command, output


def run_page(page: Path, kinds: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a page's blocks of these kinds in a folder of their own. Raises AssertionError for what is not as shown."""
    for name in ("charts", "policies", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    for block in blocks(page):
        if block.kind == "file":
            (folder / block.name).write_text(block.text)
        elif block.kind in kinds:
            if block.setup:
                _run(block.setup, [], folder, environment)
            for command, output in commands(block.text):
                if not command.startswith(NEED_A_NODE):
                    _run(_dry(command) if block.kind == "dry run" else command, output, folder, environment)


def _dry(command: str) -> str:
    """The command as a dry run. The tests' cluster has the release already, so it can only be upgraded."""
    tool, verb, rest = command.replace("helm install", "helm upgrade", 1).split(" ", 2)
    return f"{tool} {verb} --dry-run=server {rest}"


def _run(command: str, output: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    if not _EVENTUALLY.match(command):
        problem = _problem(command, output, folder, environment)
        assert problem is None, problem
        return
    last = ""

    def shown() -> bool:
        nonlocal last
        last = _problem(command, output, folder, environment) or ""
        return not last

    try:
        wait_until(shown, _SOON, command)
    except DeadlineError:
        raise AssertionError(last) from None


def _problem(command: str, output: list[str], folder: Path, environment: Mapping[str, str]) -> str | None:
    path = f"{environment.get('BINARIES', '')}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    is_as_shown = not output or shows("\n".join(output), done.stdout)
    first_word = "".join(output[:1]).partition(" ")[0]
    must_fail = first_word in ("Error", "no") or any(text in line for line in output for text in _DENIALS)
    if not is_as_shown or (done.returncode != 0) is not must_fail:
        shown = "\n".join(output)
        return f"$ {command}\nexit code {done.returncode}\n{done.stdout}\nthe page shows:\n{shown}"
    return None


def shows(output: str, written: str) -> bool:
    """Whether an output on a page is all that a command has written, but for what `…` stands for, and for spaces."""
    parts = " ".join(output.split()).split("…")
    return re.fullmatch(".*".join(re.escape(part.strip()) for part in parts), " ".join(written.split())) is not None

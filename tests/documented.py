"""Runs the commands that the documentation shows, in blocks below a comment `<!-- test: KIND -->`.

A block below `<!-- test: file NAME -->` is written to that file first. A command must succeed, unless the output below
it begins with `Error` or `no`. Each line of the output must be in what the command writes, and may be a part of it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from tests.controlplane.waiting import DeadlineError, wait_until

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
_SOON = 30.0
_BLOCK = re.compile(r"^ *<!-- test: (\w+) ?(\S*) -->\n *```\w+\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_EVENTUALLY = re.compile(r"(kubectl (get|events)|sekisho denials)\b")


class Block(msgspec.Struct, frozen=True):
    """A block: its kind (offline, cluster or file), the name of its file, and its text."""

    kind: str
    name: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are tested, in order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def pages_with(kind: str) -> list[Path]:
    """The pages with a block of a kind."""
    return [page for page in PAGES if any(block.kind == kind for block in blocks(page))]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block with the lines of its output."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *output = part.rstrip().splitlines()
        yield command, output


def run_page(page: Path, kind: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run the blocks of a kind in a folder with the repository's. Raises AssertionError for what is not as shown."""
    for name in ("charts", "policies", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for block in blocks(page):
        if block.kind == "file":
            (folder / block.name).write_text(block.text)
        elif block.kind == kind:
            for command, output in commands(block.text):
                _run(command, output, folder, environment)


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
    written = " ".join(done.stdout.split())
    missing = [line for line in output if " ".join(line.split()) not in written]
    must_fail = bool(output) and output[0].partition(" ")[0].strip() in ("Error", "no")
    if missing or (done.returncode != 0) is not must_fail:
        return f"$ {command}\nexit code {done.returncode}\n{done.stdout}\nmissing: {missing}"
    return None

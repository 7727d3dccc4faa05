"""The user's cache folder: what took minutes to make is made once, by one process, and appears whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.progress import Progress

_UNFINISHED = ".unfinished-"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/sekisho/controlplane, under ~/.cache where that is not set."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sekisho" / "controlplane"


@contextmanager
def workshop(target: Path, progress: Progress) -> Iterator[Path]:
    """A new folder beside `target` to make its content in, while nobody else may; removed at the end.

    When another process is at it, says so and waits. What a killed process left behind is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            progress.say(f"waiting for process {lock.read().strip() or '?'}, which is making {target.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        prefix = f"{_UNFINISHED}{target.name}-"
        for leftover in target.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(finished: Path, target: Path) -> None:
    """Move a finished file or folder to its place in one step that survives a crash of the machine."""
    if finished.is_file():
        with finished.open("rb") as file:
            os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    finished.replace(target)
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)

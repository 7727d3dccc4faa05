"""Polling of files for changes, off the event loop."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

POLL_SECONDS = 0.5

Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(*paths: Path) -> Fingerprint:
    """Changes when one of the files, or a file in one of the folders, changes."""
    return tuple(sorted(_stat(file) for path in paths for file in _files(path)))


async def poll(paths: tuple[Path, ...], seen: Fingerprint, on_change: Callable[[], None]) -> NoReturn:
    """Call `on_change` in a thread whenever the fingerprint of the paths is no longer `seen`, until cancelled.

    A change is reported after two identical polls: a file that is being rewritten is empty for a moment, and a folder
    that is being replaced lacks files.
    """
    last = seen
    while True:
        await asyncio.sleep(POLL_SECONDS)
        present = await asyncio.to_thread(fingerprint, *paths)
        if present == last != seen:
            seen = present
            await asyncio.to_thread(on_change)
        last = present


def _files(path: Path) -> list[Path]:
    try:
        return [path, *path.rglob("*")] if path.is_dir() else [path]
    except OSError:  # the folder was removed just now
        return [path]


def _stat(file: Path) -> tuple[str, int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), status.st_mtime_ns, status.st_size, status.st_ino

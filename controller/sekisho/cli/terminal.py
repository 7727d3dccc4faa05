"""Writing to terminals, with colours, and to pipes, without; and to files."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TextIO

import click

PROGRESS_AFTER = 1.0
"""Seconds before a progress bar is shown."""


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a text to a stream, to standard output for None; colours only to a terminal that wants them.

    Source: https://no-color.org/ and https://force-color.org/
    """
    stream = stream or sys.stdout
    is_terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    is_coloured = not os.environ.get("NO_COLOR") and (bool(os.environ.get("FORCE_COLOR")) or is_terminal)
    click.echo(text, stream, nl=False, color=is_coloured)


def width() -> int | None:
    """The columns of the terminal that standard output is; None for a pipe or a file. COLUMNS overrides it."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    import shutil  # here, as it takes long to load, and in a pipe nobody needs it

    return shutil.get_terminal_size().columns


def replace_file(file: Path, content: bytes) -> None:
    """Write a file as a whole, so that nobody reads a half of it. Its mode stays. Raises OSError."""
    import tempfile  # here, as it takes long to load, and few commands write files

    target = file.resolve()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as written:
        written.write(content)
    Path(written.name).chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
    Path(written.name).replace(target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of items done; on a terminal, a slow run shows a progress bar on stderr."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("Checking", total=total)
    started = monotonic()

    def advance(count: int) -> None:
        bar.advance(task, count)
        if monotonic() - started > PROGRESS_AFTER:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()

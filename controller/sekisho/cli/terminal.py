"""Writing to terminals, with colours, and to pipes, without."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

import click

PROGRESS_AFTER = 1.0
"""Seconds before a progress bar is shown."""


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a text to a stream, to standard output for None; colours only to a terminal. https://no-color.org/"""
    stream = stream or sys.stdout
    is_terminal = stream is not None and stream.isatty()
    is_coloured = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    click.echo(text, stream, nl=False, color=is_coloured)


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

"""Writing to standard output: coloured on a terminal, plain in a pipe."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import click

PATIENCE = 1.0
"""Seconds that a run may take before a progress bar is shown."""


def write(text: str) -> None:
    """Write a text with its colours, or without them where they do not belong. https://no-color.org/"""
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    click.echo(text, nl=False, color=is_coloured)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many were done; on a terminal, what takes long shows a bar on stderr."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("Checking", total=total)
    started = monotonic()

    def advance(count: int) -> None:
        bar.advance(task, count)
        if monotonic() - started > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()

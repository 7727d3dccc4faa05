"""The logs of processes that still write them."""

from pathlib import Path


def complete_lines(log: Path) -> list[str]:
    """The lines of a log; one whose end is not written yet is left out."""
    return log.read_bytes().rpartition(b"\n")[0].decode().splitlines()

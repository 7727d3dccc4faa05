"""What a person sees while something takes long: one line that is rewritten, or a line now and then in a log."""

import sys
import time
from typing import TextIO

_TERMINAL_PERIOD = 0.2
_LOG_PERIOD = 15.0


class Progress:
    """Writes to `stream` (standard error by default)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._period = _TERMINAL_PERIOD if self._terminal else _LOG_PERIOD
        self._shown = time.monotonic()
        self._unfinished = False

    def show(self, text: str) -> None:
        """Tell how far it is; call this as often as you like, most calls write nothing."""
        if time.monotonic() - self._shown < self._period:
            return
        self._shown = time.monotonic()
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._unfinished = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._unfinished else f"{text}\n")
        self._unfinished = False
        self._stream.flush()


def elapsed(since: float) -> str:
    """How long ago `since` (of time.monotonic) was: "7 s" or "3 min 07 s"."""
    seconds = int(time.monotonic() - since)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02} s"

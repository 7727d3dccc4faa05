"""`sekisho controller` with an audit every second, of two pods a page. Run as a file: with a folder, then the options.

While the folder has a file `hold`, an audit waits at its 20th page of pods, and makes a file `held`.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Raw

import sekisho.cli.controller as command
import sekisho.cluster.pages as pages
import sekisho.operator.auditor as auditor
from sekisho.audit import Audit

PAGE: Final = 20
_LONGEST_HOLD: Final = 300.0


class HeldAudit(Audit):
    """An audit that waits in the middle of the pods while the folder says so."""

    folder: Path
    _page = 0

    def add_pods(self, items: Iterable[Raw]) -> None:
        """Add pods, as JSON; called in a thread."""
        self._page += 1
        deadline = time.monotonic() + _LONGEST_HOLD
        while self._page == PAGE and (self.folder / "hold").exists() and time.monotonic() < deadline:
            (self.folder / "held").touch()
            time.sleep(0.02)
        super().add_pods(items)


if __name__ == "__main__":
    HeldAudit.folder = Path(sys.argv[1])
    pages.PAGE_SIZE = 2
    auditor.PAUSE_SECONDS = 0.2
    auditor.DEBOUNCE_SECONDS = 0.1
    for name, value in (("INTERVAL_SECONDS", 1.0), ("Audit", HeldAudit)):
        setattr(auditor, name, value)
    command.controller(sys.argv[2:])

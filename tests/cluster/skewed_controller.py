"""`sekisho controller` by a wrong clock. Run as a file: with the days that the clock is ahead, then the options."""

import sys
from datetime import UTC, datetime, timedelta
from functools import partial

import sekisho.cli.controller as command
from sekisho.operator.process import run

if __name__ == "__main__":
    ahead = timedelta(days=int(sys.argv[1]))
    setattr(command, "run", partial(run, clock=lambda: datetime.now(UTC) + ahead))  # noqa: B010
    command.controller(sys.argv[2:])

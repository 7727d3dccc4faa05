"""Run as a file: becomes the command that it is given, which then can't outlive the process that started it (Linux).

    python -I -S lifeline.py PARENT COMMAND [ARGUMENT...]

A pre-exec hook could ask the kernel for the same, but forks of a process with threads must not run Python code.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def lifeline(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command line that runs `command`, ends it by SIGKILL when its parent goes, and keeps the process id.

    Parent means the thread: start it from one that lives as long as the command should.
    """
    return (sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *command)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process by SIGKILL when its parent goes, whose process id is `parent`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the kernel knew
        sys.exit(1)


def _main(parent: int, command: list[str]) -> None:
    die_with_parent(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # what a supervisor blocks for itself is not for its children
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])

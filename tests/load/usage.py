"""What a process uses, as Linux tells it."""

import os
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, in user and kernel mode, to a clock tick (usually 10 ms)."""
    return cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) / _TICKS_A_SECOND


def resident_mib(pid: int) -> float:
    """Memory of a process that is resident at this moment, in MiB."""
    return resident_kib(Path(f"/proc/{pid}/status").read_text()) / 1024


def cpu_ticks(stat: str) -> int:
    """utime and stime in the text of /proc/PID/stat; the process's name before them may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_kib(status: str) -> int:
    """VmRSS in the text of /proc/PID/status."""
    [line] = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])

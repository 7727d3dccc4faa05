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
    return status_kib(Path(f"/proc/{pid}/status").read_text(), "VmRSS") / 1024


def start_peak(pid: int) -> None:
    """Make the peak of a process's memory begin at what is resident at this moment."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """The most memory of a process that was resident at any moment since `start_peak`, in MiB."""
    return status_kib(Path(f"/proc/{pid}/status").read_text(), "VmHWM") / 1024


def cpu_ticks(stat: str) -> int:
    """utime and stime in the text of /proc/PID/stat; the process's name before them may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def status_kib(status: str, name: str) -> int:
    """VmRSS, VmHWM and the like in the text of /proc/PID/status."""
    [line] = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])

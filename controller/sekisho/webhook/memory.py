"""Gives memory back to the system when a flood of large or many requests is over."""

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Final

PERIOD: Final = 5.0
"""Seconds from one look at the process's memory to the next."""
MAX_FREE_BYTES: Final = 8 << 20
"""What the allocator may keep of freed memory."""
_M_MMAP_THRESHOLD: Final = -3  # of malloc.h
_LARGE_BYTES: Final = 32 * 1024
_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def return_large_blocks() -> None:
    """Have glibc return blocks of 32 KiB and more to the system when they are freed.

    By default its bound grows with the blocks that are freed, and after a flood of large bodies their memory stays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


async def return_freed_memory() -> None:
    """Until cancelled, have glibc return what lies free between small blocks, each time there is much of it.

    It does not do so by itself, so that the memory of a flood of connections would stay.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):  # another libc, or an old glibc
        await asyncio.Event().wait()
    libc.mallinfo2.restype = _Mallinfo
    known = _unexplained(libc)
    while True:
        await asyncio.sleep(PERIOD)
        if _unexplained(libc) > known + MAX_FREE_BYTES:
            await asyncio.to_thread(libc.malloc_trim, 0)
            known = _unexplained(libc)


def _unexplained(libc: ctypes.CDLL) -> int:
    """Resident bytes that are not in use as far as glibc knows; among them are Python's own, code, and stacks."""
    used = libc.mallinfo2()
    return int(_STATM.read_text().split()[1]) * _PAGE - int(used.uordblks + used.hblkhd)

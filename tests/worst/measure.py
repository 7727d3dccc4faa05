"""What one review costs in CPU and memory, measured in a process of its own."""

import os
import resource
import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from tests.load.usage import peak_mib, resident_mib, start_peak

MAX_SECONDS: Final = 1.0
"""CPU that any review may cost."""
MAX_BYTES: Final = 64 << 20
"""Memory that any review may cost, on top of its own bytes."""
MAX_EXPONENT: Final = 1.2
"""How fast cost may grow with size: 1.0 is linear, 2.0 quadratic."""

_MAX_CPU_SECONDS = 5
_MOST_MEMORY = 3 << 30
_SMALL_SECONDS, _SMALL_BYTES = 0.1, 16 << 20
"""Below these, growth is not checked: it would be noise."""


class Cost(Struct, frozen=True):
    """Of one review: CPU seconds, and the most memory on top of what was in use before, in bytes.

    `finished` is False where the review was cut off, by its time or its memory.
    """

    seconds: float
    memory: int
    finished: bool = True


Call = Callable[[], object]


def least(one: Cost, other: Cost) -> Cost:
    """The lower of two measurements of the same review, in each respect."""
    if not other.finished:
        return one
    return Cost(min(one.seconds, other.seconds), min(one.memory, other.memory))


def cost_of(call: Call) -> Cost:
    """The cost of a call, in a child of this process that ends when the call takes too long or too much memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _measure(call, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, _, usage = os.wait4(child, 0)
    if answer:
        return msgspec.json.decode(answer, type=Cost)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, finished=False)


def _measure(call: Call, writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_SECONDS, _MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    pid = os.getpid()
    start_peak(pid)
    before, start = resident_mib(pid), time.process_time()
    try:
        call()
    except BaseException:  # not even MemoryError may return into the caller's tests
        os._exit(1)
    cost = Cost(time.process_time() - start, max(0, int((peak_mib(pid) - before) * 2**20)))
    os.write(writing, msgspec.json.encode(cost))
    os._exit(0)


def over_bounds(cost: Cost) -> list[str]:
    """Which bounds a review exceeds, in words."""
    if not cost.finished:
        return [f"cut off after {cost.seconds:.0f} s"]
    wrong = [f"{cost.seconds:.2f} s"] if cost.seconds > MAX_SECONDS else []
    return [*wrong, f"{cost.memory >> 20} MiB"] if cost.memory > MAX_BYTES else wrong


def grows_faster(small: Cost, large: Cost, ratio: float) -> list[str]:
    """What grows faster than the bytes, in words, from one review to another that has `ratio` times its bytes."""
    most = ratio**MAX_EXPONENT
    wrong: list[str] = []
    if large.seconds > _SMALL_SECONDS and large.seconds > most * max(small.seconds, _SMALL_SECONDS / ratio):
        wrong.append(f"{large.seconds / max(small.seconds, 1e-6):.0f} times the CPU for {ratio:.0f} times the bytes")
    if large.memory > _SMALL_BYTES and large.memory > most * max(small.memory, _SMALL_BYTES / 4):
        wrong.append(f"{large.memory / max(small.memory, 1):.0f} times the memory for {ratio:.0f} times the bytes")
    return wrong

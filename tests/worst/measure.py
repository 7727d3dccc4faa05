"""What one review costs in CPU and memory, measured in a process of its own."""

import os
import resource
import time
from collections.abc import Callable, Sequence
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


def costs_of(calls: Sequence[Call]) -> list[Cost]:
    """The costs of calls, one after another in a child of this process.

    What an earlier call keeps in memory counts for those after it too. A child ends when its calls take too long or too
    much memory; the call that it ended in is tried again as the first of another child, which decides.
    """
    costs: list[Cost] = []
    while len(costs) < len(calls):
        finished, usage = _in_child(calls[len(costs) :])
        costs += finished or [Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, finished=False)]
    return costs


def made_apart(make: Callable[[], bytes]) -> bytes:
    """What a call in a child of this process gives. What it frees on the way would hide the memory of later calls."""
    made, _ = _answer_of(lambda writing: _write(writing, make()))
    return made


def _in_child(calls: Sequence[Call]) -> tuple[list[Cost], resource.struct_rusage]:
    """The costs of the calls that ended in a child, and what the child used in all."""
    answer, usage = _answer_of(lambda writing: _measure(calls, writing))
    return [msgspec.json.decode(line, type=Cost) for line in answer.splitlines()], usage


def _answer_of(child: Callable[[int], None]) -> tuple[bytes, resource.struct_rusage]:
    """What a child of this process writes into the file descriptor that it gets, and what it used."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            child(writing)
        finally:  # no error, not even MemoryError, may return into the caller's tests
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, _, usage = os.wait4(pid, 0)
    return answer, usage


def _write(writing: int, text: bytes) -> None:
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(text)


def _measure(calls: Sequence[Call], writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_SECONDS, _MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    pid = os.getpid()
    before = resident_mib(pid)
    for call in calls:
        start_peak(pid)
        start = time.process_time()
        call()
        cost = Cost(time.process_time() - start, max(0, int((peak_mib(pid) - before) * 2**20)))
        os.write(writing, msgspec.json.encode(cost) + b"\n")


def over_bounds(cost: Cost) -> list[str]:
    """Which bounds a review exceeds, in words."""
    if not cost.finished:
        return [f"cut off after {cost.seconds:.0f} s"]
    wrong = [f"{cost.seconds:.2f} s"] if cost.seconds > MAX_SECONDS else []
    return [*wrong, f"{cost.memory >> 20} MiB"] if cost.memory > MAX_BYTES else wrong


def grows_faster(small: Cost, large: Cost, ratio: float) -> list[str]:
    """What grows faster than the bytes, in words, from one review to another that has `ratio` times its bytes."""
    max_ratio = ratio**MAX_EXPONENT
    wrong: list[str] = []
    if large.seconds > _SMALL_SECONDS and large.seconds > max_ratio * max(small.seconds, _SMALL_SECONDS / ratio):
        wrong.append(f"{large.seconds / max(small.seconds, 1e-6):.0f} times the CPU for {ratio:.0f} times the bytes")
    if large.memory > _SMALL_BYTES and large.memory > max_ratio * max(small.memory, _SMALL_BYTES / 4):
        wrong.append(f"{large.memory / max(small.memory, 1):.0f} times the memory for {ratio:.0f} times the bytes")
    return wrong

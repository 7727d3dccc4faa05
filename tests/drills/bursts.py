"""Many privileged pods at the same time, against one replica that has one core.

A burst can be more than one core answers in the 3 s that the API server waits; what gets no answer is denied, good
pods too. Those in the burst are counted apart, those that come after it are not.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path

import uvloop

from tests.drills.site import Site
from tests.drills.traffic import GOOD, GOOD_KIND, VIOLATING, VIOLATING_KIND, Client, DrillError, Fate, stored_violating

AFTERWARDS = 20
"""Good pods that are created one after the other after the burst."""


def burst_of_200(site: Site) -> str:
    """200 concurrent creations of a privileged pod."""
    return burst(site, 200)


def burst_of_1000(site: Site) -> str:
    """1,000 concurrent creations of a privileged pod."""
    return burst(site, 1000)


def burst(site: Site, size: int) -> str:
    """`size` privileged pods and a twentieth as many good ones at once; then good ones alone. Raises DrillError."""
    site.replicas.scale(1)
    (replica,) = site.replicas.running
    _pin(replica.process.pid, {min(os.sched_getaffinity(0))})
    before = _cpu_seconds(replica.process.pid)
    try:
        fates, seconds = uvloop.run(_burst(site, size))
        used = _cpu_seconds(replica.process.pid) - before
    finally:
        _pin(replica.process.pid, os.sched_getaffinity(0))
    violating, good, after = fates
    counts = site.counts
    counts.violating_admitted += violating["admitted"]
    counts.violating_denied += violating["denied"]
    counts.violating_uncalled += violating["uncalled"]
    counts.good_admitted += good["admitted"] + after["admitted"]
    counts.good_excused += good["uncalled"]
    counts.good_denied += good["denied"] + after["denied"] + after["uncalled"]
    counts.unanswered += violating["unanswered"] + good["unanswered"] + after["unanswered"]
    stored = stored_violating(site.plane, site.namespace)
    if counts.violating_admitted or stored:
        raise DrillError(f"{counts.violating_admitted} privileged pods were admitted, {len(stored)} are stored")
    if counts.good_denied:
        raise DrillError(f"{counts.good_denied} good pods were denied: {counts.reasons.most_common()}")
    if not counts.violating_denied or not after["admitted"]:
        raise DrillError(f"the burst proves nothing: {counts}")
    return f"{size} at once, {seconds:.1f} s, {used:.1f} s of the core"


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _burst(site: Site, size: int) -> tuple[tuple[Counter[Fate], Counter[Fate], Counter[Fate]], float]:
    client = Client(site.plane, site.namespace, connections=2 * size)

    async def create(number: int, *, good: bool) -> Fate:
        kind, spec = (GOOD_KIND, GOOD) if good else (VIOLATING_KIND, VIOLATING)
        fate, said = await client.create(f"{kind}-{number}", spec, kind)
        if good and said:
            site.counts.reasons[said[:200]] += 1
        return fate

    try:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            *(create(number, good=number % 21 == 0) for number in range(size + size // 20)),
        )
        seconds = asyncio.get_running_loop().time() - began
        good = Counter(answers[::21])
        violating = Counter(answers) - good
        after = Counter([await create(100_000 + number, good=True) for number in range(AFTERWARDS)])
    finally:
        await client.close()
    return (violating, good, after), seconds


def _pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)

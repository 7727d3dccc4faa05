"""`make bench-events`: a storm of denials against the real API server, between two of dry runs, which write no Events.

The difference is what Events cost: in latency, in memory, in writes. The webhook has a core of its own, so that what
the API server and etcd do with the Events on the other cores is not in its figures. Exits 1 when an owner has no Event,
an occurrence is not counted, or more was written than allowed.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import click

from tests.controlplane.build import control_plane_binaries
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.controlplane.waiting import wait_until
from tests.load.page import machine, table, write_section
from tests.load.storm import from_everybody, make_owners, post
from tests.load.usage import cpu_seconds, resident_mib

NAMESPACE = "storm"
RATE = 50
POLICY = {
    "apiVersion": "sekisho.dev/v1alpha1",
    "kind": "ClusterPodPolicy",
    "metadata": {"name": "no-privilege"},
    "spec": {"controls": {"privileged": {}}},
}


class Figures:
    """What is measured of the webhook while something goes on."""

    def __init__(self, sekisho: Sekisho) -> None:
        self._sekisho = sekisho
        self.taken: list[float] = []
        self.seconds = 0.0
        self.cpu = 0.0
        self.memory: list[float] = []
        self.writes: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Look every quarter of a second, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.25)

    def look(self) -> None:
        """Note the memory and the writes of this moment."""
        self.memory.append(resident_mib(self._sekisho.webhook.pid))
        self.writes.append((time.monotonic(), self._sekisho.metric("sekisho_events_sent_total")))

    @property
    def most_writes(self) -> float:
        """The most writes in any five seconds, a second."""
        rates = [
            (later - earlier) / (end - begin)
            for index, (begin, earlier) in enumerate(self.writes)
            for end, later in self.writes[index + 20 : index + 21]
        ]
        return max(rates, default=0.0)

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.taken, n=1000)[int(share * 1000) - 1] * 1000


async def storm(sekisho: Sekisho, bodies: Iterable[bytes], rate: float) -> Figures:
    """Post them all, and look meanwhile."""
    figures, pid = Figures(sekisho), sekisho.webhook.pid
    used = cpu_seconds(pid)
    watching = asyncio.create_task(figures.watch())
    started = time.perf_counter()
    figures.taken = await post(sekisho.webhook_port, bodies, per_second=rate)
    figures.seconds = time.perf_counter() - started
    figures.cpu = cpu_seconds(pid) - used
    watching.cancel()
    return figures


def reported(kubectl: Kubectl) -> tuple[int, int]:
    """How many owners have an Event, and how many denials these count."""
    events = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
    events = [event for event in events if event["reason"] == "PodDenied"]
    return (
        len({event["regarding"]["name"] for event in events if event["regarding"]["kind"] == "Deployment"}),
        sum(event.get("series", {}).get("count", 1) for event in events),
    )


@click.command()
@click.option("--owners", default=1000, show_default=True, help="Deployments whose pods are denied.")
@click.option("--times", default=100, show_default=True, help="How often each is denied.")
@click.option("--rate", default=1000.0, show_default=True, help="Denials a second; 0: as many as can.")
@click.option("--write", is_flag=True, help="Write the result into docs/performance.md.")
def main(owners: int, times: int, rate: float, write: bool) -> None:
    """Measure, and print the table."""
    progress = Progress()
    with (
        tempfile.TemporaryDirectory(prefix="sekisho-storm-") as folder,
        ControlPlane(Path(folder), control_plane_binaries(progress), progress.say) as plane,
    ):
        sekisho = Sekisho(plane, say=progress.say)
        try:
            sekisho.install()
            text, is_right = _measure(plane, sekisho, progress, (owners, times, rate))
        finally:
            sekisho.stop()
    click.echo(text)
    if write:
        write_section("storm", f"{machine()}.\n\n{text}")
    sys.exit(not is_right)


def _measure(
    plane: ControlPlane, sekisho: Sekisho, progress: Progress, amounts: tuple[int, int, float]
) -> tuple[str, bool]:
    owners, times, rate = amounts
    kubectl = plane.kubectl.in_namespace(NAMESPACE)
    kubectl.check("create", "namespace", NAMESPACE)
    replica_sets = make_owners(kubectl, owners, 300)
    progress.say(f"{owners} Deployments and their ReplicaSets are there")
    kubectl.check("apply", "-f", "-", input=json.dumps(POLICY))
    kubectl.check("wait", "--for=condition=Enforced", "clusterpodpolicy/no-privilege", "--timeout=30s")
    _part(plane, sekisho)
    asyncio.run(post(sekisho.webhook_port, from_everybody(replica_sets[:20], NAMESPACE, 50, dry_run=True)))  # warm up

    def measured(times: int, *, dry_run: bool) -> Figures:
        figures = asyncio.run(storm(sekisho, from_everybody(replica_sets, NAMESPACE, times, dry_run=dry_run), rate))
        progress.say(f"{owners * times} {'dry runs' if dry_run else 'pods'} are denied")
        return figures

    few = min(times, 10)
    before, real = measured(few, dry_run=True), measured(times, dry_run=False)
    wait_until(
        lambda: reported(kubectl) == (owners, owners * times),
        100 + 2 * owners / RATE,
        lambda: f"all denials are reported; so far: {reported(kubectl)}",
    )
    real.look()
    after = measured(few, dry_run=True)
    dropped = sekisho.metric("sekisho_events_dropped_total")
    return _figures_table(
        before, real, after, reported(kubectl), dropped
    ), not dropped and real.most_writes <= RATE * 1.1


def _part(plane: ControlPlane, sekisho: Sekisho) -> None:
    """Give the webhook a core of its own, and everything else the others, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    others = [os.getpid(), *(run.pid for run in (*plane.components, sekisho.controller))]
    for pid, own in (*((pid, cores[:-1]) for pid in others), (sekisho.webhook.pid, cores[-1:])):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), own)


def _figures_table(before: Figures, real: Figures, after: Figures, reported: tuple[int, int], dropped: float) -> str:
    three = (before, real, after)
    rows = [
        ("denials", *(f"{len(run.taken):,}" for run in three)),
        ("denials a second", *(f"{len(run.taken) / run.seconds:,.0f}" for run in three)),
        *((f"p{q * 100:g} of a denial, ms", *(f"{run.quantile(q):.2f}" for run in three)) for q in (0.5, 0.9, 0.99)),
        ("CPU of a denial, us", *(f"{run.cpu / len(run.taken) * 1e6:.0f}" for run in three)),
        ("memory at most, MiB", *(f"{max(run.memory):.1f}" for run in three)),
        ("writes", *(f"{run.writes[-1][1] - run.writes[0][1]:,.0f}" for run in three)),
        ("most writes a second", *(f"{run.most_writes:.1f}" for run in three)),
        ("owners with an Event", "", f"{reported[0]:,}", ""),
        ("denials in Events", "", f"{reported[1]:,}", ""),
        ("denials dropped", "", f"{dropped:,.0f}", ""),
    ]
    return table(("", "dry runs before", "with Events", "dry runs after"), rows)


if __name__ == "__main__":
    main()

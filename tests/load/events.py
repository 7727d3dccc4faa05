"""`make bench-events`: a storm of denials against the real API server, first as dry runs, which write no Events.

The difference between the two storms is what Events cost: in latency, in memory, in writes. Exits 1 when an owner has
no Event, an occurrence is not counted, or more was written than allowed.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.controlplane.build import control_plane_binaries
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.controlplane.waiting import wait_until
from tests.load.storm import from_everybody, make_owners, post

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
        self.memory: list[float] = []
        self.writes: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Look every quarter of a second, until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.25)

    def look(self) -> None:
        """Note the memory and the writes of this moment."""
        status = Path(f"/proc/{self._sekisho.webhook.pid}/status").read_text()
        self.memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        self.writes.append((time.monotonic(), self._sekisho.metric("sekisho_events_sent_total")))

    @property
    def most_writes(self) -> float:
        """The most writes in any five seconds, a second."""
        rates = [
            (later - earlier) / (end - begin)
            for place, (begin, earlier) in enumerate(self.writes)
            for end, later in self.writes[place + 20 : place + 21]
        ]
        return max(rates, default=0.0)

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.taken, n=1000)[int(share * 1000) - 1] * 1000


async def storm(sekisho: Sekisho, bodies: Iterable[bytes], rate: float) -> Figures:
    """Post them all, and look meanwhile."""
    figures = Figures(sekisho)
    watching = asyncio.create_task(figures.watch())
    started = time.perf_counter()
    figures.taken = await post(sekisho.webhook_port, bodies, per_second=rate)
    figures.seconds = time.perf_counter() - started
    watching.cancel()
    return figures


def told(kubectl: Kubectl) -> tuple[int, int]:
    """How many owners have an Event, and how many denials these tell of."""
    found = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
    events = [event for event in found if event["reason"] == "PodDenied"]
    return (
        len({event["regarding"]["name"] for event in events if event["regarding"]["kind"] == "Deployment"}),
        sum(event.get("series", {}).get("count", 1) for event in events),
    )


@click.command()
@click.option("--owners", default=1000, show_default=True, help="Deployments whose pods are refused.")
@click.option("--times", default=100, show_default=True, help="How often each is refused.")
@click.option("--rate", default=1000.0, show_default=True, help="Denials a second; 0: as many as can.")
def main(owners: int, times: int, rate: float) -> None:
    """Measure, and print the table."""
    progress = Progress()
    with (
        tempfile.TemporaryDirectory(prefix="sekisho-storm-") as folder,
        ControlPlane(Path(folder), control_plane_binaries(progress), progress.say) as plane,
    ):
        sekisho = Sekisho(plane, say=progress.say)
        try:
            sekisho.install()
            sys.exit(_measure(plane, sekisho, progress, (owners, times, rate)))
        finally:
            sekisho.stop()


def _measure(plane: ControlPlane, sekisho: Sekisho, progress: Progress, asked: tuple[int, int, float]) -> int:
    owners, times, rate = asked
    kubectl = plane.kubectl.in_namespace(NAMESPACE)
    kubectl.check("create", "namespace", NAMESPACE)
    replica_sets = make_owners(kubectl, owners, 300)
    progress.say(f"{owners} Deployments and their ReplicaSets are there")
    kubectl.check("apply", "-f", "-", input=json.dumps(POLICY))
    kubectl.check("wait", "--for=condition=Enforced", "clusterpodpolicy/no-privilege", "--timeout=30s")
    asyncio.run(post(sekisho.webhook_port, from_everybody(replica_sets[:20], NAMESPACE, 50, dry_run=True)))  # warm up
    few = min(times, 10)
    dry = asyncio.run(storm(sekisho, from_everybody(replica_sets, NAMESPACE, few, dry_run=True), rate))
    progress.say(f"{owners * few} dry runs are refused")
    real = asyncio.run(storm(sekisho, from_everybody(replica_sets, NAMESPACE, times), rate))
    progress.say(f"{owners * times} pods are refused")
    wait_until(lambda: told(kubectl) == (owners, owners * times), 200, lambda: f"all is told; so far: {told(kubectl)}")
    real.look()
    dropped = sekisho.metric("sekisho_events_dropped_total")
    _print(dry, real, told(kubectl), dropped)
    return int(dropped > 0 or real.most_writes > RATE * 1.1)


def _print(dry: Figures, real: Figures, told: tuple[int, int], dropped: float) -> None:
    table = Table(title=f"Denials of {told[0]:,} owners")
    for column in ("", "dry runs", "with Events"):
        table.add_column(column, justify="left" if not column else "right")
    for share in (0.5, 0.99):
        table.add_row(f"p{share * 100:g} of a denial, ms", f"{dry.quantile(share):.2f}", f"{real.quantile(share):.2f}")
    table.add_row("denials", *(f"{len(each.taken):,}" for each in (dry, real)))
    table.add_row("denials a second", *(f"{len(each.taken) / each.seconds:,.0f}" for each in (dry, real)))
    table.add_row("memory before, MiB", f"{dry.memory[0]:.1f}", f"{real.memory[0]:.1f}")
    table.add_row("memory at most, MiB", f"{max(dry.memory):.1f}", f"{max(real.memory):.1f}")
    table.add_row("most writes a second", f"{dry.most_writes:.1f}", f"{real.most_writes:.1f}")
    table.add_row("writes", *(f"{each.writes[-1][1] - each.writes[0][1]:,.0f}" for each in (dry, real)))
    table.add_row("owners with an Event", "0", f"{told[0]:,}")
    table.add_row("denials told of", "0", f"{told[1]:,}")
    table.add_row("denials dropped", "", f"{dropped:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()

"""`make bench-cluster`: Sekisho in a real control plane: what it adds to a pod's creation, how it starts in a large
cluster, and how soon a changed policy is in effect.

API server, etcd, Sekisho and the client share the machine's cores.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import click
import msgspec
import uvloop

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from tests.controlplane.build import BuildError, control_plane_binaries
from tests.controlplane.component import ComponentError
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import CommandError
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.controlplane.waiting import DeadlineError
from tests.load import creations, population, propagation, startup
from tests.load.creations import Creations
from tests.load.figures import Latencies, compared
from tests.load.page import machine, table, write_section
from tests.load.policies import documents
from tests.load.replicas import start_beside, trust
from tests.load.servers import WrongAnswerError
from tests.load.startup import Start
from tests.load.usage import resident_mib
from tests.load.waiting import until

_POLICIES: Final = 20
_READY_BUDGET, _MEMORY_BUDGET, _CHANGE_BUDGET = 5.0, 150.0, 1.0
_ENFORCED_IN: Final = 120.0


class Amounts(msgspec.Struct, frozen=True):
    """How much is measured: the size of the large cluster, and how often a replica starts and a policy changes."""

    policies: int
    namespaces: int
    blocks: int = 10
    """Of pods that are created with Sekisho, and of as many without it."""
    starts: int = 5
    changes: int = 200


_SHORT: Final = Amounts(policies=2, namespaces=2, blocks=1, starts=1, changes=2)
_FAILURES: Final = (
    *(BuildError, ToolchainError, ComponentError, CommandError, DeadlineError),
    *(WrongAnswerError, ApiError, ApiUnavailable, aiohttp.ClientError),
)

# What they add to the creation of a pod, p50, with the defaults of their charts where nothing else is said; measured on
# another machine on 2026-11-23.
_PEERS: Final = (
    ("reference Pod Security webhook (Go), restricted", "4-5"),
    ("Kyverno 1.19.1, 17 CEL policies", "12"),
    ("Kyverno 1.19.1, 18 ClusterPolicies", "19"),
    ("Kyverno 1.19.1, 18 ClusterPolicies and one that mutates", "50"),
    ("Gatekeeper, 16 constraints", "23"),
    ("Gatekeeper, 16 constraints, with mutation", "34"),
)


@click.command()
@click.option("--policies", type=click.IntRange(min=2), default=1000, help="Policies of the large cluster (1,000).")
@click.option("--namespaces", type=click.IntRange(min=2), default=10000, help="Its namespaces (10,000).")
@click.option("--short", is_flag=True, help="As little of everything as possible, to try the benchmark.")
@click.option("--write", is_flag=True, help="Write the result into docs/performance.md.")
def main(policies: int, namespaces: int, short: bool, write: bool) -> None:
    """Measure Sekisho in a real control plane. Exits 2 when that is not possible, or when a verdict is wrong."""
    begun, progress = time.monotonic(), Progress()
    amounts = _SHORT if short else Amounts(policies, namespaces)
    try:
        binaries = control_plane_binaries(progress)
        with (
            tempfile.TemporaryDirectory() as folder,
            ControlPlane(Path(folder), binaries, progress.say) as plane,
        ):
            unjudged = f"--exclude-namespace={creations.UNJUDGED}"
            # On a slow machine, the API server would deny pods whose review takes longer than the chart's timeout.
            values = (f"excludeNamespaces={{{creations.UNJUDGED}}}", "webhook.timeoutSeconds=10")
            sekisho = Sekisho(plane, values, progress.say, {"controller": (unjudged,)})
            try:
                sekisho.install()
                text = uvloop.run(_measured(plane, sekisho, amounts, progress))
            finally:
                sekisho.stop()
    except _FAILURES as error:
        progress.say(f"error: {error}")
        sys.exit(2)
    click.echo(text)
    if write:
        write_section("cluster", f"{machine()}.\n\n{text}")
    progress.say(f"measured in {elapsed(begun)}")


async def _measured(plane: ControlPlane, sekisho: Sekisho, amounts: Amounts, progress: Progress) -> str:
    api = await ApiClient.connect(plane.kubeconfig)
    try:
        created = _creations_text(await _creations(api, amounts.blocks, progress))
        return f"{created}\n\n{await _large(api, plane, sekisho, amounts, progress)}"
    finally:
        await api.close()


async def _creations(api: ApiClient, blocks: int, progress: Progress) -> list[Creations]:
    await creations.prepare(api)
    made = documents(_POLICIES)
    await population.create_all(api, population.POLICIES, made)
    await _enforced(api, _POLICIES)
    await creations.check(api)
    measured = []
    for kind in creations.KINDS:
        for clients in creations.CLIENTS:
            progress.say(f"creating pods by {clients} at a time, {creations.KINDS[kind]}")
            measured.append(await creations.measure(api, kind, clients, blocks))
    for policy in made:
        await api.delete(f"{population.POLICIES}/{policy['metadata']['name']}")
    return measured


async def _large(api: ApiClient, plane: ControlPlane, sekisho: Sekisho, amounts: Amounts, progress: Progress) -> str:
    begun, policies, namespaces = time.monotonic(), amounts.policies, amounts.namespaces
    plane.controller_manager.stop()  # it would make two objects in each namespace for minutes
    names = [one["metadata"]["name"] for one in population.namespaces(namespaces)]
    await population.create_all(api, population.NAMESPACES, population.namespaces(namespaces))
    progress.say(f"{namespaces:,} namespaces created ({elapsed(begun)})")
    await population.create_all(api, population.POLICIES, population.policies(policies))
    progress.say(f"{policies:,} policies created ({elapsed(begun)})")
    await _enforced(api, policies)
    progress.say(f"every policy's status says that it is enforced ({elapsed(begun)})")

    replica = start_beside(sekisho.webhook, "another", plane.folder, plane.logs)
    connector = aiohttp.TCPConnector(ssl=trust(plane), force_close=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        starts = []
        try:
            for _ in range(amounts.starts):
                replica.stop()
                starts.append(startup.start(replica))
                await startup.check(session, replica, policies, names)
            progress.say(f"started {amounts.starts} times ({elapsed(begun)})")
            cpu = await startup.ask_everywhere(session, replica, names)
            memory = resident_mib(replica.pid)
            progress.say(f"judged a pod in every namespace ({elapsed(begun)})")
            changes = await propagation.measure(api, session, (sekisho.webhook, replica), amounts.changes)
            progress.say(f"changed a policy {amounts.changes} times ({elapsed(begun)})")
            after = resident_mib(replica.pid)
        finally:
            replica.stop()
    return _large_text(policies, namespaces, starts, cpu, memory, changes, after)


async def _enforced(api: ApiClient, count: int) -> None:
    """Return when the status of `count` policies says that every replica enforces them. Raises DeadlineError."""

    async def all_are() -> bool:
        return await _count_enforced(api) == count

    await until(all_are, _ENFORCED_IN, f"{count} policies are enforced", pause=0.5)


async def _count_enforced(api: ApiClient) -> int:
    policies = msgspec.json.decode(await api.get(population.POLICIES))["items"]
    conditions = (one.get("status", {}).get("conditions", []) for one in policies)
    return sum({"Enforced": "True"}.items() <= {c["type"]: c["status"] for c in one}.items() for one in conditions)


def _creations_text(measured: Sequence[Creations]) -> str:
    header = ("pod", "clients", "pods each", "p50 without", "p50 with", "added", "p99 without", "p99 with", "added")
    rows = [
        (
            creations.KINDS[one.kind],
            str(one.clients),
            f"{len(one.judged):,}",
            *(
                f"{value:.1f}"
                for percent in (50, 99)
                for value in (one.unjudged.at(percent), one.judged.at(percent), one.added(percent))
            ),
        )
        for one in measured
    ]
    ours = [
        (f"**Sekisho, {_POLICIES} policies: {creations.KINDS[one.kind]}**", f"{one.added(50):.1f}")
        for one in measured
        if one.clients == 1
    ]
    return "\n\n".join(
        (
            f"Creation of a pod, {_POLICIES} policies, milliseconds:",
            table(header, rows),
            "Beside the peers:",
            table(("", "added to a pod's creation, p50 ms"), (*ours, *_PEERS)),
        )
    )


def _large_text(
    policies: int,
    namespaces: int,
    starts: Sequence[Start],
    cpu: float,
    memory: float,
    changes: Latencies,
    after: float,
) -> str:
    ready = median(one.seconds for one in starts)
    lines = (
        f"{policies:,} policies and {namespaces:,} namespaces:",
        "",
        f"- ready, median of {len(starts)} starts: {compared(ready, _READY_BUDGET, ' s')} "
        f"(slowest {max(one.seconds for one in starts):.2f} s; CPU {median(one.cpu for one in starts):.2f} s)",
        f"- memory when ready: {median(one.memory for one in starts):.0f} MiB; "
        f"after a review in every namespace: {compared(memory, _MEMORY_BUDGET, ' MiB')}; "
        f"after {len(changes)} changes of a policy: {after:.0f} MiB",
        f"- CPU of the first review in a namespace: {cpu / namespaces * 1e3:.2f} ms",
        f"- a changed policy in effect on both replicas, {len(changes)} changes: p50 {changes.at(50) / 1e3:.3f} s, "
        f"p99 {compared(changes.at(99) / 1e3, _CHANGE_BUDGET, ' s')}",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""`make tenants`: a PodPolicy in each of many namespaces, on a real control plane with three replicas.

Each PodPolicy has a default of its own. The benchmark measures what the controller and the replicas need when a replica
comes and when the controller is restarted. Exits 1 when a budget is exceeded, 2 when it cannot be tried.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import uvloop
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector
from tests.controlplane.build import BuildError, control_plane_binaries
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import CommandError
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.controlplane.waiting import DeadlineError
from tests.load import population
from tests.load.figures import compared
from tests.load.population import create_all
from tests.load.replicas import start_beside
from tests.load.usage import cpu_seconds, resident_mib
from tests.load.waiting import until

_POLICIES: Final = "/apis/sekisho.dev/v1alpha1/podpolicies"
_REPLICAS: Final = 3
_SETTLED_IN: Final = 900.0
_STATUS_BUDGET, _CHANGE_BUDGET = 60.0, 5.0
_CONTROLLER_CPU_BUDGET, _CONTROLLER_MIB_BUDGET, _REPLICA_CPU_BUDGET = 30.0, 200.0, 5.0


class Seen(Struct, frozen=True):
    """The part of a PodPolicy that shows whether its status is right."""

    generation: int
    observed: int | None
    enforced_by: str | None


class Figure(Struct, frozen=True):
    """One measured value with its budget, None for a value without one."""

    what: str
    value: float
    budget: float | None
    unit: str


@click.command()
@click.option("--policies", type=click.IntRange(min=1), default=10_000, help="PodPolicies, each in its own namespace.")
def main(policies: int) -> None:
    """Measure many PodPolicies in a real control plane."""
    begun, progress = time.monotonic(), Progress()
    try:
        binaries = control_plane_binaries(progress)
        with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder), binaries, progress.say) as plane:
            plane.controller_manager.stop()  # it would make two objects in each namespace for minutes
            sekisho = Sekisho(plane, say=progress.say)
            others: list[Component] = []
            try:
                sekisho.install()
                figures = uvloop.run(_measured(plane, sekisho, others, policies, progress))
            finally:
                for process in others:
                    process.stop()
                sekisho.stop()
    except (BuildError, ToolchainError, ComponentError, CommandError, DeadlineError) as error:
        progress.say(f"error: {error}")
        sys.exit(2)
    progress.say(f"done in {elapsed(begun)}")
    click.echo("\n".join((f"{policies:,} PodPolicies, {_REPLICAS} replicas:", "", *map(_line, figures))))
    sys.exit(any(figure.budget is not None and figure.value > figure.budget for figure in figures))


def _line(figure: Figure) -> str:
    if figure.budget is None:
        return f"- {figure.what}: {figure.value:.1f}{figure.unit}"
    return f"- {figure.what}: {compared(figure.value, figure.budget, figure.unit)}"


async def _measured(
    plane: ControlPlane, sekisho: Sekisho, others: list[Component], count: int, progress: Progress
) -> list[Figure]:
    begun = time.monotonic()
    others.append(start_beside(sekisho.webhook, "second", plane.folder, plane.logs))
    api = await ApiClient.connect(plane.kubeconfig)
    try:
        async with _statuses(api) as seen:
            processes = {"controller": sekisho.controller, "replica": others[0]}
            before = {name: cpu_seconds(process.pid) for name, process in processes.items()}
            names = [f"tenant-{number:05}" for number in range(count)]
            await create_all(api, population.NAMESPACES, ({"metadata": {"name": name}} for name in names))
            await population.together(
                population.create(api, _path(name), _policy(name, number)) for number, name in enumerate(names)
            )
            progress.say(f"{count:,} PodPolicies are made ({elapsed(begun)})")
            await _settled(seen, count, len(others) + 1)
            progress.say(f"every status is right with two replicas ({elapsed(begun)})")
            figures = [
                Figure(f"CPU of the {name} while all were made", _since(process, before[name]), None, " s")
                for name, process in processes.items()
            ]
            figures += await _replica_comes(plane, sekisho, others, seen, count)
            progress.say(f"every status is right with three replicas ({elapsed(begun)})")
            figures += await _controller_restarts(api, sekisho, seen, names)
            progress.say(f"the controller was restarted ({elapsed(begun)})")
    finally:
        await api.close()
    return figures


async def _replica_comes(
    plane: ControlPlane, sekisho: Sekisho, others: list[Component], seen: Mapping[str, Seen], count: int
) -> list[Figure]:
    older = (sekisho.webhook, *others)
    controller = cpu_seconds(sekisho.controller.pid)
    before = [cpu_seconds(process.pid) for process in older]
    started = time.monotonic()
    new = await asyncio.to_thread(start_beside, sekisho.webhook, "third", plane.folder, plane.logs)
    others.append(new)
    ready = cpu_seconds(new.pid)
    await _settled(seen, count, len(others) + 1)
    taken = time.monotonic() - started
    spent = [cpu_seconds(process.pid) - earlier for process, earlier in zip(older, before, strict=True)]
    return [
        Figure("statuses right after a replica came", taken, _STATUS_BUDGET, " s"),
        Figure("CPU of the controller meanwhile", _since(sekisho.controller, controller), _CONTROLLER_CPU_BUDGET, " s"),
        Figure("CPU of a replica meanwhile", max(spent), _REPLICA_CPU_BUDGET, " s"),
        Figure("CPU of the new replica until it was ready", ready, _REPLICA_CPU_BUDGET, " s"),
        Figure("CPU of the new replica until all was right", cpu_seconds(new.pid), None, " s"),
        Figure("memory of a replica", max(resident_mib(process.pid) for process in (*older, new)), 256.0, " MiB"),
        Figure("memory of the controller", resident_mib(sekisho.controller.pid), _CONTROLLER_MIB_BUDGET, " MiB"),
    ]


async def _controller_restarts(
    api: ApiClient, sekisho: Sekisho, seen: Mapping[str, Seen], names: Sequence[str]
) -> list[Figure]:
    sekisho.controller.stop()
    name = names[-1]
    await api.patch(f"{_path(name)}/{name}", b'{"spec":{"enforcement":"Warn"}}')
    started = time.monotonic()
    await asyncio.to_thread(sekisho.controller.start)
    leading = time.monotonic() - started
    key = f"{name}/{name}"
    await _until(lambda: seen[key].generation == 2 and _is_right(seen[key], _REPLICAS), "the change is reported")
    taken = time.monotonic() - started
    await _settled(seen, len(names), _REPLICAS)
    return [
        Figure("the controller ready after a restart", leading, None, " s"),
        Figure("a change reported after a restart", taken, _CHANGE_BUDGET, " s"),
        Figure("CPU of the controller until then", cpu_seconds(sekisho.controller.pid), _CONTROLLER_CPU_BUDGET, " s"),
        Figure(
            "memory of the restarted controller", resident_mib(sekisho.controller.pid), _CONTROLLER_MIB_BUDGET, " MiB"
        ),
    ]


def _since(process: Component, earlier: float) -> float:
    return cpu_seconds(process.pid) - earlier


def _path(namespace: str) -> str:
    return f"/apis/sekisho.dev/v1alpha1/namespaces/{namespace}/podpolicies"


def _policy(name: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "PodPolicy",
        "metadata": {"name": name},
        "spec": {
            "podSecurityStandard": {"level": "restricted"},
            "defaults": {"pod": {"securityContext": {"runAsUser": 10_000 + number}}},
        },
    }


@contextlib.asynccontextmanager
async def _statuses(api: ApiClient) -> AsyncIterator[Mapping[str, Seen]]:
    """What the statuses of all PodPolicies say, kept up to date, by namespace/name."""
    reflector = Reflector(api, _POLICIES, _decode)
    watching = asyncio.create_task(reflector.run())
    try:
        await reflector.wait_synced()
        yield reflector.objects
    finally:
        watching.cancel()


def _decode(raw: bytes) -> Seen:
    policy = msgspec.json.decode(raw)
    status = policy.get("status", {})
    return Seen(policy["metadata"]["generation"], status.get("observedGeneration"), status.get("enforcedBy"))


def _is_right(policy: Seen, replicas: int) -> bool:
    return policy.observed == policy.generation and policy.enforced_by == f"{replicas}/{replicas}"


async def _settled(seen: Mapping[str, Seen], count: int, replicas: int) -> None:
    def all_are() -> bool:
        return len(seen) == count and all(_is_right(policy, replicas) for policy in seen.values())

    await _until(all_are, f"{count} statuses say {replicas}/{replicas}")


async def _until(condition: Callable[[], bool], describe: str) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, _SETTLED_IN, describe, pause=0.1)


if __name__ == "__main__":
    main()

"""`make bench-audit`: what an audit of 10,000 pods on a real API server costs, and whether its counts are right.

The pods are those of 400 Deployments in 200 namespaces. No controller runs, so they stay as they are made.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import uvloop

from sekisho.audit import PODS
from sekisho.cluster.api import ApiClient
from tests.controlplane.build import control_plane_binaries
from tests.controlplane.component import base_environment
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.load.figures import compared
from tests.load.page import machine, table, write_section
from tests.load.population import create_all
from tests.load.running_pass import CALLS, SET_SUFFIX, Figures

Json = dict[str, Any]

NAMESPACES: Final = 200
CONTAINERS: Final = 3
TIMES: Final = 10
"""How many times the simulated cluster has the pods of the real one."""


@click.command()
@click.option("--pods", default=10_000, show_default=True, help="How many pods run.")
@click.option("--owners", default=400, show_default=True, help="How many Deployments they have.")
@click.option("--write", is_flag=True, help="Write the figures into docs/performance.md.")
def main(pods: int, owners: int, write: bool) -> None:
    """Audit a cluster with many pods, and one with ten times as many that is simulated."""
    progress = Progress()
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder), control_plane_binaries(progress))
        with plane:
            uvloop.run(_populate(plane, pods, owners, progress))
            real, large = (_measured(plane, times, progress) for times in (1, TIMES))
    text = _text(real, large)
    progress.say(text)
    if write:
        write_section("audit", text)
    if not real.is_exact:
        raise SystemExit("the counts are not those of judging pod by pod")


async def _populate(plane: ControlPlane, pods: int, owners: int, progress: Progress) -> None:
    plane.controller_manager.stop()
    api = await ApiClient.connect(plane.kubeconfig)
    try:
        await create_all(api, "/api/v1/namespaces", ({"metadata": {"name": _name(n)}} for n in range(NAMESPACES)))
        await create_all(api, "/api/v1/namespaces/default/serviceaccounts", ())
        for number in range(NAMESPACES):
            account = f"/api/v1/namespaces/{_name(number)}/serviceaccounts"
            await create_all(api, account, [{"metadata": {"name": "default"}}])
        sets = dict(zip(range(owners), await asyncio.gather(*(_owner(api, n) for n in range(owners))), strict=True))
        progress.say(f"{owners} Deployments exist")
        made = (_pod(number, number % owners, sets[number % owners]) for number in range(pods))
        by_path: dict[str, list[Json]] = {}
        for path, body in made:
            by_path.setdefault(path, []).append(body)
        for path, bodies in by_path.items():
            await create_all(api, path, bodies)
        progress.say(f"{pods:,} pods exist")
    finally:
        await api.close()


async def _owner(api: ApiClient, number: int) -> str:
    """Create a Deployment and its ReplicaSet; gives the uid of the latter."""
    namespace, name = _name(number), f"d{number}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _spec(number)}
    spec: Json = {"replicas": 25, "selector": {"matchLabels": labels}, "template": template}
    body: Json = {"metadata": {"name": name}, "spec": spec}
    made = json.loads(await api.create(f"/apis/apps/v1/namespaces/{namespace}/deployments", msgspec.json.encode(body)))
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": made["metadata"]["uid"]}
    body["metadata"] = {"name": f"{name}{SET_SUFFIX}", "ownerReferences": [{**owner, "controller": True}]}
    made = json.loads(await api.create(f"/apis/apps/v1/namespaces/{namespace}/replicasets", msgspec.json.encode(body)))
    uid: str = made["metadata"]["uid"]
    return uid


def _pod(number: int, owner: int, uid: str) -> tuple[str, Json]:
    """The path and the body of a pod of an owner, whose ReplicaSet has the uid."""
    above = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"d{owner}{SET_SUFFIX}",
        "uid": uid,
        "controller": True,
    }
    meta = {"name": f"d{owner}{SET_SUFFIX}-{number}", "labels": {"app": f"d{owner}"}, "ownerReferences": [above]}
    return PODS.path(_name(owner)), {"metadata": meta, "spec": _spec(owner)}


def _name(owner: int) -> str:
    return f"team-{owner % NAMESPACES}"


def _spec(owner: int) -> Json:
    """Of four owners one is privileged, one complete, and two leave to defaults what restricted requires."""
    kind = owner % 4
    contexts: dict[int, Json] = {0: {"privileged": True}, 1: {"allowPrivilegeEscalation": False}}
    contexts[1]["capabilities"] = {"drop": ["ALL"]}
    context = contexts.get(kind, {})
    spec: Json = {"containers": [_container(number, context) for number in range(CONTAINERS)]}
    if kind == 1:
        spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return spec


def _container(number: int, context: Json) -> Json:
    return {
        "name": f"c{number}",
        "image": "registry.example.com/team/app:1.0",
        "env": [{"name": f"SETTING_{index}", "value": "x" * 60} for index in range(15)],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": context,
    }


def _measured(plane: ControlPlane, times: int, progress: Progress) -> Figures:
    """The figures of a pass in a process of its own."""
    command = (sys.executable, "-m", "tests.load.running_pass", str(plane.kubeconfig), str(times))
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=base_environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    progress.say(f"audited {times} times as many pods")
    return msgspec.json.decode(done.stdout, type=Figures)


def _text(real: Figures, large: Figures) -> str:
    return "\n\n".join(
        (
            f"Measured on {machine()}.",
            table(("", f"{real.pods:,} pods", f"{large.pods:,} pods, simulated"), _rows(real, large)),
            f"The counts of the first one are {'' if real.is_exact else '**not** '}those of judging pod by pod.",
        )
    )


def _rows(real: Figures, large: Figures) -> Iterator[tuple[str, str, str]]:
    yield "wall time", compared(real.seconds, 10, " s"), f"{large.seconds:.1f} s"
    yield "CPU time", compared(real.cpu, 1.5, " s"), compared(large.cpu, 15, " s")
    yield "memory added at most", compared(real.memory, 40, " MiB"), compared(large.memory, 60, " MiB")
    yield "lists of pods", compared(real.requests, 40), "the same"
    yield CALLS, compared(real.held, 25, " ms"), compared(large.held, 25, " ms")


if __name__ == "__main__":
    main()

"""`make stress`: many policies of which one changes each second, on a real control plane with three replicas.

Exits 1 when a status does not come to rest or more is asked of the API server than may be, 2 when it cannot be tried.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import uvloop

from sekisho.cluster.api import ApiClient
from tests.cluster.audit import Audit, credential_of
from tests.cluster.release_helpers import token_of
from tests.controlplane.build import BuildError, control_plane_binaries
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import CommandError
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.controlplane.waiting import DeadlineError
from tests.load import changes, population
from tests.load.changes import Spent
from tests.load.page import table
from tests.load.replicas import start_beside
from tests.load.usage import cpu_seconds, resident_mib

_OTHERS: Final = ("second", "third")
_WITHIN: Final = 90.0


@click.command()
@click.option("--policies", type=click.IntRange(min=1), default=1000, help="Policies (1,000).")
@click.option("--namespaces", type=click.IntRange(min=1), default=200, help="Namespaces (200).")
@click.option("--changes", "count", type=click.IntRange(min=1), default=120, help="Changes, one each second (120).")
def main(policies: int, namespaces: int, count: int) -> None:
    """Change policies, and see that their status tells the truth soon after, at a bounded cost."""
    begun, progress = time.monotonic(), Progress()
    try:
        binaries = control_plane_binaries(progress)
        with tempfile.TemporaryDirectory() as folder:
            audit = Audit(Path(folder))
            options = audit.options
            with ControlPlane(Path(folder), binaries, progress.say, apiserver_options=options) as plane:
                sekisho = Sekisho(plane, say=progress.say)
                others: list[Component] = []
                try:
                    sekisho.install()
                    others.extend(start_beside(sekisho.webhook, name, plane.folder, plane.logs) for name in _OTHERS)
                    spent = uvloop.run(
                        _stressed(plane, sekisho, others, audit, (policies, namespaces, count), progress)
                    )
                finally:
                    for process in others:
                        process.stop()
                    sekisho.stop()
    except DeadlineError as error:
        progress.say(f"error: {error}")
        sys.exit(1)
    except (BuildError, ToolchainError, ComponentError, CommandError) as error:
        progress.say(f"error: {error}")
        sys.exit(2)
    progress.say(f"done in {elapsed(begun)}")
    if excesses := spent.excesses():
        click.echo("too much was asked of the API server:\n" + "\n".join(excesses))
        sys.exit(1)


async def _stressed(
    plane: ControlPlane,
    sekisho: Sekisho,
    others: list[Component],
    audit: Audit,
    sizes: tuple[int, int, int],
    progress: Progress,
) -> Spent:
    policies, namespaces, count = sizes
    replicas = len(others) + 1
    credentials = (credential_of(token_of(sekisho.controller)), credential_of(token_of(sekisho.webhook)))
    processes = (sekisho.controller, sekisho.webhook, *others)
    api = await ApiClient.connect(plane.kubeconfig)
    try:
        await population.create_all(api, population.NAMESPACES, population.namespaces(namespaces))
        begun = time.monotonic()
        names = await changes.make(api, policies, replicas, _WITHIN)
        progress.say(f"{policies:,} policies are made and enforced by {replicas} replicas ({elapsed(begun)})")
        before = [cpu_seconds(process.pid) for process in processes]
        spent = await changes.measure(api, audit, credentials, names, replicas, count, 1.0, _WITHIN)
        used = [cpu_seconds(process.pid) - earlier for process, earlier in zip(processes, before, strict=True)]
    finally:
        await api.close()
    cores = [f"{process.name} {seconds / spent.seconds:.1%}" for process, seconds in zip(processes, used, strict=True)]
    memory = [f"{process.name} {resident_mib(process.pid):.0f} MiB" for process in processes]
    click.echo(_summary(spent))
    click.echo(f"\nCPU of a core: {', '.join(cores)}; memory: {', '.join(memory)}")
    return spent


def _summary(spent: Spent) -> str:
    rows = [
        (who, f"{verb} {resource}", f"{number}", f"{number / spent.changes:.2f}")
        for who, requests in (("controller", spent.controller), ("replicas", spent.webhooks))
        for (verb, resource), number in requests.most_common()
    ]
    return (
        f"{spent.changes} changes in {spent.seconds:.0f} s, {spent.replicas} replicas; every status was right "
        f"{spent.converged:.1f} s after the last change.\n\n"
        f"{table(('who', 'request', 'requests', 'a change'), rows, texts=2)}"
    )


if __name__ == "__main__":
    main()

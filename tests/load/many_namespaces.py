"""Memory of a replica with many ClusterPodPolicies, and a PodPolicy in each of many namespaces that all get pods.

The real webhook process, with its policies from a folder. Part of `make growth`. Exits 1 when the budget is exceeded, 2
when it cannot be tried.
"""

import asyncio
import ssl
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import click
import msgspec

from tests.controlplane.answers import serves
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.pki import write_pki
from tests.controlplane.ports import start_component
from tests.load import curves
from tests.load.figures import compared
from tests.load.policies import documents
from tests.load.population import together
from tests.load.questions import MUTATE, VALIDATE, VIOLATING, Question
from tests.load.servers import WrongAnswerError, verdict
from tests.load.usage import cpu_seconds, resident_mib

CLUSTER_POLICIES: Final = 100
_NAMESPACES: Final = 10_000
_BUDGET_MIB: Final = 256.0
_QUESTIONS: Final = (MUTATE, VALIDATE, VIOLATING)


@click.command()
@click.option("--namespaces", type=click.IntRange(min=1), default=_NAMESPACES, help="Namespaces, a PodPolicy in each.")
def main(namespaces: int) -> None:
    """Measure, and compare with the budget."""
    try:
        with tempfile.TemporaryDirectory(prefix="sekisho-namespaces-") as folder:
            memory = _measured(Path(folder), namespaces)
    except (ComponentError, WrongAnswerError, aiohttp.ClientError) as error:
        click.echo(f"error: {error}")
        sys.exit(2)
    sys.exit(memory > _BUDGET_MIB)


def _measured(folder: Path, namespaces: int) -> float:
    """MiB of the replica after it judged pods in every namespace."""
    policies = folder / "policies"
    policies.mkdir()
    # Each ClusterPodPolicy trusts other registries and matches all pods. JSON is YAML.
    made = documents(CLUSTER_POLICIES, alike=False) + curves.pod_policies(namespaces)
    (policies / "policies.yaml").write_bytes(b"\n---\n".join(map(msgspec.json.encode, made)))
    write_pki(folder / "pki")
    replica = start_component(folder / "ports.json", ("webhook", "metrics"), partial(_replica, folder))
    try:
        ready = resident_mib(replica.pid)
        cpu = cpu_seconds(replica.pid)
        asyncio.run(
            _ask_everywhere(replica, folder, [policy["metadata"]["namespace"] for policy in made[-namespaces:]])
        )
        cpu = cpu_seconds(replica.pid) - cpu
        memory = resident_mib(replica.pid)
    finally:
        replica.stop()
    click.echo(
        f"{CLUSTER_POLICIES} ClusterPodPolicies and a PodPolicy in each of {namespaces:,} namespaces: {ready:.0f} MiB "
        f"when ready; after {len(_QUESTIONS)} pods in each namespace {compared(memory, _BUDGET_MIB, ' MiB')}; "
        f"{cpu / namespaces / len(_QUESTIONS) * 1e3:.2f} ms CPU a review"
    )
    return memory


def _replica(folder: Path, ports: dict[str, int]) -> Component:
    command = (
        *(sys.executable, "-m", "sekisho", "webhook", f"--policy-dir={folder / 'policies'}"),
        *("--bind-address=127.0.0.1", f"--port={ports['webhook']}", "--drain-seconds=0"),
        *("--metrics-bind-address=127.0.0.1", f"--metrics-port={ports['metrics']}"),
        f"--tls-cert-file={folder / 'pki' / 'apiserver.crt'}",
        f"--tls-private-key-file={folder / 'pki' / 'apiserver.key'}",
    )
    return Component("webhook", command, folder / "webhook.log", lambda: serves(ports["metrics"]), ports["webhook"])


async def _ask_everywhere(replica: Component, folder: Path, namespaces: list[str]) -> None:
    tls = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
    [port] = (part.partition("=")[2] for part in replica.command if part.startswith("--port="))
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers) as session:

        async def ask(question: Question, namespace: str) -> None:
            body = question.body.replace(b'"namespace":"shop"', f'"namespace":"{namespace}"'.encode())
            async with session.post(f"https://127.0.0.1:{port}{question.path}", data=body) as response:
                answered = verdict(await response.read())
            if answered != question.verdict:
                raise WrongAnswerError(f"{question.name} in {namespace}: expected {question.verdict}, got {answered}")

        for question in _QUESTIONS:
            await together(ask(question, namespace) for namespace in namespaces)


if __name__ == "__main__":
    main()

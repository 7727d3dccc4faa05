"""The cluster that manifests are judged for: its policies, and its namespaces with what changes their pods."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from sekisho.cli.cluster_command import run_in_cluster
from sekisho.cli.options import ClusterState
from sekisho.cluster.api import ApiClient
from sekisho.cluster.live_release import read_release
from sekisho.cluster.live_state import namespaces_not_judged, read_state
from sekisho.findings import printable
from sekisho.manifests import labels_in
from sekisho.manifests.texts import Source

_NAME: Final = "<cluster>"


def read_cluster(kubeconfig: Path | None, context: str | None) -> ClusterState:
    """The state of a cluster, with a note for each policy that is not in effect; ends the command if it cannot be read.

    kubeconfig, context: None for the usual places, and for the current context.
    """
    states: list[ClusterState] = []

    async def run(api: ApiClient) -> None:
        state = await read_state(api)
        for problem in state.problems:
            click.echo(f"note: not in effect: {printable(str(problem))}", err=True)
        sources = tuple(Source(_NAME, 0, f"[{text}]", ("v1", kind)) for kind, text in state.objects)
        labels = {name: dict(labels) for name, labels in labels_in(sources).items()}
        states.append(ClusterState(state.policies, sources, await namespaces_not_judged(api, labels)))

    run_in_cluster(kubeconfig, run, context)
    return states[0]


def read_keys(kubeconfig: Path | None, context: str | None, wanted: Iterable[tuple[str, str]]) -> tuple[Source, ...]:
    """The Secrets and ConfigMaps of the cluster's release with these kinds and names, and a note for each that is
    missing; ends the command if the cluster cannot be read. Parameters are those of `read_cluster`.
    """
    sources: list[Source] = []

    async def run(api: ApiClient) -> None:
        release = await read_release(api, wanted)
        for problem in release.problems:
            click.echo(f"note: {printable(problem)}", err=True)
        sources.extend(Source(_NAME, 0, f"[{text}]", ("v1", kind)) for kind, text in release.objects)

    run_in_cluster(kubeconfig, run, context)
    return tuple(sources)

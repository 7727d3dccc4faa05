"""`sekisho diff`: where the policies of two clusters differ."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from sekisho.cli import options
from sekisho.cli.cluster_reading import read_cluster
from sekisho.cli.options import ClusterState
from sekisho.cli.terminal import write
from sekisho.findings import printable, render_path
from sekisho.policies import Policy

Key = tuple[str, str]


@click.command()
@click.option(
    "--context",
    "contexts",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A context of the kubeconfig; set it two times, one for each cluster.",
)
@options.kubeconfig
def diff(contexts: tuple[str, ...], kubeconfig: Path | None) -> None:
    """Show where two clusters judge pods differently: policies, waivers, catalogs, and namespaces that are left out.

    Lines that begin with - are about the first cluster only, those with + about the second. The exit code is 0 if they
    agree, 1 if they differ, 2 for bad input.
    """
    if len(contexts) != 2:
        raise click.UsageError(f"--context must be used for each of two clusters, found {len(contexts)}")
    first, second = (read_cluster(kubeconfig, context) for context in contexts)
    lines = list(differences(first, second))
    write("".join(f"{printable(line)}\n" for line in lines))
    sys.exit(1 if lines else 0)


def differences(first: ClusterState, second: ClusterState) -> Iterator[str]:
    """A line for each object that only one cluster has, and for each field with its two values."""
    ours, others = _by_name(first), _by_name(second)
    for key in sorted(ours.keys() | others.keys()):
        title = " ".join(key)
        if key not in others:
            yield f"- {title}"
        elif key not in ours:
            yield f"+ {title}"
        else:
            for path, before, after in _fields(_spec(ours[key]), _spec(others[key])):
                yield f"  {title}: {path}"
                yield f"-   {_json(before)}"
                yield f"+   {_json(after)}"
    for name in sorted(first.exempt ^ second.exempt):
        yield f"{'-' if name in first.exempt else '+'} namespace {name} is not judged"


def _by_name(state: ClusterState) -> Mapping[Key, Policy]:
    return {(policy.kind, policy.title): policy for policy in state.policies}


def _spec(policy: Policy) -> Any:
    return msgspec.to_builtins(policy).get("spec")


def _fields(before: Any, after: Any, path: tuple[str, ...] = ("spec",)) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ; None for a value that is unset. Lists are compared as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _fields(before.get(key), after.get(key), (*path, key))
    elif before != after:
        yield render_path(path), before, after


def _json(value: Any) -> str:
    return "unset" if value is None else msgspec.json.encode(value).decode()

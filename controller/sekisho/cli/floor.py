"""`sekisho floor`: the ValidatingAdmissionPolicies with which the API server denies the worst by itself."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Final

import click

from sekisho.cli import options
from sekisho.cli.terminal import write
from sekisho.documents import write_document
from sekisho.findings import printable
from sekisho.floor import Floor, floor_of

_SYSTEM: Final = "kube-system"
_WIDTH: Final = 80


@click.command()
@options.policy_paths
@options.standard
@click.option(
    "--sekisho-namespace",
    default="sekisho-system",
    show_default=True,
    metavar="NAME",
    help="The namespace of Sekisho, whose pods are not judged, and neither are those of kube-system.",
)
@options.exclude_namespaces
def floor(
    policy_paths: tuple[Path, ...], standard: str | None, sekisho_namespace: str, exempt: tuple[str, ...]
) -> None:
    """Write ValidatingAdmissionPolicies that deny the worst pods without Sekisho.

    They are made from ClusterPodPolicies that deny, and from waivers. The API server evaluates them itself, so they
    also deny while no replica answers, and while the webhooks are deleted. Standard error says which controls they
    have, and which they lack. The exit code is 0, or 2 for bad input.
    """
    made = floor_of(options.load_policies(policy_paths, standard), (_SYSTEM, sekisho_namespace, *exempt))
    for line in _notes(made):
        click.echo(printable(line), err=True)
    if not made.objects:
        raise click.UsageError("no ClusterPodPolicy denies anything that the floor can judge")
    write("---\n".join(map(write_document, made.objects)))


def _notes(made: Floor) -> Iterator[str]:
    """For each policy the controls of the floor, and those that it lacks, by reason."""
    for policy in sorted(made.controls.keys() | {lack.policy for lack in made.missing}):
        controls = made.controls.get(policy, ())
        yield from _wrapped(f"{policy}: {', '.join(controls) or 'nothing'}")
        reasons: dict[str, list[str]] = {}
        for lack in made.missing:
            if lack.policy == policy:
                reasons.setdefault(lack.reason, []).append(lack.control or "the standard")
        for reason, lacking in reasons.items():
            yield from _wrapped(f"  without {', '.join(lacking)}: {reason}")


def _wrapped(line: str) -> Iterator[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    yield from fill(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False).splitlines()

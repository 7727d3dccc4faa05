"""Options that several commands share, and what becomes of them."""

import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click

from sekisho.cli.reports.wording import printable
from sekisho.manifests import Namespaces, Source, labels_in, load_policies, read_namespace_labels
from sekisho.policies import Policy, PolicyError, Problem

F = TypeVar("F", bound=Callable[..., Any])

_ANY_PATH = click.Path(path_type=Path, allow_dash=True)
_FILE = click.Path(path_type=Path)

policy_paths = click.option(
    "-p",
    "--policy",
    "policy_paths",
    multiple=True,
    type=_FILE,
    metavar="FILE_OR_DIR",
    help="Policies to apply; may be given several times.",
)
standard = click.option(
    "--standard",
    metavar="LEVEL[:VERSION]",
    help="A level of the Pod Security Standards to apply, such as restricted or baseline:v1.30.",
)
namespace = click.option(
    "-n", "--namespace", default="default", show_default=True, help="The namespace of objects that name none."
)
namespace_labels = click.option(
    "--namespace-labels",
    "labels_file",
    type=_FILE,
    metavar="FILE",
    help="The labels of namespaces, for policies that look at them: YAML or JSON that maps names to labels.",
)
manifest_paths = click.argument("paths", nargs=-1, required=True, type=_ANY_PATH, metavar="PATH… | -")


def standard_input() -> BinaryIO:
    """Standard input, empty where it is closed."""
    return sys.stdin.buffer if sys.stdin is not None else BytesIO()


def chosen_policies(paths: Iterable[Path], level: str | None = None) -> list[Policy]:
    """The policies of --policy and --standard; ends the command when there is none, or one that cannot be used."""
    found = tuple(paths)
    if not found and level is None:
        raise click.UsageError("there are no policies: give --policy FILE_OR_DIR or --standard LEVEL[:VERSION]")
    try:
        return load_policies(found, level)
    except ValueError as error:
        raise click.UsageError(f"--standard {level}: {error}") from None
    except PolicyError as error:
        fail(error.problems)


def known_namespaces(file: Path | None, sources: Iterable[Source] = ()) -> Namespaces:
    """The labels that --namespace-labels gives, and those of Namespaces among the manifests, which outweigh them."""
    try:
        known = read_namespace_labels(file) if file is not None else {}
    except PolicyError as error:
        fail(error.problems)
    return Namespaces(known, labels_in(sources))


def tell(problems: Iterable[Problem]) -> None:
    """Name problems on stderr."""
    for problem in problems:
        click.echo(f"error: {printable(str(problem))}", err=True)


def fail(problems: Iterable[Problem]) -> NoReturn:
    """Name problems on stderr and end with exit code 2."""
    tell(problems)
    sys.exit(2)

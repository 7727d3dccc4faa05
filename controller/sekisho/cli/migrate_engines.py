"""`sekisho migrate kyverno` and `gatekeeper`: policies of other engines, translated."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Final

import click

from sekisho.cli import options
from sekisho.cli.terminal import replace_file, write
from sekisho.documents import Problem
from sekisho.findings import printable
from sekisho.manifests import read_sources
from sekisho.manifests.engines.results import Translation, Written, write_objects
from sekisho.manifests.engines.translate import translate
from sekisho.policies import PolicyError
from sekisho.timestamps import rfc3339

_WIDTH: Final = 80
_FILES = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE..."
)
_UNTIL = click.option(
    "--waivers-until",
    "until",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Write what is exempt as waivers that end on this day (UTC). Without it, such exemptions are only listed.",
)
_FOLDER = click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write one file for each object into this folder, which is created if it does not exist, instead of all to "
    "standard output.",
)


def _engine(name: str, summary: str) -> Callable[[Callable[..., None]], click.Command]:
    def command(function: Callable[..., None]) -> click.Command:
        text = f"""{summary}

        Each is translated by what it says, not by its name. What is not translated, and what is stricter or looser than
        the original, is listed on standard error with its place. The exit code is 1 if something is not translated or
        looser, and 2 for files that cannot be read."""
        return click.command(name, help=text)(_FILES(_UNTIL(_FOLDER(function))))

    return command


@_engine("kyverno", "Write policies that do the same as Kyverno's policies and exceptions in FILEs or folders.")
def kyverno(files: tuple[Path, ...], until: datetime | None, folder: Path | None) -> None:
    """Translate Kyverno's objects."""
    _migrate("kyverno", files, until, folder)


@_engine("gatekeeper", "Write policies that do as much as constraints of Gatekeeper's library in FILEs or folders.")
def gatekeeper(files: tuple[Path, ...], until: datetime | None, folder: Path | None) -> None:
    """Translate Gatekeeper's constraints."""
    _migrate("gatekeeper", files, until, folder)


def _migrate(engine: str, files: tuple[Path, ...], until: datetime | None, folder: Path | None) -> None:
    try:
        sources = read_sources(files, options.standard_input())
        if sources.problems:
            raise PolicyError(*sources.problems)
        end = None if until is None else rfc3339(until.replace(tzinfo=UTC))
        translation = translate(engine, sources.texts, end)
        if not translation.originals:
            raise PolicyError(Problem(" ".join(map(str, files)), f"has no policy of {engine.capitalize()}"))
        if folder is None:
            write(write_objects(translation.objects))
        else:
            _write_files(folder, translation.objects)
    except PolicyError as error:
        options.fail(error.problems)
    _report(translation)
    if not translation.is_faithful:
        click.get_current_context().exit(1)


def _write_files(folder: Path, objects: tuple[Written, ...]) -> None:
    """One file for each object. Raises PolicyError if one exists already, before any is written."""
    files = {folder / _file_name(one): one for one in objects}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        existing = [Problem(str(file), "exists already") for file in files if file.exists()]
        if existing:
            raise PolicyError(*existing)
        for file, one in files.items():
            replace_file(file, write_objects([one]).encode())
    except OSError as error:
        raise PolicyError(Problem(str(folder), error.strerror or str(error))) from None


def _file_name(one: Written) -> str:
    metadata = one.value["metadata"]
    kind = {"PolicyWaiver": "-waiver", "ImageAuthority": "-authority"}.get(one.value["kind"], "")
    namespace = f"{metadata['namespace']}-" if "namespace" in metadata else ""
    return f"{namespace}{metadata['name']}{kind}.yaml"


def _position(where: str) -> tuple[str, int, int]:
    file, line, column = where.rsplit(":", 2)
    return file, int(line), int(column)


def _report(translation: Translation) -> None:
    for note in sorted(translation.notes, key=lambda note: _position(note.where)):
        click.echo(printable(f"{note.where}: {note.remark.difference}: {note.about}"), err=True)
        for line in wrap(printable(note.remark.text), _WIDTH, initial_indent="  ", subsequent_indent="  "):
            click.echo(line, err=True)
    counts = [
        f"{sum(note.remark.difference == difference for note in translation.notes)} {difference}"
        for difference in dict.fromkeys(note.remark.difference for note in translation.notes)
    ]
    read, written = translation.originals, len(translation.objects)
    listed = f"; {', '.join(counts)}" if counts else "; nothing differs"
    click.echo(f"{read} read, {written} written{listed}", err=True)

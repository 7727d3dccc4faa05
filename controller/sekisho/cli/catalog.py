"""`sekisho catalog`: adds images to catalogs in files and withdraws them, lists entries, and says which end soon."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import Struct

from sekisho.cli import options
from sekisho.cli.groups import Group
from sekisho.cli.reports.wording import counted
from sekisho.cli.terminal import replace_file, write
from sekisho.findings import printable
from sekisho.images import ImageError, parse
from sekisho.manifests.catalog_files import Wanted, with_entry
from sekisho.manifests.policy_loading import policy_files, read_policy_file
from sekisho.manifests.sources import MAX_FILE_BYTES, content_of, text_of
from sekisho.policies import ImageCatalog, PolicyError, Problem
from sekisho.policies.catalogs import CatalogEntry, compile_catalog, withdrawal_of
from sekisho.policies.types import GROUP
from sekisho.timestamps import parse as parse_time
from sekisho.timestamps import rfc3339

SOON_DAYS: Final = 14
"""How many days before its end `verify` says that an entry ends soon."""
STDIN: Final = Path("-")
_BEFORE_END: Final = {"certified": " until", "ends soon": ", at", "ended": " at"}
"""What is between an entry's state and its end, where that matters."""
_MAX_DAYS: Final = 36500

_FILE = click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
_NAME = click.option("--name", help="The catalog to change, where the file has several.")
_PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)


class _Entry(Struct, frozen=True, rename="camel"):
    """An entry in the report for programs. `state`: certified, ends soon, ended or withdrawn."""

    catalog: str
    owner: str
    repository: str
    digest: str | None
    by: tuple[str, ...]
    state: str
    valid_until: datetime | None
    reason: str

    @property
    def image(self) -> str:
        return self.repository if self.digest is None else f"{self.repository}@{self.digest}"


@click.group(cls=Group)
def catalog() -> None:
    """Change ImageCatalogs in files, and show what they certify."""


@catalog.command()
@_FILE
@click.argument("image")
@_NAME
@click.option(
    "--by",
    multiple=True,
    metavar="AUTHORITY",
    help="IMAGE is a pattern: certify the images that match it and that this ImageAuthority signed. May be repeated: "
    "one of the authorities is enough.",
)
@click.option("--valid-until", metavar="DATE", help="When the entry ends, such as 2027-03-31 or 2027-03-31T00:00:00Z.")
@click.option("--valid-days", type=click.IntRange(1, _MAX_DAYS), help="When the entry ends, in days from now.")
def add(
    file: Path, image: str, name: str | None, by: tuple[str, ...], valid_until: str | None, valid_days: int | None
) -> None:
    """Add an image to the ImageCatalog in FILE, or change until when it is certified.

    IMAGE is REPOSITORY@DIGEST, or a pattern with --by. FILE is changed in place: comments and the order of fields
    stay, except where a note says that the catalog was written again as a whole. With - as FILE, standard input is
    changed and written to standard output.
    """
    if valid_until is not None and valid_days is not None:
        raise click.UsageError("use either --valid-until or --valid-days")
    until = _until(valid_until, valid_days)
    repository, digest = (image, None) if by else _parts(image)
    _change(file, Wanted(repository=repository, digest=digest, by=by, valid_until=until), name)


@catalog.command()
@_FILE
@click.argument("image")
@_NAME
@click.option("--reason", required=True, help="Why, such as CVE-2026-1234; denials show it.")
def withdraw(file: Path, image: str, name: str | None, reason: str) -> None:
    """Mark an image as withdrawn in the ImageCatalog in FILE. Policies that name the catalog then deny it.

    IMAGE is REPOSITORY@DIGEST, or the pattern of an entry by signatures. An image that has no entry gets one. FILE is
    changed in place, as by `add`.
    """
    repository, digest = (image, None) if "@" not in image else _parts(image)
    _change(file, Wanted(repository=repository, digest=digest, withdrawn=reason), name)


@catalog.command(name="list")
@_PATHS
@_OUTPUT
def list_entries(paths: tuple[Path, ...], output: str) -> None:
    """List the entries of ImageCatalogs in files and folders."""
    _show(_entries(paths, SOON_DAYS), output)


@catalog.command()
@_PATHS
@click.option(
    "--within",
    type=click.IntRange(0, _MAX_DAYS),
    default=SOON_DAYS,
    show_default=True,
    help="An entry ends soon if its end is within this many days.",
)
@_OUTPUT
def verify(paths: tuple[Path, ...], within: int, output: str) -> None:
    """Say which entries of ImageCatalogs in files and folders ended, end soon or are withdrawn.

    The exit code is 0 if none ended or ends soon, 1 if some ended or end soon, 2 for bad input. Withdrawn entries do
    not count: they stay, so that their images are denied.
    """
    entries = _entries(paths, within)
    _show([entry for entry in entries if entry.state != "certified"] if output == "text" else entries, output)
    counts = {state: sum(entry.state == state for entry in entries) for state in ("ended", "ends soon", "withdrawn")}
    click.echo(f"{len(entries)} entries: {', '.join(f'{count} {state}' for state, count in counts.items())}", err=True)
    sys.exit(1 if counts["ended"] or counts["ends soon"] else 0)


def _parts(image: str) -> tuple[str, str]:
    """The repository and the digest of an image as they are written. Ends the command for anything else."""
    repository, _, digest = image.partition("@")
    try:
        reference = parse(image)
    except ImageError as error:
        raise click.UsageError(f"{image} is not REPOSITORY@DIGEST: {error}") from None
    if reference.digest is None or reference.tag is not None:
        raise click.UsageError(f"{image} is not REPOSITORY@DIGEST: only a digest says which image it is")
    return repository, digest


def _until(written: str | None, days: int | None) -> str | None:
    if days is not None:
        return rfc3339(datetime.now(UTC) + timedelta(days=days))
    if written is None:
        return None
    try:
        until = parse_time(written)
    except ValueError:
        raise click.UsageError(f"--valid-until: {written} is not a date such as 2027-03-31") from None
    if until <= datetime.now(UTC):
        raise click.UsageError(f"--valid-until: {written} is past: the entry would certify nothing")
    return rfc3339(until)


def _change(file: Path, wanted: Wanted, name: str | None) -> None:
    """Change an entry in a file. Ends the command if the file or the result cannot be used."""
    try:
        text = read_policy_file(file) if file != STDIN else options.standard_input().read().decode("utf-8")
        changed = with_entry(text, str(file), wanted, name)
    except UnicodeDecodeError:
        options.fail([Problem(str(file), "is not UTF-8 text")])
    except PolicyError as error:
        options.fail(error.problems)
    title = wanted.repository if wanted.digest is None else f"{wanted.repository}@{wanted.digest}"
    verb = "withdrawn" if wanted.withdrawn is not None else "changed" if changed.was_there else "added"
    if changed.text == text:
        verb = "as it should be"
    if changed.is_rewritten:
        click.echo(f"note: {file}: the catalog was written again as a whole, without its comments", err=True)
    click.echo(printable(f"{verb} in ImageCatalog {changed.catalog}: {title}"), err=file == STDIN)
    if file == STDIN:
        click.echo(changed.text, nl=False)
    elif changed.text != text:
        replace_file(file, options.edited(file, text, changed.text))


def _entries(paths: Sequence[Path], days: int) -> list[_Entry]:
    """The entries of the catalogs in files and folders. Ends the command if there are none, or one is invalid."""
    files, others = _files(paths)
    catalogs = [policy for policy in options.load_policies(files) if isinstance(policy, ImageCatalog)] if files else []
    if others:
        click.echo(f"note: {counted(others, 'file')} without an object of {GROUP}: passed over", err=True)
    if not catalogs:
        options.fail([Problem(" ".join(map(str, paths)), "holds no ImageCatalog")])
    return [entry for catalog in catalogs for entry in _entries_of(catalog, datetime.now(UTC), days)]


def _files(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """The files that may have catalogs, and how many others are in folders. One that is named may have some."""
    files: list[Path] = []
    others = 0
    for path in paths:
        for file in policy_files(path):
            if path.is_dir() and not _may_have_objects(file):
                others += 1
            else:
                files.append(file)
    return files, others


def _may_have_objects(file: Path) -> bool:
    """Whether a file may have objects of Sekisho, or reading it ends in an error that says more."""
    try:
        text = text_of(content_of(file, MAX_FILE_BYTES), str(file))
    except OSError:
        return True
    return isinstance(text, Problem) or GROUP in text


def _entries_of(written: ImageCatalog, now: datetime, days: int) -> Iterator[_Entry]:
    compiled = compile_catalog(written)
    for entry in written.spec.entries:
        reason = withdrawal_of(compiled, entry)
        yield _Entry(
            written.metadata.name,
            written.spec.owner,
            entry.repository,
            entry.digest,
            entry.by.names if entry.by is not None else (),
            "withdrawn" if reason else _state(entry, now, days),
            entry.valid_until,
            reason,
        )


def _state(entry: CatalogEntry, now: datetime, days: int) -> str:
    if entry.valid_until is None or entry.valid_until > now + timedelta(days=days):
        return "certified"
    return "ended" if entry.valid_until <= now else "ends soon"


def _show(entries: Sequence[_Entry], output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"entries": entries})).decode())
        return
    for entry in entries:
        before = _BEFORE_END.get(entry.state)
        until = f"{before} {rfc3339(entry.valid_until)}" if before and entry.valid_until is not None else ""
        by = f", if signed by {', '.join(entry.by)}" if entry.by else ""
        reason = f": {entry.reason}" if entry.reason else ""
        write(printable(f"{entry.catalog}: {entry.image}{by}: {entry.state}{until}{reason}") + "\n")

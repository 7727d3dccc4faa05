"""`sekisho fix`: writes manifests with the policies' defaults and requirements applied."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from sekisho.cli import options
from sekisho.cli.cores import without_collecting
from sekisho.cli.judging_options import JudgingOptions, judging_options
from sekisho.cli.reports.text import paragraph
from sekisho.cli.reports.wording import counted, notes_on_files, unknown_labels
from sekisho.cli.terminal import replace_file, write
from sekisho.documents import with_pieces
from sekisho.findings import printable
from sekisho.manifests import Checks, Fixed, Source, fix_source, read_sources
from sekisho.manifests.kustomize import kustomization, without_name
from sekisho.manifests.sources import STDIN
from sekisho.policies import PolicySet, Problem

_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")


class _Options(Struct, frozen=True, kw_only=True):
    """The command's arguments, by the names of their parameters."""

    judging: JudgingOptions
    exclude: tuple[str, ...]
    apply_changes: bool
    in_place: bool
    as_diff: bool
    form: str


class _File(Struct, frozen=True):
    """A file, its content before, and after fixing."""

    name: str
    before: bytes
    after: bytes


@click.command()
@judging_options
@options.exclude
@click.option("--all", "apply_changes", is_flag=True, help="Also apply the fixes that need no decision of yours.")
@click.option("--write", "in_place", is_flag=True, help="Change the files in place, and write nothing else.")
@click.option("--diff", "as_diff", is_flag=True, help="Write what would change as a diff, for `git apply` or `patch`.")
@click.option(
    "--as",
    "form",
    type=click.Choice(("manifests", "kustomize")),
    default="manifests",
    show_default=True,
    help="What is written: the manifests, or a kustomization with patches, as for the output of helm template.",
)
def fix(**values: Any) -> None:
    """Write manifests with the policies' defaults applied, as the mutating webhook applies them.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input. Comments, quotes, order and
    line breaks stay. Remaining findings go to standard error; the exit code is 1 if one of them denies.
    """
    wanted = _Options(judging=JudgingOptions.taken_from(values), **values)
    _require_one_way(wanted)
    judging = wanted.judging
    paths = dict.fromkeys(judging.paths)
    sources = read_sources(paths, options.standard_input(), split_lists=False, exclude=wanted.exclude)
    objects = judging.policies(sources.texts)
    policies = PolicySet.of(objects)
    context = options.context_sources(judging.context_dir)
    namespaces = judging.namespaces((*context, *sources.texts), policies)
    checker = judging.checker(policies, namespaces)
    with without_collecting():
        fixed = [fix_source(source, checker, apply_changes=wanted.apply_changes) for source in sources.texts]
    problems = [*sources.problems, *(problem for document in fixed for problem in document.problems)]
    _write(wanted, sources.texts, fixed, problems)
    unfixed = [checked for document in fixed for checked in document.unfixed]
    for checked in unfixed:
        write(f"{paragraph(checked)}\n", sys.stderr)
    for note in (
        *notes_on_files(Checks(files=sources.passed_over)),
        *unknown_labels(objects, namespaces.read_as_unknown),
    ):
        click.echo(f"note: {printable(note)}", err=True)
    options.report(problems)
    sys.exit(2 if problems else 1 if any(checked.is_denied for checked in unfixed) else 0)


def _require_one_way(wanted: _Options) -> None:
    if wanted.in_place + wanted.as_diff + (wanted.form != "manifests") > 1:
        raise click.UsageError("use only one of --write, --diff and --as kustomize")
    if wanted.in_place and Path("-") in wanted.judging.paths:
        raise click.UsageError("standard input cannot be changed in place; leave out --write")


def _write(wanted: _Options, sources: Sequence[Source], fixed: Sequence[Fixed], problems: list[Problem]) -> None:
    """Write what has changed as it is wanted, and name the documents that have lost their comments."""
    if wanted.form == "kustomize":
        changed = [fixed_object for document in fixed for fixed_object in document.changed]
        problems += without_name(changed)
        write(kustomization(changed))
        return
    if wanted.in_place or wanted.as_diff:
        _write_files(_files(sources, fixed, problems), in_place=wanted.in_place)
    else:
        write("".join(_stream(document.text for document in fixed)))
    for location in (location for document in fixed for location in document.rewritten):
        click.echo(printable(f"note: {location}: was written again as a whole, without its comments"), err=True)


def _files(sources: Sequence[Source], fixed: Sequence[Fixed], problems: list[Problem]) -> Iterator[_File]:
    """The files, each with its documents replaced by the fixed ones; one that cannot be changed becomes a problem."""
    known = set()
    for name, group in groupby(zip(sources, fixed, strict=True), key=lambda pair: pair[0].file):
        pieces = [(source.text, one.text) for source, one in group]
        file = Path(name).resolve()
        if file in known:  # named again, by a folder and by itself, or by a link
            continue
        known.add(file)
        content = "".join(before for before, _ in pieces).encode() if name == STDIN else Path(name).read_bytes()
        try:
            after = with_pieces(content.decode(), pieces).encode()
        except ValueError:
            problems.append(Problem(name, options.NOT_EDITABLE))
        else:
            yield _File(name, content, after)


def _write_files(files: Iterable[_File], *, in_place: bool) -> None:
    count = changed = 0
    for file in files:
        count += 1
        if file.before == file.after:
            continue
        changed += 1
        if in_place:
            replace_file(Path(file.name), file.after)
        else:
            write("".join(_diff(file)))
    verb = "changed" if in_place else "would change"
    click.echo(f"{changed:,} of {counted(count, 'file')} {verb}", err=True)


def _diff(file: _File) -> Iterator[str]:
    import difflib

    before, after = (_LINES.findall(content.decode()) for content in (file.before, file.after))
    name = file.name.removeprefix("/")
    for line in difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _stream(texts: Iterable[str]) -> Iterator[str]:
    """The documents as one stream."""
    is_first = True
    for text in texts:
        if not is_first and not text.startswith("---"):
            # The directives of the next document must follow `...`.
            yield "...\n" if text.startswith("%") else "---\n"
        yield text if text.endswith("\n") else f"{text}\n"
        is_first = False

"""`sekisho check`: the webhook's verdicts on manifests, offline."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import NOT_VERIFIED, waiver_lines
from sekisho.cli import options
from sekisho.cli.cores import ProcessDiedError, available_cores, check_all, without_collecting
from sekisho.cli.judging_options import JudgingOptions, judging_options
from sekisho.cli.reports import FORMATS, render, text, wording
from sekisho.cli.reports.text import SourceLines
from sekisho.cli.terminal import progress, replace_file, width, write
from sekisho.findings import printable
from sekisho.manifests import (
    Baseline,
    Checker,
    Checks,
    Namespaces,
    Source,
    Sources,
    baseline_of,
    joined,
    read_baseline,
    read_sources,
    with_unknown_as_problems,
    without_known,
    write_baseline,
)
from sekisho.policies import Enforcement, Policy, PolicyError, PolicySet, Problem


class _Arguments(Struct, frozen=True, kw_only=True):
    """The command's arguments, by the names of their parameters."""

    judging: JudgingOptions
    verify_images: bool
    registry_config: Path | None
    registry_ca_file: Path | None
    exclude: tuple[str, ...]
    cluster: bool
    kube_context: str | None
    kubeconfig: Path | None
    render: str
    fail_on_unknown: bool
    baseline_file: Path | None
    written_baseline: Path | None
    fail_on: str
    output: str
    show_source: bool
    jobs: int


@click.command()
@judging_options
@options.verify_images
@options.registry_config
@options.registry_ca_file
@options.exclude
@options.cluster
@options.kube_context
@options.kubeconfig
@options.render
@options.fail_on_unknown
@click.option(
    "--baseline",
    "baseline_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Known findings, which --write-baseline wrote: only others are reported.",
)
@click.option(
    "--write-baseline",
    "written_baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all findings to a file for --baseline, and report none.",
)
@click.option(
    "--fail-on",
    type=click.Choice(("deny", "warn")),
    default="deny",
    show_default=True,
    help="Which findings cause exit code 1: those that deny a pod, or also warnings.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
@click.option("--show-source", is_flag=True, help="Show the line of each finding, with a mark at its column, in text.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=available_cores,
    show_default="cores",
    help="The maximum number of processes.",
)
def check(**values: Any) -> None:
    """Check manifests against policies, as the webhook does.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input, for instance from `helm
    template`. The exit code is 0 if every pod would be admitted, 1 if some would be denied or --fail-on says so, 2 for
    bad input.
    """
    wanted = _Arguments(judging=JudgingOptions.taken_from(values), **values)
    known = _baseline(wanted)
    judging = wanted.judging
    sources = _sources(wanted)
    live = options.cluster_state(wanted.kubeconfig, wanted.kube_context, is_wanted=wanted.cluster)
    objects = judging.policies(sources.texts, live.policies)
    policies = PolicySet.of(objects)
    context = (*live.sources, *options.context_sources(judging.context_dir))
    namespaces = judging.namespaces((*context, *sources.texts), policies, live.exempt)
    checks = _checks(wanted, sources, policies, namespaces, context)
    if wanted.fail_on_unknown:
        checks = with_unknown_as_problems(checks)
    if wanted.written_baseline is not None:
        known = _save_baseline(wanted.written_baseline, checks)
    checks = _without_known(checks, wanted.written_baseline or wanted.baseline_file, known)
    write(_report(wanted, checks, sources))
    options.report(checks.problems)
    _write_notes(checks, objects, namespaces)
    if wanted.output not in ("text", "github"):
        click.echo(wording.summary(checks), err=True)
    fails = {Enforcement.DENY, Enforcement.WARN} if wanted.fail_on == "warn" else {Enforcement.DENY}
    failed = any(located.enforcement in fails for checked in checks.checked for located in checked.violations)
    sys.exit(2 if checks.problems else 1 if failed else 0)


def _sources(wanted: _Arguments) -> Sources:
    """The manifests, with what is rendered placed where it was made from."""
    judging = wanted.judging
    renderer = options.renderer(wanted.render, judging.namespace)
    sources = read_sources(judging.paths, options.standard_input(), exclude=wanted.exclude, render=renderer)
    if renderer is None or Path("-") not in judging.paths:
        return sources
    # Here, as it loads what starts renderers.
    from sekisho.manifests.rendering import placed_in_charts

    return replace(sources, texts=placed_in_charts(sources.texts))


def _checks(
    wanted: _Arguments, sources: Sources, policies: PolicySet, namespaces: Namespaces, context: Sequence[Source]
) -> Checks:
    """The results of the checks. With --verify-images, a first run shows which images to look up for a second one."""
    judging = wanted.judging
    if not (wanted.verify_images and policies.needs_evidence):
        return _run(sources, judging.checker(policies, namespaces), wanted.jobs)
    # Here, as it loads the client of registries, which most checks do without.
    from sekisho.cli.image_lookups import ImageLookups, objects_for_authorities

    authority_sources = (*objects_for_authorities(judging.policy_paths, context), *sources.texts)
    keys = options.KeysInCluster(wanted.kubeconfig, wanted.kube_context, wanted.cluster)
    lookups = ImageLookups(policies, authority_sources, wanted.registry_config, wanted.registry_ca_file, keys.read)
    with lookups as images:
        checks = _run(sources, judging.checker(policies, namespaces, images.trust()), wanted.jobs)
        images.look_up(lookup.reference for item in checks.checked for lookup in item.lookups)
        return _run(sources, judging.checker(policies, namespaces, images.trust()), wanted.jobs)


def _report(wanted: _Arguments, checks: Checks, sources: Sources) -> str:
    if wanted.output != "text":
        return render(wanted.output, checks)
    return text.render(checks, width=width(), lines=SourceLines(sources.texts) if wanted.show_source else None)


def _baseline(wanted: _Arguments) -> Baseline:
    """The findings of --baseline; ends the command if they cannot be read."""
    if wanted.baseline_file is None:
        return {}
    if wanted.written_baseline is not None:
        raise click.UsageError("use either --baseline or --write-baseline")
    try:
        return read_baseline(wanted.baseline_file)
    except PolicyError as error:
        options.fail(error.problems)


def _save_baseline(file: Path, checks: Checks) -> Baseline:
    """Write all findings to a file for --baseline, and return them."""
    known = baseline_of(checks.checked, file.parent)
    replace_file(file, write_baseline(known).encode())
    return known


def _without_known(checks: Checks, file: Path | None, known: Baseline) -> Checks:
    """The checks without the findings of a baseline. Writes a note that says how many of these are gone.

    file: that of the baseline; None if there is none.
    """
    if file is None:
        return checks
    checked, gone = without_known(checks.checked, known, file.parent)
    if count := sum(gone.values()):
        note = f"note: {file}: {count} of its findings are gone; --write-baseline removes them from it"
        click.echo(printable(note), err=True)
    return replace(checks, checked=tuple(checked), known=sum(known.values()) - count)


def _run(sources: Sources, checker: Checker, jobs: int) -> Checks:
    """Check all manifests, in `jobs` processes. Ends the command if one of them dies."""
    results: list[Checks] = []
    try:
        with without_collecting(), progress(len(sources.texts)) as advance:
            for batch in check_all(sources.texts, checker, jobs):
                results += batch
                advance(len(batch))
    except ProcessDiedError:
        options.fail([Problem("", "a checking process died, perhaps because it ran out of memory; try --jobs 1")])
    return joined([Checks(problems=sources.problems, files=sources.passed_over), *results])


def _write_notes(checks: Checks, policies: Sequence[Policy], namespaces: Namespaces) -> None:
    """Write notes, each once: files passed over, unknown kinds, labels of namespaces, waivers and comments."""
    checked = checks.checked
    notes = [*wording.notes_on_files(checks), *map(str, checks.unknown)]
    notes += [f"namespace {item.namespace}: {note}" for item in checked for note in item.notes]
    notes += [f"{item.title}: {note}" for item in checked for note in item.not_judged if note != NOT_VERIFIED]
    if any(NOT_VERIFIED in item.not_judged for item in checked):
        notes.append(f"{NOT_VERIFIED}; use --verify-images")
    notes += [f"{item.title}: {line}" for item in checked for line in waiver_lines(item.waived)]
    unknown = dict.fromkeys(item.namespace for item in checked if item.namespace not in namespaces)
    notes += wording.unknown_labels(policies, unknown)
    notes += [str(unused) for unused in checks.unused]
    notes += [wording.ignored_by(item, ignored) for item in checked for ignored in item.ignored]
    for note in dict.fromkeys(notes):
        click.echo(f"note: {printable(note)}", err=True)

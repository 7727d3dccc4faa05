"""`sekisho explain`: for each policy, why it applies to a pod or not, and the result of each control."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from click import style

from sekisho.admission import NOT_VERIFIED, UnjudgedError
from sekisho.cli import options
from sekisho.cli.reports.wording import VERDICTS, headline, notes_on_files, waived_by
from sekisho.cli.terminal import write
from sekisho.findings import printable
from sekisho.manifests import (
    Checks,
    ControlResult,
    Explanation,
    JudgedObject,
    Manifest,
    Namespaces,
    Sources,
    read_objects,
    read_sources,
    unjudged,
)
from sekisho.manifests import (
    explain as explain_object,
)
from sekisho.manifests.passed_over import PassedOver
from sekisho.manifests.unknown_kinds import unknown_workload
from sekisho.policies import Policy, Problem


@click.command()
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE | -")
@options.policy_paths
@options.standard
@options.namespace
@options.namespace_labels
@options.context_dir
@options.exclude_namespaces
@options.exclude
@options.pod_templates
def explain(
    path: Path,
    policy_paths: tuple[Path, ...],
    standard: str | None,
    namespace: str,
    labels_file: Path | None,
    context_dir: Path | None,
    exempt: tuple[str, ...],
    exclude: tuple[str, ...],
    pod_templates: tuple[str, ...],
) -> None:
    """Explain how each policy applies to a pod or a workload.

    For each policy: whether it matches the pod, and if not, which condition failed; the defaults that it sets; and the
    result of each of its controls. FILE holds manifests; - reads them from standard input.
    """
    sources = read_sources([path], options.standard_input(), exclude=exclude)
    policies = options.load_policies(policy_paths, standard, context_dir, sources.texts)
    context = options.context_sources(context_dir)
    namespaces = options.known_namespaces(labels_file, (*context, *sources.texts), namespace, exempt=exempt)
    problems = list(sources.problems)
    _note_passed_over(sources)
    explained = 0
    for judged in read_objects(sources.texts, namespace, options.pod_kinds(pod_templates)):
        if isinstance(judged, Problem):
            problems.append(judged)
        elif isinstance(judged, PassedOver):
            continue
        elif isinstance(judged, Manifest):
            for unknown in unknown_workload(judged):
                click.echo(f"note: {printable(str(unknown))}", err=True)
        else:
            explained += 1
            try:
                lines = list(_lines(judged, policies, namespaces))
            except UnjudgedError as error:
                problems.append(unjudged(judged.manifest, str(error)))
            else:
                write("\n".join([*lines, "", ""]))
    if not explained and not problems:
        problems.append(Problem(str(path), "holds no pods and no workloads"))
    options.report(problems)
    sys.exit(2 if problems else 0)


def _note_passed_over(sources: Sources) -> None:
    for note in notes_on_files(Checks(files=sources.passed_over)):
        click.echo(f"note: {printable(note)}", err=True)


def _lines(judged: JudgedObject, policies: Sequence[Policy], namespaces: Namespaces) -> Iterator[str]:
    document = judged.manifest.document
    title = f"{judged.manifest.kind} {judged.namespace}/{judged.name}"
    yield f"{printable(document.location(judged.manifest.at))}: {style(printable(title), bold=True)}"
    for explanation in explain_object(judged, policies, namespaces, datetime.now(UTC)):
        yield from _policy(explanation)


def _policy(explanation: Explanation) -> Iterator[str]:
    verdict = "matches" if explanation.mismatch is None else f"does not match: {explanation.mismatch}"
    yield printable(f'  policy "{explanation.policy}" {verdict}')
    if explanation.labels_unknown:
        yield "    the namespace's labels are unknown: it was read as a namespace without labels"
    yield from (f"    {printable(note)}" for note in explanation.notes)
    if explanation.defaults:
        yield f"    sets {', '.join(map(printable, explanation.defaults))}"
    for says in explanation.controls:
        yield from _control(says)


def _control(result: ControlResult) -> Iterator[str]:
    for waived in result.waived:
        yield f"    {result.control}: {style('waived', fg='yellow')} {waived_by(waived)}: {headline(waived.finding)}"
    for note in result.not_judged:
        how = "; sekisho verify judges them" if note == NOT_VERIFIED else ""
        yield f"    {result.control}: {style('not decided', fg='yellow')}: {printable(note)}{how}"
    if not (result.violations or result.waived or result.not_judged):
        yield f"    {result.control}: {style('passes', fg='green')}"
    for violation in result.violations:
        verdict = style(VERDICTS[violation.enforcement], fg="red")
        fix = printable(f"{violation.finding.fix}.{line}" if (line := violation.own_lines) else violation.finding.fix)
        yield f"    {result.control}: {verdict}: {headline(violation.finding)}. Fix: {fix}"

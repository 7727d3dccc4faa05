"""`sekisho explain`: policy by policy, why it is about a pod or not, and what each control says."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from click import style

from sekisho.cli import options
from sekisho.cli.reports.wording import VERDICTS, headline, lifted, printable
from sekisho.cli.terminal import write
from sekisho.manifests import (
    ControlSays,
    Explanation,
    JudgedObject,
    Namespaces,
    read_objects,
    read_sources,
)
from sekisho.manifests import (
    explain as explain_object,
)
from sekisho.policies import Policy, Problem


@click.command()
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE | -")
@options.policy_paths
@options.standard
@options.namespace
@options.namespace_labels
def explain(
    path: Path, policy_paths: tuple[Path, ...], standard: str | None, namespace: str, labels_file: Path | None
) -> None:
    """Explain what each policy has to do with a pod or a workload.

    For each policy: whether it is about the pod, and if not which condition failed; the fields that it fills in; and
    what each of its controls says. FILE holds manifests; - reads them from standard input.
    """
    policies = options.chosen_policies(policy_paths, standard)
    sources = read_sources([path], options.standard_input())
    namespaces = options.known_namespaces(labels_file, sources.texts)
    problems = list(sources.problems)
    explained = 0
    for found in read_objects(sources.texts, namespace):
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, JudgedObject):
            explained += 1
            write("\n".join([*_lines(found, policies, namespaces), "", ""]))
    if not explained and not problems:
        problems.append(Problem(str(path), "holds no pod and nothing that makes pods"))
    options.tell(problems)
    sys.exit(2 if problems else 0)


def _lines(found: JudgedObject, policies: Sequence[Policy], namespaces: Namespaces) -> Iterator[str]:
    document = found.manifest.document
    title = f"{found.manifest.kind} {found.namespace}/{found.name}"
    yield f"{printable(document.place(found.manifest.at))}: {style(printable(title), bold=True)}"
    for explanation in explain_object(found, policies, namespaces, datetime.now(UTC)):
        yield from _policy(explanation)


def _policy(explanation: Explanation) -> Iterator[str]:
    verdict = "matches" if explanation.mismatch is None else f"does not match: {explanation.mismatch}"
    yield printable(f'  policy "{explanation.policy}" {verdict}')
    if explanation.needs_labels:
        yield "    the namespace's labels are not known: it was taken for one without labels"
    yield from (f"    {printable(note)}" for note in explanation.notes)
    if explanation.fills:
        yield f"    fills in {', '.join(map(printable, explanation.fills))}"
    for says in explanation.controls:
        yield from _control(says)


def _control(says: ControlSays) -> Iterator[str]:
    for each in says.waived:
        yield f"    {says.control}: {style('lifted', fg='yellow')}: {lifted(each)}: {headline(each.finding)}"
    if not says.violations and not says.waived:
        yield f"    {says.control}: {style('passes', fg='green')}"
    for violation in says.violations:
        verdict = style(VERDICTS[violation.enforcement], fg="red")
        yield f"    {says.control}: {verdict}: {headline(violation.finding)}. Fix: {printable(violation.finding.fix)}"

"""`sekisho check`: the verdicts of the webhook on manifests, offline."""

import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click

from sekisho.admission import waiver_lines
from sekisho.cli import options
from sekisho.cli.cores import available_cores, check_all, without_collecting
from sekisho.cli.reports import REPORTS, wording
from sekisho.cli.terminal import progress, write
from sekisho.manifests import Checked, Checker, Checks, Namespaces, Sources, looking_at_labels, read_sources
from sekisho.policies import CompiledPolicy, PolicySet, PolicyWaiver, Problem, compile_policy


@click.command()
@options.manifest_paths
@options.policy_paths
@options.standard
@options.namespace
@options.namespace_labels
@click.option(
    "-o",
    "--output",
    type=click.Choice(tuple(REPORTS)),
    default="text",
    show_default=True,
    help="What is written to standard output.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=available_cores,
    show_default="cores",
    help="Processes at most.",
)
def check(
    paths: tuple[Path, ...],
    policy_paths: tuple[Path, ...],
    standard: str | None,
    namespace: str,
    labels_file: Path | None,
    output: str,
    jobs: int,
) -> None:
    """Check manifests against policies, as the webhook would.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input, for instance from `helm
    template`. The exit code is 0 when every pod would be admitted, 1 when some would be denied, 2 for bad input.
    """
    chosen = options.chosen_policies(policy_paths, standard)
    policies = [compile_policy(policy) for policy in chosen if not isinstance(policy, PolicyWaiver)]
    policy_set = PolicySet.of(chosen)
    sources = read_sources(paths, options.standard_input())
    namespaces = options.known_namespaces(labels_file, sources.texts if policy_set.needs_labels else ())
    checks = _check(sources, Checker(policy_set, namespaces, namespace), jobs)
    write(REPORTS[output](checks))
    options.tell(checks.problems)
    _tell_notes(checks.checked, policies, namespaces)
    if output not in ("text", "github"):
        click.echo(wording.summary(checks), err=True)
    sys.exit(2 if checks.problems else 1 if any(checked.is_denied for checked in checks.checked) else 0)


def _check(sources: Sources, checker: Checker, jobs: int) -> Checks:
    found: list[Checks] = []
    try:
        with without_collecting(), progress(len(sources.texts)) as advance:
            for batch in check_all(sources.texts, checker, jobs):
                found += batch
                advance(len(batch))
    except BrokenProcessPool:
        options.fail([Problem("", "a process that was checking died, for want of memory perhaps; try --jobs 1")])
    return Checks(
        tuple(checked for checks in found for checked in checks.checked),
        (*sources.problems, *(problem for checks in found for problem in checks.problems)),
        sum(checks.passed_over for checks in found),
    )


def _tell_notes(checked: Sequence[Checked], policies: Sequence[CompiledPolicy], namespaces: Namespaces) -> None:
    """Say once for each namespace what is not known of its labels, or cannot be read in them; and what waivers lift."""
    notes = [f"namespace {each.namespace}: {note}" for each in checked for note in each.notes]
    notes += [f"{each.title}: {line}" for each in checked for line in waiver_lines(each.waived)]
    for name in dict.fromkeys(each.namespace for each in checked if each.namespace not in namespaces):
        asking = looking_at_labels(policies, name)
        if asking:
            notes.append(
                f"namespace {name}: its labels, asked for by {wording.asking(asking)}, are not known; it was judged as "
                "one without any. Add its Namespace to the manifests, or give --namespace-labels"
            )
    for note in dict.fromkeys(notes):
        click.echo(f"note: {wording.printable(note)}", err=True)

"""`sekisho check`: the webhook's verdicts on manifests, offline."""

import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click

from sekisho.admission import NOT_VERIFIED, waiver_lines
from sekisho.cli import options
from sekisho.cli.cores import available_cores, check_all, without_collecting
from sekisho.cli.reports import REPORTS, wording
from sekisho.cli.terminal import progress, write
from sekisho.manifests import (
    Checker,
    Checks,
    Namespaces,
    Sources,
    joined,
    policies_reading_labels,
    read_sources,
    with_unknown_as_problems,
)
from sekisho.policies import ClusterPodPolicy, CompiledPolicy, PodPolicy, PolicySet, Problem, compile_policy


@click.command()
@options.manifest_paths
@options.policy_paths
@options.standard
@options.namespace
@options.namespace_labels
@options.context_dir
@options.verify_images
@options.registry_config
@options.registry_ca_file
@options.exclude_namespaces
@options.pod_templates
@options.exclude
@options.render
@options.fail_on_unknown
@click.option(
    "-o",
    "--output",
    type=click.Choice(tuple(REPORTS)),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    default=available_cores,
    show_default="cores",
    help="The maximum number of processes.",
)
def check(
    paths: tuple[Path, ...],
    policy_paths: tuple[Path, ...],
    standard: str | None,
    namespace: str,
    labels_file: Path | None,
    context_dir: Path | None,
    verify_images: bool,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    exempt: tuple[str, ...],
    pod_templates: tuple[str, ...],
    exclude: tuple[str, ...],
    render: str,
    fail_on_unknown: bool,
    output: str,
    jobs: int,
) -> None:
    """Check manifests against policies, as the webhook does.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input, for instance from `helm
    template`. The exit code is 0 if every pod would be admitted, 1 if some would be denied, 2 for bad input.
    """
    kinds = options.pod_kinds(pod_templates)
    rendered = options.renderer(render, namespace)
    sources = read_sources(paths, options.standard_input(), exclude=exclude, render=rendered)
    objects = options.load_policies(policy_paths, standard, context_dir, sources.texts)
    policies = [compile_policy(policy) for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)]
    policy_set = PolicySet.of(objects)
    context = options.context_sources(context_dir)
    namespaces = options.known_namespaces(
        labels_file, (*context, *sources.texts), namespace, needs_labels=policy_set.needs_labels, exempt=exempt
    )
    if verify_images and policy_set.needs_evidence:
        from sekisho.cli.image_lookups import ImageLookups, objects_for_authorities

        beside = (*objects_for_authorities(policy_paths, context), *sources.texts)
        with ImageLookups(policy_set, beside, registry_config, registry_ca_file) as images:
            checker = Checker(policy_set, namespaces, namespace, trust=images.trust(), kinds=kinds)
            checks = _check(sources, checker, jobs)
            images.look_up(lookup.reference for item in checks.checked for lookup in item.lookups)
            checker = Checker(policy_set, namespaces, namespace, trust=images.trust(), kinds=kinds)
            checks = _check(sources, checker, jobs)
    else:
        checks = _check(sources, Checker(policy_set, namespaces, namespace, kinds=kinds), jobs)
    checks = with_unknown_as_problems(checks) if fail_on_unknown else checks
    write(REPORTS[output](checks))
    options.report(checks.problems)
    _write_notes(checks, policies, namespaces)
    if output not in ("text", "github"):
        click.echo(wording.summary(checks), err=True)
    sys.exit(2 if checks.problems else 1 if any(checked.is_denied for checked in checks.checked) else 0)


def _check(sources: Sources, checker: Checker, jobs: int) -> Checks:
    results: list[Checks] = []
    try:
        with without_collecting(), progress(len(sources.texts)) as advance:
            for batch in check_all(sources.texts, checker, jobs):
                results += batch
                advance(len(batch))
    except BrokenProcessPool:
        options.fail([Problem("", "a checking process died, perhaps because it ran out of memory; try --jobs 1")])
    return joined([Checks(problems=sources.problems, files=sources.passed_over), *results])


def _write_notes(checks: Checks, policies: Sequence[CompiledPolicy], namespaces: Namespaces) -> None:
    """Write notes, each once: what was passed over, unknown kinds, labels that are unknown or invalid, and waivers."""
    checked = checks.checked
    notes = [*wording.passed_over(checks), *map(str, checks.unknown)]
    notes += [f"namespace {item.namespace}: {note}" for item in checked for note in item.notes]
    notes += [f"{item.title}: {note}" for item in checked for note in item.not_judged if note != NOT_VERIFIED]
    if any(NOT_VERIFIED in item.not_judged for item in checked):
        notes.append(f"{NOT_VERIFIED}; use --verify-images")
    notes += [f"{item.title}: {line}" for item in checked for line in waiver_lines(item.waived)]
    for name in dict.fromkeys(item.namespace for item in checked if item.namespace not in namespaces):
        readers = policies_reading_labels(policies, name)
        if readers:
            notes.append(wording.labels_unknown(name, readers))
    for note in dict.fromkeys(notes):
        click.echo(f"note: {wording.printable(note)}", err=True)

"""`sekisho fix`: writes manifests with the policies' defaults and requirements applied."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from sekisho.cli import options
from sekisho.cli.cores import without_collecting
from sekisho.cli.reports.text import paragraph
from sekisho.cli.reports.wording import labels_unknown, printable
from sekisho.cli.terminal import write
from sekisho.manifests import Checker, fix_source, policies_reading_labels, read_sources
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, compile_policy


@click.command()
@options.manifest_paths
@options.policy_paths
@options.standard
@options.namespace
@options.namespace_labels
@options.context_dir
@options.exclude_namespaces
@options.pod_templates
@click.option(
    "--all", "apply_changes", is_flag=True, help="Also make the change of each finding whose fix needs no decision."
)
def fix(
    paths: tuple[Path, ...],
    policy_paths: tuple[Path, ...],
    standard: str | None,
    namespace: str,
    labels_file: Path | None,
    context_dir: Path | None,
    exempt: tuple[str, ...],
    pod_templates: tuple[str, ...],
    apply_changes: bool,
) -> None:
    """Write manifests with the policies' defaults applied, as the mutating webhook applies them.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input. A document in which nothing
    changes is written as it is. Remaining findings go to standard error; the exit code is 1 if one of them denies.
    """
    sources = read_sources(paths, options.standard_input(), split_lists=False)
    objects = options.load_policies(policy_paths, standard, context_dir, sources.texts)
    policies = PolicySet.of(objects)
    context = options.context_sources(context_dir)
    namespaces = options.known_namespaces(
        labels_file, (*context, *sources.texts), namespace, needs_labels=policies.needs_labels, exempt=exempt
    )
    checker = Checker(policies, namespaces, namespace, kinds=options.pod_kinds(pod_templates))
    with without_collecting():
        fixed = [fix_source(source, checker, apply_changes=apply_changes) for source in sources.texts]
    write("".join(_stream(document.text for document in fixed)))
    left = [checked for document in fixed for checked in document.left]
    for checked in left:
        write(f"{paragraph(checked)}\n", sys.stderr)
    compiled = [compile_policy(policy) for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)]
    for name in namespaces.read_as_unknown:
        if readers := policies_reading_labels(compiled, name):
            click.echo(f"note: {printable(labels_unknown(name, readers))}", err=True)
    problems = [*sources.problems, *(problem for document in fixed for problem in document.problems)]
    options.report(problems)
    sys.exit(2 if problems else 1 if any(checked.is_denied for checked in left) else 0)


def _stream(texts: Iterable[str]) -> Iterator[str]:
    """The documents as one stream."""
    is_first = True
    for text in texts:
        if not is_first and not text.startswith("---"):
            # The directives of the next document must follow `...`.
            yield "...\n" if text.startswith("%") else "---\n"
        yield text if text.endswith("\n") else f"{text}\n"
        is_first = False

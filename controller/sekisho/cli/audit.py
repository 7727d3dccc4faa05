"""`sekisho audit`: which pods that run violate policies, and which would be denied when they are made again."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from sekisho.audit import Audit, Promotions, Result, promotions_of
from sekisho.cli import options
from sekisho.cli.cluster_command import CommandError, kubeconfig, run_in_cluster
from sekisho.cli.reports import audit_json, audit_sarif, audit_text
from sekisho.cli.reports.wording import printable
from sekisho.cli.terminal import progress, write
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_audit import read_objects, surroundings
from sekisho.cluster.live_namespaces import LiveNamespaces, exempt_namespaces, read_namespaces
from sekisho.cluster.live_policies import applied_policies
from sekisho.cluster.names import is_label
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy, PolicySet
from sekisho.policies.idle import EXEMPT_NAMESPACES

ATTEMPTS: Final = 3
"""Passes that are begun while lists take longer than the API server keeps them."""


@click.command()
@options.policy_paths
@options.standard
@click.option("-n", "--namespace", metavar="NAME", help="Only this namespace; without it, all of them.")
@options.exclude_namespaces
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json", "sarif")),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
@click.option(
    "--max-owners",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many owners the text names, those with most pods first.",
)
@kubeconfig
def audit(
    policy_paths: tuple[Path, ...],
    standard: str | None,
    namespace: str | None,
    exempt: tuple[str, ...],
    output: str,
    max_owners: int,
    kubeconfig: Path | None,
) -> None:
    """Show which pods that run violate policies, and which would be denied when they are made again.

    Without --policy and --standard, by the policies that are applied in the cluster; with them, by these policies
    before they are applied. The exit code is 0 if no pod would be denied, 1 if some would, 2 for bad input.
    """
    if namespace is not None and not is_label(namespace):
        raise click.UsageError(f"--namespace {namespace}: is not a valid name of a namespace")
    given = options.load_policies(policy_paths, standard) if policy_paths or standard else []
    results: list[Result] = []

    async def run(api: ApiClient) -> None:
        policies, promotions = await _policies(api, given, namespace)
        result = await _audit(api, policies, promotions, namespace, exempt)
        results.append(result)
        match output:
            case "json":
                write(audit_json.render(result, policies))
            case "sarif":
                write(audit_sarif.render(result))
            case _:
                write(audit_text.render(result, policies, max_owners))

    run_in_cluster(kubeconfig, run)
    (result,) = results
    _write_notes(result)
    sys.exit(1 if any(owner.would_be_denied for owner in result.owners) else 0)


async def _policies(api: ApiClient, given: Sequence[Policy], namespace: str | None) -> tuple[list[Policy], Promotions]:
    """All policies to judge by, those of the options in place of applied ones, and what is counted of them."""
    applied, problems = await applied_policies(api, namespace)
    for problem in problems:
        click.echo(f"note: not in force: {printable(str(problem))}", err=True)
    replaced = {(policy.kind, policy.title) for policy in given}
    policies = [*given, *(policy for policy in applied if (policy.kind, policy.title) not in replaced)]
    if not any(isinstance(policy, ClusterPodPolicy | PodPolicy) for policy in policies):
        raise CommandError("the cluster has no policies: use --policy FILE_OR_DIR or --standard LEVEL[:VERSION]")
    only = frozenset(policy.title for policy in given if isinstance(policy, ClusterPodPolicy | PodPolicy))
    return policies, promotions_of(policies, only or None)


async def _audit(
    api: ApiClient,
    policies: Iterable[Policy],
    promotions: Promotions,
    namespace: str | None,
    exempt: Iterable[str],
) -> Result:
    """The result of a pass that came to its end."""
    known = await read_namespaces(api, namespace)
    around = surroundings(datetime.now(UTC), (await _exempt(api, known)).union(exempt), known.labels, known.objects_of)
    policy_set = PolicySet.of(policies)
    for attempt in range(1, ATTEMPTS + 1):
        one = Audit(policy_set, promotions, around)
        with ExitStack() as stack:
            try:
                await read_objects(api, one, namespace, _Bar(stack).show)
                return one.result()
            except ApiError as error:
                if error.status != 410 or attempt == ATTEMPTS:
                    raise
    raise AssertionError


async def _exempt(api: ApiClient, known: LiveNamespaces) -> frozenset[str]:
    try:
        return await exempt_namespaces(api, known.labels)
    except ApiError as error:
        if error.status != 403:
            raise
        click.echo("note: the webhook's configuration may not be read: only kube-system is left out", err=True)
        return EXEMPT_NAMESPACES


class _Bar:
    """A progress bar, shown from the first page on, which says how many pods there are."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._done = 0

    def show(self, done: int, total: int) -> None:
        if not self._done:
            self._advance = self._stack.enter_context(progress(total))
        self._advance(done - self._done)
        self._done = done


def _write_notes(result: Result) -> None:
    if result.unjudged:
        click.echo(f"note: {result.unjudged:,} objects could not be judged; a webhook denies such pods", err=True)
    if result.has_unverified:
        click.echo("note: rules on images that need evidence from registries were not judged", err=True)

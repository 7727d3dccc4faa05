"""The audit of a cluster by commands: with the policies that are applied, or with others before they are."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

import click

from sekisho.audit import Audit, Result, promotions_of
from sekisho.cli.cluster_command import CommandError
from sekisho.cli.reports.audit_text import notes
from sekisho.cli.terminal import progress
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_audit import read_objects, surroundings
from sekisho.cluster.live_namespaces import LiveNamespaces, exempt_namespaces, read_namespaces
from sekisho.cluster.live_policies import applied_policies
from sekisho.findings import printable
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy, PolicySet
from sekisho.policies.idle import EXEMPT_NAMESPACES

MAX_VIOLATIONS: Final = 1000
"""Violations of one owner that are kept; each control of a policy counts once."""
ATTEMPTS: Final = 3
"""Attempts at a pass, while lists take longer than the API server keeps them."""
max_owners = click.option(
    "--max-owners",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many owners the text names, those with most pods first.",
)


async def policies_of(
    api: ApiClient, option_policies: Sequence[Policy], namespace: str | None
) -> tuple[list[Policy], frozenset[str] | None]:
    """All policies to judge by, and the titles of those that are counted; None for all.

    option_policies: those of the options, which replace applied ones of the same name.

    Raises CommandError if there are none, and what the client raises.
    """
    applied, problems = await applied_policies(api, namespace)
    for problem in problems:
        click.echo(f"note: not in effect: {printable(str(problem))}", err=True)
    replaced = {(policy.kind, policy.title) for policy in option_policies}
    policies = [*option_policies, *(policy for policy in applied if (policy.kind, policy.title) not in replaced)]
    if not any(isinstance(policy, ClusterPodPolicy | PodPolicy) for policy in policies):
        raise CommandError("the cluster has no policies: use --policy FILE_OR_DIR or --standard LEVEL[:VERSION]")
    only = frozenset(policy.title for policy in option_policies if isinstance(policy, ClusterPodPolicy | PodPolicy))
    return policies, only or None


def policy_named(title: str, policies: Iterable[Policy]) -> ClusterPodPolicy | PodPolicy:
    """The policy with a title. Raises CommandError if there is none."""
    named = {policy.title: policy for policy in policies if isinstance(policy, ClusterPodPolicy | PodPolicy)}
    if title not in named:
        raise CommandError(f"there is no policy {title}; there are {', '.join(sorted(named))}")
    return named[title]


async def audit_cluster(
    api: ApiClient,
    policies: Sequence[Policy],
    only: frozenset[str] | None,
    namespace: str | None,
    exempt: Iterable[str],
) -> Result:
    """The result of a complete pass. Raises what the client raises.

    only: the titles of the policies that are counted; None for all.
    namespace: the only one that is read; None for all.
    exempt: namespaces that are left out, besides those whose pods the webhook is not sent.
    """
    known = await read_namespaces(api, namespace)
    around = surroundings(datetime.now(UTC), (await _exempt(api, known)).union(exempt), known.labels, known.objects_of)
    policy_set = PolicySet.of(policies)
    for attempt in range(1, ATTEMPTS + 1):
        one = Audit(policy_set, promotions_of(policies, only), around, MAX_VIOLATIONS)
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


def write_notes(result: Result) -> None:
    """Write to stderr what could not be judged."""
    for note in notes(result):
        click.echo(f"note: {note}", err=True)

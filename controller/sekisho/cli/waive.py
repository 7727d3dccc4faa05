"""`sekisho waive`: waivers for running pods that a policy would deny, one for each owner."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from sekisho.audit import OwnerAudit, Result
from sekisho.cli import options
from sekisho.cli.cluster_audit import audit_cluster, policies_of, policy_named, write_notes
from sekisho.cli.cluster_command import kubeconfig, run_in_cluster
from sekisho.cli.reports.wording import counted
from sekisho.cli.terminal import write
from sekisho.cluster.api import ApiClient
from sekisho.cluster.names import derived_name, is_subdomain
from sekisho.documents import write_document
from sekisho.policies.types import GROUP, VERSION
from sekisho.timestamps import rfc3339

MAX_DAYS: Final = 3650
_DAYS: Final = re.compile(r"([1-9][0-9]{0,3})d")


class _Days(click.ParamType[int]):
    """A number of days, such as 60d."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        days = _DAYS.fullmatch(value)
        if days is None or int(days[1]) > MAX_DAYS:
            self.fail(f"{value!r} is not a number of days from 1d to {MAX_DAYS}d", param, ctx)
        return int(days[1])


@click.command()
@click.option(
    "--from-audit",
    "title",
    required=True,
    metavar="POLICY",
    help="The policy: the name of a ClusterPodPolicy, or NAMESPACE/NAME of a PodPolicy.",
)
@click.option(
    "--for", "days", required=True, type=_Days(), metavar="DAYS", help="How long the waivers last, such as 60d."
)
@click.option("--reason", required=True, help="Why they are granted; shown wherever they are used.")
@options.policy_paths
@options.exclude_namespaces
@kubeconfig
def waive(
    title: str,
    days: int,
    reason: str,
    policy_paths: tuple[Path, ...],
    exempt: tuple[str, ...],
    kubeconfig: Path | None,
) -> None:
    """Write waivers for running pods that a policy would deny if they were created again.

    Each owner gets one, for the controls that its pods violate. Review them, apply them, and then let the policy deny:
    what runs keeps running, and other pods are denied.
    """
    if not reason.strip():
        raise click.UsageError("--reason: must not be empty")
    written = options.load_policies(policy_paths) if policy_paths else []
    results: list[Result] = []

    async def run(api: ApiClient) -> None:
        policies, _ = await policies_of(api, written, None)
        policy_named(title, policies)
        results.append(await audit_cluster(api, policies, frozenset({title}), None, exempt))

    run_in_cluster(kubeconfig, run)
    (result,) = results
    write_notes(result)
    expires = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    documents = [write_document(waiver) for waiver in _waivers(result, title, expires, reason)]
    write("---\n".join(documents))
    verb = "expires" if len(documents) == 1 else "expire"
    click.echo(f"{counted(len(documents), 'waiver')}, which {verb} at {rfc3339(expires)}", err=True)


def _waivers(result: Result, title: str, expires: datetime, reason: str) -> Iterator[dict[str, Any]]:
    for audited in result.owners:
        if audited.would_be_denied:
            yield _waiver(audited, title, expires, reason)


def _waiver(audited: OwnerAudit, title: str, expires: datetime, reason: str) -> dict[str, Any]:
    owner = audited.owner
    name = "-".join((*title.split("/"), owner.namespace, owner.kind.lower(), owner.name))
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "PolicyWaiver",
        "metadata": {"name": name if is_subdomain(name) else derived_name(title.replace("/", "-"), name)},
        "spec": {
            "policies": [title],
            "controls": list(dict.fromkeys(violation.finding.control for violation in audited.violations)),
            "match": {"namespaces": [owner.namespace], "names": [owner.name]},
            "expires": rfc3339(expires),
            "reason": reason,
        },
    }

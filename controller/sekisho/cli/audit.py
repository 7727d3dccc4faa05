"""`sekisho audit`: which running pods violate policies, and which would be denied if they were created again."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from sekisho.audit import Result
from sekisho.cli import options
from sekisho.cli.cluster_audit import audit_cluster, max_owners, policies_of, write_notes
from sekisho.cli.cluster_command import kubeconfig, run_in_cluster
from sekisho.cli.reports import audit_html, audit_json, audit_sarif, audit_text
from sekisho.cli.terminal import write
from sekisho.cluster.api import ApiClient
from sekisho.cluster.names import is_label


@click.command()
@options.policy_paths
@options.standard
@click.option("-n", "--namespace", metavar="NAME", help="Only this namespace; without it, all of them.")
@options.exclude_namespaces
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json", "sarif", "html")),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
@max_owners
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
    """Show which running pods violate policies, and which would be denied if they were created again.

    Pods are judged by the policies in the cluster, or by those of --policy and --standard if set, which need not be
    applied yet. The exit code is 0 if no pod would be denied, 1 if some would, 2 for bad input.
    """
    if namespace is not None and not is_label(namespace):
        raise click.UsageError(f"--namespace {namespace}: is not a valid name of a namespace")
    policies_to_add = options.load_policies(policy_paths, standard) if policy_paths or standard else []
    results: list[Result] = []

    async def run(api: ApiClient) -> None:
        policies, only = await policies_of(api, policies_to_add, namespace)
        result = await audit_cluster(api, policies, only, namespace, exempt)
        results.append(result)
        match output:
            case "json":
                write(audit_json.render(result, policies))
            case "sarif":
                write(audit_sarif.render(result))
            case "html":
                write(audit_html.render(result, policies, datetime.now(UTC)))
            case _:
                write(audit_text.render(result, policies, max_owners))

    run_in_cluster(kubeconfig, run)
    (result,) = results
    write_notes(result)
    sys.exit(1 if any(owner.would_be_denied for owner in result.owners) else 0)

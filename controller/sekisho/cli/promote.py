"""`sekisho promote`: makes a policy warn or deny, after showing what that means for running pods."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from sekisho.cli import options
from sekisho.cli.cluster_audit import audit_cluster, max_owners, policies_of, policy_named, write_notes
from sekisho.cli.cluster_command import CommandError, kubeconfig, run_in_cluster
from sekisho.cli.reports import audit_text
from sekisho.cli.terminal import replace_file, write
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.findings import printable
from sekisho.manifests.policy_files import with_enforcement
from sekisho.manifests.policy_loading import parse_policies, read_policy_file
from sekisho.policies import ClusterPodPolicy, Enforcement, PodPolicy, PolicyError
from sekisho.policies.crd import RESOURCES
from sekisho.policies.loading import decode
from sekisho.policies.types import GROUP, VERSION

_DOES = {Enforcement.AUDIT: "audits", Enforcement.WARN: "warns", Enforcement.DENY: "denies"}
_STRICTNESS = tuple(_DOES)


@click.command()
@click.argument("title", metavar="POLICY")
@click.option(
    "--to",
    "wanted",
    type=click.Choice((str(Enforcement.WARN), str(Enforcement.DENY))),
    default=str(Enforcement.DENY),
    show_default=True,
    help="The enforcement that the policy gets.",
)
@click.option(
    "--write",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Change the policy in this manifest, and nothing in the cluster.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@max_owners
@options.exclude_namespaces
@kubeconfig
def promote(
    title: str,
    wanted: str,
    file: Path | None,
    yes: bool,
    max_owners: int,
    exempt: tuple[str, ...],
    kubeconfig: Path | None,
) -> None:
    """Show which running pods a policy would deny, ask for confirmation, and make it deny.

    POLICY is the name of a ClusterPodPolicy, or NAMESPACE/NAME of a PodPolicy. A control with an enforcement of its own
    keeps it. The exit code is 0 if the policy has the enforcement now, 1 if the answer was no, 2 for bad input.
    """
    enforcement = Enforcement(wanted)
    edit = _Edit(file, title, enforcement) if file is not None else None
    answers: list[bool] = []

    async def run(api: ApiClient) -> None:
        policies, _ = await policies_of(api, edit.policies if edit is not None else [], None)
        policy = policy_named(title, policies)
        if _STRICTNESS.index(policy.spec.enforcement) >= _STRICTNESS.index(enforcement):
            click.echo(printable(f"{title} {_DOES[policy.spec.enforcement]} already"))
            return
        result = await audit_cluster(api, policies, frozenset({title}), None, exempt)
        write(audit_text.render(result, policies, max_owners))
        write_notes(result)
        answers.append(yes or _confirmed(title, enforcement))
        if not answers[0]:
            return
        if edit is not None:
            edit.write()
            click.echo(printable(f"{title} {_DOES[enforcement]} in {file}: apply it"))
        else:
            await _patch(api, policy, enforcement)
            click.echo(printable(f"{title} {_DOES[enforcement]} now"))

    run_in_cluster(kubeconfig, run)
    sys.exit(0 if all(answers) else 1)


def _confirmed(title: str, enforcement: Enforcement) -> bool:
    """Whether the user agrees. Raises CommandError where nobody can answer."""
    if not sys.stdin.isatty():
        raise CommandError("nobody can answer here: use --yes")
    done = "warn" if enforcement == Enforcement.WARN else "deny"
    return click.confirm(printable(f"Let {title} {done}?"), err=True)


async def _patch(api: ApiClient, policy: ClusterPodPolicy | PodPolicy, enforcement: Enforcement) -> None:
    """Change the policy in the cluster, unless it has changed since it was read. Raises what the client raises."""
    meta = policy.metadata
    within = f"namespaces/{meta.namespace}/" if isinstance(policy, PodPolicy) else ""
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/generation", "value": meta.generation},
        {"op": "add", "path": "/spec/enforcement", "value": str(enforcement)},
    ]
    path = f"/apis/{GROUP}/{VERSION}/{within}{RESOURCES[policy.kind].plural}/{meta.name}"
    try:
        await api.patch(path, msgspec.json.encode(patch), "application/json-patch+json")
    except ApiError as error:
        # The API server does not say that the test failed.
        if error.status == 422 and decode(await api.get(path), type(policy)).metadata.generation != meta.generation:
            raise CommandError(f"{policy.title} was changed meanwhile: run the command again") from None
        raise


class _Edit:
    """The change of the policy in a file. The command ends at once if it cannot be done."""

    def __init__(self, file: Path, title: str, enforcement: Enforcement) -> None:
        if str(file) == "-":
            raise click.UsageError("--write: standard input cannot be changed")
        self._file = file
        try:
            self._before = read_policy_file(file)
            self.policies = parse_policies(self._before, str(file))
            self._edited = with_enforcement(self._before, str(file), title, enforcement)
        except PolicyError as error:
            options.fail(error.problems)
        self._content()

    def write(self) -> None:
        """Change the file, unless somebody else has changed it since it was read."""
        if self._edited.is_rewritten:
            click.echo(f"note: {self._file}: the policy was written again as a whole, without its comments", err=True)
        replace_file(self._file, self._content())

    def _content(self) -> bytes:
        return options.edited(self._file, self._before, self._edited.text)

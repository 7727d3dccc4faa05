"""`sekisho migrate`: policies that do the same as another admission control; here Pod Security admission."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from sekisho.cli import options
from sekisho.cli.groups import Group
from sekisho.cli.migrate_engines import gatekeeper, kyverno
from sekisho.cli.terminal import write
from sekisho.findings import printable
from sekisho.manifests import read_sources
from sekisho.manifests.migration import explicit_policies, policies_from_labels, remarks, write_policies
from sekisho.manifests.pod_security import PodSecurityConfiguration, namespaces_in, read_configuration
from sekisho.policies import PolicyError, Problem


class _Meta(Struct, frozen=True):
    name: str
    labels: dict[str, str] | None = None


class _Item(Struct, frozen=True):
    metadata: _Meta


@click.group(cls=Group)
def migrate() -> None:
    """Write policies that do the same as another admission control."""


migrate.add_command(kyverno)
migrate.add_command(gatekeeper)


@migrate.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Manifests of namespaces, such as the output of `kubectl get namespaces -o yaml`; - reads standard input. "
    "May be repeated. Without it, the namespaces of the cluster are read.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="How to reach the cluster. Without it: KUBECONFIG, the pod's service account, ~/.kube/config.",
)
@click.option(
    "--config",
    "configuration_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The API server's AdmissionConfiguration, or the PodSecurityConfiguration in it: defaults and exemptions.",
)
@click.option(
    "--explicit",
    is_flag=True,
    help="Write policies that name the current levels and namespaces, and do not read the labels.",
)
def psa(files: tuple[Path, ...], kubeconfig: Path | None, configuration_file: Path | None, explicit: bool) -> None:
    """Write policies that do the same as Pod Security admission with its labels of namespaces.

    By default this is one policy that keeps reading the labels. Notes about invalid labels go to standard error.
    """
    if files and kubeconfig is not None:
        raise click.UsageError("use either --filename or --kubeconfig")
    try:
        configuration = (
            read_configuration(configuration_file) if configuration_file is not None else PodSecurityConfiguration()
        )
        namespaces = _namespaces_of_files(files) if files else asyncio.run(_namespaces_of_cluster(kubeconfig))
        migration = explicit_policies if explicit else policies_from_labels
        migrated = migration(namespaces, configuration)
    except PolicyError as error:
        options.fail(error.problems)
    write(write_policies(migrated))
    for remark in remarks(namespaces, configuration, explicit=explicit):
        click.echo(f"note: {printable(remark)}", err=True)


def _namespaces_of_files(files: tuple[Path, ...]) -> Mapping[str, Mapping[str, str]]:
    sources = read_sources(files, options.standard_input())
    if sources.problems:
        raise PolicyError(*sources.problems)
    namespaces = namespaces_in(sources.texts)
    if not namespaces:
        raise PolicyError(Problem(" ".join(map(str, files)), "holds no Namespace"))
    return namespaces


async def _namespaces_of_cluster(kubeconfig: Path | None) -> Mapping[str, Mapping[str, str]]:
    """The labels of all namespaces. Raises PolicyError, as for any input that cannot be read."""
    from sekisho.cluster.api import METADATA_LIST, ApiClient, ApiError, ApiUnavailable, ConfigError
    from sekisho.cluster.pages import pages

    namespaces: dict[str, Mapping[str, str]] = {}
    try:
        api = await ApiClient.connect(kubeconfig)
        try:
            async for page in pages(api, "/api/v1/namespaces", {}, METADATA_LIST):
                for raw in page.items or ():
                    metadata = msgspec.json.decode(raw, type=_Item).metadata
                    namespaces[metadata.name] = metadata.labels or {}
            return namespaces
        finally:
            await api.close()
    except ConfigError as error:
        raise PolicyError(Problem("", str(error))) from None
    except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
        raise PolicyError(Problem("the namespaces of the cluster", str(error))) from None

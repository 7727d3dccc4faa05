"""`sekisho controller`: keeps certificates, caBundles and the status of policies, one leader at a time."""

import asyncio
import socket
import sys
from pathlib import Path

import click

from sekisho.cluster import logs
from sekisho.cluster.api import ConfigError
from sekisho.operator.options import OptionError, Options, parse_serving_names
from sekisho.operator.probes import BindError
from sekisho.operator.process import run

BAD_INPUT = 2


@click.command()
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="How to reach the API server; else KUBECONFIG, the pod's service account or ~/.kube/config.",
)
@click.option("--namespace", default="sekisho-system", show_default=True, help="Where the Secrets and the Leases are.")
@click.option(
    "--webhook-configuration",
    default="sekisho",
    show_default=True,
    metavar="NAME",
    help="The webhook configurations, validating and mutating, whose caBundle is kept.",
)
@click.option(
    "--certificate-secret",
    default="sekisho-webhook-tls",
    show_default=True,
    metavar="NAME",
    help="The Secret with the webhook's certificate.",
)
@click.option(
    "--ca-secret",
    default="sekisho-ca",
    show_default=True,
    metavar="NAME",
    help="The Secret with the authority that signs it.",
)
@click.option(
    "--serving-name",
    multiple=True,
    metavar="NAME",
    help="A DNS name or IP address by which the API server calls the webhook; may be repeated.",
)
@click.option(
    "--lease", default="sekisho-controller", show_default=True, metavar="NAME", help="The Lease that the leader holds."
)
@click.option(
    "--identity", default=socket.gethostname, metavar="NAME", help="Who holds the Lease; the host name by default."
)
@click.option(
    "--metrics-bind-address",
    default="0.0.0.0",  # noqa: S104
    show_default=True,
    metavar="ADDRESS",
    help="The address for probes and metrics.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=8082,
    show_default=True,
    help="The port for probes and metrics, in plain HTTP.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    default="info",
    show_default=True,
    help="The least severe level that is logged.",
)
def controller(
    kubeconfig: Path | None,
    namespace: str,
    webhook_configuration: str,
    certificate_secret: str,
    ca_secret: str,
    serving_name: tuple[str, ...],
    lease: str,
    identity: str,
    metrics_bind_address: str,
    metrics_port: int,
    log_level: str,
) -> None:
    """Keep certificates, caBundles and the status of policies; of several processes, one acts."""
    try:
        options = Options(
            kubeconfig=kubeconfig,
            namespace=namespace,
            webhook_configuration=webhook_configuration,
            certificate_secret=certificate_secret,
            ca_secret=ca_secret,
            serving_names=parse_serving_names(serving_name),
            lease=lease,
            identity=identity,
            metrics_bind_address=metrics_bind_address,
            metrics_port=metrics_port,
        )
        logs.configure(log_level)
        sys.exit(asyncio.run(run(options)))
    except (BindError, ConfigError, OptionError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(BAD_INPUT)

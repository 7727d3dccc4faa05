"""`sekisho controller`: keeps certificates, caBundles and the status of policies, one leader at a time."""

import asyncio
import socket
import sys
from typing import Any

import click

from sekisho.cli import processes
from sekisho.cli.processes import option
from sekisho.cluster.api import ConfigError
from sekisho.operator.options import Certificates, OptionError, Options, parse_serving_names
from sekisho.operator.probes import BindError
from sekisho.operator.process import run
from sekisho.telemetry import logs

BAD_INPUT = 2


@click.command()
@processes.kubeconfig
@processes.namespace
@option(
    "--webhook-configuration",
    default="sekisho",
    metavar="NAME",
    help="The webhook configurations, validating and mutating, whose caBundle is kept.",
)
@option(
    "--webhook-service",
    default="",
    metavar="NAME",
    help="The Service in --namespace that the API server calls the webhook by. A pod that it sends reviews to counts as"
    " a replica even while it does not report. Empty: a replica that fell silent counts for five minutes.",
)
@option(
    "--certificates",
    type=click.Choice([str(each) for each in Certificates]),
    default=str(Certificates.SELF),
    help="Who makes the webhook's certificate: the controller itself, cert-manager, or somebody else, in a Secret with "
    "tls.crt, tls.key and ca.crt.",
)
@option(
    "--certificate-secret",
    default="sekisho-webhook-tls",
    metavar="NAME",
    help="The Secret in --namespace with the webhook's certificate; not read with --certificates=cert-manager.",
)
@option(
    "--ca-secret",
    default="sekisho-ca",
    metavar="NAME",
    help="The Secret in --namespace with the authority that signs it, with --certificates=self.",
)
@option(
    "--serving-name",
    multiple=True,
    metavar="NAME",
    help="A DNS name or IP address by which the API server calls the webhook, which --certificates=self asks for; may "
    "be given several times, in the variable with spaces between.",
)
@option("--lease", default="sekisho-controller", metavar="NAME", help="The Lease that the leader holds.")
@option("--identity", default=socket.gethostname, show_default="host name", metavar="NAME", help="Who holds the Lease.")
@processes.metrics_bind_address
@processes.metrics_port(8082)
@processes.log_level
def controller(log_level: str, certificates: str, serving_name: tuple[str, ...], **given: Any) -> None:
    """Keep certificates, caBundles and the status of policies; of several processes, one acts."""
    try:
        names = parse_serving_names(serving_name) if certificates == Certificates.SELF else ()
        options = Options(certificates=Certificates(certificates), serving_names=names, **given)
        logs.configure(log_level)
        sys.exit(asyncio.run(run(options)))
    except (BindError, ConfigError, OptionError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(BAD_INPUT)

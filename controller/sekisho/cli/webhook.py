"""`sekisho webhook`: the process that answers the API server."""

import socket
import sys
from typing import Any

import click
from msgspec.structs import replace

from sekisho.cli import processes
from sekisho.cli.processes import FILE, PORT, option
from sekisho.cluster.events import Reason
from sekisho.telemetry.logs import configure
from sekisho.webhook.options import Options, StartError
from sekisho.webhook.process import StoppedError, run
from sekisho.webhook.reporting import REASONS


def reasons(given: str) -> frozenset[Reason]:
    """The type of an option: names of reasons with commas between them."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = sorted(set(names) - set(REASONS))
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(REASONS)}.")
    return frozenset(map(Reason, names))


@click.command()
@processes.kubeconfig
@processes.namespace
@option("--bind-address", default="0.0.0.0", help="The address on which reviews are served.")  # noqa: S104
@option("--port", type=PORT, default=8443, help="The port on which reviews are served, over TLS.")
@processes.metrics_bind_address
@processes.metrics_port(8081)
@option(
    "--certificate-secret",
    metavar="NAME",
    show_default="sekisho-webhook-tls, unless --tls-cert-file is given",
    help="The Secret in --namespace that holds tls.crt and tls.key; followed live.",
)
@option("--tls-cert-file", type=FILE, help="The certificate and its chain, PEM; followed live.")
@option("--tls-private-key-file", type=FILE, help="The key of --tls-cert-file, PEM, not encrypted.")
@option(
    "--client-ca-file",
    type=FILE,
    help="Let in only clients with a certificate of the authorities in this file, PEM; followed live.",
)
@option(
    "--client-name",
    multiple=True,
    metavar="NAME",
    help="A common name or alternative name that a client's certificate must have, with --client-ca-file; may be"
    " repeated. Without it, every name will do.",
)
@option(
    "--policy-dir",
    type=FILE,
    help="Enforce the policies in this folder instead of a cluster's; followed live. Nothing is asked of a cluster.",
)
@option(
    "--longest-waiver",
    type=click.IntRange(1, 36500),
    default=90,
    metavar="DAYS",
    help="How many days in the future a PolicyWaiver may end when it is applied.",
)
@option(
    "--replica", default=socket.gethostname, show_default="host name", help="This replica's name, unique among them."
)
@option(
    "--events",
    metavar="REASON,…",
    default=f"{Reason.POD_DENIED},{Reason.WAIVER_USED}",
    type=reasons,
    help=f"The Events to write, some of {', '.join(REASONS)}; empty for none.",
)
@option(
    "--events-per-second",
    type=click.FloatRange(0, 1000, min_open=True),
    default=50,
    help="How many Events and counts of Events this replica writes at most, in the long run.",
)
@option(
    "--drain-seconds",
    type=click.FloatRange(0, 300),
    default=5,
    help="How long to go on serving after SIGTERM, while clients turn to other replicas.",
)
@processes.log_level
def webhook(**given: Any) -> None:
    """Answer the API server: judge pods at /validate, fill in defaults at /mutate, review policies at
    /validate-policies.

    The policies, the labels of namespaces and the certificate are kept current while it runs. The port opens once all
    three are there. SIGTERM stops it in good order, a second one at once.
    """
    try:
        options = _checked(Options(**given))
        configure(options.log_level)
        run(options)
    except StartError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except StoppedError as error:
        click.echo(f"Error: {error}: {error.__cause__}", err=True)
        sys.exit(1)


def _checked(options: Options) -> Options:
    if (options.tls_cert_file is None) != (options.tls_private_key_file is None):
        raise StartError("--tls-cert-file and --tls-private-key-file go together")
    if options.client_name and options.client_ca_file is None:
        raise StartError("--client-name goes with --client-ca-file")
    if options.tls_cert_file is not None:
        if options.certificate_secret is not None:
            raise StartError("give either --certificate-secret or --tls-cert-file")
        return options
    if options.policy_dir is not None:
        raise StartError("--policy-dir asks nothing of a cluster: give --tls-cert-file and --tls-private-key-file")
    return replace(options, certificate_secret=options.certificate_secret or "sekisho-webhook-tls")

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


def reasons(text: str) -> frozenset[Reason]:
    """The type of --events: names of reasons, separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
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
    show_default="sekisho-webhook-tls, unless --tls-cert-file is set",
    help="The Secret in --namespace that has tls.crt and tls.key; changes apply at once.",
)
@option(
    "--path-secret",
    metavar="NAME",
    help="The Secret in --namespace with the secret part of the paths that the API server calls. A review at another "
    "path gets its answer, but causes no Event, counts in no status and leaves no line in the log.",
)
@option("--tls-cert-file", type=FILE, help="The certificate and its chain, PEM; changes apply at once.")
@option("--tls-private-key-file", type=FILE, help="The key of --tls-cert-file, PEM, not encrypted.")
@option(
    "--serving-name",
    multiple=True,
    metavar="NAME",
    help="A DNS name or IP address by which the API server calls the webhook; may be repeated. A certificate that is"
    " not valid for it is not served.",
)
@option(
    "--client-ca-file",
    type=FILE,
    help="Accept only clients with a certificate from the authorities in this file, PEM; changes apply at once.",
)
@option(
    "--client-name",
    multiple=True,
    metavar="NAME",
    help="A common name or alternative name that a client's certificate must have, with --client-ca-file; may be"
    " repeated. Without it, any name is accepted.",
)
@option(
    "--policy-dir",
    type=FILE,
    help="Enforce the policies in this folder instead of a cluster's; changes apply at once. No cluster is needed.",
)
@option(
    "--verify-images/--no-verify-images",
    default=False,
    help="Connect to the registries that policies name in rules on signatures and attestations. Without it, images to "
    "which such a rule applies are denied.",
)
@option(
    "--authority-secret",
    multiple=True,
    metavar="NAME",
    help="A Secret in --namespace with keys that ImageAuthorities name; may be repeated; changes apply at once.",
)
@option(
    "--pull-secret",
    multiple=True,
    metavar="NAME",
    help="A Secret in --namespace of type kubernetes.io/dockerconfigjson with credentials for registries; may be"
    " repeated; changes apply at once.",
)
@option(
    "--pod-pull-secrets/--no-pod-pull-secrets",
    default=False,
    help="Also use the pull Secrets that pods and their ServiceAccounts name, for the images of these pods. Needs the"
    " right to read all Secrets.",
)
@option(
    "--registry-ca-file",
    type=FILE,
    help="Authorities that may sign the certificates of registries, PEM, in addition to the system's.",
)
@option(
    "--registry-network",
    multiple=True,
    metavar="CIDR",
    help="A network that registries may be in although it is loopback, link-local or otherwise denied; may be"
    " repeated. Private networks need no entry.",
)
@option(
    "--exclude-namespace",
    multiple=True,
    metavar="NAME",
    help="A namespace whose pods the API server does not send to the webhook, in addition to kube-system; may be"
    " repeated. A policy that applies to no other namespace causes a warning when it is applied.",
)
@option(
    "--longest-waiver",
    type=click.IntRange(1, 36500),
    default=90,
    metavar="DAYS",
    help="How many days in the future a PolicyWaiver may expire when it is applied.",
)
@option(
    "--replica", default=socket.gethostname, show_default="host name", help="This replica's name, unique among them."
)
@option(
    "--events",
    metavar="REASON,…",
    default=f"{Reason.POD_DENIED},{Reason.WAIVER_USED},{Reason.IMAGE_NO_LONGER_TRUSTED}",
    type=reasons,
    help=f"The Events to write, any of {', '.join(REASONS)}; empty for none.",
)
@option(
    "--events-per-second",
    type=click.FloatRange(0, 1000, min_open=True),
    default=50,
    help="The maximum rate at which this replica writes Events and their counts, on average.",
)
@option(
    "--drain-seconds",
    type=click.FloatRange(0, 300),
    default=5,
    help="How long to keep serving after SIGTERM, until clients use other replicas.",
)
@processes.log_level
def webhook(**values: Any) -> None:
    """Answer the API server: judge pods at /validate, apply defaults at /mutate, review policies at
    /validate-policies.

    Changes of policies, namespaces' labels and the certificate apply at once. The port opens when all three are loaded.
    SIGTERM stops it gracefully, a second SIGTERM at once.
    """
    try:
        options = _checked(Options(**values))
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
        raise StartError("--tls-cert-file and --tls-private-key-file must be used together")
    if options.path_secret is not None and options.policy_dir is not None:
        raise StartError("--path-secret requires a cluster, which --policy-dir does without")
    if options.client_name and options.client_ca_file is None:
        raise StartError("--client-name requires --client-ca-file")
    if options.tls_cert_file is not None:
        if options.certificate_secret is not None:
            raise StartError("use either --certificate-secret or --tls-cert-file")
        return options
    if options.policy_dir is not None:
        raise StartError("--policy-dir reads nothing from a cluster: use --tls-cert-file and --tls-private-key-file")
    return replace(options, certificate_secret=options.certificate_secret or "sekisho-webhook-tls")

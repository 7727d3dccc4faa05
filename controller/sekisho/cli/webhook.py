"""`sekisho webhook`: the process that answers the API server."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from sekisho.cluster.logs import LEVELS, configure
from sekisho.webhook.options import Options, StartError
from sekisho.webhook.process import StoppedError, run

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(path_type=Path)
_F = TypeVar("_F", bound=Callable[..., Any])


def _option(name: str, **settings: Any) -> Callable[[_F], _F]:
    return click.option(name, **{"show_default": True, "show_envvar": True, **settings})


@click.command()
@_option(
    "--kubeconfig",
    type=_FILE,
    help="How to reach the cluster. Without it: KUBECONFIG, the pod's service account, ~/.kube/config.",
)
@_option("--namespace", default="sekisho-system", help="The namespace that Sekisho is installed in.")
@_option("--bind-address", default="0.0.0.0", help="The address on which reviews are served.")  # noqa: S104
@_option("--port", type=_PORT, default=8443, help="The port on which reviews are served, over TLS.")
@_option("--metrics-bind-address", default="0.0.0.0", help="The address for probes and metrics.")  # noqa: S104
@_option("--metrics-port", type=_PORT, default=8081, help="The port for probes and metrics, in plain HTTP.")
@_option(
    "--certificate-secret",
    metavar="NAME",
    show_default="sekisho-webhook-tls, unless --tls-cert-file is given",
    help="The Secret in --namespace that holds tls.crt and tls.key; followed live.",
)
@_option("--tls-cert-file", type=_FILE, help="The certificate and its chain, PEM; followed live.")
@_option("--tls-private-key-file", type=_FILE, help="The key of --tls-cert-file, PEM, not encrypted.")
@_option(
    "--policy-dir",
    type=_FILE,
    help="Enforce the policies in this folder instead of a cluster's; followed live. Nothing is asked of a cluster.",
)
@_option(
    "--replica", default=socket.gethostname, show_default="host name", help="This replica's name, unique among them."
)
@_option(
    "--drain-seconds",
    type=click.FloatRange(0, 300),
    default=5,
    help="How long to go on serving after SIGTERM, while clients turn to other replicas.",
)
@_option("--log-level", type=click.Choice(LEVELS), default="info", help="The least severe level that is logged.")
def webhook(**given: Any) -> None:
    """Answer the API server: judge pods at /validate, fill in defaults at /mutate.

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
    if options.tls_cert_file is not None:
        if options.certificate_secret is not None:
            raise StartError("give either --certificate-secret or --tls-cert-file")
        return options
    if options.policy_dir is not None:
        raise StartError("--policy-dir asks nothing of a cluster: give --tls-cert-file and --tls-private-key-file")
    return replace(options, certificate_secret=options.certificate_secret or "sekisho-webhook-tls")

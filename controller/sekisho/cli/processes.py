"""Options that both processes share; the help of each shows its default and its environment variable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sekisho.telemetry.logs import LEVELS

F = TypeVar("F", bound=Callable[..., Any])

PORT = click.IntRange(0, 65535)
FILE = click.Path(path_type=Path)


def option(name: str, **settings: Any) -> Callable[[F], F]:
    """An option whose help shows its default and its environment variable."""
    return click.option(name, **{"show_default": True, "show_envvar": True, **settings})


kubeconfig = option(
    "--kubeconfig",
    type=FILE,
    help="How to reach the cluster. Without it: KUBECONFIG, the pod's service account, ~/.kube/config.",
)
namespace = option("--namespace", default="sekisho-system", help="The namespace that Sekisho is installed in.")
metrics_bind_address = option(
    "--metrics-bind-address",
    default="0.0.0.0",  # noqa: S104
    help="The address for probes and metrics.",
)
log_level = option(
    "--log-level", type=click.Choice(LEVELS), default="info", help="The least severe level that is logged."
)


def metrics_port(default: int) -> Callable[[F], F]:
    """The option --metrics-port."""
    return option("--metrics-port", type=PORT, default=default, help="The port for probes and metrics, in plain HTTP.")

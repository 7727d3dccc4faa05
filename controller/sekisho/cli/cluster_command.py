"""Commands that read a cluster: how they reach it, and how they say why they cannot."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable, ConfigError
from sekisho.errors import SekishoError
from sekisho.findings import printable

kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="How to reach the cluster. Without it: KUBECONFIG, the pod's service account, ~/.kube/config.",
)


class CommandError(SekishoError):
    """The command failed; the message is one line for its user."""


def run_in_cluster(
    config: Path | None, run: Callable[[ApiClient], Coroutine[Any, Any, None]], context: str | None = None
) -> None:
    """Run a command with a client of the cluster; ends it with code 2 where it fails, and 130 after Ctrl-C.

    config, context: the kubeconfig and one of its contexts; None for the places where `ApiClient.connect` looks.
    run: may raise CommandError, and whatever the client raises.
    """
    try:
        asyncio.run(_connected(config, run, context))
    except KeyboardInterrupt:
        sys.exit(130)
    except CommandError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(2)


async def _connected(
    config: Path | None, run: Callable[[ApiClient], Coroutine[Any, Any, None]], context: str | None
) -> None:
    try:
        api = await ApiClient.connect(config, context=context)
    except ConfigError as error:
        raise CommandError(str(error)) from None
    try:
        await run(api)
    except ApiUnavailable as error:
        raise CommandError(f"the API server does not answer: {error}") from None
    except ApiError as error:
        raise CommandError(str(error)) from None
    except msgspec.DecodeError as error:
        raise CommandError(f"the API server's answer is invalid: {error}") from None
    finally:
        await api.close()

"""python -m tests.trustparts: build the binaries of the trust chain's parts that are missing, and print all paths."""

import signal
import sys
from types import FrameType

import click

from tests.controlplane.build import BuildError
from tests.controlplane.progress import Progress
from tests.controlplane.toolchain import ToolchainError
from tests.trustparts.build import odd_registry_binary, trust_binaries


@click.command()
def main() -> None:
    """Build the binaries that are missing, and print the paths of all."""
    # The folders that a build works in are removed on the way out, which the default for SIGTERM has not.
    signal.signal(signal.SIGTERM, _exit)
    try:
        binaries = trust_binaries(Progress())
        paths = [odd_registry_binary(Progress()), *(getattr(binaries, name) for name in binaries.__struct_fields__)]
    except (BuildError, ToolchainError) as error:
        raise click.ClickException(str(error)) from error
    for path in paths:
        click.echo(path)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


main(prog_name="python -m tests.trustparts")

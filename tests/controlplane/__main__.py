"""python -m tests.controlplane up | down | status | build | kubeconfig"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from tests.controlplane.build import (
    BuildError,
    control_plane_binaries,
    helm_binary,
    node_binaries,
    older_kubernetes,
    older_versions,
)
from tests.controlplane.processes import alive
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.supervisor import Mode, SupervisorError, down, read_state, supervise, up
from tests.controlplane.toolchain import ToolchainError
from tests.trustparts.build import trust_binaries

_CLUSTER = Path(__file__).parents[2] / ".cluster"
_NOT_UP = 3

_REGISTRY_CA = Path("registry", "ca.crt")


@click.group()
@click.option(
    "--folder", type=click.Path(path_type=Path, resolve_path=True), default=_CLUSTER, help="Where it lives (.cluster)."
)
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """A real Kubernetes control plane on loopback, with Sekisho in it."""
    context.obj = folder
    # The folders that a build works in are removed on the way out, which the default for SIGTERM has not.
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


@main.command("up")
@click.option("--bare", "mode", flag_value=Mode.BARE, type=Mode, help="Without Sekisho.")
@click.option(
    "--images", "mode", flag_value=Mode.IMAGES, type=Mode, help="With a registry whose images are verified, and cosign."
)
@click.pass_obj
def up_command(folder: Path, mode: Mode | None) -> None:
    """Bring it up in the background, or repair what died; returns when it is ready."""
    start = time.monotonic()
    progress = Progress()
    try:
        control_plane_binaries(progress)  # here, where its progress is seen
        if mode is Mode.IMAGES:
            trust_binaries(progress)
        up(folder, progress.say, mode or Mode.USUAL)
    except (BuildError, ToolchainError, SupervisorError) as error:
        raise click.ClickException(str(error)) from error
    progress.say(f"up ({elapsed(start)}). To use it:")
    click.echo(f"export KUBECONFIG={folder / 'kubeconfig'}")
    click.echo(f'export PATH="{folder / "bin"}:$PATH"  # its kubectl, helm and sekisho')
    if mode is Mode.IMAGES:
        click.echo(f"export SSL_CERT_FILE={folder / _REGISTRY_CA}  # for cosign and sekisho")


@main.command("down")
@click.pass_obj
def down_command(folder: Path) -> None:
    """Stop it and remove its folder; nothing happens when it is not up."""
    try:
        stopped = down(folder)
    except SupervisorError as error:
        raise click.ClickException(str(error)) from error
    Progress().say("down" if stopped else "it was not up")


@main.command("status")
@click.pass_obj
def status_command(folder: Path) -> None:
    """Say what runs; exit code 3 unless all does."""
    state = read_state(folder)
    if state is None:
        click.echo("not up")
        sys.exit(_NOT_UP)
    processes = {"supervisor": state.supervisor} | state.processes
    for name, process in processes.items():
        click.echo(f"{name:24} {process.pid:>8} {'running' if alive(process) else 'dead'}")
    click.echo(f"{state.phase}; logs: {folder / 'logs'}")
    if state.phase != "ready" or not all(alive(process) for process in processes.values()):
        sys.exit(_NOT_UP)


@main.command("build")
@click.option("--helm", "only", flag_value="helm", help="Only helm.")
@click.option("--nodes", "only", flag_value="nodes", help="Only kube-scheduler and kwok, which tests with nodes need.")
def build_command(only: str | None) -> None:
    """Build the binaries that are missing, and print the paths of all."""
    try:
        if only == "helm":
            paths = [helm_binary(Progress())]
        else:
            binaries = node_binaries(Progress()) if only == "nodes" else control_plane_binaries(Progress())
            paths = [getattr(binaries, name) for name in binaries.__struct_fields__]
    except (BuildError, ToolchainError) as error:
        raise click.ClickException(str(error)) from error
    for path in paths:
        click.echo(path)


@main.command("build-older")
@click.argument("version", type=click.Choice([*older_versions(), "OLDEST"]))
def build_older_command(version: str) -> None:
    """Build an older API server, controller manager and scheduler; print their folder for $KUBEBUILDER_ASSETS."""
    try:
        folder = older_kubernetes(older_versions()[0] if version == "OLDEST" else version, Progress())
    except (BuildError, ToolchainError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(folder)


@main.command("kubeconfig")
@click.pass_obj
def kubeconfig_command(folder: Path) -> None:
    """Print the path of the administrator's kubeconfig."""
    state = read_state(folder)
    if state is None or not alive(state.supervisor):
        raise click.ClickException("it is not up: python -m tests.controlplane up")
    click.echo(folder / "kubeconfig")


@main.command("supervise", hidden=True)
@click.option("--mode", required=True)
@click.pass_obj
def supervise_command(folder: Path, mode: str) -> None:
    """What `up` leaves in the background."""
    supervise(folder, Mode[mode])


main(prog_name="python -m tests.controlplane")

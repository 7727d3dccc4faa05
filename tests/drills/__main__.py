"""python -m tests.drills [NAME...]: the drills by name, all of them when none is named. Exits 1 when one fails.

`floods --flood NAME` sends single floods.
"""

import shutil
import sys
import tempfile
import time
from functools import partial, update_wrapper
from pathlib import Path

import click

from tests.controlplane.build import BuildError, control_plane_binaries
from tests.controlplane.component import ComponentError
from tests.controlplane.kubectl import CommandError
from tests.controlplane.network import NetworkError
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import ToolchainError
from tests.controlplane.waiting import DeadlineError
from tests.drills import DRILLS
from tests.drills.floods import floods
from tests.drills.report import Result, table
from tests.drills.site import Site, open_site
from tests.drills.traffic import DrillError
from tests.worst.floods import FLOODS


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(DRILLS)))
@click.option("--flood", "sent", multiple=True, type=click.Choice(list(FLOODS)), help="Send only these floods.")
def main(names: tuple[str, ...], sent: tuple[str, ...]) -> None:
    """Cause faults, one after the other, and check that no violating pod is admitted and no good one denied."""
    if sent:
        DRILLS["floods"] = update_wrapper(partial(floods, names=sent, large_pods=0), floods)
    progress = Progress()
    results: list[Result] = []
    folder = Path(tempfile.mkdtemp(prefix="sekisho-drills-"))
    try:
        with open_site(folder, control_plane_binaries(progress), progress.say) as site:
            results.extend(drill(site, name, progress) for name in names or DRILLS)
    except (BuildError, ToolchainError, NetworkError, ComponentError, CommandError, DeadlineError, DrillError) as error:
        raise click.ClickException(f"{error} (logs: {folder / 'logs'})") from error
    finally:
        click.echo(table(results))
    if all(not result.failure for result in results):
        shutil.rmtree(folder)
    else:
        click.echo(f"logs: {folder / 'logs'}", err=True)
        sys.exit(1)


def drill(site: Site, name: str, progress: Progress) -> Result:
    """Run one drill; an error in it becomes its result."""
    progress.say(f"{name}: {(DRILLS[name].__doc__ or '').splitlines()[0]}")
    began = time.monotonic()
    note = failure = ""
    try:
        site.prepare()
        note = DRILLS[name](site)
        site.check()
    except (DrillError, NetworkError, ComponentError, CommandError, DeadlineError, OSError, RuntimeError) as error:
        failure = f"{type(error).__name__}: {error}"
    finally:
        site.clear()
    progress.say(f"{name}: {'FAILED: ' + failure if failure else 'passed'} ({elapsed(began)})")
    return Result(name, time.monotonic() - began, site.counts, note, failure)


main(prog_name="python -m tests.drills")

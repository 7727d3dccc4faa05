"""python -m tests.pod_defaults [VERSION…]: what older API servers make of the corpus that the module does not say."""

import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import click
import msgspec

from tests.controlplane.build import Binaries, control_plane_binaries, older_kubernetes, older_versions
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.pod_defaults.comparison import differences
from tests.pod_defaults.corpus import corpus
from tests.pod_defaults.server import Namespace, create_all

_INDEX = re.compile(r"\[\d+\]")
_PRESENT = "present"
_SHOWN = 100


@click.command()
@click.argument("versions", nargs=-1)
@click.option("--whole", is_flag=True, help="Every workload in every variant.")
def main(versions: tuple[str, ...], *, whole: bool) -> None:
    """Create the corpus by dry run on the API servers of VERSIONS (all older ones; `present` is today's).

    Prints each field in which a stored pod differs from what the module says, how often, and one example.
    """
    progress = Progress()
    present = control_plane_binaries(progress)
    for version in versions or older_versions():
        binaries = present
        if version != _PRESENT:
            folder = older_kubernetes(version, progress)
            servers = {name: folder / name.replace("_", "-") for name in ("kube_apiserver", "kube_controller_manager")}
            binaries = msgspec.structs.replace(present, **servers)
        _compare(version, binaries, progress, whole=whole)


def _compare(version: str, binaries: Binaries, progress: Progress, *, whole: bool) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(Path(folder) / "plane", binaries, progress.say) as plane,
    ):
        namespaces = create_all(plane)
        created, rejected = 0, []
        seen: dict[str, list[str]] = defaultdict(list)
        for index, (name, pod) in enumerate(corpus(whole=whole)):
            namespace: Namespace = namespaces[index % len(namespaces)]
            answer = plane.call("POST", f"/api/v1/namespaces/{namespace.name}/pods?dryRun=All", pod)
            stored = json.loads(answer.body)
            if answer.status != 201:
                rejected.append(f"{name}: {stored['message'][:_SHOWN]}")
                continue
            created += 1
            for path, ours, theirs in differences(pod, stored, namespace.objects):
                seen[_INDEX.sub("[*]", path)].append(f"{name}, in {namespace.name}: {ours} here, {theirs} there")
    click.echo(f"{version}: {created} pods created, {len(rejected)} rejected, {len(seen)} fields differ")
    for path, examples in sorted(seen.items()):
        click.echo(f"  {path}: {len(examples)} times, such as {examples[0]}")
    for line in rejected[:10]:
        click.echo(f"  rejected: {line}")


if __name__ == "__main__":
    main()

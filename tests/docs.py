"""`make docs`: what docs/denials.md and the README's picture show of a real cluster.

The former is written to tools/kubectl_events.md, a part of the page.

Ages, counts and generated names are made the same each time, and rows are sorted; nothing else of the output changes.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from tests.controlplane.build import control_plane_binaries
from tests.controlplane.component import base_environment
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import Kubectl, run
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.controlplane.waiting import wait_until
from tests.terminal_picture import PICTURE, picture, transcript

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "tools/kubectl_events.md"
NAMESPACE: Final = "shop"
_SOON: Final = 60.0
_POLICIES: Final = ("restricted", "trusted-registries")
_SAME: Final = {"LAST SEEN": "9s", "AGE": "9s", "COUNT": "3"}
_HASH: Final = re.compile(r"\b(web|report)-[0-9a-z]{5,10}\b")


class Case(msgspec.Struct, frozen=True):
    """A workload that is denied: title on the page, kind, name and pod, and the reasons of others' Events about it."""

    title: str
    kind: str
    name: str
    spec: str
    others: tuple[str, ...] = ()


CASES: Final = (
    Case(
        "A Deployment with an init container that runs as root",
        "Deployment",
        "web",
        "initContainers:\n- name: own-volume\n  image: trusted.io/busybox:1\n"
        "  securityContext: {runAsUser: 0, runAsNonRoot: false}\n"
        "containers:\n- {name: app, image: trusted.io/web:1.4}\n",
        ("ScalingReplicaSet",),
    ),
    Case(
        "A StatefulSet with an image from elsewhere, in two containers",
        "StatefulSet",
        "database",
        "containers:\n- {name: redis, image: 'redis:8'}\n- {name: metrics, image: 'docker.io/bitnami/exporter:1'}\n",
        ("FailedCreate",),
    ),
    Case(
        "A DaemonSet that wants the node's network and files",
        "DaemonSet",
        "agent",
        "hostNetwork: true\nvolumes:\n- {name: logs, hostPath: {path: /var/log}}\n"
        "containers:\n- {name: agent, image: trusted.io/agent:2}\n",
        ("FailedCreate",),
    ),
    Case(
        "A CronJob with a privileged container",
        "CronJob",
        "report",
        "restartPolicy: Never\ncontainers:\n"
        "- {name: app, image: trusted.io/report:1, securityContext: {privileged: true}}\n",
        ("UnexpectedJob",),
    ),
    Case(
        "A pod that nobody owns",
        "Pod",
        "debug",
        "containers:\n- name: shell\n  image: trusted.io/busybox:1\n"
        "  securityContext: {capabilities: {add: [NET_ADMIN]}}\n",
    ),
)


def shown(kubectl: Kubectl, denials: Callable[[], str]) -> str:
    """The part of the page, made in a fresh namespace; `denials` gives the table of `sekisho denials`."""
    for policy in _POLICIES:
        manifest = yaml.safe_load((ROOT / "policies" / policy / "policy.yaml").read_text())
        manifest["spec"]["match"] = {"namespaces": [NAMESPACE]}
        if policy == "trusted-registries":
            manifest["spec"]["controls"]["images"]["trustedRegistries"] = ["trusted.io"]
        kubectl.check("apply", "-f", "-", input=json.dumps(manifest))
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}  # a DaemonSet makes a pod for each
    try:
        kubectl.check("create", "-f", "-", input=json.dumps(node))
        kubectl.check("wait", "--for=condition=Enforced", "clusterpodpolicy", *_POLICIES, f"--timeout={_SOON:g}s")
        parts = [part for case in CASES for part in _shown(kubectl, case)]
        table = normalised(wait_until(lambda: _complete(denials()), _SOON, "sekisho denials shows all cases"))
    finally:
        kubectl("delete", "node", "node-1")
        kubectl("delete", "clusterpodpolicy", *_POLICIES, "--wait=false")
    command = f"sekisho denials -n {NAMESPACE}"
    return "\n".join([*parts, "### All of them together", "", "```", f"$ {command}", table, "```", ""])


def _complete(table: str) -> str:
    return table if all(f"{case.kind}/{case.name}" in table for case in CASES) else ""


def _shown(kubectl: Kubectl, case: Case) -> tuple[str, ...]:
    created = kubectl("create", "-f", "-", input=json.dumps(_manifest(case)))
    if case.kind == "CronJob":
        kubectl.check("create", "job", f"{case.name}-29384756", f"--from=cronjob/{case.name}")
    if created.returncode != (1 if case.kind == "Pod" else 0):
        raise RuntimeError(f"{case.kind} {case.name}: {created.stderr}")
    command = ("events", "--for", f"{case.kind.lower()}/{case.name}")

    def reported() -> str:
        text = kubectl.check(*command)
        return text if all(reason in text for reason in ("PodDenied", *case.others)) else ""

    text = normalised(wait_until(reported, _SOON, f"kubectl {' '.join(command)} tells of all"))
    return (
        f"### {case.title}",
        "",
        "```yaml",
        case.spec.rstrip(),
        "```",
        "",
        "```",
        f"$ kubectl {' '.join(command)}",
        text,
        "```",
        "",
    )


def _manifest(case: Case) -> dict[str, Any]:
    labels = {"app": case.name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": yaml.safe_load(case.spec)}
    workload = {"selector": {"matchLabels": labels}, "template": template}
    version, spec = {
        "Deployment": ("apps/v1", workload | {"replicas": 2}),
        "StatefulSet": ("apps/v1", workload | {"serviceName": case.name}),
        "DaemonSet": ("apps/v1", workload),
        "CronJob": ("batch/v1", {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}),
        "Pod": ("v1", template["spec"]),
    }[case.kind]
    return {"apiVersion": version, "kind": case.kind, "metadata": {"name": case.name}, "spec": spec}


def normalised(text: str, same: Mapping[str, str] = _SAME) -> str:
    """A table of kubectl or sekisho with the cells that change each time made the same, aligned again, rows sorted."""
    header, *lines = text.rstrip().splitlines()
    names = re.split(r"\s{2,}", header)
    rows: list[list[str]] = []
    below: list[list[str]] = []
    for line in lines:
        if re.match(r"\d+[smh]", line):
            # Not by the header's columns: kubectl aligns the rows after a message of several lines on their own.
            cells = re.split(r"\s{2,}", line.rstrip(), maxsplit=len(names) - 1)
            rows.append([same.get(name, cell) for name, cell in zip(names, cells, strict=True)])
            below.append([])
        else:  # a further line of the last row's message
            below[-1].append(line)
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]

    def aligned(cells: list[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "   ".join(padded).rstrip()

    blocks = sorted("\n".join([aligned(row), *more]) for row, more in zip(rows, below, strict=True))
    return _HASH.sub(r"\1-6c5d9f7b8", "\n".join([aligned(names), *blocks]))


def table_of_denials(plane: ControlPlane) -> str:
    """What `sekisho denials` writes."""
    command = (sys.executable, "-m", "sekisho", "denials", "-n", NAMESPACE, f"--kubeconfig={plane.kubeconfig}")
    return run(command, base_environment()).stdout


@click.command()
def main() -> None:
    """Write again what pages and pictures show of a real cluster, on a control plane of its own."""
    progress = Progress()
    with (
        tempfile.TemporaryDirectory(prefix="sekisho-docs-") as folder,
        ControlPlane(Path(folder), control_plane_binaries(progress), progress.say) as plane,
    ):
        sekisho = Sekisho(plane, say=progress.say)
        try:
            sekisho.install()
            plane.kubectl.check("create", "namespace", NAMESPACE)
            PAGE.write_text(shown(plane.kubectl.in_namespace(NAMESPACE), lambda: table_of_denials(plane)))
            plane.create_namespace("demo")
            PICTURE.parent.mkdir(exist_ok=True)
            PICTURE.write_text(picture(transcript(plane.kubectl.in_namespace("demo"), "demo")))
        finally:
            sekisho.stop()
    progress.say(f"written: {PAGE.relative_to(ROOT)} {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""Nodes for a control plane: the real scheduler, and kwok in place of the kubelets."""

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.controlplane.build import NodeBinaries
from tests.controlplane.component import Component
from tests.controlplane.plane import ControlPlane

_STAGES = Path(__file__).parent / "kwok" / "stages.yaml"
_NAMES = ("node-1", "node-2", "node-3")
_LEASES = ("--node-lease-duration-seconds=40",)
_RESOURCES = {"cpu": "8", "memory": "16Gi", "pods": "110"}


class Nodes:
    """Three nodes in `plane`, on which pods are scheduled and become ready at once, as kwok/stages.yaml says.

    No process runs in them, and no pod has an address.
    """

    def __init__(self, plane: ControlPlane, binaries: NodeBinaries) -> None:
        self._plane = plane
        kubeconfig = f"--kubeconfig={plane.kubeconfig}"
        commands = {
            "kube-scheduler": (str(binaries.kube_scheduler), kubeconfig, "--leader-elect=false", "--secure-port=0"),
            "kwok": (str(binaries.kwok), kubeconfig, f"--config={_STAGES}", "--manage-all-nodes=true", *_LEASES),
        }
        self._components = tuple(
            Component(name, command, plane.logs / f"{name}.log", self._have_leases)
            for name, command in commands.items()
        )

    def __enter__(self) -> Self:
        """Create the nodes and return once they are alive. Raises CommandError, ComponentError."""
        nodes = json.dumps({"apiVersion": "v1", "kind": "List", "items": [_node(name) for name in _NAMES]})
        self._plane.kubectl.check("create", "-f", "-", input=nodes)
        try:
            for component in self._components:
                component.spawn()
            for component in self._components:
                component.wait_ready(30)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plane.kubectl("delete", "nodes", *_NAMES, "--wait=false")
        self._stop()

    def _stop(self) -> None:
        for component in self._components:
            component.stop()

    def _have_leases(self) -> bool:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        return all(self._plane.call("GET", f"{path}/{name}").status == 200 for name in _NAMES)


def _node(name: str) -> dict[str, object]:
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": _RESOURCES, "allocatable": _RESOURCES},
    }

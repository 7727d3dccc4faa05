"""Nodes for a control plane: the real scheduler, and kwok in place of the kubelets."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.controlplane.build import NodeBinaries
from tests.controlplane.component import Component
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import start_on_free_ports

_STAGES = Path(__file__).parent / "kwok" / "stages.yaml"
_NAMES = ("node-1", "node-2", "node-3")
_LEASES = ("--node-lease-duration-seconds=40",)
_RESOURCES = {"cpu": "8", "memory": "16Gi", "pods": "110"}


class Nodes:
    """Three nodes in `plane`, on which pods are scheduled and become ready at once, as kwok/stages.yaml says.

    No process runs in them, and no pod has an address. As logs, all containers have the lines given to `log()`.
    """

    def __init__(self, plane: ControlPlane, binaries: NodeBinaries) -> None:
        self._plane = plane
        self._binaries = binaries
        self._logs = plane.folder / "containers.log"
        self._components: tuple[Component, ...] = ()

    def __enter__(self) -> Self:
        """Create the nodes and return once they are alive. Raises CommandError, ComponentError."""
        logs = {"spec": {"logs": [{"logsFile": str(self._logs)}]}, "metadata": {"name": "all"}}
        config = self._plane.folder / "kwok-logs.json"
        config.write_text(json.dumps({"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", **logs}))
        record = self._plane.folder / "node-ports.json"
        try:
            start_on_free_ports(record, ("kubelet",), lambda ports: self._start(ports["kubelet"], config), self._stop)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def log(self, lines: Iterable[str]) -> None:
        """What `kubectl logs` shows of any container: these lines, written now. It replaces what was logged before."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._logs.write_text("".join(f"{now} stderr F {line}\n" for line in lines))

    def _start(self, port: int, config: Path) -> None:
        pki, address = self._plane.folder / "pki", self._plane.address
        nodes = [_node(name, address, port) for name in _NAMES]
        kubeconfig = f"--kubeconfig={self._plane.kubeconfig}"
        serving = (
            f"--server-address={address}:{port}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
        )
        commands = {
            "kube-scheduler": (str(self._binaries.kube_scheduler), "--leader-elect=false", "--secure-port=0"),
            "kwok": (
                *(str(self._binaries.kwok), f"--config={_STAGES}", f"--config={config}", "--manage-all-nodes=true"),
                *(*_LEASES, *serving),
            ),
        }
        self._plane.kubectl.check(
            "create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
        )
        self._components = tuple(
            Component(name, (*command, kubeconfig), self._plane.logs / f"{name}.log", self._have_leases)
            for name, command in commands.items()
        )
        for component in self._components:
            component.spawn()
        for component in self._components:
            component.wait_ready(30)

    def _stop(self) -> None:
        self._plane.kubectl("delete", "nodes", *_NAMES, "--wait=false")
        for component in self._components:
            component.stop()

    def _have_leases(self) -> bool:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        return all(self._plane.call("GET", f"{path}/{name}").status == 200 for name in _NAMES)


def _node(name: str, address: str, port: int) -> dict[str, object]:
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {
            "capacity": _RESOURCES,
            "allocatable": _RESOURCES,
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }

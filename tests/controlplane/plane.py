"""A Kubernetes control plane of real parts on loopback: etcd, kube-apiserver, kube-controller-manager.

There are no nodes, no scheduler and no kubelet: pods are made and deleted, and stay Pending.
"""

import base64
import http.client
import shutil
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.controlplane.answers import ANSWER_IN, Answer, ask, ask_and_keep, has_ended, serves
from tests.controlplane.build import Binaries
from tests.controlplane.component import Component, base_environment
from tests.controlplane.kubeconfig import ClientCertificate, write_kubeconfig
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.pki import LOOPBACK, SERVICE_RANGE, write_pki
from tests.controlplane.ports import start_on_free_ports
from tests.controlplane.waiting import wait_until

_NAMESPACE_IN = 30.0
_CREATED = 201
_ENVIRONMENT = {"GOGC": "400"}  # collecting garbage less often takes CPU time off, and the heaps are small
_PORTS = ("etcd", "etcd-peer", "kube-apiserver")


class ControlPlane:
    """A control plane that lives in `folder`: keys, etcd's files, logs/ and the administrator's kubeconfig.

    Started again in the same folder, it is the same cluster. `say` gets a line for each thing that is done. The API
    server listens on `address` alone; `apiserver_options` are more flags for it.
    Each of `etcd`, `apiserver` and `controller_manager` can be stopped, killed, paused and restarted on its own.
    """

    etcd: Component
    apiserver: Component
    controller_manager: Component

    def __init__(
        self,
        folder: Path,
        binaries: Binaries,
        say: Callable[[str], None] = lambda text: None,
        apiserver_options: tuple[str, ...] = (),
        address: str = LOOPBACK,
    ) -> None:
        self.folder = folder.absolute()
        self.address = address
        self.binaries = binaries
        self.logs = self.folder / "logs"
        self.kubeconfig = self.folder / "kubeconfig"
        self.ca = self.folder / "pki" / "ca.crt"
        self.kubectl = Kubectl(binaries.kubectl, self.kubeconfig)
        self._say = say
        self._apiserver_options = apiserver_options
        self._ports: dict[str, int] = {}
        self._tls: ssl.SSLContext | None = None
        self._kept: dict[int, http.client.HTTPSConnection] = {}

    @property
    def components(self) -> tuple[Component, ...]:
        """What runs, in the order in which it starts; none before start()."""
        return (self.etcd, self.apiserver, self.controller_manager) if self._ports else ()

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self._ports['kube-apiserver']}"

    def start(self) -> None:
        """Start all; return once the API serves and the default service account exists. Raises ComponentError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pki = self.folder / "pki"
        write_pki(pki, self.address)
        self._tls = ssl.create_default_context(cafile=str(self.ca))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        start_on_free_ports(self.folder / "ports.json", _PORTS, self._start_on, self.stop)

    def stop(self) -> None:
        """Stop all, in the reverse order. Its files stay, but etcd's can be large: remove() is for those."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()
        for component in reversed(self.components):
            component.stop()

    def remove(self) -> None:
        """Stop all and remove the cluster's state; logs stay."""
        self.stop()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def repair(self) -> None:
        """Restart what does not run or does not answer. Raises ComponentError."""
        for component in self.components:
            if not component.ready:
                self._say(f"{component.name} does not answer: restarting it")
                component.restart()

    def call(self, method: str, path: str, body: object = None, timeout: float = ANSWER_IN) -> Answer:
        """Ask the API server as the administrator; `body` is sent as JSON. An unreachable server is the Answer 0.

        Each thread keeps its connection: a handshake takes both processes more time than most requests do.
        """
        return ask_and_keep(self._connection(timeout), method, path, body)

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        thread = threading.get_ident()
        kept = self._kept.get(thread)
        if kept is None:
            kept = http.client.HTTPSConnection(self.address, self._ports["kube-apiserver"], context=self._tls)
            self._kept[thread] = kept
        if has_ended(kept):
            kept.close()
        kept.timeout = timeout
        if kept.sock is not None:
            kept.sock.settimeout(timeout)
        return kept

    def create_namespace(self, name: str) -> None:
        """Create a namespace, and wait for the service account that its pods need.

        Raises RuntimeError if it cannot be created, DeadlineError.
        """
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        answer = self.call("POST", "/api/v1/namespaces", namespace)
        if answer.status != _CREATED:
            raise RuntimeError(f"the API server answers the creation of namespace {name} with {answer}")
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: self.call("GET", account).status == 200, _NAMESPACE_IN, f"{name} has its service account")

    def compact(self) -> None:
        """Have etcd forget every version but the present ones. Raises RuntimeError."""
        header = msgspec.json.decode(self._etcd_call("range", {"key": base64.b64encode(b"/").decode()}))["header"]
        self._etcd_call("compaction", {"revision": header["revision"], "physical": True})

    def _etcd_call(self, method: str, body: object) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["etcd"], timeout=ANSWER_IN)
        answer = ask(connection, "POST", f"/v3/kv/{method}", body)
        if answer.status != 200:
            raise RuntimeError(f"etcd answers {method} with {answer}")
        return answer.body

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _start_on(self, ports: dict[str, int]) -> None:
        self._ports = ports
        pki = self.folder / "pki"
        write_kubeconfig(self.kubeconfig, self.server, self.ca, ClientCertificate(pki / "admin.crt", pki / "admin.key"))
        controllers = ClientCertificate(pki / "controller-manager.crt", pki / "controller-manager.key")
        write_kubeconfig(self._controllers_kubeconfig, self.server, self.ca, controllers)
        self.etcd = self._component("etcd", self._etcd_command(), self._etcd_ready)
        self.apiserver = self._component("kube-apiserver", self._apiserver_command(), self._apiserver_ready)
        self.controller_manager = self._component(
            "kube-controller-manager", self._controller_manager_command(), self._default_service_account_exists
        )
        for component in self.components:
            start = time.monotonic()
            component.start()
            self._say(f"{component.name} is ready ({time.monotonic() - start:.1f} s)")

    def _component(self, name: str, command: tuple[str, ...], ready: Callable[[], bool]) -> Component:
        environment = base_environment() | _ENVIRONMENT
        return Component(name, command, self.logs / f"{name}.log", ready, self._ports.get(name), environment)

    @property
    def _controllers_kubeconfig(self) -> Path:
        return self.folder / "pki" / "controller-manager.kubeconfig"

    def _etcd_command(self) -> tuple[str, ...]:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "etcd-peer"))
        return (
            str(self.binaries.etcd),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # a power cut may lose a test's cluster
            "--heartbeat-interval=40",
            "--election-timeout=200",  # a single member waits this long before it elects itself
            "--log-level=warn",
        )

    def _apiserver_command(self) -> tuple[str, ...]:
        pki = self.folder / "pki"
        return (
            str(self.binaries.kube_apiserver),
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            "--endpoint-reconciler-type=none",  # endpoints may not be loopback addresses
            f"--secure-port={self._ports['kube-apiserver']}",
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            f"--client-ca-file={self.ca}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'service-account.key'}",
            f"--service-account-signing-key-file={pki / 'service-account.key'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--disable-admission-plugins=PodSecurity",  # Sekisho alone is to decide
            "--enable-aggregator-routing=true",  # calls webhooks at a Service's endpoints: there is no kube-proxy
            "--shutdown-send-retry-after=true",  # else it waits a minute for its watchers when it stops
            "--profiling=false",
            *self._apiserver_options,
        )

    def _controller_manager_command(self) -> tuple[str, ...]:
        return (
            str(self.binaries.kube_controller_manager),
            f"--kubeconfig={self._controllers_kubeconfig}",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--kube-api-qps=200",  # at the default, making its own accounts alone takes 5 s
            "--kube-api-burst=400",
            f"--service-account-private-key-file={self.folder / 'pki' / 'service-account.key'}",
            f"--root-ca-file={self.ca}",
            "--profiling=false",
        )

    def _etcd_ready(self) -> bool:
        return serves(self._ports["etcd"])

    def _apiserver_ready(self) -> bool:
        return self.call("GET", "/readyz").status == 200

    def _default_service_account_exists(self) -> bool:
        return self.call("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200

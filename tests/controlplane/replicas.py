"""Several replicas of the webhook behind the chart's own Service, each in a network of its own (root and iproute2).

There is no kubelet and no kube-proxy here. The API server calls the addresses in the Service's EndpointSlices itself;
a thread plays the kubelet: it probes each replica as the chart asks for, and keeps one slice by the results. A
replica that must stop leaves the slice a moment later, as in a real cluster.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.controlplane.answers import Answer, ask, serves
from tests.controlplane.component import Component
from tests.controlplane.network import Network, Sandbox
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import start_on_free_ports
from tests.controlplane.release import NAMESPACE, RELEASE, Release
from tests.controlplane.waiting import wait_until

SERVICE = f"{RELEASE}-webhook"
PATH_SECRET = f"{RELEASE}-webhook-path"
SERVING_NAME = f"{SERVICE}.{NAMESPACE}.svc"
REVIEWS_PORT = 8443
PROBES_PORT = 8081

_PERIOD = 0.5
"""Seconds between two looks at each replica; a kubelet that probes at the chart's own period would see less."""
_NEWS_LAG = 1.0
"""Seconds from SIGTERM until the slice says so: kubelet and endpoint controller hear of a deletion at the same time."""
_FAILURES = 2
_PROBE_TIMEOUT = 2.0
_LIVENESS_PERIOD, _LIVENESS_TIMEOUT, _LIVENESS_FAILURES = 10.0, 5.0, 3
_READY_IN = 60.0
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_SLICE = f"{SERVICE}-harness"


class Replica:
    """One process of the webhook, in a sandbox."""

    def __init__(self, name: str, sandbox: Sandbox, process: Component) -> None:
        self.name = name
        self.sandbox = sandbox
        self.process = process
        self.is_ready = False
        """As the kubelet sees it."""
        self.stopped_at: float | None = None
        """When it was told to stop."""
        self._failures = 0
        self._last_probe_at = time.monotonic()
        self.liveness_failures = 0
        """Liveness probes that failed one after another; a kubelet restarts the container at three."""

    def probe(self) -> None:
        """What a kubelet does at each period."""
        if not self.process.running:
            self.is_ready = False  # the kubelet watches its containers: no probe is needed
        elif self._get("/readyz", _PROBE_TIMEOUT).status == 200:
            self.is_ready, self._failures = True, 0
        else:
            self._failures += 1
            self.is_ready = self.is_ready and self._failures < _FAILURES
        if time.monotonic() - self._last_probe_at > _LIVENESS_PERIOD:
            alive = self._get("/healthz", _LIVENESS_TIMEOUT).status == 200
            self.liveness_failures = 0 if alive or not self.process.running else self.liveness_failures + 1
            self._last_probe_at = time.monotonic()

    def endpoint(self) -> dict[str, Any]:
        """Its entry in the EndpointSlice."""
        terminating = self.stopped_at is not None and time.monotonic() - self.stopped_at >= _NEWS_LAG
        conditions = {"ready": self.is_ready and not terminating, "serving": self.is_ready, "terminating": terminating}
        pod = {"kind": "Pod", "namespace": NAMESPACE, "name": self.name}
        return {"addresses": [self.sandbox.address], "conditions": conditions, "targetRef": pod}

    def metrics(self) -> str:
        """Its metrics, in Prometheus' text format."""
        return self._get("/metrics", _LIVENESS_TIMEOUT).body.decode()

    def connect(self, timeout: float = 10.0) -> ssl.SSLSocket:
        """A TLS connection straight to it, past the API server. Raises OSError."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((self.sandbox.address, REVIEWS_PORT), timeout)
        return context.wrap_socket(plain, server_hostname=SERVING_NAME)

    def post(self, path: str, body: bytes) -> Answer:
        """The answer to a body of whatever kind, sent straight to it. Status 0: there was none."""
        connection = http.client.HTTPConnection(self.sandbox.address, REVIEWS_PORT)
        try:
            connection.sock = self.connect()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            return Answer(0, b"")
        finally:
            connection.close()

    def certificate(self) -> bytes:
        """The certificate that it serves, DER. Raises OSError."""
        with self.connect() as connection:
            return connection.getpeercert(binary_form=True) or b""

    def _get(self, path: str, timeout: float) -> Answer:
        return ask(http.client.HTTPConnection(self.sandbox.address, PROBES_PORT, timeout=timeout), "GET", path)


class Replicas:
    """Sekisho in `plane` with the webhook behind its Service, and the kubelet that looks after the replicas.

    `plane` listens at `network`'s `api_address`. `say` gets a line for each thing that is done.
    """

    def __init__(self, plane: ControlPlane, network: Network, say: Callable[[str], None] = lambda text: None) -> None:
        self._plane = plane
        self._network = network
        self._say = say
        self._release = Release(plane, say)
        self.controller: Component | None = None
        self._all: list[Replica] = []
        self._command: tuple[str, ...] = ()
        self._made = 0
        self._written: Any = None
        self._stop = threading.Event()
        self._kubelet = threading.Thread(target=self._look_after, name="kubelet", daemon=True)

    @property
    def running(self) -> tuple[Replica, ...]:
        """Those that were not told to stop, oldest first."""
        return tuple(replica for replica in self._all if replica.stopped_at is None)

    def install(self, count: int) -> None:
        """Install the release, start the controller and `count` replicas, return once the webhooks are live.

        Raises CommandError, ComponentError, DeadlineError, NetworkError.
        """
        self._release.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._install_chart(count)
        start_on_free_ports(
            self._release.folder / "ports.json", ("controller-metrics",), self._start_controller, lambda: None
        )
        self._command = self._release.command(
            "webhook",
            f"--certificate-secret={RELEASE}-webhook-tls",
            f"--path-secret={PATH_SECRET}",
            f"--serving-name={SERVING_NAME}",
            f"--port={REVIEWS_PORT}",
            f"--metrics-port={PROBES_PORT}",
        )
        if not self._kubelet.is_alive():
            self._kubelet.start()
        for _ in range(count):
            self.add()
        self.wait_ready()
        self._release.wait_live()

    @contextmanager
    def verifying_images(self, ca: Path) -> Iterator[None]:
        """Replicas that verify images meanwhile, as many as there are now; `ca` is the authority of the registries.

        Raises CommandError, ComponentError, DeadlineError, NetworkError.
        """
        count, command = len(self.running), self._command
        self._install_chart(count, "imageVerification.enabled=true")
        self._command = (*command, "--verify-images", f"--registry-ca-file={ca}")
        try:
            self.replace_all()
            yield
        finally:
            self._command = command
            self._install_chart(count)
            self.replace_all()

    def replace_all(self) -> None:
        """End every replica, and only then start as many new ones. Raises ComponentError, DeadlineError."""
        count = len(self.running)
        self.scale(0)
        self.scale(count)

    def add(self) -> Replica:
        """Start one more; it joins the Service when it is ready. Raises NetworkError."""
        self._made += 1
        sandbox = self._network.sandbox()
        name = f"{SERVICE}-{self._made}"
        command = sandbox.command(*self._command, f"--replica={name}")
        log = self._plane.logs / f"{name}.log"
        process = Component(name, command, log, lambda: replica.is_ready, PROBES_PORT)
        replica = Replica(name, sandbox, process)
        process.spawn()
        self._all.append(replica)
        return replica

    def wait_ready(self) -> None:
        """Return once every running replica is in the slice. Raises ComponentError, DeadlineError."""
        for replica in self.running:
            replica.process.wait_ready(_READY_IN)
        self.wait_published()

    def wait_published(self) -> None:
        """Return once the slice says what the kubelet sees. Raises DeadlineError."""
        wait_until(lambda: self._written == self._slice(), _READY_IN, "the EndpointSlice is current")

    def restart_dead(self) -> None:
        """Start those that died, as a kubelet would."""
        for replica in self.running:
            if not replica.process.running:
                replica.process.spawn()

    def terminate(self, replica: Replica) -> None:
        """Have it stop as a deleted pod's container does (SIGTERM), and don't wait."""
        replica.process.terminate()
        replica.stopped_at = time.monotonic()

    def reap(self, deadline: float = 0.0) -> list[int]:
        """Remove those that were told to stop and have ended; their exit codes. Waits `deadline` seconds for each."""
        codes = []
        for replica in [candidate for candidate in self._all if candidate.stopped_at is not None]:
            if deadline or not replica.process.running:
                codes.append(replica.process.wait_ended(deadline))
                self._all.remove(replica)
                self._network.remove(replica.sandbox)
        return codes

    def scale(self, count: int) -> None:
        """Have `count` replicas, ready and in the slice. Raises ComponentError, DeadlineError."""
        for replica in self.running[count:]:
            self.terminate(replica)
        while len(self.running) < count:
            self.add()
        self.wait_ready()
        self.reap(_READY_IN)
        self.wait_published()

    def stop_all(self) -> None:
        """Stop the controller and every replica, as if their pods were deleted; install() has them again."""
        if self.controller is not None:
            controller, self.controller = self.controller, None  # else it would be started again at once
            controller.stop()
        for replica in self.running:
            self.terminate(replica)
        self.reap(_READY_IN)

    def close(self) -> None:
        """Stop every process; the network's sandboxes are left to their owner."""
        self._stop.set()
        if self._kubelet.is_alive():
            self._kubelet.join()
        for replica in self._all:
            replica.process.kill()
        if self.controller is not None:
            self.controller.stop()

    def _install_chart(self, count: int, *values: str) -> None:
        # The chart's own pods stay Pending: there is no node for them.
        own = ("image.repository=registry.example/sekisho", f"webhook.replicas={count}", "controller.replicas=0")
        self._release.install(*own, *values)

    def _start_controller(self, ports: dict[str, int]) -> None:
        port = ports["controller-metrics"]
        names = (SERVING_NAME, f"{SERVING_NAME}.cluster.local")
        command = (
            *self._release.controller_command(*names),
            f"--webhook-service={SERVICE}",
            f"--path-secret={PATH_SECRET}",
            *("--metrics-bind-address=127.0.0.1", f"--metrics-port={port}"),
        )
        log = self._plane.logs / f"{RELEASE}-controller.log"
        self.controller = Component(f"{RELEASE}-controller", command, log, lambda: serves(port), port)
        self.controller.start()

    def _look_after(self) -> None:
        """What the kubelet and the endpoint controller do, until close()."""
        with ThreadPoolExecutor(8, thread_name_prefix="probe") as probes:
            while not self._stop.wait(_PERIOD):
                list(probes.map(Replica.probe, list(self._all)))
                if self.controller is not None and not self.controller.running:
                    self._say("the controller has ended: starting it again")
                    self.controller.spawn()
                self._publish()

    def _publish(self) -> None:
        wanted = self._slice()
        if wanted == self._written:
            return
        answer = self._plane.call("PUT", f"{_SLICES}/{_SLICE}", wanted)
        if answer.status == 404:
            answer = self._plane.call("POST", _SLICES, wanted)
        if answer.status in (200, 201):
            self._written = wanted

    def _slice(self) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": _SLICE,
                "labels": {
                    "kubernetes.io/service-name": SERVICE,
                    "endpointslice.kubernetes.io/managed-by": "harness.sekisho.dev",
                },
            },
            "addressType": "IPv4",
            "ports": [{"port": REVIEWS_PORT, "protocol": "TCP"}],  # unnamed, as the Service's port is
            "endpoints": [replica.endpoint() for replica in list(self._all) if replica.process.running],
        }

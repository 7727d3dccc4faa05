"""Sekisho in a control plane: its chart by the real helm, its processes beside it with their own accounts' tokens."""

import http.client
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from prometheus_client.parser import text_string_to_metric_families

from tests.controlplane.answers import ANSWER_IN, ask, serves
from tests.controlplane.component import Component, ComponentError
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import start_on_free_ports
from tests.controlplane.release import CHART, NAMESPACE, RELEASE, Release

__all__ = ["CHART", "NAMESPACE", "RELEASE", "Sekisho"]

_PORTS = ("webhook", "webhook-metrics", "controller-metrics")


class Sekisho:
    """Sekisho in `plane`; `webhook` and `controller` are its processes, `settings` more of the chart's values (a=b).

    The one webhook is called by its URL, on loopback; replicas.py has several behind the chart's Service. `options` are
    more options for each process, by its name; they prevail over those of the same name.
    """

    webhook: Component
    controller: Component

    def __init__(
        self,
        plane: ControlPlane,
        settings: tuple[str, ...] = (),
        say: Callable[[str], None] = lambda text: None,
        options: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self._plane = plane
        self._settings = settings
        self._say = say
        self._options = options
        self._ports: dict[str, int] = {}
        self._components: tuple[Component, ...] = ()
        self._release = Release(plane, say)
        self.helm = self._release.helm
        self.use_account = self._release.use_account

    @property
    def components(self) -> tuple[Component, ...]:
        """The processes, in the order in which they start; none before install() has installed the chart."""
        return self._components

    @property
    def webhook_port(self) -> int:
        """Where the webhook answers reviews."""
        return self._ports["webhook"]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric of the webhook, over all its other labels added up; 0 where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["webhook-metrics"], timeout=ANSWER_IN)
        families = text_string_to_metric_families(ask(connection, "GET", "/metrics").body.decode())
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def install(self) -> None:
        """Install or upgrade the release, start the processes, return once a probe shows that the webhooks are live.

        Raises CommandError (helm, kubectl), ComponentError (a process), DeadlineError (the webhooks stay dead).
        """
        self._release.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        start_on_free_ports(self._release.folder / "ports.json", _PORTS, self._install_on, self.stop)
        self._release.wait_live()

    def repair(self) -> None:
        """Start again what does not serve; install again if the API server cannot call both webhooks."""
        if not self.components or not self._release.have_ca_bundles() or not self._restarted():
            self._say("Sekisho was uninstalled, or cannot be started again: installing it again")
            self.stop()
            self.install()

    def _restarted(self) -> bool:
        """Whether both processes serve, those that did not by another start on their ports."""
        try:
            for component in self.components:
                if not component.ready:
                    self._say(f"{component.name} does not answer: starting it again")
                    component.restart()
        except ComponentError:  # another process has its port, perhaps
            return False
        return True

    def uninstall(self) -> None:
        """Remove the release by helm, then stop the processes. Raises CommandError."""
        self.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
        self.stop()

    def stop(self) -> None:
        """Stop both processes; the release stays."""
        for component in reversed(self.components):
            component.stop()

    def _install_on(self, ports: dict[str, int]) -> None:
        self._ports = ports
        start = time.monotonic()
        self._release.install(
            f"webhook.url=https://127.0.0.1:{ports['webhook']}", "controller.replicas=0", *self._settings
        )
        self.controller = self._process("controller", self._release.controller_command("127.0.0.1"))
        webhook = self._release.command(
            "webhook",
            "--bind-address=127.0.0.1",
            f"--port={ports['webhook']}",
            f"--certificate-secret={RELEASE}-webhook-tls",
            "--replica=local",
            "--drain-seconds=0",  # there is no other replica to turn to
        )
        self.webhook = self._process("webhook", webhook)
        self._components = (self.controller, self.webhook)
        for component in self.components:  # the webhook waits for the certificate that the controller makes
            component.spawn()
        for component in self.components:
            component.wait_ready()
            self._say(f"{component.name} is ready ({time.monotonic() - start:.1f} s)")

    def _process(self, name: str, command: tuple[str, ...]) -> Component:
        port = self._ports[f"{name}-metrics"]
        more = self._options.get(name, ())
        command = (*command, "--metrics-bind-address=127.0.0.1", f"--metrics-port={port}", *more)
        log = self._plane.logs / f"{RELEASE}-{name}.log"
        return Component(f"{RELEASE}-{name}", command, log, lambda: serves(port), port)

"""Sekisho in a control plane: its chart by the real helm, its processes beside it with their own accounts' tokens."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from tests.controlplane.answers import serves
from tests.controlplane.component import Component, base_environment
from tests.controlplane.kubeconfig import Token, write_kubeconfig
from tests.controlplane.kubectl import CommandError, run
from tests.controlplane.plane import ControlPlane, start_on_free_ports
from tests.controlplane.waiting import wait_until

CHART = Path(__file__).parents[2] / "charts" / "sekisho"
RELEASE = "sekisho"
NAMESPACE = "sekisho-system"

_PORTS = ("webhook", "webhook-metrics", "controller-metrics")
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_CONFIGURATIONS = tuple(f"{_ADMISSION}/{kind}webhookconfigurations/{RELEASE}" for kind in ("validating", "mutating"))
_LIVE_IN = 60.0
_POLICIES = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"
_PROBE = "sekisho-harness-probe"
_DRY_RUN = "/api/v1/namespaces/default/pods?dryRun=All"


class Sekisho:
    """Sekisho in `plane`; `webhook` and `controller` are its processes, `settings` more of the chart's values (a=b).

    `options` are more options for each process, by its name; they prevail over those of the same name.
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
        self._folder = plane.folder / "sekisho"

    @property
    def components(self) -> tuple[Component, ...]:
        """The processes, in the order in which they start; none before install()."""
        return (self.controller, self.webhook) if self._ports else ()

    def install(self) -> None:
        """Install or upgrade the release, start the processes, return once a probe shows that the webhooks are live.

        Raises CommandError (helm, kubectl), ComponentError (a process), DeadlineError (the webhooks stay dead).
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        start_on_free_ports(self._folder / "ports.json", _PORTS, self._install_on, self.stop)
        start = time.monotonic()
        wait_until(self._have_ca_bundles, _LIVE_IN, "every webhook of the release has a caBundle")
        self._probe()
        self._say(f"the webhooks are live ({time.monotonic() - start:.1f} s)")

    def repair(self) -> None:
        """Install again unless all is well: the processes serve and the API server can call both webhooks."""
        if not all(component.ready for component in self.components) or not self._have_ca_bundles():
            self._say("Sekisho does not answer, or was uninstalled: installing it again")
            self.stop()
            self.install()

    def uninstall(self) -> None:
        """Remove the release by helm, then stop the processes. Raises CommandError."""
        self.helm("uninstall", RELEASE, "--namespace", NAMESPACE)
        self.stop()

    def stop(self) -> None:
        """Stop both processes; the release stays."""
        for component in reversed(self.components):
            component.stop()

    def helm(self, *args: str) -> str:
        """Run helm as the administrator and give its output. Raises CommandError with its error output."""
        homes = {f"HELM_{home}_HOME": str(self._folder / "helm") for home in ("CACHE", "CONFIG", "DATA")}
        environment = base_environment() | homes | {"KUBECONFIG": str(self._plane.kubeconfig)}
        completed = run((str(self._plane.binaries.helm), *args), environment)
        if completed.returncode != 0:
            raise CommandError(f"helm {' '.join(args)}: {completed.stderr.strip()}")
        return completed.stdout

    def _install_on(self, ports: dict[str, int]) -> None:
        self._ports = ports
        start = time.monotonic()
        values = (f"webhook.url=https://127.0.0.1:{ports['webhook']}", "controller.replicas=0", *self._settings)
        arguments = [argument for value in values for argument in ("--set", value)]
        self.helm(
            "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace", *arguments
        )
        self._say(f"the chart is installed ({time.monotonic() - start:.1f} s)")
        self.controller = self._process(
            "controller",
            f"--webhook-configuration={RELEASE}",
            f"--certificate-secret={RELEASE}-webhook-tls",
            f"--ca-secret={RELEASE}-ca",
            f"--lease={RELEASE}-controller",
            "--serving-name=127.0.0.1",
        )
        self.webhook = self._process(
            "webhook",
            "--bind-address=127.0.0.1",
            f"--port={ports['webhook']}",
            f"--certificate-secret={RELEASE}-webhook-tls",
            "--replica=local",
            "--drain-seconds=0",  # there is no other replica to turn to
        )
        for component in self.components:  # the webhook waits for the certificate that the controller makes
            component.spawn()
        for component in self.components:
            component.wait_ready()
            self._say(f"{component.name} is ready ({time.monotonic() - start:.1f} s)")

    def _process(self, name: str, *options: str) -> Component:
        account = f"{RELEASE}-{name}"
        kubeconfig = self._folder / f"{account}.kubeconfig"
        token = self._plane.kubectl.check("create", "token", account, "--namespace", NAMESPACE, "--duration=8760h")
        write_kubeconfig(kubeconfig, self._plane.server, self._plane.ca, Token(token.strip()))
        metrics_port = self._ports[f"{name}-metrics"]
        command = (
            *(sys.executable, "-m", "sekisho", name, f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}"),
            *("--metrics-bind-address=127.0.0.1", f"--metrics-port={metrics_port}"),
            *options,
            *self._options.get(name, ()),
        )
        log = self._plane.logs / f"{account}.log"
        return Component(account, command, log, lambda: serves(metrics_port), metrics_port)

    def _have_ca_bundles(self) -> bool:
        answers = [self._plane.call("GET", path) for path in _CONFIGURATIONS]
        if any(answer.status != 200 for answer in answers):
            return False
        configurations = [msgspec.json.decode(answer.body, type=_Configuration) for answer in answers]
        return all(webhook.client_config.ca_bundle for each in configurations for webhook in each.webhooks)

    def _probe(self) -> None:
        """See a pod refused and another dressed, by a policy that exists for that long; both are dry runs."""
        policy = {
            "apiVersion": "sekisho.dev/v1alpha1",
            "kind": "ClusterPodPolicy",
            "metadata": {"name": _PROBE},
            "spec": {
                "match": {"namespaces": ["default"], "podSelector": {"matchLabels": {_PROBE: ""}}},
                "controls": {"privileged": {}},
                "defaults": {"profile": "restricted"},
            },
        }
        bad, good = _pod(privileged=True), _pod(privileged=False)
        call = self._plane.call
        wait_until(
            lambda: call("POST", _POLICIES, policy).status in (201, 409), _LIVE_IN, "the API server takes policies"
        )
        try:
            wait_until(
                lambda: _PROBE.encode() in (answer := call("POST", _DRY_RUN, bad)).body and answer.status == 403,
                _LIVE_IN,
                lambda: f"a privileged pod is refused; the API server says {call('POST', _DRY_RUN, bad)}",
            )
            wait_until(
                lambda: b"RuntimeDefault" in (answer := call("POST", _DRY_RUN, good)).body and answer.status == 201,
                _LIVE_IN,
                lambda: f"a plain pod is admitted with defaults; the API server says {call('POST', _DRY_RUN, good)}",
            )
        finally:
            call("DELETE", f"{_POLICIES}/{_PROBE}")
        wait_until(lambda: call("POST", _DRY_RUN, bad).status == 201, _LIVE_IN, "the probe's policy is gone")


class _ClientConfig(msgspec.Struct, frozen=True, rename="camel"):
    ca_bundle: str = msgspec.field(name="caBundle", default="")


class _Webhook(msgspec.Struct, frozen=True, rename="camel"):
    client_config: _ClientConfig


class _Configuration(msgspec.Struct, frozen=True):
    webhooks: tuple[_Webhook, ...] = ()


def _pod(*, privileged: bool) -> dict[str, object]:
    container = {"name": "main", "image": "registry.example/probe", "securityContext": {"privileged": privileged}}
    metadata = {"name": _PROBE, "labels": {_PROBE: ""}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}

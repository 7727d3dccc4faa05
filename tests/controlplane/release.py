"""The release of the chart in a control plane, by the real helm, and its accounts; its processes are run elsewhere."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.controlplane.answers import Answer
from tests.controlplane.component import base_environment
from tests.controlplane.kubeconfig import Token, write_kubeconfig
from tests.controlplane.kubectl import SHORT_LIVED, CommandError, run
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until

CHART = Path(__file__).parents[2] / "charts" / "sekisho"
RELEASE = "sekisho"
NAMESPACE = "sekisho-system"

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_CONFIGURATIONS = tuple(f"{_ADMISSION}/{kind}webhookconfigurations/{RELEASE}" for kind in ("validating", "mutating"))
_LIVE_IN = 60.0
_POLICIES = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"
_PROBE = "000-sekisho-harness-probe"
"""Denials name the first policies by name, however many others deny the pod as well."""
_VALIDATING = b"validate.pods.sekisho.dev"
_DRY_RUN = "/api/v1/namespaces/default/pods?dryRun=All"


class Release:
    """The release in `plane`. Helm's own files and the accounts' kubeconfigs are kept in `folder`."""

    def __init__(self, plane: ControlPlane, say: Callable[[str], None]) -> None:
        self.folder = plane.folder / "sekisho"
        self._plane = plane
        self._say = say

    def helm(self, *args: str) -> str:
        """Run helm as the administrator and give its output. Raises CommandError with its error output."""
        homes = {f"HELM_{home}_HOME": str(self.folder / "helm") for home in ("CACHE", "CONFIG", "DATA")}
        environment = base_environment() | SHORT_LIVED | homes | {"KUBECONFIG": str(self._plane.kubeconfig)}
        completed = run((str(self._plane.binaries.helm), *args), environment)
        if completed.returncode != 0:
            raise CommandError(f"helm {' '.join(args)}: {completed.stderr.strip()}")
        return completed.stdout

    def install(self, *values: str) -> None:
        """Install or upgrade it with these values (a=b). Raises CommandError."""
        start = time.monotonic()
        arguments = [argument for value in values for argument in ("--set", value)]
        self.helm(
            *("upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"),
            "--disable-openapi-validation",  # a second of CPU time; tests of the chart run helm as users do
            *arguments,
        )
        self._say(f"the chart is installed ({time.monotonic() - start:.1f} s)")

    def use_account(self, process: str, account: str) -> Path:
        """Write a token of this account into the kubeconfig of a process, which reads it when it starts. Its path."""
        kubeconfig = self.folder / f"{RELEASE}-{process}.kubeconfig"
        token = self._plane.kubectl.check("create", "token", account, "--namespace", NAMESPACE, "--duration=8760h")
        write_kubeconfig(kubeconfig, self._plane.server, self._plane.ca, Token(token.strip()))
        return kubeconfig

    def command(self, process: str, *options: str) -> tuple[str, ...]:
        """The command line of `webhook` or `controller` with a token of the chart's account for it."""
        kubeconfig = self.use_account(process, f"{RELEASE}-{process}")
        return (
            *(sys.executable, "-m", "sekisho", process, f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}"),
            *options,
        )

    def controller_command(self, *serving_names: str) -> tuple[str, ...]:
        """The command line of the controller, as the chart has it, for a webhook that is called by these names."""
        return self.command(
            "controller",
            f"--webhook-configuration={RELEASE}",
            f"--certificate-secret={RELEASE}-webhook-tls",
            f"--ca-secret={RELEASE}-ca",
            f"--proof-namespace={RELEASE}-proof",
            "--audit",
            *(f"--exclude-namespace={name}" for name in ("kube-system", NAMESPACE)),
            f"--lease={RELEASE}-controller",
            *(f"--serving-name={name}" for name in serving_names),
        )

    def wait_live(self) -> None:
        """Return once a probe shows that the API server calls both webhooks. Raises DeadlineError."""
        start = time.monotonic()
        wait_until(self.have_ca_bundles, _LIVE_IN, "every webhook of the release has a caBundle")
        self._probe()
        self._say(f"the webhooks are live ({time.monotonic() - start:.1f} s)")

    def have_ca_bundles(self) -> bool:
        """Whether the release is there and the controller has written the authority into the webhook configurations."""
        answers = [self._plane.call("GET", path) for path in _CONFIGURATIONS]
        if any(answer.status != 200 for answer in answers):
            return False
        configurations = [msgspec.json.decode(answer.body, type=_Configuration) for answer in answers]
        return all(
            webhook.client_config.ca_bundle for configuration in configurations for webhook in configuration.webhooks
        )

    def _probe(self) -> None:
        """Check by a policy of its own that a pod is denied and another gets defaults; both are dry runs.

        Where other policies deny the second pod too, their denial is enough: the API server calls the validating
        webhook only after the mutating one has answered, whose failurePolicy is Fail.
        """
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
                lambda: _denied_by_probe(call("POST", _DRY_RUN, bad)),
                _LIVE_IN,
                lambda: f"a privileged pod is denied; the API server says {call('POST', _DRY_RUN, bad)}",
            )
            wait_until(
                lambda: _has_defaults_or_is_denied_by_others(call("POST", _DRY_RUN, good)),
                _LIVE_IN,
                lambda: f"a plain pod gets defaults; the API server says {call('POST', _DRY_RUN, good)}",
            )
        finally:
            call("DELETE", f"{_POLICIES}/{_PROBE}")
        wait_until(
            lambda: not _denied_by_probe(call("POST", _DRY_RUN, bad)), _LIVE_IN, "the probe's policy is not enforced"
        )


def _denied_by_probe(answer: Answer) -> bool:
    return answer.status == 403 and _PROBE.encode() in answer.body


def _has_defaults_or_is_denied_by_others(answer: Answer) -> bool:
    if answer.status == 403:
        return _VALIDATING in answer.body and _PROBE.encode() not in answer.body
    return answer.status == 201 and b"RuntimeDefault" in answer.body


class _ClientConfig(msgspec.Struct, frozen=True, rename="camel"):
    ca_bundle: str = msgspec.field(name="caBundle", default="")


class _Webhook(msgspec.Struct, frozen=True, rename="camel"):
    client_config: _ClientConfig


class _Configuration(msgspec.Struct, frozen=True):
    webhooks: tuple[_Webhook, ...] = ()


def _pod(*, privileged: bool) -> dict[str, object]:
    container = {"name": "main", "image": "registry.example/probe", "securityContext": {"privileged": privileged}}
    metadata = {"name": "probe", "labels": {_PROBE: ""}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}

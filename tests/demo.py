"""`make demo`: shows Sekisho to a user on a real control plane. It runs every command and checks every answer.

Exits 1 and names the step whose result is not the expected one.
"""

import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tests.controlplane.build import control_plane_binaries
from tests.controlplane.component import ComponentError
from tests.controlplane.installed import NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import CommandError, Completed
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.controlplane.waiting import DeadlineError, wait_until

POLICIES = Path(__file__).parents[1] / "policies"
SOON = 30.0


class StepError(Exception):
    """A step of the demo failed."""


class Demo:
    """Runs commands, shows them with their output, and keeps the time of each phase."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._kubectl = plane.kubectl.in_namespace("demo")
        self.phases: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """A titled part of the demo; whatever fails in it is reported under its title."""
        print(f"\n== {title}")
        start = time.monotonic()
        try:
            yield
        except (StepError, CommandError, ComponentError, DeadlineError) as error:
            print(f"\nFAILED: {title}\n{error}\nLogs: {self._plane.logs}", file=sys.stderr)
            sys.exit(1)
        finally:
            self.phases.append((title, time.monotonic() - start))

    def kubectl(self, *args: str, manifest: str | None = None) -> Completed:
        """Run kubectl and show the command, the manifest that it reads, and the answer."""
        self.show_command("kubectl", *args, manifest=manifest)
        completed = self._kubectl(*args, input=manifest)
        self.show_answer(completed)
        return completed

    def wait_for(self, *args: str, pattern: str) -> Completed:
        """Repeat a kubectl command until its output matches; show the last one. Raises StepError when it never does."""
        try:
            completed = wait_until(
                lambda: self._matching(args, pattern), SOON, f"kubectl {' '.join(args)} shows {pattern}"
            )
        except DeadlineError as error:
            raise StepError(f"{error}\nlast answer:\n{self._kubectl(*args).stdout}") from None
        self.show_command("kubectl", *args)
        self.show_answer(completed)
        return completed

    def _matching(self, args: tuple[str, ...], pattern: str) -> Completed | None:
        completed = self._kubectl(*args)
        return completed if re.search(pattern, completed.stdout + completed.stderr, re.DOTALL) else None

    @staticmethod
    def show_command(*command: str, manifest: str | None = None) -> None:
        """Print a command as it would be typed."""
        print(f"\n$ {' '.join(command)}" + (" <<EOF" if manifest else ""))
        if manifest:
            print(f"{manifest.rstrip()}\nEOF")

    @staticmethod
    def show_answer(completed: Completed) -> None:
        """Print what a command answered."""
        text = (completed.stdout + completed.stderr).rstrip()
        if text:
            print(text)
        sys.stdout.flush()


def expect(completed: Completed, *, succeeds: bool, says: tuple[str, ...] = ()) -> None:
    """Raises StepError unless the command ended as it must and said what it must."""
    text = completed.stdout + completed.stderr
    if (completed.returncode == 0) is not succeeds:
        raise StepError(
            f"expected the command to {'succeed' if succeeds else 'fail'}, its exit code is {completed.returncode}"
        )
    for part in says:
        if part not in text:
            raise StepError(f"expected the answer to say {part!r}")


def pod(name: str, image: str = "trusted.io/app:1.0", context: str = "") -> str:
    """A pod's manifest."""
    manifest = f"""\
        apiVersion: v1
        kind: Pod
        metadata: {{name: {name}}}
        spec:
          containers:
            - name: app
              image: {image}
        """
    return textwrap.dedent(manifest) + (f"      securityContext: {context}\n" if context else "")


def deployment(name: str, context: str = "") -> str:
    """A Deployment's manifest."""
    manifest = f"""\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: {name}}}
        spec:
          replicas: 2
          selector: {{matchLabels: {{app: {name}}}}}
          template:
            metadata: {{labels: {{app: {name}}}}}
            spec:
              containers:
                - name: app
                  image: trusted.io/app:1.0
        """
    return textwrap.dedent(manifest) + (f"          securityContext: {context}\n" if context else "")


def apply_policies(demo: Demo) -> None:
    """Apply the library and wait until every replica enforces it."""
    expect(demo.kubectl("create", "namespace", "demo"), succeeds=True)
    expect(demo.kubectl("apply", "-k", str(POLICIES)), succeeds=True)
    expect(
        demo.kubectl("wait", "--for=condition=Enforced", "clusterpodpolicy", "--all", "--timeout=30s"),
        succeeds=True,
        says=("restricted condition met", "trusted-registries condition met"),
    )
    expect(demo.kubectl("get", "clusterpodpolicies"), succeeds=True, says=("1/1",))


def deny_privileged(demo: Demo) -> None:
    """A privileged pod is denied with the field, the value, what is allowed and the fix."""
    answer = demo.kubectl("apply", "-f", "-", manifest=pod("privileged", context="{privileged: true}"))
    says = ("(Forbidden)", 'container "app"', "securityContext.privileged is true", "allowed: unset or false", "Fix: ")
    expect(answer, succeeds=False, says=says)
    expect(demo.kubectl("apply", "-f", "-", manifest=pod("unprivileged", context="{privileged: false}")), succeeds=True)


def deny_root(demo: Demo) -> None:
    """A pod that runs as root is denied, even with `runAsNonRoot`."""
    context = "{runAsNonRoot: true, runAsUser: 0}"
    answer = demo.kubectl("apply", "-f", "-", manifest=pod("root", context=context))
    expect(
        answer,
        succeeds=False,
        says=("(Forbidden)", "securityContext.runAsUser is 0", "allowed: unset or not 0", "Fix: "),
    )
    expect(demo.kubectl("apply", "-f", "-", manifest=pod("user", context="{runAsUser: 10001}")), succeeds=True)


def deny_untrusted(demo: Demo) -> None:
    """Images from an untrusted registry, and from one with a similar name, are denied."""
    for name, image in (("untrusted", "docker.io/library/nginx"), ("look-alike", "trusted.io.evil.com/x")):
        answer = demo.kubectl("apply", "-f", "-", manifest=pod(name, image=image))
        says = (
            "(Forbidden)",
            'container "app"',
            f'for its image "{image}"',
            "allowed: an image from trusted.io",
            "Fix: ",
        )
        expect(answer, succeeds=False, says=says)
    expect(demo.kubectl("apply", "-f", "-", manifest=pod("trusted", image="trusted.io/x")), succeeds=True)


def default_deployment(demo: Demo) -> None:
    """A plain Deployment is admitted, and its pods carry the defaults."""
    answer = demo.kubectl("apply", "-f", "-", manifest=deployment("web"))
    expect(answer, succeeds=True)
    if "Warning" in answer.stderr:
        raise StepError("the Deployment got a warning, though its pods are admitted")
    demo.wait_for("get", "replicasets", "-l", "app=web", pattern=r"web-\S+\s+2\s+2")
    spec = "{range .items[*]}{.spec.securityContext}{.spec.containers[0].securityContext}{'\\n'}{end}"
    contexts = demo.kubectl("get", "pods", "-l", "app=web", "-o", f"jsonpath={spec}")
    expect(contexts, succeeds=True)
    lines = contexts.stdout.splitlines()
    needed = ('"runAsNonRoot":true', '"RuntimeDefault"', '"allowPrivilegeEscalation":false', '"drop":["ALL"]')
    if len(lines) != 2 or not all(part in line for part in needed for line in lines):
        raise StepError("the pods lack defaults")
    said = "jsonpath={.items[0].metadata.annotations.sekisho\\.dev/defaulted}"
    expect(demo.kubectl("get", "pods", "-l", "app=web", "-o", said), succeeds=True, says=('"restricted":',))


def explain_denied_deployment(demo: Demo) -> None:
    """A Deployment whose pods are denied warns at once, and its Events say why."""
    answer = demo.kubectl("apply", "-f", "-", manifest=deployment("db", context="{runAsUser: 0}"))
    expect(answer, succeeds=True, says=("Warning: ", "securityContext.runAsUser is 0", "Fix: "))
    events = demo.wait_for("events", "--for", "deployment/db", pattern=r"PodDenied.*securityContext\.runAsUser is 0")
    expect(events, succeeds=True, says=("Deployment/db", "Fix: "))
    if re.search(r"db-[0-9a-f]+-[a-z0-9]{5}", events.stdout):
        raise StepError("the Event names a generated pod")
    condition = "jsonpath={.status.conditions[?(@.type=='ReplicaFailure')].message}"
    demo.wait_for("get", "deployment/db", "-o", condition, pattern="securityContext.runAsUser is 0")


def uninstall(demo: Demo, sekisho: Sekisho) -> None:
    """After `helm uninstall` no pod is denied."""
    demo.show_command("helm", "uninstall", RELEASE, "--namespace", NAMESPACE)
    print(sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE).rstrip())
    answer = demo.kubectl("get", "validatingwebhookconfigurations,mutatingwebhookconfigurations")
    expect(answer, succeeds=True, says=("No resources found",))
    expect(demo.kubectl("apply", "-f", "-", manifest=pod("privileged", context="{privileged: true}")), succeeds=True)


STEPS: tuple[tuple[str, Callable[[Demo], None]], ...] = (
    ("policies: apply the library", apply_policies),
    ("a: a privileged pod is denied", deny_privileged),
    ("b: a pod that runs as root is denied", deny_root),
    ("c: an image from an untrusted registry is denied", deny_untrusted),
    ("d: a plain Deployment is admitted, with defaults", default_deployment),
    ("e: a Deployment whose pods are denied says why", explain_denied_deployment),
)


@click.command()
def main() -> None:
    """Show Sekisho to a user on a real control plane; exit with 1 at a step whose result is not the expected one."""
    progress = Progress()
    started = time.monotonic()
    binaries = control_plane_binaries(progress)
    folder = Path(tempfile.mkdtemp(prefix="sekisho-demo-"))
    plane = ControlPlane(folder, binaries, progress.say)
    demo = Demo(plane)
    demo.phases.append(("binaries: build or find them", time.monotonic() - started))
    sekisho = Sekisho(plane, say=progress.say)
    try:
        with demo.phase("control plane: etcd, kube-apiserver, kube-controller-manager"):
            plane.start()
        with demo.phase("install: the chart and its two processes"):
            sekisho.install()
        for title, step in STEPS:
            with demo.phase(title):
                step(demo)
        with demo.phase("f: after the uninstallation no pod is denied"):
            uninstall(demo, sekisho)
    finally:
        sekisho.stop()
        plane.remove()
    shutil.rmtree(folder, ignore_errors=True)  # kept after a failure, for its logs
    print("\nEvery step passed.")
    for title, seconds in demo.phases:
        print(f"{seconds:7.1f} s  {title}")
    print(f"{time.monotonic() - started:7.1f} s  in total")


if __name__ == "__main__":
    main()

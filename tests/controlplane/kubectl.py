"""The real kubectl."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.controlplane.component import base_environment

_TIMEOUT = 120.0
SHORT_LIVED = {"GOGC": "off"}
"""For commands in Go: they end before their memory matters, and collecting garbage is a fifth of their CPU time."""


class Completed(msgspec.Struct, frozen=True):
    """What a finished command left."""

    returncode: int
    stdout: str
    stderr: str


class CommandError(Exception):
    """A command that had to succeed did not; the message has its command line and error output."""


def run(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    input: str | None = None,  # noqa: A002
    timeout: float = _TIMEOUT,
) -> Completed:
    """Run a command to its end; `input` is its standard input. Raises CommandError when that takes over `timeout` s."""
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)}: no end after {timeout:g} s") from error
    return Completed(done.returncode, done.stdout, done.stderr)


class Kubectl:
    """Calls kubectl: `kubectl("get", "pods", "-o", "name")`, with `input=` for `-f -`."""

    def __init__(self, binary: Path, kubeconfig: Path, namespace: str | None = None) -> None:
        self._binary = binary
        self._kubeconfig = kubeconfig
        self._namespace = namespace

    def in_namespace(self, namespace: str) -> "Kubectl":
        """A kubectl that uses `namespace` where a call names none."""
        return Kubectl(self._binary, self._kubeconfig, namespace)

    @property
    def namespace(self) -> str | None:
        """The namespace of calls that name none; None for the default one."""
        return self._namespace

    def __call__(self, *args: str, input: str | None = None) -> Completed:  # noqa: A002
        """Run kubectl and give what it answered, whether it succeeded or not."""
        namespace = ("--namespace", self._namespace) if self._namespace else ()
        cache = self._kubeconfig.parent / f".cache-{self._kubeconfig.name}"
        own = {"KUBECONFIG": str(self._kubeconfig), "KUBECACHEDIR": str(cache), "KUBECTL_KUBERC": "false"}
        return run((os.fspath(self._binary), *namespace, *args), base_environment() | SHORT_LIVED | own, input)

    def check(self, *args: str, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl and give its output. Raises CommandError with its error output when it does not succeed."""
        completed = self(*args, input=input)
        if completed.returncode != 0:
            raise CommandError(f"kubectl {' '.join(args)}: {completed.stderr.strip()}")
        return completed.stdout

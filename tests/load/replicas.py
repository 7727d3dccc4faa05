"""Replicas of the webhook in a control plane, asked directly."""

import base64
import re
import ssl
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from tests.controlplane.answers import serves
from tests.controlplane.component import Component
from tests.controlplane.installed import RELEASE
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import start_component
from tests.load.questions import Question
from tests.load.servers import verdict

_CONFIGURATION: Final = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{RELEASE}"
_POLICIES: Final = re.compile(r"^sekisho_policies (\S+)$", re.MULTILINE)


def beside(webhook: Component, name: str, port: int, metrics_port: int, log: Path) -> Component:
    """Another process as `webhook` is one, on ports of its own; not started."""
    own = {"--port": port, "--metrics-port": metrics_port, "--replica": name}
    options = ((part, part.partition("=")[0]) for part in webhook.command)
    command = tuple(f"{option}={own[option]}" if option in own else part for part, option in options)
    return Component(name, command, log, lambda: serves(metrics_port), metrics_port)


def start_beside(webhook: Component, name: str, folder: Path, logs: Path) -> Component:
    """Another process as `webhook` is one, started on free ports, which a file in `folder` keeps.

    Raises ComponentError.
    """
    return start_component(
        folder / f"{name}-ports.json",
        ("webhook", "metrics"),
        lambda ports: beside(webhook, name, ports["webhook"], ports["metrics"], logs / f"{name}.log"),
    )


def option(component: Component, name: str) -> str:
    """The value of an option that a process was started with."""
    [value] = (part.partition("=")[2] for part in component.command if part.startswith(f"{name}="))
    return value


def trust(plane: ControlPlane) -> ssl.SSLContext:
    """What a client of the replicas has to trust: what the API server trusts."""
    configuration = msgspec.json.decode(plane.call("GET", _CONFIGURATION).body)
    bundle = base64.b64decode(configuration["webhooks"][0]["clientConfig"]["caBundle"])
    return ssl.create_default_context(cadata=bundle.decode())


async def ask(session: aiohttp.ClientSession, replica: Component, question: Question, namespace: str) -> str:
    """What a replica decides on the question's pod in a namespace: allow, deny or patch."""
    url = f"https://127.0.0.1:{option(replica, '--port')}{question.path}"
    body = question.body.replace(b'"namespace":"shop"', f'"namespace":"{namespace}"'.encode())
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        return verdict(await response.read())


async def policies_of(session: aiohttp.ClientSession, replica: Component) -> int:
    """How many policies a replica says it enforces."""
    async with session.get(f"http://127.0.0.1:{option(replica, '--metrics-port')}/metrics", ssl=False) as response:
        [count] = _POLICIES.findall(await response.text())
    return int(float(count))

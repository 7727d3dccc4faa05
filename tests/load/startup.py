"""How a replica of the webhook starts in a large cluster: when it is ready, what it takes, and that it is right."""

import time
from typing import Final

import aiohttp
from msgspec import Struct

from tests.controlplane.component import Component
from tests.load.population import together
from tests.load.questions import VALIDATE, VIOLATING, Question
from tests.load.replicas import ask, policies_of
from tests.load.servers import WrongAnswerError
from tests.load.usage import cpu_seconds, resident_mib

ELSEWHERE: Final = "default"
"""A namespace that no team's policy is about."""


class Start(Struct, frozen=True):
    """Seconds until /readyz said 200, CPU seconds used until then, and MiB resident at that moment."""

    seconds: float
    cpu: float
    memory: float


def start(replica: Component) -> Start:
    """Start a replica and time it. Raises ComponentError."""
    started = time.perf_counter()
    replica.start()
    seconds = time.perf_counter() - started
    return Start(seconds, cpu_seconds(replica.pid), resident_mib(replica.pid))


async def check(session: aiohttp.ClientSession, replica: Component, policies: int, namespaces: list[str]) -> None:
    """Look whether a replica that says it is ready knows every policy, and namespaces by their labels.

    Raises WrongAnswerError.
    """
    answered = await policies_of(session, replica)
    if answered != policies:
        raise WrongAnswerError(f"{replica.name} is ready with {answered} policies of {policies}")
    for namespace in (namespaces[0], namespaces[len(namespaces) // 2], namespaces[-1]):
        for question in (VALIDATE, VIOLATING):
            await _expect(session, replica, question, namespace, question.verdict)
    await _expect(session, replica, VIOLATING, ELSEWHERE, "allow")


async def ask_everywhere(session: aiohttp.ClientSession, replica: Component, namespaces: list[str]) -> float:
    """Have a replica judge a pod in every namespace; CPU seconds that it takes. Raises WrongAnswerError."""
    before = cpu_seconds(replica.pid)
    await together(_expect(session, replica, VALIDATE, namespace, "allow") for namespace in namespaces)
    return cpu_seconds(replica.pid) - before


async def _expect(
    session: aiohttp.ClientSession, replica: Component, question: Question, namespace: str, expected: str
) -> None:
    answered = await ask(session, replica, question, namespace)
    if answered != expected:
        raise WrongAnswerError(f"{replica.name}: {question.name} in {namespace}: expected {expected}, found {answered}")

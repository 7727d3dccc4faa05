"""Clients that keep creating pods through the API server, good ones and violating ones, and count what becomes of them.

Every pod is really created; what was stored is compared at the end with what was answered.
"""

import asyncio
import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec
import uvloop

from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import DeadlineError, wait_until

GOOD: dict[str, Any] = {"containers": [{"name": "app", "image": "registry.example/team/app:1.0"}]}
"""A plain pod: it meets the drills' policy only after it was given defaults."""
VIOLATING: dict[str, Any] = {
    "containers": [
        {"name": "app", "image": "registry.example/team/app:1.0", "securityContext": {"privileged": True}},
    ]
}

CLIENTS = 4
"""Of either kind."""
PAUSE = 0.05
"""Seconds between an answer and the same client's next pod."""
FLOW = 10
"""Pods of either kind that have to be answered as they should before traffic counts as flowing."""
FLOWS_IN = 60.0
ANSWER_IN = 40.0
KIND = "drill"
"""The label that says what a pod should be: the store is asked by it in the end."""
GOOD_KIND, VIOLATING_KIND = "good", "violating"
_DENIED = "denied the request"
_UNCALLED = "failed calling webhook"

Fate = Literal["admitted", "denied", "uncalled", "unanswered"]
"""denied: by a verdict. uncalled: because no webhook answered. unanswered: the API server said nothing about it."""


class DrillError(Exception):
    """What must never happen did; the message says what."""


class Counts(msgspec.Struct):
    """What became of the pods."""

    violating_denied: int = 0
    violating_uncalled: int = 0
    violating_admitted: int = 0
    good_admitted: int = 0
    good_denied: int = 0
    good_excused: int = 0
    """Good pods denied while that had to be expected: no API server, a replica just killed, one core overloaded."""
    unanswered: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    """Why pods got no verdict, or a good one the wrong one; without names."""

    def add(self, other: "Counts") -> None:
        """Add another's counts to these."""
        for name in self.__struct_fields__:
            if name != "reasons":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons += other.reasons


class Client:
    """Creates pods in one namespace as the administrator. It belongs to one event loop."""

    def __init__(self, plane: ControlPlane, namespace: str, connections: int) -> None:
        self._url = f"{plane.server}/api/v1/namespaces/{namespace}/pods"
        pki = plane.folder / "pki"
        tls = ssl.create_default_context(cafile=str(plane.ca))
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=ANSWER_IN),
        )

    async def create(self, name: str, spec: dict[str, Any], kind: str) -> tuple[Fate, str]:
        """Create a pod: what became of it, and what the API server said where it was not admitted."""
        meta = {"name": name, "labels": {KIND: kind}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        try:
            async with self._session.post(
                self._url, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"}
            ) as answer:
                status, text = answer.status, await answer.text()
        except TimeoutError:
            return "unanswered", "no answer in time"
        except (aiohttp.ClientError, OSError) as error:
            return "unanswered", type(error).__name__
        if status == 201:
            return "admitted", ""
        message = str(msgspec.json.decode(text).get("message", "")) if text.startswith("{") else text[:80]
        if _DENIED in message:
            return "denied", message
        return ("uncalled" if _UNCALLED in message else "unanswered"), f"{status} {message}"

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()


class Traffic:
    """Creates pods in `namespace` from a thread of its own, from entering to leaving the context.

    pause: seconds between an answer and the same client's next pod.
    Leaving it checks the counts, and compares them with what is stored. Raises DrillError.
    """

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        violating: dict[str, Any] = VIOLATING,
        pause: float = PAUSE,
    ) -> None:
        self.counts = Counts()
        self.seconds: list[float] = []
        """How long the creation of each good pod took."""
        self._plane = plane
        self._namespace = namespace
        self._violating = violating
        self._pause = pause
        self._numbers = itertools.count()
        self._excuses = 0
        self._excused_until = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._create_all()), name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait_flowing()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait_flowing()
        finally:
            self._end()
        if error is None:
            self._check()

    def wait_flowing(self) -> None:
        """Return once pods of both kinds, sent from now on, got what they should. Raises DrillError."""
        began, before = time.monotonic(), msgspec.structs.replace(self.counts, reasons=Counter())

        def flowing() -> bool:
            self._stand_by_counts()
            now = self.counts
            enough = FLOW + 2 * CLIENTS  # those that were under way are not counted
            good, violating = now.good_admitted - before.good_admitted, now.violating_denied - before.violating_denied
            return good >= enough and violating >= enough

        try:
            wait_until(flowing, FLOWS_IN, lambda: f"pods are created and denied again: {self.counts}")
        except DeadlineError as error:
            raise DrillError(f"{error} (since {time.monotonic() - began:.0f} s)") from None

    @contextmanager
    def excusing(self) -> Iterator[None]:
        """Good pods that are denied within this context, or on their way when it ends, are counted apart."""
        self._excuses += 1
        try:
            yield
        finally:
            self._excuses -= 1
            self._excused_until = time.monotonic()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()

    async def _create_all(self) -> None:
        client = Client(self._plane, self._namespace, 2 * CLIENTS)
        try:
            kinds: list[tuple[str, dict[str, Any], Callable[[float, Fate, str], None]]] = [
                (GOOD_KIND, GOOD, self._count_good),
                (VIOLATING_KIND, self._violating, self._count_violating),
            ]
            await asyncio.gather(*(self._create(client, *kind) for kind in kinds for _ in range(CLIENTS)))
        finally:
            await client.close()

    async def _create(
        self, client: Client, kind: str, spec: dict[str, Any], count: Callable[[float, Fate, str], None]
    ) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            fate, said = await client.create(f"pod-{next(self._numbers)}", spec, kind)
            count(started, fate, said)
            await asyncio.sleep(self._pause)

    def _count_good(self, started: float, fate: Fate, said: str) -> None:
        if fate == "admitted":
            self.counts.good_admitted += 1
            self.seconds.append(time.monotonic() - started)
            return
        self.counts.reasons[_nameless(said)] += 1
        if fate == "unanswered":
            self.counts.unanswered += 1
        elif self._excuses or started <= self._excused_until:
            self.counts.good_excused += 1
        else:
            self.counts.good_denied += 1

    def _count_violating(self, started: float, fate: Fate, said: str) -> None:
        if fate in ("uncalled", "unanswered"):
            self.counts.reasons[_nameless(said)] += 1
        match fate:
            case "admitted":
                self.counts.violating_admitted += 1
            case "denied":
                self.counts.violating_denied += 1
            case "uncalled":
                self.counts.violating_uncalled += 1
            case "unanswered":
                self.counts.unanswered += 1

    def _stand_by_counts(self) -> None:
        counts = self.counts
        if counts.violating_admitted:
            raise DrillError(f"{counts.violating_admitted} violating pods were admitted")
        if counts.good_denied:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in counts.reasons.most_common())
            raise DrillError(f"{counts.good_denied} good pods were denied: {reasons}")

    def _check(self) -> None:
        self._stand_by_counts()
        violating = stored_violating(self._plane, self._namespace)
        if violating:
            raise DrillError(f"{len(violating)} violating pods are stored: {', '.join(violating[:5])}")


def stored_violating(plane: ControlPlane, namespace: str) -> list[str]:
    """The names of the violating pods that exist in a namespace. Raises DrillError when they cannot be listed."""
    answer = plane.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={KIND}%3D{VIOLATING_KIND}")
    if answer.status != 200:
        raise DrillError(f"the pods of {namespace} cannot be listed: {answer}")
    return [pod["metadata"]["name"] for pod in msgspec.json.decode(answer.body)["items"]]


def _nameless(said: str) -> str:
    """A reason without what differs from pod to pod."""
    words = (word for word in said.split() if not word.startswith(('"pod-', "pod-")))
    return " ".join(words)[:300]

"""How long ordinary pods take to be judged while a real process judges the worst reviews."""

import http.client
import json
import multiprocessing
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import uvloop

from sekisho.policies.crd import RESOURCES
from tests.drills.soak import Webhook, webhook
from tests.reviews import review_body
from tests.worst.floods import Target, reviewed
from tests.worst.judging import EVERYTHING, WAIVER

MAX_P99_MS: Final = 100.0
PATHS: Final = {"mutate": "/mutate"} | dict.fromkeys(RESOURCES, "/validate-policies")
"""By the name of a request; the others go to /validate."""
_ORDINARY: Final = 200
_CONNECTIONS: Final = 4
_BODY: Final = review_body({"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "x", "image": "r.io/x"}]}})


@contextmanager
def served(folder: Path) -> Iterator[Webhook]:
    """A process with every control at its strictest, and a waiver."""
    kinds = (("ClusterPodPolicy", EVERYTHING), ("PolicyWaiver", WAIVER))
    head = {"apiVersion": "sekisho.dev/v1alpha1"}
    documents = [(kind, json.dumps(head | {"kind": kind} | policy).encode()) for kind, policy in kinds]
    with webhook(folder, documents) as process:
        yield process


def p99_beside(process: Webhook, request: str, body: bytes) -> float:
    """In ms, of ordinary pods on a connection of their own, while others send a review again and again."""
    fork = multiprocessing.get_context("fork")
    begun, ended = fork.Event(), fork.Event()
    sender = fork.Process(target=_send, args=(process.port, PATHS.get(request, "/validate"), body, begun, ended))
    sender.start()
    try:
        begun.wait()
        taken = sorted(_ordinary(process.port))
    finally:
        ended.set()
        sender.join()
    return 1000 * taken[int(0.99 * (len(taken) - 1))]


def _ordinary(port: int) -> Iterator[float]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=tls)
    connection.connect()
    for _ in range(_ORDINARY):
        started = time.perf_counter()
        connection.request("POST", "/validate?timeout=10s", _BODY, {"Content-Type": "application/json"})
        connection.getresponse().read()
        yield time.perf_counter() - started
    connection.close()


def _send(port: int, path: str, body: bytes, begun: Event, ended: Event) -> None:
    target = Target("127.0.0.1", port)

    def bodies() -> Iterator[bytes]:
        while not ended.is_set():
            yield body

    async def send() -> None:
        await reviewed(target, path, iter([body]), 1)
        begun.set()
        await reviewed(target, path, bodies(), _CONNECTIONS)

    uvloop.run(send())

"""Requests at a pace of their own: each is sent when it is due, whether earlier ones are answered or not."""

import asyncio
import random
import ssl
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
import uvloop
from msgspec import Struct

from tests.load.figures import Latencies

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_SEED: Final = 1


class Request(Struct, frozen=True):
    """A POST, and what its answer has to contain."""

    url: str
    body: bytes
    contains: bytes


class UnexpectedAnswerError(Exception):
    """An answer was not what it must be."""


def at_pace(requests: Sequence[Request], tls: ssl.SSLContext, *, per_second: float, count: int) -> Latencies:
    """Send `count` requests, the given ones in turn, at moments as random as those of independent clients.

    Raises UnexpectedAnswerError.
    """
    return uvloop.run(_at_pace(requests, tls, per_second, count))


async def _at_pace(requests: Sequence[Request], tls: ssl.SSLContext, per_second: float, count: int) -> Latencies:
    chance = random.Random(_SEED)  # noqa: S311 - the same moments in every run
    connector = aiohttp.TCPConnector(ssl=tls, limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        for request in requests:  # connections are made beforehand, as an API server keeps them
            await asyncio.gather(*(_send(session, request) for _ in range(10)))
        due, sent = time.perf_counter(), []
        for number in range(count):
            due += chance.expovariate(per_second)
            await asyncio.sleep(due - time.perf_counter())
            sent.append(asyncio.create_task(_send(session, requests[number % len(requests)])))
        return Latencies(await asyncio.gather(*sent))


async def _send(session: aiohttp.ClientSession, request: Request) -> float:
    """Seconds until the answer was there."""
    started = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    async with session.post(request.url, data=request.body, headers=headers) as response:
        answer = await response.read()
    seconds = time.perf_counter() - started
    if response.status != 200 or request.contains not in answer:
        raise UnexpectedAnswerError(f"{request.url}: {response.status} {answer.decode(errors='replace')}")
    return seconds

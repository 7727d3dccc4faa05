"""Floods: what clients can send to fill a replica's memory, or to keep it from answering others.

python -m tests.worst.floods NAME HOST PORT SERVER_NAME sends one.
"""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import uvloop
from msgspec import Struct

from tests.reviews import review_body

_AT_ONCE: Final = 64
_HEAD: Final = "POST {}?timeout=30s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
_HANDSHAKE: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a TLS record with a ClientHello."""


class Target(Struct, frozen=True):
    """Where reviews are served. `server_name` is that of the certificate, which is not verified.

    `sent_from` is the client's address, None for any.
    """

    host: str
    port: int
    server_name: str = "localhost"
    sent_from: str | None = None


class Opened:
    """Connections that a flood keeps open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, beginning: bytes, *, tls: bool = True) -> None:
        """Open a connection that sends this and no more. A connection that the server closes counts as opened."""
        async with self._gate:
            context, name = (self._tls, self._target.server_name) if tls else (None, None)
            try:
                reader, writer = await asyncio.open_connection(
                    self._target.host, self._target.port, ssl=context, server_hostname=name
                )
            except (OSError, ssl.SSLError):
                return
            self._streams.append((reader, writer))
            try:
                writer.write(beginning)
                await writer.drain()
            except OSError:
                return

    async def send_all(self, beginnings: Iterator[bytes], *, tls: bool = True) -> None:
        """Send each beginning of a request on a connection of its own, as `send` does."""
        await asyncio.gather(*(self.send(beginning, tls=tls) for beginning in beginnings))

    async def review_all(self, path: str, body: bytes, *, count: int = 1, answers: int | None = None) -> None:
        """Send a review `count` times on all connections at the same time, and wait for the answers.

        answers: for how many of each connection; None for all.
        """
        for _, writer in self._streams:
            writer.write((_HEAD.format(path, len(body)).encode() + body) * count)
        await asyncio.gather(*(self._read_answers(reader, answers or count) for reader, _ in self._streams))

    async def _read_answers(self, reader: asyncio.StreamReader, count: int) -> None:
        for _ in range(count):
            await _answer(reader)

    async def review_unread(self, path: str, body: bytes, count: int, seconds: float) -> None:
        """Send a review `count` times on all connections, and read no answer for `seconds`."""
        for _, writer in self._streams:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can read
            writer.write((_HEAD.format(path, len(body)).encode() + body) * count)
        await asyncio.sleep(seconds)  # the slowness of these clients is what is tested

    def close(self) -> None:
        """Abort all connections."""
        for _, writer in self._streams:
            writer.transport.abort()


async def reviewed(target: Target, path: str, bodies: Iterator[bytes], connections: int = 4) -> list[bytes]:
    """Send reviews over a few connections; gives the answers, empty where there was none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answers: list[bytes] = []
    source = (target.sent_from, 0) if target.sent_from is not None else None

    async def send() -> None:
        for body in bodies:
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=context, server_hostname=target.server_name, local_addr=source
            )
            try:
                writer.write(_HEAD.format(path, len(body)).encode() + body)
                answers.append(await _answer(reader))
            finally:
                writer.transport.abort()

    await asyncio.gather(*(send() for _ in range(connections)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of an answer; empty where there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        return await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return b""


async def idle_connections(_: Target, opened: Opened) -> None:
    """3,000 connections on which nothing is sent."""
    await opened.send_all(b"" for _ in range(3000))


async def half_bodies(_: Target, opened: Opened) -> None:
    """1,000 bodies of 200 KB of which half arrives."""
    head = _HEAD.format("/validate", 200_000).encode()
    await opened.send_all(head + b" " * 100_000 for _ in range(1000))


async def small_half_bodies(_: Target, opened: Opened) -> None:
    """2,000 bodies of 64 KiB that lack their last byte."""
    head = _HEAD.format("/validate", 64 * 1024).encode()
    await opened.send_all(head + b" " * (64 * 1024 - 1) for _ in range(2000))


async def half_handshakes(_: Target, opened: Opened) -> None:
    """3,000 connections whose TLS handshake never ends."""
    await opened.send_all((_HANDSHAKE for _ in range(3000)), tls=False)


async def long_images(target: Target, _: Opened) -> None:
    """150 dry runs of pods with an image of 2.5 MB."""
    images = (f"r{number}.io/" + "a/" * 1_250_000 for number in range(150))
    await reviewed(target, "/validate", (_dry_run(_pod([{"name": "x", "image": image}])) for image in images))


async def short_images(target: Target, _: Opened) -> None:
    """60 dry runs of pods with 500 containers, each with an image of its own of 250 characters."""
    pods = (
        _pod([{"name": f"x{number}", "image": f"r{pod}-{number}.io/{'a' * 230}"} for number in range(500)])
        for pod in range(60)
    )
    await reviewed(target, "/validate", map(_dry_run, pods))


async def labelled_pods(target: Target, _: Opened) -> None:
    """3,000 dry runs of pods with random labels, in as many namespaces."""
    for_pods = (
        {"metadata": {"name": "pod", "labels": {f"l{bit}": "x" for bit in range(12) if number >> bit & 1}}}
        | {"spec": {"containers": [{"name": "x", "image": "r.io/x"}]}}
        for number in range(3000)
    )
    bodies = (review_body(pod, namespace=f"n{number}-{'x' * 50}", dryRun=True) for number, pod in enumerate(for_pods))
    await reviewed(target, "/validate", bodies)


async def trial_policies(target: Target, _: Opened) -> None:
    """120 dry runs of policies of 131 KB."""
    await reviewed(target, "/validate-policies", map(_policy, range(120)))


async def reviews_together(_: Target, opened: Opened) -> None:
    """900 connections on which whole reviews arrive at the same time, four times."""
    await opened.send_all(b"" for _ in range(900))
    body = _dry_run(_pod([{"name": "x", "image": "evil.example/x"}]))
    for _round in range(4):
        await opened.review_all("/validate", body)


async def small_reviews_together(_: Target, opened: Opened) -> None:
    """1,000 connections on which a review of 64 KB arrives at the same time."""
    await opened.send_all(b"" for _ in range(1000))
    await opened.review_all("/validate", _dry_run(_annotated(64_000)))


async def reviews_behind_others(_: Target, opened: Opened) -> None:
    """300 connections on which 12 reviews of 64 KB arrive, one behind the other, until 3 of each are answered."""
    await opened.send_all(b"" for _ in range(300))
    await opened.review_all("/validate", _dry_run(_annotated(64_000)), count=12, answers=3)


async def reviews_that_wait(_: Target, opened: Opened) -> None:
    """200 connections with a review of 57 KB that takes 1.5 MB when it is decoded, and is judged apart."""
    await opened.send_all(b"" for _ in range(200))
    await opened.review_all("/validate", _dry_run(_pod([{"name": "x", "volumeMounts": [{}] * 19_000}])))


async def unread_answers(_: Target, opened: Opened) -> None:
    """60 connections on which 2,000 reviews arrive, and nobody reads the answers."""
    await opened.send_all(b"" for _ in range(60))
    await opened.review_unread("/validate", _dry_run(_pod([{"name": "x", "image": "evil.example/x"}] * 4)), 2000, 5.0)


Flood = Callable[[Target, Opened], Awaitable[None]]
FLOODS: Final[dict[str, Flood]] = {
    flood.__name__: flood
    for flood in (
        idle_connections,
        half_bodies,
        small_half_bodies,
        half_handshakes,
        long_images,
        short_images,
        labelled_pods,
        trial_policies,
        reviews_together,
        small_reviews_together,
        reviews_behind_others,
        reviews_that_wait,
        unread_answers,
    )
}
"""By name. Each returns when all is sent; its connections stay open until they are closed."""


def _policy(number: int) -> bytes:
    patterns = [f"p{number}-{index}.io/{'a' * 480}" for index in range(256)]
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": f"p{number}"},
        "spec": {"controls": {"images": {"trustedRegistries": patterns}}},
    }
    kind = {"group": "sekisho.dev", "version": "v1alpha1", "kind": "ClusterPodPolicy"}
    resource = {"group": "sekisho.dev", "version": "v1alpha1", "resource": "clusterpodpolicies"}
    return review_body(policy, kind=kind, resource=resource, name=f"p{number}", dryRun=True)


def _pod(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"metadata": {"name": "pod"}, "spec": {"containers": containers}}


def _annotated(size: int) -> dict[str, Any]:
    pod = _pod([{"name": "x", "image": "evil.example/x"}])
    return pod | {"metadata": {"name": "pod", "annotations": {"a": "x" * size}}}


def _dry_run(pod: dict[str, Any]) -> bytes:
    return review_body(pod, dryRun=True)


async def _send(name: str, host: str, port: str, server_name: str) -> None:
    target = Target(host, int(port), server_name)
    opened = Opened(target)
    try:
        await FLOODS[name](target, opened)
    finally:
        opened.close()


if __name__ == "__main__":
    uvloop.run(_send(*sys.argv[1:]))

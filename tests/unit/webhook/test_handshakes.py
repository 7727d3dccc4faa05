"""TLS handshakes that do not end, and what they leave of the port to others."""

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from sekisho.webhook import handshakes
from sekisho.webhook.certificates import ServingCertificate
from sekisho.webhook.http_server import HttpServer
from sekisho.webhook.waiting import Waiting
from tests.unit.webhook.pairs import make_pair

SOON = 20
BEGINNING = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""Of a TLS record with a ClientHello."""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """A port that `accept` serves; `at` is its address."""

    def __init__(self, at: tuple[str, int], trust: ssl.SSLContext) -> None:
        self.at = at
        self.trust = trust
        self._opened: list[asyncio.StreamWriter] = []
        self._connected: list[socket.socket] = []

    async def open(self, *, tls: bool, address: str = "127.0.0.1") -> Stream:
        """A connection from an address, with or without a handshake."""
        stream = await asyncio.open_connection(*self.at, ssl=self.trust if tls else None, local_addr=(address, 0))
        self._opened.append(stream[1])
        return stream

    async def begin(self, address: str = "127.0.0.1") -> Stream:
        """A connection whose handshake begins and does not end."""
        stream = await self.open(tls=False, address=address)
        stream[1].write(BEGINNING)
        return stream

    def connect(self, sent: bytes, address: str = "127.0.0.1") -> socket.socket:
        """A connection that has sent this, without a turn of the loop: the server has not accepted it yet."""
        client = socket.create_connection(self.at, source_address=(address, 0))
        self._connected.append(client)
        client.sendall(sent)
        client.setblocking(False)
        return client

    async def answers(self) -> bool:
        """Whether a new client gets an answer."""
        reader, writer = await self.open(tls=True)
        writer.write(REQUEST)
        async with asyncio.timeout(SOON):
            return b"seen" in await reader.readuntil(b"seen")

    def close(self) -> None:
        for writer in self._opened:
            writer.transport.abort()
        for client in self._connected:
            client.close()


@asynccontextmanager
async def accepting() -> AsyncIterator[Port]:
    async def seen(_: web.BaseRequest) -> web.Response:
        return web.Response(text="seen")

    certificate, pair = ServingCertificate(), make_pair()
    certificate.offer(pair)
    bound = socket.create_server(("127.0.0.1", 0))
    port = Port(bound.getsockname(), ssl.create_default_context(cadata=pair.certificate.decode()))
    runner = web.ServerRunner(HttpServer(seen), shutdown_timeout=0.1)
    await runner.setup()
    assert isinstance(runner.server, HttpServer)
    handshakes.listen(bound)
    task = asyncio.create_task(handshakes.accept(bound, runner.server, certificate.context))
    try:
        yield port
    finally:
        port.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await runner.cleanup()


async def closed(stream: Stream) -> None:
    """Return when the server closes a connection."""
    async with asyncio.timeout(SOON):
        with suppress(ConnectionResetError):
            assert await stream[0].read() == b""


async def test_over_the_limit_the_handshake_that_waited_longest_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 2)
    async with accepting() as port:
        first, second, third = [await port.begin() for _ in range(3)]
        await closed(first)
        assert not second[0].at_eof()
        assert not third[0].at_eof()
        assert await port.answers()
        await closed(second)


async def test_clients_at_other_addresses_keep_their_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 3)
    async with accepting() as port:
        alone = await port.begin("127.0.0.2")
        first, second, third = [await port.begin() for _ in range(3)]
        await closed(first)
        for reader, _ in (alone, second, third):
            assert not reader.at_eof()


async def test_a_new_client_does_not_wait_for_all_handshakes_of_another_address() -> None:
    async with accepting() as port:
        hello = client_hello(port.trust)
        many = [port.connect(hello) for _ in range(40)]
        alone = port.connect(hello, "127.0.0.2")
        async with asyncio.timeout(SOON):
            assert await asyncio.get_running_loop().sock_recv(alone, 1)
        answered, _, _ = select.select(many, (), (), 0)
        assert len(answered) < 10
        assert await port.answers()


async def test_handshakes_that_have_not_begun_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_ARRIVED", 3)
    async with accepting() as port:
        hello = client_hello(port.trust)
        alone = port.connect(hello, "127.0.0.2")
        many = [port.connect(hello) for _ in range(5)]
        for client, is_served in ((alone, True), *zip(many, (False, False, False, True, True), strict=True)):
            async with asyncio.timeout(SOON):
                assert await received(client) is is_served


async def received(client: socket.socket) -> bool:
    """Whether a client gets a byte before its connection is closed."""
    try:
        return bool(await asyncio.get_running_loop().sock_recv(client, 1))
    except ConnectionResetError:
        return False


def client_hello(trust: ssl.SSLContext) -> bytes:
    """How a client begins its handshake."""
    outgoing = ssl.MemoryBIO()
    tls = trust.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_a_handshake_that_takes_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 0.2)
    async with accepting() as port:
        await closed(await port.begin())
        await closed(await port.open(tls=False))
        monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", SOON)
        assert await port.answers()


async def test_a_connection_without_tls_is_closed_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with accepting() as port:
        reader, writer = await port.open(tls=False)
        writer.write(REQUEST)
        with suppress(ConnectionResetError):
            await reader.read()
        assert await port.answers()
    assert not caplog.records


async def test_the_port_is_closed_at_the_end() -> None:
    async with accepting() as port:
        assert await port.answers()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*port.at)


def test_the_address_with_the_most_is_first_to_lose_what_waited_longest() -> None:
    waiting: Waiting[int] = Waiting()
    for number, address in enumerate("abbab"):
        waiting.add(number, address)
    assert waiting.longest() == 1
    waiting.remove(1)
    waiting.remove(1)
    waiting.remove(2)
    assert (waiting.longest(), len(waiting), sorted(waiting)) == (0, 3, [0, 3, 4])

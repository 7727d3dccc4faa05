"""Connections whose requests come slowly, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from sekisho.webhook import connections as module
from sekisho.webhook.connections import HttpServer

SOON = 20
HEAD_SECONDS = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class Client:
    """One connection to a server whose every answer is "seen"."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        async with asyncio.timeout(SOON):
            return await self.reader.readuntil(b"seen")

    async def ask(self) -> bytes:
        self.send(HEAD + b"body")
        return await self.answer()

    async def rest(self) -> bytes:
        """What still comes until the server closes the connection."""
        async with asyncio.timeout(SOON):
            return await self.reader.read()


@asynccontextmanager
async def serving(
    head_seconds: float = HEAD_SECONDS, answer: str = "seen"
) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """A server that always gives this answer, and what connects a client to it from an address."""

    async def seen(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(text=answer)

    clients: list[Client] = []

    async def connect(address: str = "127.0.0.1") -> Client:
        clients.append(Client(*await asyncio.open_connection(*runner.addresses[0][:2], local_addr=(address, 0))))
        return clients[-1]

    runner = web.ServerRunner(HttpServer(seen, head_seconds), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield connect
    finally:
        for client in clients:
            client.writer.close()
        await runner.cleanup()


@asynccontextmanager
async def connected(head_seconds: float = HEAD_SECONDS) -> AsyncIterator[Client]:
    async with serving(head_seconds) as connect:
        yield await connect()


async def test_half_a_head_is_given_up() -> None:
    async with connected() as client:
        client.send(HEAD[:20])
        assert await client.rest() == b""


async def test_so_is_half_a_head_after_a_request() -> None:
    async with connected() as client:
        assert await client.ask()
        client.send(HEAD[:20])
        assert await client.rest() == b""


async def test_a_head_that_comes_byte_by_byte_gains_no_time() -> None:
    async def drip(client: Client) -> None:
        for byte in HEAD * 1000:
            client.send(bytes((byte,)))
            await asyncio.sleep(HEAD_SECONDS / 20)  # the slowness of this client is what is tested

    async with connected() as client:
        dripping = asyncio.create_task(drip(client))
        try:
            assert await client.rest() == b""
        except ConnectionResetError:
            pass  # a byte was on its way when the server closed
        finally:
            dripping.cancel()


async def test_a_head_in_two_parts_is_a_head() -> None:
    async with connected(SOON) as client:
        client.send(HEAD[:20])
        await asyncio.sleep(0)  # what was sent leaves before the rest is there
        client.send(HEAD[20:] + b"body")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_neither_silence_nor_a_slow_body_is_a_slow_head() -> None:
    async with connected() as client, connected() as other:
        other.send(HEAD[:20])
        assert await other.rest() == b""  # by now the time of a head has passed for this one, too
        assert await client.ask()
        async with connected() as another:
            client.send(HEAD + b"bo")
            another.send(HEAD[:20])
            assert await another.rest() == b""
        client.send(b"dy")
        assert await client.answer()
        assert await client.ask()


async def test_over_the_limit_the_connection_that_is_idle_for_longest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    async with serving(SOON) as connect:
        first, second = await connect(), await connect()
        assert await second.ask()
        assert await first.ask()  # so the second is idle for longer
        third = await connect()
        assert await third.ask()
        with suppress(ConnectionResetError):
            assert await second.rest() == b""
        assert await first.ask()


async def test_over_the_limit_connections_with_a_request_stay_and_a_new_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    async with serving(SOON) as connect:
        busy = await connect()
        assert await busy.ask()
        busy.send(HEAD + b"bo")
        await asyncio.sleep(0)  # the head leaves before the next client connects
        assert await closes(await connect())
        busy.send(b"dy")
        assert await busy.answer()


async def test_over_the_limit_the_address_with_the_most_connections_loses_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
    async with serving(SOON) as connect:
        alone = await connect("127.0.0.2")
        assert await alone.ask()
        first, second = await connect(), await connect()
        assert await first.ask()
        assert await second.ask()
        first.send(HEAD[:20])  # the beginning of a request is still a wait for a request
        third = await connect()
        assert await third.ask()
        with suppress(ConnectionResetError):
            assert await first.rest() == b""
        assert await second.ask()
        assert await alone.ask()


async def test_clients_that_do_not_read_their_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNREAD", 1)
    async with serving(SOON, answer="seen" * (1 << 21)) as connect:
        first = await connect()
        first.send(HEAD + b"body")
        await first.reader.readexactly(1)  # most of the answer is on its way now, and nobody reads it
        second = await connect()
        second.send(HEAD + b"body")
        await second.reader.readexactly(1)
        with suppress(ConnectionResetError):
            assert len(await first.rest()) < 1 << 23
        async with asyncio.timeout(SOON):
            assert await second.reader.readexactly(1 << 23)


async def closes(client: Client) -> bool:
    """Whether a new connection is closed at once."""
    with suppress(ConnectionResetError, asyncio.IncompleteReadError):
        client.send(HEAD + b"body")
        await client.answer()
        return False
    return True

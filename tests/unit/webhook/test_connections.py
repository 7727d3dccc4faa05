"""Connections whose requests come slowly, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

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
async def connected(head_seconds: float = HEAD_SECONDS) -> AsyncIterator[Client]:
    async def seen(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(text="seen")

    runner = web.ServerRunner(HttpServer(seen, head_seconds), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await runner.cleanup()


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

"""Connections whose requests come slowly, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from sekisho.webhook import backlog, connections, open_connections, received
from sekisho.webhook.backlog import MAX_IN_A_TURN
from sekisho.webhook.http_server import HttpServer
from sekisho.webhook.replies import reply

SOON = 20
HEAD_SECONDS = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
SECRET = "/a/secret"


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
    head_seconds: float = HEAD_SECONDS,
    answer: str = "seen",
    at_once: Callable[[str, bytes, float], bytes | None] | None = None,
    on_head: Callable[[], None] = lambda: None,
    is_known: Callable[[str], bool] = lambda target: False,
) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """A server that always gives this answer, and what connects a client to it from an address.

    at_once: answers requests with a known head. Then the server's other answers are "BODY was seen".
    on_head: called when the handler begins, which is when aiohttp has a head.
    is_known: whether a target is one that only the API server knows.
    """

    async def seen(request: web.BaseRequest) -> web.StreamResponse:
        on_head()
        body = await request.read()
        if at_once is not None:
            return reply(request, body + b" was seen", is_last=False)
        return web.Response(text=answer)

    clients: list[Client] = []

    async def connect(address: str = "127.0.0.1") -> Client:
        clients.append(Client(*await asyncio.open_connection(*runner.addresses[0][:2], local_addr=(address, 0))))
        return clients[-1]

    runner = web.ServerRunner(HttpServer(seen, head_seconds, at_once, is_known), shutdown_timeout=0.1)
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


async def test_connection_with_half_a_head_is_closed() -> None:
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
    monkeypatch.setattr(open_connections, "MAX_CONNECTIONS", 2)
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
    monkeypatch.setattr(open_connections, "MAX_CONNECTIONS", 1)
    async with serving(SOON) as connect:
        busy = await connect()
        assert await busy.ask()
        busy.send(HEAD + b"bo")
        await asyncio.sleep(0)  # the head leaves before the next client connects
        assert await closes(await connect())
        busy.send(b"dy")
        assert await busy.answer()


async def test_over_the_limit_requests_of_one_address_do_not_keep_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_connections, "MAX_UNKNOWN", 3)
    async with serving(SOON) as connect:
        busy = [await connect() for _ in range(3)]
        for client in busy:
            assert await client.ask()
            client.send(HEAD + b"bo")
        await asyncio.sleep(0)  # the heads leave before the next client connects
        assert await closes(await connect())
        alone = await connect("127.0.0.2")
        assert await alone.ask()
        with suppress(ConnectionResetError):
            assert await busy[0].rest() == b""
        assert await closes(await connect())  # although the only connection that waits is at the other address
        assert await alone.ask()
        for client in busy[1:]:
            client.send(b"dy")
            assert await client.answer()


async def test_over_the_limit_the_address_with_the_most_connections_loses_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_connections, "MAX_CONNECTIONS", 3)
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


async def test_connections_that_the_api_server_has_opened_are_not_closed_for_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_connections, "MAX_UNKNOWN", 1)
    async with serving(SOON, at_once=echo, is_known=lambda target: target == f"{SECRET}?timeout=3s") as connect:
        known = [await connect() for _ in range(1)]
        known[0].send(post(b"first", path=SECRET))
        await known[0].answer()
        other = await connect()
        other.send(post(b"first"))
        await other.answer()  # of all, the API server's connections wait for longest
        another = await connect()
        another.send(post(b"first"))
        assert (await another.answer()).endswith(b"first was seen")
        with suppress(ConnectionResetError):
            assert await other.rest() == b""
        known.append(await connect())  # there is room for it: another one is closed
        for client in known:
            client.send(post(b"more", path=SECRET))
            assert (await client.answer()).endswith(b"seen")


async def test_client_that_does_not_read_its_answers_gets_no_more_until_it_does() -> None:
    heads = 0

    def note_head() -> None:
        nonlocal heads
        heads += 1

    async with serving(SOON, on_head=note_head, at_once=lambda target, body, started: None) as connect:
        lazy, alone = await connect(), await connect("127.0.0.2")
        lazy.send(post(bytes(32_000)) * 1000)  # asyncio reads few of the answers before somebody asks for them
        answered, others = -1, 0
        async with asyncio.timeout(SOON):
            while answered < heads - others:
                answered = heads - others
                for _ in range(50):
                    await alone.ask()
                others += 50
        assert 0 < answered < 500
        for _ in range(1000):
            await lazy.answer()
    assert heads - others == 1000


async def test_clients_that_do_not_read_their_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_connections, "MAX_UNREAD", 1)
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


def echo(target: str, body: bytes, started: float) -> bytes | None:
    """The answer to requests with a known head; only the server's handler can answer the body "wait"."""
    return None if body == b"wait" else target.encode() + b" at once " + body + b" seen"


def post(body: bytes, *headers: bytes, path: str = "/a") -> bytes:
    """A request as the API server writes it, apart from more headers."""
    lines = (
        b"POST %s?timeout=3s HTTP/1.1" % path.encode(),
        b"Host: a",
        b"Content-Length: %d" % len(body),
        *headers,
        b"",
        body,
    )
    return b"\r\n".join(lines)


@asynccontextmanager
async def with_known_head() -> AsyncIterator[Client]:
    """A client whose head the server knows."""
    async with serving(SOON, at_once=echo) as connect:
        client = await connect()
        client.send(post(b"first"))
        assert (await client.answer()).endswith(b"first was seen")
        yield client


async def test_request_with_a_known_head_is_answered_at_once() -> None:
    async with with_known_head() as client:
        client.send(post(b"another body"))
        answer = await client.answer()
        client.send(post(b"wait"))
        usual = await client.answer()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"/a?timeout=3s at once another body seen"
    assert usual.endswith(b"\r\n\r\nwait was seen")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert [line.partition(b":")[0] for line in head.split(b"\r\n")] == [
        line.partition(b":")[0] for line in usual.partition(b"\r\n\r\n")[0].split(b"\r\n")
    ]


async def test_request_after_one_that_was_not_answered_at_once_is_again() -> None:
    async with with_known_head() as client:
        client.send(post(b"wait"))
        assert (await client.answer()).endswith(b"wait was seen")
        client.send(post(b"more"))
        assert (await client.answer()).endswith(b" at once more seen")


async def test_known_head_is_recognized_once_the_first_request_of_the_connection_is_answered() -> None:
    async with serving(SOON, at_once=echo) as connect:
        for _ in range(2):
            client = await connect()
            client.send(post(b"first"))
            assert (await client.answer()).endswith(b"first was seen")
            client.send(post(b"more"))
            assert (await client.answer()).endswith(b" at once more seen")


@pytest.mark.parametrize("cut", [1, len(post(b"long body")) - len(b"long body") - 1, len(post(b"long body")) - 4])
async def test_request_with_a_known_head_may_come_in_parts(cut: int) -> None:
    sent = post(b"long body")
    async with with_known_head() as client:
        client.send(sent[:cut])
        await asyncio.sleep(0)  # what was sent leaves before the rest is there
        client.send(sent[cut:])
        assert b"long body" in await client.answer()


@pytest.mark.parametrize("header", [b"X-Other: 1", b"Content-Length: 4", b"Transfer-Encoding: chunked"])
async def test_request_with_another_head_goes_to_aiohttp(header: bytes) -> None:
    async with with_known_head() as client:
        client.send(post(b"body", header))
        answer = await client.answer() if header.startswith(b"X-") else await client.rest()
        assert b"at once" not in answer
        assert answer.split()[1] == (b"200" if header.startswith(b"X-") else b"400")


async def test_chunked_request_makes_no_head_known() -> None:
    chunked = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    async with serving(SOON, at_once=echo) as connect:
        client = await connect()
        for _ in range(2):
            client.send(chunked)
            assert (await client.answer()).endswith(b"body was seen")


async def test_requests_in_one_piece_are_answered_in_their_order() -> None:
    async with with_known_head() as client:
        client.send(post(b"one") + post(b"two") + post(b"three")[:-2])
        assert (await client.answer()).endswith(b"one was seen")
        assert (await client.answer()).endswith(b"two was seen")
        client.send(b"ee" + post(b"four"))
        assert (await client.answer()).endswith(b"three was seen")
        assert (await client.answer()).endswith(b"four was seen")


async def test_slow_rest_of_a_known_head_goes_to_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "ARRIVE_SECONDS", 0.01)
    await hand_over_to_aiohttp()


async def test_rests_of_known_heads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MAX_ARRIVING", 0)
    await hand_over_to_aiohttp()


async def hand_over_to_aiohttp() -> None:
    """Send a part of a request with a known head, and the rest when aiohttp has got the part."""
    handed_over = asyncio.Event()
    async with serving(SOON, at_once=echo, on_head=handed_over.set) as connect:
        client = await connect()
        client.send(post(b"first"))
        await client.answer()
        handed_over.clear()
        client.send(post(b"slow")[:-2])
        async with asyncio.timeout(SOON):
            await handed_over.wait()
        client.send(b"ow")
        assert (await client.answer()).endswith(b"slow was seen")
        client.send(post(b"more"))
        assert (await client.answer()).endswith(b" at once more seen")


async def test_connection_whose_requests_are_answered_at_once_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.4)
    async with with_known_head() as client:
        end = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < end:
            client.send(post(b"more"))
            assert (await client.answer()).endswith(b" at once more seen")
        assert await client.rest() == b""  # idle now, and closed in time


async def test_connection_that_was_answered_at_once_has_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_connections, "MAX_CONNECTIONS", 2)
    async with serving(SOON, at_once=echo) as connect:
        first, second = await connect(), await connect()
        for client in (first, second, first):
            client.send(post(b"more"))
            await client.answer()
        third = await connect()
        third.send(post(b"more"))
        await third.answer()
        with suppress(ConnectionResetError):
            assert await second.rest() == b""
        first.send(post(b"more"))
        assert (await first.answer()).endswith(b" at once more seen")


@pytest.mark.parametrize("is_known", [True, False], ids=["at once", "by aiohttp"])
async def test_requests_that_arrive_together_are_answered_in_turns_by_address(*, is_known: bool) -> None:
    answered: list[bytes] = []

    def noting(target: str, body: bytes, started: float) -> bytes | None:
        answered.append(body)
        return echo(target, body, started) if is_known else None

    async with serving(SOON, at_once=noting) as connect:
        many = [await connect() for _ in range(100)]
        alone = await connect("127.0.0.2")
        for client in (*many, alone):
            client.send(post(b"first"))
            await client.answer()
        answered.clear()
        for client in (*many, alone):
            client.send(post(b"alone" if client is alone else b"many"))  # asyncio sends it without a turn of the loop
        for client in (*many, alone):
            await client.answer()
    assert len(answered) == 101
    assert answered.index(b"alone") <= 2 * MAX_IN_A_TURN


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "by aiohttp"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new connection", "kept connection"])
async def test_requests_of_the_api_server_go_before_a_crowd_at_its_address(*, is_at_once: bool, is_new: bool) -> None:
    answered: list[bytes] = []

    async def note_answer(client: Client, name: bytes) -> None:
        await client.answer()
        answered.append(name)

    def at_once(target: str, body: bytes, started: float) -> bytes | None:
        return echo(target, body, started) if is_at_once else None

    async with serving(SOON, at_once=at_once, is_known=lambda target: target == f"{SECRET}?timeout=3s") as connect:
        many = [await connect() for _ in range(100)]
        known, unknown = await connect(), await connect()
        for client in many if is_new else (*many, known, unknown):
            client.send(post(b"first", path=SECRET if client is known else "/a"))
            await client.answer()
        for client in many:
            client.send(post(b"many"))  # asyncio sends it without a turn of the loop
        known.send(post(b"known", path=SECRET))
        unknown.send(post(b"unknown"))
        names = {known: b"known", unknown: b"unknown"}
        clients = (*many, known, unknown)
        await asyncio.gather(*(note_answer(client, names.get(client, b"many")) for client in clients))
    assert answered.index(b"known") <= 5 * MAX_IN_A_TURN
    assert answered.index(b"unknown") >= 100 - 5 * MAX_IN_A_TURN


async def test_requests_of_others_are_answered_beside_many_of_the_api_server() -> None:
    answered: list[bytes] = []

    def noting(target: str, body: bytes, started: float) -> bytes | None:
        answered.append(body)
        return echo(target, body, started)

    async with serving(SOON, at_once=noting, is_known=lambda target: target.startswith(SECRET)) as connect:
        many = [await connect() for _ in range(100)]
        alone = await connect()
        for client in (*many, alone):
            client.send(post(b"first", path="/a" if client is alone else SECRET))
            await client.answer()
        answered.clear()
        alone.send(post(b"alone"))
        for client in many:
            client.send(post(b"many", path=SECRET))
        for client in (*many, alone):
            await client.answer()
    assert answered.index(b"alone") <= 3 * MAX_IN_A_TURN


async def test_connections_that_are_closed_at_once_leave_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    lost: list[int] = []
    all_lost = asyncio.Event()
    connection_lost = connections.Connection.connection_lost

    def noting(connection: connections.Connection, exc: BaseException | None) -> None:
        lost.append(rounds)
        connection_lost(connection, exc)
        if len(lost) == 100:
            all_lost.set()

    async def count() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)  # one round of the loop, which is what is counted
            rounds += 1

    monkeypatch.setattr(connections.Connection, "connection_lost", noting)
    async with serving(SOON, at_once=echo) as connect:
        many = [await connect() for _ in range(100)]
        alone = await connect()
        for client in many:
            client.send(post(b"first"))
            await client.answer()
        counting = asyncio.create_task(count())
        for client in many:
            client.writer.transport.abort()
        async with asyncio.timeout(SOON):
            await all_lost.wait()
        counting.cancel()
        alone.send(post(b"alone"))
        assert (await alone.answer()).endswith(b"alone was seen")
    assert max(map(lost.count, lost)) <= 2 * MAX_IN_A_TURN


async def test_little_of_a_large_read_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    data_received = connections.Connection.data_received

    def noting(connection: connections.Connection, data: bytes) -> None:
        parsed.append(len(data))
        data_received(connection, data)

    monkeypatch.setattr(connections.Connection, "data_received", noting)
    async with serving(SOON, at_once=echo) as connect:
        client = await connect()
        head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n" + post(b"after"))
        assert (await client.answer()).endswith(b"x" * 40_000 + b" was seen")
        assert (await client.answer()).endswith(b"after was seen")
    assert sum(parsed) > 240_000
    assert max(parsed) <= received.PIECE_BYTES


@pytest.mark.parametrize(("connections", "requests"), [(1, 400), (50, 8)])
async def test_requests_of_which_many_arrive_in_one_read_take_turns_with_others(
    connections: int, requests: int
) -> None:
    answered = 0
    answered_before_alone: list[int] = []

    def note_head() -> None:
        nonlocal answered
        answered += 1
        if answered == 100 + connections:
            alone.send(post(b"alone"))  # asyncio sends it without a turn of the loop

    def noting(target: str, body: bytes, started: float) -> bytes | None:
        if body == b"alone":
            answered_before_alone.append(answered - 100 - connections)
            return echo(target, body, started)
        return None

    async with serving(SOON, at_once=noting, on_head=note_head) as connect:
        alone = await connect("127.0.0.2")
        alone.send(post(b"first"))
        await alone.answer()
        many = [await connect() for _ in range(connections)]
        for client in many:
            client.send(b"".join(post(b"%d" % number) for number in range(requests)))
        assert (await alone.answer()).endswith(b" at once alone seen")
        for client in many:
            for number in range(requests):
                assert (await client.answer()).endswith(b"\r\n\r\n%d was seen" % number)
    assert answered == 1 + connections * requests
    assert answered_before_alone[0] <= 4 * MAX_IN_A_TURN


async def test_little_is_read_of_connections_whose_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    buffer_updated = received.Received.buffer_updated

    def noting(connection: received.Received, nbytes: int) -> None:
        sizes.append(nbytes)
        buffer_updated(connection, nbytes)

    released = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        if await request.read() == b"wait":
            await released.wait()
        return web.Response(text="seen")

    monkeypatch.setattr(received.Received, "buffer_updated", noting)
    runner = web.ServerRunner(HttpServer(wait, SOON), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    many = [Client(*await asyncio.open_connection(*runner.addresses[0][:2])) for _ in range(8)]
    alone = Client(*await asyncio.open_connection(*runner.addresses[0][:2], local_addr=("127.0.0.2", 0)))
    for client in many:
        client.send(post(b"wait") + post(b"more") * 50_000)  # 3.7 MB
    for _ in range(100):
        assert await alone.ask()
    assert sum(sizes) < len(many) * 4 * received.READ_BYTES
    released.set()
    for client in many:
        assert (await client.answer()).endswith(b"seen")
        client.writer.transport.abort()
    alone.writer.close()
    await runner.cleanup()


async def test_bodies_behind_a_request_that_waits_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    data_received = connections.Connection.data_received

    def noting(connection: connections.Connection, data: bytes) -> None:
        parsed.append(len(data))
        data_received(connection, data)

    released = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if body == b"wait":
            await released.wait()
        return web.Response(text=f"{len(body)} seen")

    monkeypatch.setattr(connections.Connection, "data_received", noting)
    runner = web.ServerRunner(HttpServer(wait, SOON), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    many = [Client(*await asyncio.open_connection(*runner.addresses[0][:2])) for _ in range(4)]
    alone = Client(*await asyncio.open_connection(*runner.addresses[0][:2], local_addr=("127.0.0.2", 0)))
    for client in many:
        client.send(post(b"wait") + post(bytes(60_000)) * 20)
    for _ in range(100):
        assert await alone.ask()
    assert sum(parsed) <= len(many) * received.PIECE_BYTES + 100 * len(HEAD + b"body")
    released.set()
    for client in many:
        for length in (4, *(60_000,) * 20):
            assert (await client.answer()).endswith(b"\r\n\r\n%d seen" % length)
    for client in (*many, alone):
        client.writer.close()
    await runner.cleanup()


async def test_requests_that_wait_on_a_connection_that_is_closed_are_not_answered() -> None:
    answered = 0

    def note_head() -> None:
        nonlocal answered
        answered += 1
        if answered == 20:
            for client in many:
                client.writer.transport.abort()

    async with serving(SOON, on_head=note_head) as connect:
        alone = await connect("127.0.0.2")
        many = [await connect() for _ in range(20)]
        for client in many:
            client.send((HEAD + b"body") * 50)
        for client in many:
            assert (await client.rest()).count(b"seen") < 50
        assert await alone.ask()
    assert answered < 500


async def test_body_that_arrives_in_many_parts_beside_others_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MAX_IN_A_TURN", 1)
    body = bytes(range(256)) * 4000
    async with serving(SOON, at_once=echo) as connect:
        clients = [await connect() for _ in range(8)]
        for client in clients:
            client.send(post(body))
        for client in clients:
            async with asyncio.timeout(SOON):
                await client.reader.readuntil(b"\r\n\r\n")
                assert await client.reader.readexactly(len(body) + len(b" was seen")) == body + b" was seen"

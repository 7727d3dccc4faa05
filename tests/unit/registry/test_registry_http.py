"""How registries are reached: own authorities, and proxies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from yarl import URL

from sekisho.registry import RegistryError, Repository, tls_context
from sekisho.registry.http import HttpClient
from tests.serving_certificates import pem
from tests.unit.registry.registry_server import CA, NAME, Registry, client_of, serving, settings_for_tests


@asynccontextmanager
async def proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP proxy for CONNECT on loopback: its address, and the request lines that it got."""
    lines: list[str] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.partition(b"\r\n")[0].decode())
        host, _, port = lines[-1].split()[1].rpartition(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", lines
    finally:
        server.close()


async def test_proxy_is_used_except_for_hosts_without_one() -> None:
    registry = Registry()
    async with serving(registry), proxy() as (address, lines):
        digest = registry.image("1.2")
        for without, used in (("", True), ("127.0.0.1", False)):
            settings = settings_for_tests(proxies={"https": address, "no": without})
            async with client_of(settings=settings) as client:
                assert await client.digest(registry.repository, "1.2") == digest
            assert lines == ([f"CONNECT {registry.host} HTTP/1.1"] if used else [])
            lines.clear()


async def test_no_proxy_gets_a_request_for_a_denied_address() -> None:
    async with proxy() as (address, lines):
        settings = settings_for_tests(proxies={"https": address}, allowed_networks=())
        async with client_of(settings=settings) as client:
            for host in ("127.0.0.1:1", "169.254.169.254", "[::1]", "localhost"):
                with pytest.raises(RegistryError, match="cannot be reached"):
                    await client.digest(Repository(host, NAME), "1.2")
        assert lines == []


def test_own_authorities_must_be_pem() -> None:
    assert tls_context(pem(CA).decode())
    with pytest.raises(ValueError, match="not certificates in PEM"):
        tls_context("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


async def test_requests_start_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of requests leaves rounds of the event loop to other work."""
    started: list[int] = []
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    send = HttpClient._send  # noqa: SLF001

    async def sending(self: HttpClient, *arguments: Any) -> Any:
        started.append(rounds)
        return await send(self, *arguments)

    monkeypatch.setattr(HttpClient, "_send", sending)
    async with serving(registry := Registry()), client_of() as client:
        registry.image("1.2")
        counting = asyncio.create_task(count())
        await asyncio.gather(*(client.digest(registry.repository, "1.2") for _ in range(8)))
        counting.cancel()
    assert len(set(started)) == len(started) == 8


async def test_namespaces_take_turns_at_starting_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    send = HttpClient._send  # noqa: SLF001

    async def sending(self: HttpClient, method: str, url: URL, *arguments: Any) -> Any:
        started.append(url.name)
        return await send(self, method, url, *arguments)

    monkeypatch.setattr(HttpClient, "_send", sending)
    async with serving(registry := Registry()), client_of() as client:
        for tag in ("many", "few"):
            registry.image(tag)
        many = [client.acting_for("many").digest(registry.repository, "many") for _ in range(50)]
        few = [client.acting_for("few").digest(registry.repository, "few") for _ in range(2)]
        await asyncio.gather(*many, *few)
    assert len(started) == 52
    assert [index for index, name in enumerate(started) if name == "few"][-1] <= 6

"""How the client authenticates: anonymous, basic, by tokens, and with several credentials."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from sekisho.registry import Credential, Failure, RegistryError
from sekisho.registry.challenges import Challenge, parse_challenges
from tests.unit.registry.registry_server import Misbehaviour, Registry, client_of, serving

BOT, OTHER = Credential("bot", "secret"), Credential("other", "wrong")


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with serving(registry):
        registry.image("1.2")
        yield registry


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_credential_is_used(registry: Registry, scheme: str) -> None:
    registry.scheme, registry.users = scheme, {"bot": "secret"}
    async with client_of(lambda *_: (BOT,)) as client:
        assert await client.digest(registry.repository, "1.2")


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [(), (OTHER,)])
async def test_registry_that_allows_nothing_denies(
    registry: Registry, scheme: str, credentials: Sequence[Credential]
) -> None:
    registry.scheme, registry.users = scheme, {"bot": "secret"}
    async with client_of(lambda *_: credentials) as client:
        with pytest.raises(RegistryError) as caught:
            await client.digest(registry.repository, "1.2")
    assert caught.value.failure is Failure.DENIED
    assert "secret" not in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_each_matching_credential_is_tried(registry: Registry, scheme: str) -> None:
    registry.scheme, registry.users = scheme, {"bot": "secret"}
    async with client_of(lambda *_: (OTHER, BOT)) as client:
        assert await client.digest(registry.repository, "1.2")


async def test_anonymous_token_is_enough_where_the_repository_is_public(registry: Registry) -> None:
    registry.scheme = "bearer"
    async with client_of() as client:
        assert await client.digest(registry.repository, "1.2")
    assert [one.authorization for one in registry.requests] == [None, None, "Bearer token-of-anonymous-0"]
    assert registry.requests[1].path == "/token?scope=repository:acme/pay:pull&service=registry"


async def test_token_is_used_for_later_requests(registry: Registry) -> None:
    registry.scheme, registry.users = "bearer", {"bot": "secret"}
    async with client_of(lambda *_: (BOT,)) as client:
        for _ in range(3):
            await client.digest(registry.repository, "1.2")
    assert sum(one.path.startswith("/token") for one in registry.requests) == 1
    assert len(registry.requests) == 5


async def test_requests_at_the_same_time_share_one_token(registry: Registry) -> None:
    registry.scheme, registry.users = "bearer", {"bot": "secret"}
    async with client_of(lambda *_: (BOT,)) as client:
        await asyncio.gather(*(client.digest(registry.repository, "1.2") for _ in range(10)))
    assert sum(one.path.startswith("/token") for one in registry.requests) == 1


async def test_token_that_ended_is_replaced(registry: Registry) -> None:
    registry.scheme, registry.users = "bearer", {"bot": "secret"}
    async with client_of(lambda *_: (BOT,)) as client:
        await client.digest(registry.repository, "1.2")
        registry.tokens.clear()
        assert await client.digest(registry.repository, "1.2")


async def test_changed_credential_is_used_from_the_next_request_on(registry: Registry) -> None:
    registry.scheme, registry.users = "basic", {"bot": "secret"}
    credentials = [BOT]
    async with client_of(lambda *_: credentials) as client:
        await client.digest(registry.repository, "1.2")
        registry.users = {"bot": "rotated"}
        credentials[:] = [Credential("bot", "rotated")]
        assert await client.digest(registry.repository, "1.2")
        credentials.clear()
        with pytest.raises(RegistryError, match="without credentials"):
            await client.digest(registry.repository, "1.2")


async def test_credential_goes_to_no_registry_but_its_own(registry: Registry) -> None:
    async with serving(other := Registry()):
        other.image("1.2")
        other.scheme, other.users = "basic", {"bot": "secret"}
        registry.scheme, registry.users = "basic", {"bot": "secret"}
        async with client_of(lambda host, _: (BOT,) if host == registry.host else ()) as client:
            assert await client.digest(registry.repository, "1.2")
            with pytest.raises(RegistryError, match="without credentials"):
                await client.digest(other.repository, "1.2")
    assert {one.authorization for one in other.requests} == {None}


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1/token", "token", "", "https://[::1", "https://u:p@127.0.0.1/token"]
)
async def test_token_service_must_have_an_https_address(registry: Registry, realm: str) -> None:
    registry.scheme, registry.users, registry.token_service = "bearer", {"bot": "secret"}, realm or "x"
    async with client_of(lambda *_: (BOT,)) as client:
        with pytest.raises(RegistryError, match="token service that is not an https address"):
            await client.digest(registry.repository, "1.2")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:0.0.0.0]"])
async def test_token_service_must_have_an_address_that_is_allowed(registry: Registry, host: str) -> None:
    registry.scheme, registry.token_service = "bearer", f"https://{host}/token"
    async with client_of() as client:
        with pytest.raises(RegistryError, match="cannot be reached"):
            await client.digest(registry.repository, "1.2")


async def test_token_service_of_another_host_gets_the_credential(registry: Registry) -> None:
    async with serving(service := Registry()):
        registry.scheme, registry.token_service = "bearer", f"https://{service.host}/token"
        service.users, service.tokens = {"bot": "secret"}, registry.tokens
        async with client_of(lambda *_: (BOT,)) as client:
            assert await client.digest(registry.repository, "1.2")
        assert [one.authorization for one in service.requests] == [BOT.basic]


async def test_token_service_cannot_redirect(registry: Registry) -> None:
    async with serving(other := Registry()):
        registry.scheme, registry.users = "bearer", {"bot": "secret"}
        registry.misbehave["GET", "/token"] = answering(307, Location=f"https://{other.host}/token")
        async with client_of(lambda *_: (BOT,)) as client:
            with pytest.raises(RegistryError, match="redirects too often"):
                await client.digest(registry.repository, "1.2")
        assert other.requests == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "sent no token"),
        (b"{}", "sent no token"),
        (b'{"token": ""}', "sent no token"),
        (b'{"token": "a\\r\\nX-Evil: 1"}', "sent no token"),
        (b"[" * 60_000, "sent no token"),
        (b'{"token": "' + b"a" * 70_000 + b'"}', "more than 65,536 bytes"),
    ],
)
async def test_token_service_must_send_a_token(registry: Registry, body: bytes, why: str) -> None:
    registry.scheme = "bearer"
    registry.misbehave["GET", "/token"] = answering(200, body)
    async with client_of() as client:
        with pytest.raises(RegistryError, match=why):
            await client.digest(registry.repository, "1.2")


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Bearer realm="https://a/token",service="a"', [("bearer", {"realm": "https://a/token", "service": "a"})]),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b", Bearer realm=x', [("basic", {"realm": "a, b"}), ("bearer", {"realm": "x"})]),
        ('bearer REALM = "a\\"b"', [("bearer", {"realm": 'a"b'})]),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="unfinished', [("bearer", {})]),
        ("", []),
        ("=,=", []),
    ],
)
def test_challenges_are_parsed(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    expected = tuple(Challenge(scheme, parameters) for scheme, parameters in challenges)
    assert parse_challenges([header]) == expected


def answering(status: int, body: bytes = b"", **headers: str) -> Misbehaviour:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer

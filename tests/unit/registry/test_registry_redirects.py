"""Redirects of registries: followed to addresses that are allowed, and never with credentials for another host."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sekisho.registry import Credential, Failure, RegistryError
from sekisho.registry.manifests import Descriptor
from tests.serving_certificates import make
from tests.unit.registry.registry_server import Misbehaviour, Registry, client_of, digest_of, serving

PAYLOAD = b"payload"
BLOB = f"blobs/{digest_of(PAYLOAD)}"
LAYER = Descriptor(digest_of(PAYLOAD), len(PAYLOAD))


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with serving(registry):
        registry.blobs[digest_of(PAYLOAD)] = PAYLOAD
        yield registry


@pytest.fixture
async def storage() -> AsyncIterator[Registry]:
    storage = Registry()
    async with serving(storage):
        storage.blobs[digest_of(PAYLOAD)] = PAYLOAD
        yield storage


def redirect(location: str, status: int = 307) -> Misbehaviour:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return answer


def path_of(registry: Registry) -> tuple[str, str]:
    return ("GET", f"/v2/{registry.repository.name}/{BLOB}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_blob_is_read_from_where_the_registry_redirects_to(
    registry: Registry, storage: Registry, status: int
) -> None:
    registry.misbehave[path_of(registry)] = redirect(f"https://{storage.host}{path_of(storage)[1]}", status)
    async with client_of() as client:
        assert await client.blob(registry.repository, LAYER) == PAYLOAD


async def test_credentials_do_not_follow_a_redirect(registry: Registry, storage: Registry) -> None:
    registry.scheme, registry.users = "basic", {"bot": "secret"}
    credential = Credential("bot", "secret")

    async def away(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return web.Response(status=307, headers={"Location": f"https://{storage.host}{path_of(storage)[1]}"})

    registry.misbehave[path_of(registry)] = away
    async with client_of(lambda *_: (credential,)) as client:
        assert await client.blob(registry.repository, LAYER) == PAYLOAD
    assert [one.authorization for one in registry.requests] == [None, credential.basic]
    assert [one.authorization for one in storage.requests] == [None]


async def test_credentials_follow_a_redirect_within_the_registry(registry: Registry) -> None:
    credential = Credential("bot", "secret")
    registry.scheme, registry.users = "basic", {"bot": "secret"}
    registry.misbehave["GET", "/v2/acme/pay/blobs/" + digest_of(b"moved")] = redirect(path_of(registry)[1])
    async with client_of(lambda *_: (credential,)) as client:
        await client.blob(registry.repository, LAYER)  # authenticates
        with pytest.raises(RegistryError, match="sent more than 5 bytes"):
            await client.blob(registry.repository, Descriptor(digest_of(b"moved"), 5))
    assert registry.requests[-1].authorization == credential.basic


async def test_credentials_are_not_sent_again_when_another_host_redirects_back(
    registry: Registry, storage: Registry
) -> None:
    credential = Credential("bot", "secret")
    registry.scheme, registry.users = "basic", {"bot": "secret"}
    back = digest_of(b"back")
    storage.misbehave["GET", "/away"] = redirect(f"https://{registry.host}/v2/acme/pay/{BLOB}?back")
    async with client_of(lambda *_: (credential,)) as client:
        await client.blob(registry.repository, LAYER)
        registry.misbehave["GET", f"/v2/acme/pay/blobs/{back}"] = redirect(f"https://{storage.host}/away")
        with pytest.raises(RegistryError):
            await client.blob(registry.repository, Descriptor(back, 4))
    assert [one.authorization for one in registry.requests if one.path.endswith("?back")] == [None]


async def test_other_host_cannot_ask_for_credentials(registry: Registry, storage: Registry) -> None:
    credential = Credential("bot", "secret")
    storage.scheme, storage.users = "basic", {"bot": "secret"}
    registry.misbehave[path_of(registry)] = redirect(f"https://{storage.host}{path_of(storage)[1]}")
    async with client_of(lambda *_: (credential,)) as client:
        with pytest.raises(RegistryError, match="status 401"):
            await client.blob(registry.repository, LAYER)
    assert [one.authorization for one in storage.requests] == [None]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/v2/",
        "ftp://127.0.0.1/v2/",
        "file:///etc/passwd",
        "https://user:password@127.0.0.1/",
        "https://[::1",
        "",
    ],
)
async def test_redirect_to_something_else_than_https_is_not_followed(registry: Registry, location: str) -> None:
    registry.misbehave[path_of(registry)] = redirect(location)
    async with client_of() as client:
        with pytest.raises(RegistryError) as caught:
            await client.blob(registry.repository, LAYER)
    assert caught.value.failure is Failure.INVALID


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.1", "168.63.129.16", "2130706433", "0x7f.1"],
)
async def test_redirect_to_an_address_that_is_denied_is_not_followed(registry: Registry, host: str) -> None:
    registry.misbehave[path_of(registry)] = redirect(f"https://{host}/latest/meta-data")
    async with client_of() as client:
        with pytest.raises(RegistryError, match="cannot be reached"):
            await client.blob(registry.repository, LAYER)


async def test_nothing_is_said_about_the_certificate_of_another_host(registry: Registry) -> None:
    """A registry that sends us to hosts of its choice must not learn from denials what answers there."""
    async with serving(hidden := Registry(), make(names=["127.0.0.1"])):
        registry.misbehave[path_of(registry)] = redirect(f"https://{hidden.host}/")
        observed = []
        async with client_of() as client:
            with pytest.raises(RegistryError) as caught:
                await client.blob(registry.repository, LAYER)
            observed.append(caught.value)
        registry.scheme, registry.token_service = "bearer", f"https://{hidden.host}/token"
        async with client_of() as client:
            with pytest.raises(RegistryError) as caught:
                await client.digest(registry.repository, "1.2")
            observed.append(caught.value)
    expected = f"registry {registry.host} cannot be reached, or its certificate is not trusted"
    assert [str(error) for error in observed] == [expected] * 2
    assert all("Sekisho's log says why" in error.fix for error in observed)


async def test_redirects_are_bounded(registry: Registry) -> None:
    registry.misbehave[path_of(registry)] = redirect(path_of(registry)[1])
    async with client_of() as client:
        with pytest.raises(RegistryError, match="redirects too often"):
            await client.blob(registry.repository, LAYER)
    assert len(registry.requests) == 4

"""HTTP to registries: one request with its redirects, within limits, only to addresses that a registry may have."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import aiohttp
from msgspec import Struct
from yarl import URL

from sekisho.registry.addresses import AddressDeniedError, Network, check_address, check_literal
from sekisho.registry.errors import Failure, RegistryError
from sekisho.turns import Tenants, Turns

logger = logging.getLogger(__name__)

REQUEST_SECONDS: Final = 20.0
"""How long one request may take, with its redirects and its body."""
CONNECT_SECONDS: Final = 5.0
MAX_REDIRECTS: Final = 3
MAX_ERROR_BYTES: Final = 64 << 10
"""The size of an error's body, which is read only so that the connection can be used again."""
MAX_SMALL_BYTES: Final = 64 << 10
"""Before more of an answer's body is received, the one who asked may have it wait for others."""
MAX_WAIT_SECONDS: Final = 5.0
"""How long a large answer waits for other work in all while it is received, and as long before that at most."""
_MIN_PART_BYTES: Final = 4 << 10
"""Smaller parts of an answer are joined as they come: those of a byte each would take forty times their size."""
MAX_LOCATION_LENGTH: Final = 8192
"""Blobs of clouds redirect to signed addresses of over a thousand characters."""
_NO_CONNECTION: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    AddressDeniedError,
)
_UNREACHABLE: Final = (
    "cannot be reached, or its certificate is not trusted",
    "try again; if that does not help, an administrator must let Sekisho reach the registry: Sekisho's log says why",
)
_NOT_TRUSTED: Final = (
    "has a certificate that is not trusted",
    "repair the registry's certificate; Sekisho's log says why",
)
_UNKNOWN_AUTHORITY: Final = (
    "has a certificate that is signed by an unknown authority",
    "an administrator must add the authority by imageVerification.registryCA of the chart, or by --registry-ca-file",
)
_UNTRUSTED: Final = {
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_AUTHORITY),  # self-signed, or without a known issuer
    10: ("has a certificate that has expired", "renew the registry's certificate"),
    **dict.fromkeys((62, 64), ("has a certificate for another name", "name the registry as its certificate does")),
}
"""What is said of a registry whose certificate cannot be verified, and what helps, by the codes of OpenSSL:
https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/"""
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_LIMITS: Final = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)

OnLarge = Callable[[], Awaitable[None]]
"""Awaited once before more than MAX_SMALL_BYTES of an answer are received."""
GiveWay = Callable[[float], Awaitable[None]]
"""Awaited before each part of an answer after MAX_SMALL_BYTES, with the most seconds that it may take."""


async def nothing_to_wait_for() -> None:
    """For answers that are at most as large as their caller expects."""


class Settings(Struct, frozen=True):
    """How registries are reached; all of it is the administrator's.

    allowed_networks: networks that may be connected to although the guard would deny them.
    tls: verifies certificates; None for the system's authorities.
    proxies: proxies by scheme, and the hosts without under `no`, as `getproxies_environment` gives them; None for those
        of the environment.
    """

    allowed_networks: tuple[Network, ...] = ()
    tls: ssl.SSLContext | None = None
    proxies: dict[str, str] | None = None


class Answer(Struct, frozen=True):
    """An answer whose body was read to its end.

    media_type: of the header Content-Type, in lower case, without parameters; empty where there is none.
    parts: the body, as it came: a large one is put together in a thread.
    is_own: whether it comes from the host that was asked, and no other host has redirected on the way.
    """

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    media_type: str
    parts: tuple[bytes, ...]
    is_own: bool

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return sum(map(len, self.parts))

    def body(self) -> bytes:
        """The body. Other threads run while the parts of a large one are put together."""
        return b"".join(self.parts)


def tls_context(authorities: str = "") -> ssl.SSLContext:
    """A context that trusts the system's authorities and these, in PEM. Raises ValueError when these are not PEM."""
    context = ssl.create_default_context()
    # Python 3.13 enabled checks that container runtimes do not make and that some authorities do not pass.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities)
        except ssl.SSLError as error:
            raise ValueError(f"not certificates in PEM: {error.reason or error}") from None
    return context


class HttpClient:
    """One pool of connections for all registries. Make it on the running loop, and end it with `close`.

    Those who send requests bound their number, and so that of the connections.

    give_way: has large answers wait for other work.
    """

    def __init__(self, settings: Settings, give_way: GiveWay) -> None:
        self._give_way = give_way
        self._allowed = settings.allowed_networks
        self._tls = settings.tls if settings.tls is not None else tls_context()
        self._proxies = getproxies_environment() if settings.proxies is None else settings.proxies
        self._direct = self._session(aiohttp.TCPConnector(limit=0, socket_factory=self._socket))
        self._proxied = self._session(aiohttp.TCPConnector(limit=0)) if self._proxies else None
        self._starting = Turns()

    async def close(self) -> None:
        """Close every connection."""
        await self._direct.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def request(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        *,
        registry: str,
        authorization: str | None = None,
        max_bytes: int,
        max_redirects: int = MAX_REDIRECTS,
        tenants: Tenants = "",
        on_large: OnLarge = nothing_to_wait_for,
    ) -> Answer:
        """Send a request and follow its redirects. Raises RegistryError, UNAVAILABLE or INVALID.

        registry: its name, for messages.
        authorization: sent to the host of `url` only, not to others that it redirects to; None sends none.
        max_bytes: of the body of an answer of success; a larger one is an error.
        tenants: the namespaces whose pods need the answer: they take turns.
        """
        origin, is_own = url.origin(), True
        for _ in range(max_redirects + 1):
            own = {"Authorization": authorization} if authorization and is_own else {}
            try:
                check_literal(url.raw_host or "", self._allowed)
                # A hundred together would hold up everything else on the event loop.
                async with self._starting.turn(tenants):
                    await asyncio.sleep(0)
                answer, location = await self._send(method, url, {**headers, **own}, is_own, max_bytes, on_large)
            except _DeniedBodyError as error:
                raise RegistryError(Failure.INVALID, f"registry {registry} sent {error}") from None
            except (aiohttp.ClientError, AddressDeniedError, OSError, ValueError) as error:
                raise _unavailable(error, url, registry, is_own=is_own) from None
            if location is None:
                return answer
            url = _target(url, location, registry)
            is_own = is_own and url.origin() == origin  # another host may redirect back, to an address of its choice
        raise RegistryError(Failure.INVALID, f"registry {registry} redirects too often")

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], is_own: bool, max_bytes: int, on_large: OnLarge
    ) -> tuple[Answer, str | None]:
        """The answer, and the address that it redirects to; None where it does not."""
        proxy = self._proxy(url)
        session = self._direct if proxy is None or self._proxied is None else self._proxied
        async with session.request(
            method, url, headers=headers, proxy=proxy, ssl=self._tls, timeout=_LIMITS, allow_redirects=False
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _DeniedBodyError("a compressed body")
            is_success = response.status < 300
            body = await _read(response, max_bytes if is_success else MAX_ERROR_BYTES, on_large, self._give_way)
            if body is None and is_success:
                raise _DeniedBodyError(f"more than {max_bytes:,} bytes")
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            content_type = response.headers.get("Content-Type", "")
            answer = Answer(
                response.status,
                response.headers,
                tuple(response.headers.getall("WWW-Authenticate", [])),
                content_type.partition(";")[0].strip().lower(),
                body or (),
                is_own,
            )
            return answer, location

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        # A compressed body could be a thousand times larger than what is received, so none is accepted.
        headers = {"User-Agent": "sekisho", "Accept-Encoding": "identity"}
        jar = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar, auto_decompress=False)

    def _proxy(self, url: URL) -> str | None:
        host = f"{url.host}:{url.port}"
        return None if proxy_bypass_environment(host, self._proxies) else self._proxies.get(url.scheme)

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """The socket for an address that a name was resolved to. Raises AddressDeniedError."""
        family, kind, protocol, _, target = address
        check_address(str(target[0]), self._allowed)
        return socket.socket(family, kind, protocol)


class _DeniedBodyError(Exception):
    """The body of an answer cannot be used; the message says what was sent."""


def _unavailable(error: Exception, url: URL, registry: str, *, is_own: bool) -> RegistryError:
    """The error for a registry that cannot be reached, which is logged.

    is_own: whether `url` is at the address that was asked, to which no other host has redirected.
    """
    logger.warning("cannot reach registry %s at %s: %s", registry, url.origin(), _reason_of(error))
    # Only of the registry itself, which an administrator has named: where it sends us next, it must not learn from us
    # which addresses and ports answer.
    code = _certificate_fault(error) if is_own and url.authority == registry else None
    message, fix = _UNREACHABLE if code is None else _UNTRUSTED.get(code, _NOT_TRUSTED)
    is_unconnected = is_own and isinstance(error, _NO_CONNECTION)
    return RegistryError(Failure.UNAVAILABLE, f"registry {registry} {message}", is_unconnected=is_unconnected, fix=fix)


async def _read(
    response: aiohttp.ClientResponse, max_bytes: int, on_large: OnLarge, give_way: GiveWay
) -> tuple[bytes, ...] | None:
    """The parts of the body; None where it is larger than the limit."""
    if response.content_length is not None and response.content_length > max_bytes and response.method != "HEAD":
        return None
    parts: list[bytes] = []
    size = 0
    is_large = False
    pause = MAX_WAIT_SECONDS
    while not response.content.at_eof():
        if is_large and pause > 0:
            began = time.monotonic()
            await give_way(pause)
            pause -= time.monotonic() - began
        chunk = await response.content.readany()  # all that came meanwhile
        size += len(chunk)
        if size > max_bytes:
            return None
        if parts and len(parts[-1]) < _MIN_PART_BYTES:
            parts[-1] += chunk
        else:
            parts.append(chunk)
        if size > MAX_SMALL_BYTES and not is_large:
            is_large = True
            await on_large()
    return tuple(parts)


def _target(url: URL, location: str, registry: str) -> URL:
    """Where a redirect leads. Raises RegistryError."""
    try:
        target = url.join(URL(location[:MAX_LOCATION_LENGTH], encoded=True))
        is_allowed = target.scheme == "https" and bool(target.host) and target.user is None
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise RegistryError(Failure.INVALID, f"registry {registry} redirects to something other than an https address")
    return target


def _certificate_fault(error: Exception) -> int | None:
    """OpenSSL's code of what is wrong with a certificate; None for another error."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return getattr(error.certificate_error, "verify_code", None)
    return None


def _reason_of(error: Exception) -> str:
    """Why a request failed, without the names of aiohttp's objects."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(error) or type(error).__name__

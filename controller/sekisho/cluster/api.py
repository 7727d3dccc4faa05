"""A thin client of the Kubernetes API: paths and bytes in, bytes out."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec

from sekisho.errors import SekishoError

from .clock import ServerClock
from .config import ApiConfig, ConfigError, load_config

__all__ = ["METADATA", "METADATA_LIST", "ApiClient", "ApiError", "ApiUnavailable", "ConfigError"]

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""The `accept` of a GET that needs an object's metadata only."""
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""The `accept` of a list that needs the objects' metadata only; a watch takes `METADATA`."""

REQUEST_SECONDS = 15.0
CREDENTIALS_SECONDS = 60.0
"""Credentials are read again when they are older than this: the kubelet renews tokens in place."""
SILENT_SECONDS = (10, 5, 3)
"""TCP keep-alive: seconds of silence until the first probe, between probes, and the number of probes. Without it a
watch over a broken network path looks like one on which nothing happens."""
MAX_ANSWER_BYTES = 64 << 20
MAX_EVENT_BYTES = 8 << 20
"""An object is at most 1.5 MiB in etcd; the longest line of a watch is far below this."""

_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9:._-]+)+")
"""Paths of objects and collections. Names in them come from users, too: none may be `..`, or have a `/`, `?` or `%`."""
_NO_PARAMS: Mapping[str, str] = {}
_CALL_LIMITS = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=10)


class ApiError(SekishoError):
    """The API server answered with something other than success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        """The HTTP status, say 404."""
        self.reason = reason
        """The machine-readable reason of the Status object, say `NotFound`."""
        self.message = message

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later: the server is overloaded or in trouble."""
        return self.status == 429 or self.status >= 500


class ApiUnavailable(SekishoError):  # noqa: N818 - a condition, not a mistake
    """The API server gave no whole answer: connection refused or broken, timeout, TLS failure, answer too large."""


class AnswerTooLarge(ApiUnavailable):
    """An answer of more bytes than were accepted."""


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""


class ApiClient:
    """One connection pool to one API server. Make it with `connect`, end it with `close`.

    `may_write` is called right before each request that writes; when it returns False, nothing is sent and
    ApiUnavailable is raised.

    kubeconfig, context: None as for `connect`.
    """

    def __init__(
        self,
        config: ApiConfig,
        kubeconfig: Path | None = None,
        may_write: Callable[[], bool] = lambda: True,
        context: str | None = None,
    ) -> None:
        self._config = config
        self._kubeconfig = kubeconfig
        self._context = context
        self._may_write = may_write
        self._loaded_at = time.monotonic()
        self._loading = asyncio.Lock()
        self.clock = ServerClock()
        """The time by this machine and by the API server."""
        connector = aiohttp.TCPConnector(socket_factory=_socket)
        self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": "sekisho"})

    @staticmethod
    async def connect(
        kubeconfig: Path | None, may_write: Callable[[], bool] = lambda: True, context: str | None = None
    ) -> "ApiClient":
        """Make a client from `kubeconfig`; None for the places where `load_config` looks. Sends nothing yet.

        context: one of the kubeconfig's contexts; None for its current one.

        Raises ConfigError.
        """
        return ApiClient(await load_config(kubeconfig, context=context), kubeconfig, may_write, context)

    @property
    def namespace(self) -> str:
        """The namespace that the kubeconfig's context, or the service account, is in."""
        return self._config.namespace

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def get(
        self,
        path: str,
        params: Mapping[str, str] = _NO_PARAMS,
        *,
        accept: str = "application/json",
        max_bytes: int | None = None,
    ) -> bytes:
        """GET `path` (such as /api/v1/namespaces/x), an object or a list.

        Raises ApiError, ApiUnavailable, and of these AnswerTooLarge for an answer of more than `max_bytes`;
        None for MAX_ANSWER_BYTES.
        """
        async with self._response("GET", path, params, {"Accept": accept}) as response:
            return await _read(response, max_bytes)

    async def create(self, path: str, body: bytes, params: Mapping[str, str] = _NO_PARAMS) -> bytes:
        """POST `body` to the collection `path`. Raises ApiError, ApiUnavailable."""
        return await self._call("POST", path, params, {"Content-Type": "application/json"}, body)

    async def replace(self, path: str, body: bytes) -> bytes:
        """PUT `body` over the object at `path`. Raises ApiError, ApiUnavailable."""
        return await self._call("PUT", path, headers={"Content-Type": "application/json"}, body=body)

    async def patch(
        self,
        path: str,
        body: bytes,
        content_type: str = "application/merge-patch+json",
        params: Mapping[str, str] = _NO_PARAMS,
    ) -> bytes:
        """PATCH the object at `path`. Raises ApiError, ApiUnavailable."""
        return await self._call("PATCH", path, params, {"Content-Type": content_type}, body)

    async def delete(self, path: str) -> bytes:
        """DELETE the object at `path`. Raises ApiError (404 where there is none), ApiUnavailable."""
        return await self._call("DELETE", path)

    async def watch(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        accept: str = "application/json",
        stall_seconds: float,
    ) -> AsyncGenerator[bytes, None]:
        """Watch `path`; gives one line, which is one watch event, at a time, until the server ends the watch.

        An incomplete line at the end is dropped. `stall_seconds` bounds the silence between two lines.
        Raises ApiError, ApiUnavailable.
        """
        params = {**params, "watch": "true"}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=stall_seconds)
        async with self._response("GET", path, params, {"Accept": accept}, limits=limits) as response:
            rest = bytearray()
            async for chunk in response.content.iter_any():
                rest += chunk
                if b"\n" in chunk:
                    *lines, last = rest.split(b"\n")
                    rest = last
                    for line in lines:
                        yield bytes(line)
                if len(rest) > MAX_EVENT_BYTES:
                    raise ApiUnavailable(f"watch of {path}: an event of over {MAX_EVENT_BYTES} bytes")

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] = _NO_PARAMS,
        headers: Mapping[str, str] = _NO_PARAMS,
        body: bytes | None = None,
    ) -> bytes:
        async with self._response(method, path, params, headers, body) as response:
            return await _read(response)

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
        limits: aiohttp.ClientTimeout = _CALL_LIMITS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, with fresh credentials once more after a 401, and give the successful response."""
        if not _PATH.fullmatch(path):
            raise ApiUnavailable(f"{method} {path[:200]!r}: not sent, as a name in it would make it another path")
        try:
            for max_age in (CREDENTIALS_SECONDS, 0.0):
                config = await self._credentials(max_age)
                if method != "GET" and not self._may_write():
                    raise ApiUnavailable(f"{method} {path}: not sent, as this process is not the leader any more")
                authorization = {"Authorization": config.authorization} if config.authorization else {}
                async with self._session.request(
                    method,
                    config.host + path,
                    params=params,
                    headers={**headers, **authorization},
                    data=body,
                    timeout=limits,
                    ssl=config.tls,
                    server_hostname=config.server_name,
                    proxy=config.proxy,
                    allow_redirects=False,  # the token must not be sent to another host
                ) as response:
                    self.clock.observe(response.headers.get("Date"))
                    if response.status == 401 and max_age:
                        continue
                    if response.status >= 300:
                        raise await _error_of(response)
                    yield response
                    return
        except TimeoutError as error:
            raise ApiUnavailable(f"{method} {path}: timed out") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"{method} {path}: {_reason_of(error)}") from error

    async def _credentials(self, max_age: float) -> ApiConfig:
        now = time.monotonic()
        if now - self._loaded_at < max_age:
            return self._config
        async with self._loading:
            if self._loaded_at < now:  # else another task loaded them meanwhile
                with suppress(ConfigError):  # a file that is being rewritten: the present ones may still work
                    self._config = await load_config(self._kubeconfig, self._config, self._context)
                self._loaded_at = time.monotonic()
            return self._config


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), SILENT_SECONDS, strict=True):
        if hasattr(socket, name):  # Linux has them all
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


async def _read(response: aiohttp.ClientResponse, max_bytes: int | None = None) -> bytes:
    body = bytearray()
    limit = MAX_ANSWER_BYTES if max_bytes is None else max_bytes
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise AnswerTooLarge(f"{response.url.path}: an answer of over {limit} bytes")
    return bytes(body)


async def _error_of(response: aiohttp.ClientResponse) -> ApiError:
    body = await _read(response)
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:  # a proxy's page, not the API server's Status
        status = _Status(message=body[:200].decode("utf-8", "replace"))
    reason = status.reason or response.reason or ""
    return ApiError(response.status, reason, status.message or reason)


def _reason_of(error: Exception) -> str:
    """Why a connection failed, without the names of aiohttp's objects."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    return str(error) or type(error).__name__

"""Authentication to registries: anonymous, basic, and tokens of a registry's token service.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct
from yarl import URL

from sekisho.registry.challenges import Challenge, parse_challenges
from sekisho.registry.credentials import Credential
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.http import Answer, HttpClient, OnLarge, nothing_to_wait_for
from sekisho.turns import Tenants

MAX_TOKEN_BYTES: Final = 64 << 10
MAX_KNOWN: Final = 2048
"""Repositories whose Authorization header is kept; tokens of clouds have up to some kilobytes."""
MAX_KNOWN_LENGTH: Final = 4096
"""Longer headers are used once, so that those that are kept stay below 8 MiB."""
MIN_TOKEN_SECONDS: Final = 60
"""A token is good for at least this long, by the specification."""
MAX_TOKEN_SECONDS: Final = 3600
EARLY_SECONDS: Final = 5
"""A token is no longer used this long before it expires."""
MAX_SCOPE_LENGTH: Final = 1024
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")

Credentials = Callable[[str, str], Sequence[Credential]]
"""The credentials for a registry and a repository, in the order in which they are tried; none: anonymous."""


class _Token(Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None
    expires_in: int | None = None


class _Access(Struct, frozen=True):
    """A header that a registry accepted, and the credential that it comes from (None: anonymous)."""

    header: str
    credential: Credential | None
    expires: float


_token_decoder = msgspec.json.Decoder(_Token, strict=False)


class Authentication:
    """Sends requests with what the registry requires, and remembers what it accepted for each repository."""

    def __init__(self, http: HttpClient, credentials: Credentials) -> None:
        self._http = http
        self._credentials = credentials
        self._known: OrderedDict[tuple[str, str], _Access] = OrderedDict()
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def request(
        self,
        method: str,
        url: URL,
        accept: str,
        *,
        registry: str,
        repository: str,
        max_bytes: int,
        tenants: Tenants = "",
        on_large: OnLarge = nothing_to_wait_for,
    ) -> Answer:
        """The answer to a request that the registry allows. Raises RegistryError.

        tenants: the namespaces whose pods need the answer.

        Each matching credential is tried. DENIED is raised when the registry accepts none of them.
        """

        async def send(header: str | None) -> Answer:
            return await self._http.request(
                method,
                url,
                {"Accept": accept} if accept else {},
                registry=registry,
                authorization=header,
                max_bytes=max_bytes,
                tenants=tenants,
                on_large=on_large,
            )

        key = (registry, repository)
        header = self._header(key)
        answer = await send(header)
        return await self._retried(key, header, answer, send, tenants) if _wants_more(answer) else answer

    async def _retried(
        self,
        key: tuple[str, str],
        header: str | None,
        answer: Answer,
        send: Callable[[str | None], Coroutine[Any, Any, Answer]],
        tenants: Tenants,
    ) -> Answer:
        """The answer to a request that was denied with a header, None for without one. Raises RegistryError."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            current = self._header(key)
            if current is not None and current != header:  # another request has authenticated meanwhile
                answer = await send(current)
                if not _wants_more(answer):
                    return answer
            self._known.pop(key, None)
            if header is not None and not answer.challenges:
                answer = await send(None)
            return await self._authenticated(key, answer, send, tenants)

    async def _authenticated(
        self,
        key: tuple[str, str],
        denial: Answer,
        send: Callable[[str | None], Coroutine[Any, Any, Answer]],
        tenants: Tenants,
    ) -> Answer:
        """The first answer that is not a denial, with one credential after the other. Raises RegistryError."""
        registry, repository = key
        credentials: Sequence[Credential | None] = self._credentials(registry, repository) or (None,)
        status = denial.status
        for credential in credentials:
            access = await self._access(key, parse_challenges(denial.challenges), credential, tenants)
            if access is None:
                continue
            answer = await send(access.header)
            if not _wants_more(answer):
                if len(access.header) <= MAX_KNOWN_LENGTH:
                    self._known[key] = access
                    if len(self._known) > MAX_KNOWN:
                        self._known.popitem(last=False)
                return answer
            status = answer.status
        used = "without credentials" if credentials == (None,) else "with the credentials that Sekisho has for it"
        message = f"registry {registry} does not let {repository} be read {used} (status {status})"
        raise RegistryError(Failure.DENIED, message)

    async def _access(
        self, key: tuple[str, str], challenges: Sequence[Challenge], credential: Credential | None, tenants: Tenants
    ) -> _Access | None:
        """What to send for a credential; None where no scheme that the registry accepts can use it."""
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                return await self._token(key, challenge, credential, tenants)
        if credential is not None and any(challenge.scheme == "basic" for challenge in challenges):
            return _Access(credential.basic, credential, math.inf)
        return None

    async def _token(
        self, key: tuple[str, str], challenge: Challenge, credential: Credential | None, tenants: Tenants
    ) -> _Access | None:
        """A token of the service that the registry names; None where the service does not give one."""
        registry, repository = key
        answer = await self._http.request(
            "GET",
            _token_url(challenge, registry, repository),
            {"Accept": "application/json"},
            registry=registry,
            authorization=credential.basic if credential is not None else None,
            max_bytes=MAX_TOKEN_BYTES,
            max_redirects=0,  # a token service answers itself
            tenants=tenants,
        )
        if answer.status in (400, 401, 403, 404):
            return None
        if answer.status != 200:
            message = f"the token service of registry {registry} answers with status {answer.status}"
            raise RegistryError(Failure.UNAVAILABLE, message)
        try:
            decoded = _token_decoder.decode(answer.body())
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            decoded = _Token()
        token = decoded.token or decoded.access_token or ""
        if not _TOKEN.fullmatch(token):
            raise RegistryError(Failure.INVALID, f"the token service of registry {registry} sent no token")
        seconds = min(max(decoded.expires_in or 0, MIN_TOKEN_SECONDS), MAX_TOKEN_SECONDS) - EARLY_SECONDS
        return _Access(f"Bearer {token}", credential, time.monotonic() + seconds)

    def _header(self, key: tuple[str, str]) -> str | None:
        """The header that was accepted for a repository, while its credential is still one of those for it."""
        access = self._known.get(key)
        if access is None:
            return None
        credentials = self._credentials(*key)
        is_current = access.credential in credentials if access.credential is not None else not credentials
        if not is_current or access.expires < time.monotonic():
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return access.header


def _wants_more(answer: Answer) -> bool:
    """Whether the registry itself denies the request; hosts that it redirects to are never authenticated to."""
    return answer.is_own and answer.status in (401, 403)


def _token_url(challenge: Challenge, registry: str, repository: str) -> URL:
    """The address of a token for reading a repository. Raises RegistryError when the registry names no https address.

    Any host is allowed: many registries have their tokens from another one, and get only the credential for them.
    """
    try:
        realm = URL(challenge.parameters["realm"])
        is_allowed = realm.scheme == "https" and bool(realm.host) and realm.user is None
    except ValueError:
        is_allowed = False
    if not is_allowed:
        message = f"registry {registry} names a token service that is not an https address"
        raise RegistryError(Failure.INVALID, message)
    scope = challenge.parameters.get("scope", "")[:MAX_SCOPE_LENGTH] or f"repository:{repository}:pull"
    query = {"scope": scope}
    if "service" in challenge.parameters:
        query["service"] = challenge.parameters["service"][:MAX_SCOPE_LENGTH]
    return realm.update_query(query)

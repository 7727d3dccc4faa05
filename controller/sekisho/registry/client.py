"""A client of OCI registries that reads only: digests of tags, manifests, blobs and referrers.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import Struct
from yarl import URL

from sekisho.backoff import doubling_delay
from sekisho.images import Reference
from sekisho.images.reference import DOCKER_HUB, is_digest
from sekisho.registry.authentication import Authentication, Credentials
from sekisho.registry.connections import Connections
from sekisho.registry.credentials import Credential
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.hints import without_middle
from sekisho.registry.http import MAX_WAIT_SECONDS, Answer, OnLarge, Settings, nothing_to_wait_for
from sekisho.registry.manifests import (
    ACCEPT,
    OCI_INDEX,
    Descriptor,
    ImageManifest,
    decode_manifest,
    digest_of,
    has_digest,
)
from sekisho.turns import Tenants, Worker

MAX_MANIFEST_BYTES: Final = 4 << 20
"""The size of an image's own manifest, which is decoded for its platforms."""
MAX_LIST_BYTES: Final = 1 << 20
"""The size of a page of referrers, or of a fallback tag: some thousand descriptors fit."""
MAX_BLOB_BYTES: Final = 16 << 20
MAX_PAGES: Final = 8
"""The most pages of a list of referrers that are read."""
MAX_LISTED: Final = 512
"""Referrers that are read from a list; the others are counted."""
MAX_REGISTRIES: Final = 256
"""Registries whose failures are remembered."""
MAX_PAUSED: Final = 1024
"""Repositories whose failures are remembered."""
MAX_SMALL_BYTES: Final = 16 << 10
"""A larger manifest is decoded in a thread."""
MAX_SMALL_BLOB_BYTES: Final = 256 << 10
"""The digest of a larger layer is computed in a thread."""
FIRST_PAUSE_SECONDS: Final = 2.0
MAX_PAUSE_SECONDS: Final = 60.0
_DOCKER_HUB_HOST: Final = "registry-1.docker.io"
_NEXT: Final = re.compile(r'<([^<>"]{1,4096})>\s*;[^<]*?\brel="?next"?', re.IGNORECASE)
"""The next page in the header Link."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def anonymous(registry: str, repository: str) -> Sequence[Credential]:
    """No credentials for anything."""
    return ()


class Repository(Struct, frozen=True, gc=False):
    """A repository of a registry; both as `sekisho.images.parse` has them."""

    registry: str
    name: str

    @staticmethod
    def of(reference: Reference) -> "Repository":
        """The repository that an image is in."""
        return Repository(reference.registry, reference.repository)

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


class Content(Struct, frozen=True):
    """A manifest or an index, with the digest of its bytes."""

    digest: str
    media_type: str
    manifest: ImageManifest


class Referrers(Struct, frozen=True):
    """What a registry lists as referring to an image.

    descriptors: at most MAX_LISTED, as `without_middle` has them.
    omitted: how many more there are at least.
    is_whole: whether the list was read to its end.
    """

    descriptors: tuple[Descriptor, ...]
    omitted: int = 0
    is_whole: bool = True


class _Pause:
    """The failures in a row of a registry or a repository, and until when requests fail without being sent."""

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0
        self._error: RegistryError | None = None

    def begin(self, error: RegistryError) -> None:
        """Pause after a failure; of requests that fail together, one counts."""
        self._error = error
        now = time.monotonic()
        if self.until <= now:
            self.failures += 1
            pause = doubling_delay(FIRST_PAUSE_SECONDS, self.failures, MAX_PAUSE_SECONDS)
            self.until = now + max(pause, min(error.retry_seconds, MAX_PAUSE_SECONDS))

    def check(self, name: str) -> None:
        """Raises RegistryError during the pause of `name`."""
        if time.monotonic() < self.until:
            if self._error is not None and self._error.fix:  # somebody may have to act, and time does not help
                raise RegistryError(self._error.failure, str(self._error), fix=self._error.fix)
            message = f"{name} was unavailable a moment ago; it is tried again soon"
            raise RegistryError(Failure.UNAVAILABLE, message)


class _Pauses(Generic[K]):
    """The pauses of the registries, or the repositories, that failed last: `max_pauses` at most."""

    def __init__(self, max_pauses: int) -> None:
        self._max_pauses = max_pauses
        self._pauses: OrderedDict[K, _Pause] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pauses)

    def check(self, key: K, name: str) -> None:
        """Raises RegistryError during the pause of what is called `name`."""
        if key in self._pauses:
            self._pauses[key].check(name)

    def begin(self, key: K, error: RegistryError) -> None:
        """Pause after a failure."""
        pause = self._pauses.setdefault(key, _Pause())
        pause.begin(error)
        self._pauses.move_to_end(key)
        if len(self._pauses) > self._max_pauses:
            self._pauses.popitem(last=False)

    def end(self, key: K) -> None:
        """Forget the failures after a success."""
        self._pauses.pop(key, None)


class RegistryClient:
    """Reads from registries over HTTPS. Make it on the running loop, and end it with `close`.

    settings: how registries are reached; or the connections of another client, to share them.
    credentials: called for each request with a registry and a repository, and gives the credentials to try.

    Methods raise RegistryError. After a registry could not be connected to, requests to it fail immediately for 2
    seconds, which doubles up to a minute. After another failure, such as a status of 500, only those to the same
    repository do: a tenant's broken repository must not hold up the images of others.
    """

    def __init__(self, settings: Settings | Connections, credentials: Credentials = anonymous) -> None:
        self._connections = settings if isinstance(settings, Connections) else Connections(settings)
        self._authentication = Authentication(self._connections.http, credentials)
        self.credentials = credentials
        self.tenants: Tenants = ""
        self._paused_registries: _Pauses[str] = _Pauses(MAX_REGISTRIES)
        self._paused_repositories: _Pauses[Repository] = _Pauses(MAX_PAUSED)

    @property
    def worker(self) -> Worker:
        """The thread for large answers, for other work on them."""
        return self._connections.worker

    def with_credentials(self, credentials: Credentials) -> "RegistryClient":
        """A client with other credentials and the same connections, which ends with this one.

        What registries answer to it does not count for this one: neither tokens nor failures are shared.
        """
        return RegistryClient(self._connections, credentials)

    def acting_for(self, tenants: Tenants) -> "RegistryClient":
        """A client with the same connections, whose requests are made in the turns of these namespaces."""
        client = copy(self)
        client.tenants = tenants
        return client

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

    async def digest(self, repository: Repository, tag: str) -> str:
        """The digest that a tag stands for now.

        The request is a HEAD, because registries count each GET of a manifest as a pull. Its digest is taken on trust:
        exactly this digest is verified afterwards, and runs.
        """
        answer = await self._request("HEAD", repository, f"manifests/{tag}", ACCEPT, MAX_MANIFEST_BYTES)
        if answer.status == 200 and is_digest(digest := answer.headers.get("Docker-Content-Digest", "")):
            return digest
        if answer.status == 404:
            raise _missing(repository, tag)
        return (await self.manifest(repository, tag)).digest

    async def manifest(self, repository: Repository, reference: str, max_bytes: int = MAX_MANIFEST_BYTES) -> Content:
        """The manifest or index of a tag or digest."""
        name = f"{repository}{'@' if is_digest(reference) else ':'}{reference}"
        async with self._large_answers() as on_large:
            path = f"manifests/{reference}"
            answer = await self._request("GET", repository, path, ACCEPT, max_bytes, on_large=on_large)
            if answer.status == 404:
                raise _missing(repository, reference)
            _expect_success(answer, repository)
            return await self._decoded(answer, partial(_content, answer, repository, reference, name))

    async def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """The bytes of a layer, which have the digest and the size of its descriptor."""
        digest, size = descriptor.digest, descriptor.size
        if not is_digest(digest) or not 0 <= size <= MAX_BLOB_BYTES:
            raise RegistryError(Failure.INVALID, f"a layer of {repository} has no valid digest or is too large")
        is_large = size > MAX_SMALL_BLOB_BYTES
        if is_large:  # before the request: what a registry sends is received, even while others should go first
            await self.worker.give_way(MAX_WAIT_SECONDS)
        answer = await self._request("GET", repository, f"blobs/{digest}", "", size)
        if answer.status == 404:
            raise _missing(repository, digest)
        _expect_success(answer, repository)
        return await self._run(is_large, partial(_layer, answer, repository, descriptor))

    async def referrers(self, repository: Repository, digest: str) -> Referrers | None:
        """What refers to an image by the registry's referrers API, in its order; None where there is no such API.

        Nothing is filtered by type: some clients and registries write another one than others expect. A later page
        that cannot be read is omitted, with those after it.
        """
        page = await self._page(repository, digest, "")
        if page is None:
            return None
        listed: list[Descriptor] = []
        omitted, pages = 0, 1
        while page is not None:
            manifest, link = page
            listed += manifest.manifests or ()
            omitted += max(len(listed) - MAX_LISTED, 0)
            listed = without_middle(listed, MAX_LISTED)
            following = _NEXT.search(link)
            if following is None:
                return Referrers(tuple(listed), omitted)
            if pages == MAX_PAGES:
                break
            page = await self._later_page(repository, digest, _query_of(following[1]))
            pages += 1
        return Referrers(tuple(listed), omitted + 1, is_whole=False)

    async def _later_page(self, repository: Repository, digest: str, query: str) -> tuple[ImageManifest, str] | None:
        """A page after the first one, as `_page` gives it; None also where it is invalid."""
        try:
            return await self._page(repository, digest, query)
        except RegistryError as error:
            if error.failure is not Failure.INVALID:
                raise
            return None

    async def _page(self, repository: Repository, digest: str, query: str) -> tuple[ImageManifest, str] | None:
        """A page of the referrers of an image, and the header Link; None where there is no such API."""
        async with self._large_answers() as on_large:
            path = f"referrers/{digest}"
            answer = await self._request("GET", repository, path, OCI_INDEX, MAX_LIST_BYTES, query, on_large)
            # Some registries answer a path that they do not know with 200 and a page for people.
            if answer.status in (400, 404, 405, 501) or (answer.status == 200 and answer.media_type != OCI_INDEX):
                return None
            _expect_success(answer, repository)
            name = f"the list of referrers of {repository}@{digest}"
            manifest = await self._decoded(answer, partial(_manifest, answer, name))
            return manifest, answer.headers.get("Link", "")

    async def fallback_referrers(self, repository: Repository, digest: str) -> Referrers:
        """What refers to an image by the tag that clients write where a registry has no referrers API."""
        algorithm, _, encoded = digest.partition(":")
        try:
            content = await self.manifest(repository, f"{algorithm}-{encoded[:64]}", MAX_LIST_BYTES)
        except RegistryError as error:
            if error.failure is Failure.MISSING:
                return Referrers(())
            raise
        listed = list(content.manifest.manifests or ())
        return Referrers(tuple(without_middle(listed, MAX_LISTED)), max(len(listed) - MAX_LISTED, 0))

    async def _request(
        self,
        method: str,
        repository: Repository,
        path: str,
        accept: str,
        max_bytes: int,
        query: str = "",
        on_large: OnLarge = nothing_to_wait_for,
    ) -> Answer:
        registry = repository.registry
        host = _DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
        address = f"https://{host}/v2/{repository.name}/{path}{'?' + query if query else ''}"
        async with self._turn(repository):
            answer = await self._authentication.request(
                method,
                URL(address, encoded=True),
                accept,
                registry=registry,
                repository=repository.name,
                max_bytes=max_bytes,
                tenants=self.tenants,
                on_large=on_large,
            )
            if answer.status == 429 or answer.status >= 500:
                message = f"registry {registry} answers with status {answer.status}"
                raise RegistryError(Failure.UNAVAILABLE, message, retry_seconds=_retry_seconds(answer))
            return answer

    @asynccontextmanager
    async def _large_answers(self) -> AsyncIterator[OnLarge]:
        """A context in which an answer is held, and what the request calls if that is large: it waits for a turn.

        The turn ends with the context, so that few large answers are held at the same time.
        """
        async with AsyncExitStack() as stack:

            def on_large() -> Awaitable[None]:
                return stack.enter_async_context(self._connections.large.turn(self.tenants))

            yield on_large

    async def _decoded(self, answer: Answer, decode: Callable[[], T]) -> T:
        """What an answer holds; a large one is decoded in a thread."""
        return await self._run(answer.size > MAX_SMALL_BYTES, decode)

    async def _run(self, is_large: bool, call: Callable[[], T]) -> T:
        return await self._connections.worker.run(self.tenants, call) if is_large else call()

    @asynccontextmanager
    async def _turn(self, repository: Repository) -> AsyncIterator[None]:
        """Wait for a turn at a registry, and note whether it and the repository were available.

        Raises RegistryError while one of them is paused.
        """
        async with self._connections.requests.turn(repository.registry, self.tenants):
            self._paused_registries.check(repository.registry, f"registry {repository.registry}")
            self._paused_repositories.check(repository, f"repository {repository}")
            try:
                yield
            except RegistryError as error:
                if error.failure is Failure.UNAVAILABLE and error.is_unconnected:
                    self._paused_registries.begin(repository.registry, error)
                elif error.failure is Failure.UNAVAILABLE:
                    self._paused_repositories.begin(repository, error)
                raise
            self._paused_registries.end(repository.registry)
            self._paused_repositories.end(repository)


def _content(answer: Answer, repository: Repository, reference: str, name: str) -> Content:
    """The manifest or index in an answer. Raises RegistryError, INVALID."""
    body = answer.body()
    if is_digest(reference) and not has_digest(body, reference):
        message = f"registry {repository.registry} sent content that does not match {name}"
        raise RegistryError(Failure.INVALID, message)
    digest = reference if is_digest(reference) else digest_of(body)
    return Content(digest, answer.media_type, decode_manifest(body, answer.media_type, name))


def _manifest(answer: Answer, name: str) -> ImageManifest:
    """The manifest or index in an answer, whatever its digest. Raises RegistryError, INVALID."""
    return decode_manifest(answer.body(), answer.media_type, name)


def _layer(answer: Answer, repository: Repository, descriptor: Descriptor) -> bytes:
    """The layer in an answer. Raises RegistryError, INVALID."""
    body = answer.body()
    if len(body) != descriptor.size or not has_digest(body, descriptor.digest):
        message = f"registry {repository.registry} sent content that does not match {repository}@{descriptor.digest}"
        raise RegistryError(Failure.INVALID, message)
    return body


def _missing(repository: Repository, reference: str) -> RegistryError:
    separator = "@" if is_digest(reference) else ":"
    message = f"registry {repository.registry} has no {repository.name}{separator}{reference}"
    return RegistryError(Failure.MISSING, message)


def _retry_seconds(answer: Answer) -> float:
    """The seconds of the header Retry-After; 0 where it is missing or a date."""
    written = answer.headers.get("Retry-After", "")[:6]
    return float(written) if written.isascii() and written.isdecimal() else 0.0


def _expect_success(answer: Answer, repository: Repository) -> None:
    if answer.status != 200:
        message = f"registry {repository.registry} answers with status {answer.status} for {repository.name}"
        raise RegistryError(Failure.INVALID, message)


def _query_of(link: str) -> str:
    """The query of the next page. Its host and path are not used: only this list of this registry is read on."""
    return link.partition("?")[2].partition("#")[0]

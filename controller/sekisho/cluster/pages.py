"""Lists of the API server, read in pages, so that no answer is large however many and however large the objects are.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec

from sekisho.cluster.api import MAX_ANSWER_BYTES, AnswerTooLarge, ApiClient

PAGE_SIZE = 250
MAX_PAGE_BYTES = 16 << 20
"""Of a page of several objects; an object alone may be larger. A page over it is read again with half as many: tenants
choose how large their objects are, and none may keep the list of all from being read."""


class _Meta(msgspec.Struct, rename="camel", frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int = 0


class Page(msgspec.Struct, frozen=True):
    """Some of the objects of a list, as JSON."""

    metadata: _Meta
    items: list[msgspec.Raw] | None = None

    @property
    def resource_version(self) -> str:
        """The version of the whole list, the same on every page."""
        return self.metadata.resource_version

    @property
    def remaining(self) -> int:
        """The objects on later pages; 0 where the API server does not say it, as for lists with selectors."""
        return self.metadata.remaining_item_count


_decoder = msgspec.json.Decoder(Page)


class _List:
    """A list at a path, and how many objects its next page may have."""

    def __init__(self, api: ApiClient, path: str, selectors: Mapping[str, str], accept: str) -> None:
        self._api = api
        self._path = path
        self._selectors = selectors
        self._accept = accept
        self._limit = PAGE_SIZE

    async def page(self, after: str = "") -> Page:
        """The page that continues another one; the first page for an empty text. Raises as `pages` does."""
        while True:
            params = {**self._selectors, "limit": str(self._limit)} | ({"continue": after} if after else {})
            max_bytes = MAX_PAGE_BYTES if self._limit > 1 else MAX_ANSWER_BYTES
            try:
                body = await self._api.get(self._path, params, accept=self._accept, max_bytes=max_bytes)
            except AnswerTooLarge:
                if self._limit == 1:
                    raise
                self._limit //= 2
                continue
            if len(body) < MAX_PAGE_BYTES // 4:  # so that even objects of a size have room for two times as many
                self._limit = min(2 * self._limit, PAGE_SIZE)
            return _decoder.decode(body)


async def pages(
    api: ApiClient, path: str, selectors: Mapping[str, str], accept: str = "application/json"
) -> AsyncIterator[Page]:
    """The list at `path`, page by page, at least one.

    The next page is requested before one is given, so that the API server makes it while the caller reads that one.

    `selectors` are the list's query parameters, such as fieldSelector. Raises ApiError (410 when the list took longer
    than the API server keeps it), ApiUnavailable and msgspec.DecodeError.
    """
    whole = _List(api, path, selectors, accept)
    page = await whole.page()
    while page.metadata.continue_:
        following = asyncio.create_task(whole.page(page.metadata.continue_))
        try:
            for _ in range(2):  # the request is written, and then sent, even if the caller waits for nothing
                await asyncio.sleep(0)
            yield page
            page = await following
        finally:
            following.cancel()
    yield page

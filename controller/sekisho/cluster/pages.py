"""Lists of the API server, read in pages, so that no answer is large however many objects there are.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec

from sekisho.cluster.api import ApiClient

PAGE_SIZE = 250


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


async def pages(
    api: ApiClient, path: str, selectors: Mapping[str, str], accept: str = "application/json"
) -> AsyncIterator[Page]:
    """The list at `path`, page by page, at least one.

    The next page is requested before one is given, so that the API server makes it while the caller reads that one.

    `selectors` are the list's query parameters, such as fieldSelector. Raises ApiError (410 when the list took longer
    than the API server keeps it), ApiUnavailable and msgspec.DecodeError.
    """
    params = {**selectors, "limit": str(PAGE_SIZE)}
    page = _decoder.decode(await api.get(path, params, accept=accept))
    while page.metadata.continue_:
        params = {**params, "continue": page.metadata.continue_}
        following = asyncio.create_task(api.get(path, params, accept=accept))
        try:
            for _ in range(2):  # the request is written, and then sent, even if the caller waits for nothing
                await asyncio.sleep(0)
            yield page
            page = _decoder.decode(await following)
        finally:
            following.cancel()
    yield page

"""Lists of the API server, read in pages, so that no answer is large however many objects there are.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from collections.abc import AsyncIterator, Mapping

import msgspec

from sekisho.cluster.api import ApiClient

PAGE_SIZE = 250


class _Meta(msgspec.Struct, rename="camel", frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """Some of the objects of a list, as JSON."""

    metadata: _Meta
    items: list[msgspec.Raw] | None = None

    @property
    def resource_version(self) -> str:
        """The version of the whole list, the same on every page."""
        return self.metadata.resource_version


_decoder = msgspec.json.Decoder(Page)


async def pages(
    api: ApiClient, path: str, selectors: Mapping[str, str], accept: str = "application/json"
) -> AsyncIterator[Page]:
    """The list at `path`, page by page, at least one.

    `selectors` are the list's query parameters, such as fieldSelector. Raises ApiError (410 when the list took longer
    than the API server keeps it), ApiUnavailable and msgspec.DecodeError.
    """
    params = {**selectors, "limit": str(PAGE_SIZE)}
    while True:
        page = _decoder.decode(await api.get(path, params, accept=accept))
        yield page
        if not page.metadata.continue_:
            return
        params["continue"] = page.metadata.continue_

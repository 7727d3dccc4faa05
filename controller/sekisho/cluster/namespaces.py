"""The labels of namespaces: from a reflector, and from the API server for a namespace that it does not have yet."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from sekisho.cluster.api import METADATA, ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.names import is_label
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.single_flight import SingleFlight
from sekisho.errors import SekishoError

PATH = "/api/v1/namespaces"
MAX_FETCHES = 64
"""Namespaces fetched at the same time; further ones count as unknown."""


class UnknownNamespaceError(SekishoError):
    """The namespace's labels cannot be fetched; the message is a clause that says why."""


class _Meta(Struct, frozen=True):
    labels: dict[str, str] | None = None


class _Namespace(Struct, frozen=True):
    metadata: _Meta


_decoder = msgspec.json.Decoder(_Namespace)


def decode_labels(raw: bytes) -> Mapping[str, str]:
    """The labels of a namespace, from its JSON."""
    return _decoder.decode(raw).metadata.labels or {}


class Namespaces:
    """Looks up the labels of namespaces."""

    def __init__(self, api: ApiClient, reflector: Reflector[Mapping[str, str]]) -> None:
        self._api = api
        self._reflector = reflector
        self._flights: SingleFlight[str, Mapping[str, str]] = SingleFlight()

    def known(self, name: str) -> Mapping[str, str] | None:
        """The labels of a namespace that the reflector has, None for any other."""
        return self._reflector.objects.get(name)

    async def wait_listed(self) -> None:
        """Return when all namespaces were listed once."""
        await self._reflector.wait_synced()

    async def fetch(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace, from the API server. Raises UnknownNamespaceError."""
        if not is_label(name):
            raise UnknownNamespaceError("its name is not valid")
        if len(self._flights) >= MAX_FETCHES:
            raise UnknownNamespaceError("too many namespaces are being looked up at the same time")
        try:
            return await self._flights.run(name, lambda: self._get(name))
        except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
            raise UnknownNamespaceError(str(error)) from error

    async def _get(self, name: str) -> Mapping[str, str]:
        return decode_labels(await self._api.get(f"{PATH}/{name}", accept=METADATA))

"""The Secrets and ConfigMaps of a release that ImageAuthorities refer to, read once."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_namespaces import PODS_WEBHOOK, WEBHOOKS
from sekisho.cluster.pages import pages

_PLURALS: Final = {"Secret": "secrets", "ConfigMap": "configmaps"}
_HELM_NAMESPACE: Final = "meta.helm.sh/release-namespace"
_REASONS: Final = {403: "may not be read", 404: "does not exist"}


class ReleaseObjects(Struct, frozen=True):
    """What could be read of a release, as JSON by kind, and why the rest could not, a line each."""

    objects: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


class _Service(Struct, frozen=True):
    namespace: str = ""


class _ClientConfig(Struct, frozen=True):
    service: _Service | None = None


class _Webhook(Struct, frozen=True, rename="camel"):
    name: str = ""
    client_config: _ClientConfig = _ClientConfig()


class _Metadata(Struct, frozen=True):
    annotations: dict[str, str] | None = None


class _Configuration(Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    webhooks: tuple[_Webhook, ...] | None = None


async def read_release(api: ApiClient, wanted: Iterable[tuple[str, str]]) -> ReleaseObjects:
    """The objects with these kinds, `Secret` or `ConfigMap`, and names, in the namespace where Sekisho is installed.

    Only these are read: others in the namespace have private keys.

    Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    namespace = await _release_namespace(api)
    if namespace is None:
        problem = "no webhook of Sekisho says where it is installed: Secrets and ConfigMaps of authorities are not read"
        return ReleaseObjects((), (problem,))
    objects: list[tuple[str, str]] = []
    problems: list[str] = []
    for kind, name in sorted(wanted):
        try:
            content = await api.get(f"/api/v1/namespaces/{namespace}/{_PLURALS[kind]}/{name}")
        except ApiError as error:
            if error.status not in _REASONS:
                raise
            problems.append(f"{kind} {name} of namespace {namespace} {_REASONS[error.status]}")
        else:
            objects.append((kind, content.decode()))
    return ReleaseObjects(tuple(objects), tuple(problems))


async def _release_namespace(api: ApiClient) -> str | None:
    """The namespace where the webhooks are installed; None where none is, or they may not be read."""
    try:
        async for page in pages(api, WEBHOOKS, {}):
            for raw in page.items or ():
                configuration = msgspec.json.decode(raw, type=_Configuration)
                for webhook in configuration.webhooks or ():
                    if webhook.name == PODS_WEBHOOK:
                        return _namespace_of(webhook, configuration.metadata.annotations or {})
    except ApiError as error:
        if error.status != 403:
            raise
    return None


def _namespace_of(webhook: _Webhook, annotations: Mapping[str, str]) -> str | None:
    """That of the webhook's Service, or of Helm's release where the API server calls it by a URL."""
    service = webhook.client_config.service
    return service.namespace if service is not None else annotations.get(_HELM_NAMESPACE)

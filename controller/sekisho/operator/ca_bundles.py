"""How the API server calls every webhook of the release: the authorities by which it verifies them, and the paths."""

import logging
import time
from collections.abc import Sequence

import msgspec

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.operator.objects import FIELD_MANAGER, Meta, Webhook, WebhookConfiguration, secret_path
from sekisho.operator.options import Options
from sekisho.operator.ownership import Ownership
from sekisho.operator.reconcile_loop import Watched
from sekisho.operator.webhook_paths import secret_part, wanted_path

logger = logging.getLogger(__name__)

COLLECTIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}"
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
)


class CaBundles:
    """The caBundles, and the paths, in the webhook configurations that `options` name."""

    def __init__(self, api: ApiClient, options: Options) -> None:
        self._api = api
        self._name = options.webhook_configuration
        self._namespace = options.namespace
        self._path_secret = options.path_secret
        self._published = (b"", 0.0)
        self._ownership = Ownership(api, options.namespace)

    @property
    def watched(self) -> tuple[Watched, ...]:
        """The two webhook configurations, and the Secret with the secret part of the paths."""
        watched = tuple(Watched(collection, self._name) for collection in COLLECTIONS)
        return (*watched, Watched(secret_path(self._namespace), self._path_secret)) if self._path_secret else watched

    @property
    def seconds_published(self) -> float:
        """For how many seconds all webhooks have had the bundle that was published last."""
        return time.monotonic() - self._published[1]

    async def published(self) -> tuple[bytes, ...]:
        """The different caBundles that webhooks have now. Raises ApiError, ApiUnavailable."""
        read = [await self._read(f"{collection}/{self._name}") for collection in COLLECTIONS]
        webhooks = (webhook for configuration in read if configuration for webhook in configuration.webhooks or ())
        return tuple(dict.fromkeys(webhook.client_config.ca_bundle or b"" for webhook in webhooks))

    async def publish(self, bundle: bytes) -> None:
        """Write the bundle (PEM) and the path into every webhook that has another, and own both.

        Raises ApiError, ApiUnavailable.
        """
        part = await secret_part(self._api, self._namespace, self._path_secret) if self._path_secret else None
        patched = [await self._publish_to(collection, bundle, part) for collection in COLLECTIONS]
        if any(patched) or self._published[0] != bundle:
            self._published = (bundle, time.monotonic())
        for collection in COLLECTIONS:
            path = f"{collection}/{self._name}"
            configuration = await self._read(path)
            if configuration is not None:
                await self._ownership.establish(path, configuration)

    async def release(self) -> Meta:
        """The metadata of the release's webhook configuration. Raises ApiError, ApiUnavailable."""
        raw = await self._api.get(f"{COLLECTIONS[0]}/{self._name}")
        return msgspec.json.decode(raw, type=WebhookConfiguration).metadata

    async def names(self) -> tuple[str, ...]:
        """The names by which the API server calls the webhooks; empty without a configuration.

        Raises ApiError, ApiUnavailable.
        """
        read = await self._read(f"{COLLECTIONS[0]}/{self._name}")
        webhooks = (read.webhooks if read is not None else None) or ()
        return tuple(dict.fromkeys(filter(None, (webhook.client_config.name for webhook in webhooks))))

    async def _read(self, path: str) -> WebhookConfiguration | None:
        """A configuration; None where there is none, so that nobody calls the webhook."""
        try:
            return msgspec.json.decode(await self._api.get(path), type=WebhookConfiguration)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _publish_to(self, collection: str, bundle: bytes, part: str | None) -> bool:
        path = f"{collection}/{self._name}"
        read = await self._read(path)
        if read is None:
            return False
        webhooks = read.webhooks or ()
        stale = [index for index, webhook in enumerate(webhooks) if webhook.client_config.ca_bundle != bundle]
        paths = [] if part is None else _path_patches(webhooks, part)
        if not stale and not paths:
            return False
        # The patch addresses webhooks by position, which is right for this version of the object only.
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": read.metadata.resource_version}
        patch = [version] + [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle} for index in stale
        ]
        await self._api.patch(
            path, msgspec.json.encode(patch + paths), "application/json-patch+json", {"fieldManager": FIELD_MANAGER}
        )
        logger.info("caBundle set in %d webhooks of %s, the path in %d", len(stale), path, len(paths))
        return bool(stale)


def _path_patches(webhooks: Sequence[Webhook], part: str) -> list[dict[str, object]]:
    """Patches of the webhooks with another path. One that is called by its URL has its path in that."""
    wanted = [(webhook.client_config.service, wanted_path(webhook.name, part)) for webhook in webhooks]
    return [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/service/path", "value": path}
        for index, (service, path) in enumerate(wanted)
        if service is not None and path is not None and service.path != path
    ]

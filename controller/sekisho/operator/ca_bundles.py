"""The caBundle of every webhook of the release: the authorities by which the API server verifies the webhook."""

import logging
import time

import msgspec

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.operator.objects import FIELD_MANAGER, Meta, WebhookConfiguration
from sekisho.operator.reconcile_loop import Watched

logger = logging.getLogger(__name__)

COLLECTIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}"
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
)


class CaBundles:
    """The caBundles in the two webhook configurations named `name`."""

    def __init__(self, api: ApiClient, name: str) -> None:
        self._api = api
        self._name = name
        self._published = (b"", 0.0)

    @property
    def watched(self) -> tuple[Watched, ...]:
        """The two webhook configurations."""
        return tuple(Watched(collection, self._name) for collection in COLLECTIONS)

    @property
    def seconds_published(self) -> float:
        """For how many seconds all webhooks have had the bundle that was published last."""
        return time.monotonic() - self._published[1]

    async def publish(self, bundle: bytes) -> None:
        """Write the bundle (PEM) into every webhook that has another. Raises ApiError, ApiUnavailable."""
        patched = [await self._publish_to(collection, bundle) for collection in COLLECTIONS]
        if any(patched) or self._published[0] != bundle:
            self._published = (bundle, time.monotonic())

    async def release(self) -> Meta:
        """The metadata of the release's webhook configuration. Raises ApiError, ApiUnavailable."""
        raw = await self._api.get(f"{COLLECTIONS[0]}/{self._name}")
        return msgspec.json.decode(raw, type=WebhookConfiguration).metadata

    async def names(self) -> tuple[str, ...]:
        """The names by which the API server calls the webhooks; empty without a configuration.

        Raises ApiError, ApiUnavailable.
        """
        try:
            raw = await self._api.get(f"{COLLECTIONS[0]}/{self._name}")
        except ApiError as error:
            if error.status == 404:
                return ()
            raise
        webhooks = msgspec.json.decode(raw, type=WebhookConfiguration).webhooks or ()
        return tuple(dict.fromkeys(filter(None, (webhook.client_config.name for webhook in webhooks))))

    async def _publish_to(self, collection: str, bundle: bytes) -> bool:
        path = f"{collection}/{self._name}"
        try:
            read = msgspec.json.decode(await self._api.get(path), type=WebhookConfiguration)
        except ApiError as error:
            if error.status == 404:  # without a configuration nobody calls the webhook
                return False
            raise
        stale = [
            index for index, webhook in enumerate(read.webhooks or ()) if webhook.client_config.ca_bundle != bundle
        ]
        if not stale:
            return False
        # The patch addresses webhooks by position, which is right for this version of the object only.
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": read.metadata.resource_version}
        patch = [version] + [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle} for index in stale
        ]
        await self._api.patch(
            path, msgspec.json.encode(patch), "application/json-patch+json", {"fieldManager": FIELD_MANAGER}
        )
        logger.info("caBundle set in %d webhooks of %s", len(stale), path)
        return True

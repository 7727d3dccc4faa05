"""Keeps the two Secrets and the caBundle of every webhook as `rotation` says, whatever happens to them.

Nothing is cached: a watch of each object only wakes the keeper, which then reads all of them anew.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.reflector import Reflector
from sekisho.operator.metrics import Metrics
from sekisho.operator.options import Options
from sekisho.operator.rotation import Trust, judge

logger = logging.getLogger(__name__)

WEBHOOK_CONFIGURATIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}"
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
)
FIELD_MANAGER = "sekisho-controller"

SETTLE_SECONDS = 10.0
"""How long after a new caBundle the API servers, all of them, are given to take it up before it is relied on."""
LOOK_SECONDS = 3600.0
"""How often everything is looked at without being woken."""
_LEAST_SECONDS = 0.5
"""Between two looks: somebody else who insists on another caBundle is not to be fought in a tight loop."""
_RETRY_SECONDS = 5.0


_OF_THE_RELEASE = (
    "app.kubernetes.io/",
    "helm.sh/",
    "meta.helm.sh/",
)
"""Labels and annotations by which Helm knows what belongs to a release."""


class _Meta(Struct, rename="camel", frozen=True):
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Secret(Struct, frozen=True):
    metadata: _Meta = _Meta()
    data: dict[str, bytes | None] | None = None

    def contents(self) -> dict[str, bytes]:
        return {name: value for name, value in (self.data or {}).items() if value is not None}


class _ClientConfig(Struct, rename={"ca_bundle": "caBundle"}, frozen=True):
    ca_bundle: bytes | None = None


class _Webhook(Struct, rename="camel", frozen=True):
    name: str
    client_config: _ClientConfig


class _WebhookConfiguration(Struct, frozen=True):
    metadata: _Meta
    webhooks: tuple[_Webhook, ...] | None = None


class TrustKeeper:
    """Keeps certificates and caBundles right while it runs; for the leader only."""

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._published = (b"", 0.0)
        """The caBundle that all webhooks have, and since when by the monotonic clock."""

    async def run(self) -> None:
        """Run until cancelled; API failures are logged, counted and tried again."""
        options = self._options
        async with asyncio.TaskGroup() as watches:
            for name in (options.ca_secret, options.certificate_secret):
                watches.create_task(self._watch(self._secret_path(), name).run())
            for path in WEBHOOK_CONFIGURATIONS:
                watches.create_task(self._watch(path, options.webhook_configuration).run())
            while True:
                self._wake.clear()
                pause = await self._try_to_reconcile()
                await asyncio.sleep(_LEAST_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def _watch(self, collection: str, name: str) -> Reflector[bytes]:
        """Wakes up at each change of one object. A role that names the object allows just this selection."""
        return Reflector(
            self._api,
            collection,
            bytes,
            on_change=lambda _: self._wake.set(),
            field_selector=f"metadata.name={name}",
            metadata_only=True,
        )

    async def _try_to_reconcile(self) -> float:
        try:
            return await self._reconcile()
        except (ApiError, ApiUnavailable) as error:
            if isinstance(error, ApiError) and error.status == 409:
                return 0.0  # it changed since it was read
            self._metrics.reconcile_errors.labels("certificates").inc()
            logger.warning("cannot bring the certificates up to date: %s", error)
            return _RETRY_SECONDS

    async def _reconcile(self) -> float:
        """Take whatever steps can be taken now; gives the seconds until time alone asks for the next one."""
        options = self._options
        now = datetime.now(UTC)
        ca = await self._read_secret(options.ca_secret)
        tls = await self._read_secret(options.certificate_secret)
        trust = judge(ca.contents(), tls.contents(), options.serving_names, now)

        if trust.why_new_authority is not None:
            logger.info(
                "a new certificate authority: of the one in Secret %s, %s", options.ca_secret, trust.why_new_authority
            )
        if trust.authority_contents != ca.contents():
            await self._write_secret(options.ca_secret, ca, trust.authority_contents)

        await self._publish(trust.bundle)
        self._tell_expiry(trust)

        if trust.why_new_serving is not None:
            settling = self._published[1] + SETTLE_SECONDS - time.monotonic()
            if trust.serves_previous and settling > 0:
                return settling
            logger.info(
                "a new certificate for the webhook: of the one in Secret %s, %s",
                options.certificate_secret,
                trust.why_new_serving,
            )
            await self._write_secret(
                options.certificate_secret, tls, trust.serving_contents(options.serving_names, now)
            )
            return 0.0
        return min(max((trust.next_change() - now).total_seconds(), 0.0), LOOK_SECONDS)

    def _tell_expiry(self, trust: Trust) -> None:
        expiry = self._metrics.certificate_expiry
        expiry.labels("authority").set(trust.authority.certificate.not_valid_after_utc.timestamp())
        expiry.labels("serving").set(trust.serving.not_valid_after_utc.timestamp() if trust.serving else 0)

    async def _read_secret(self, name: str) -> _Secret:
        try:
            return msgspec.json.decode(await self._api.get(self._secret_path(name)), type=_Secret)
        except ApiError as error:
            if error.status == 404:
                return _Secret()
            raise

    async def _write_secret(self, name: str, read: _Secret, contents: dict[str, bytes]) -> None:
        """Give the Secret exactly these contents, unless it changed since it was `read`; made where it is missing."""
        if not read.metadata.resource_version:
            metadata = {"name": name} | await self._release_metadata()
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": contents}
            await self._api.create(self._secret_path(), msgspec.json.encode(body))
            return
        obsolete = dict.fromkeys(read.contents().keys() - contents.keys())
        patch = {"metadata": {"resourceVersion": read.metadata.resource_version}, "data": obsolete | contents}
        await self._api.patch(
            self._secret_path(name), msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER}
        )

    async def _release_metadata(self) -> dict[str, dict[str, str]]:
        """What makes an object one of the release's, so that Helm upgrades and removes it: as the webhooks have it."""
        path = f"{WEBHOOK_CONFIGURATIONS[0]}/{self._options.webhook_configuration}"
        found = msgspec.json.decode(await self._api.get(path), type=_WebhookConfiguration).metadata
        given = {"labels": found.labels or {}, "annotations": found.annotations or {}}
        return {
            part: {key: value for key, value in entries.items() if key.startswith(_OF_THE_RELEASE)}
            for part, entries in given.items()
        }

    async def _publish(self, bundle: bytes) -> None:
        """Put the bundle into every webhook that does not have it."""
        patched = [await self._publish_to(kind, bundle) for kind in WEBHOOK_CONFIGURATIONS]
        if any(patched) or self._published[0] != bundle:
            self._published = (bundle, time.monotonic())

    async def _publish_to(self, kind: str, bundle: bytes) -> bool:
        path = f"{kind}/{self._options.webhook_configuration}"
        try:
            read = msgspec.json.decode(await self._api.get(path), type=_WebhookConfiguration)
        except ApiError as error:
            if error.status == 404:  # the chart is being removed, or was never installed: nobody calls the webhook
                return False
            raise
        stale = [
            index for index, webhook in enumerate(read.webhooks or ()) if webhook.client_config.ca_bundle != bundle
        ]
        if not stale:
            return False
        # A list is patched by position, which only this one version of the object vouches for.
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": read.metadata.resource_version}
        patch = [version] + [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle} for index in stale
        ]
        await self._api.patch(
            path, msgspec.json.encode(patch), "application/json-patch+json", {"fieldManager": FIELD_MANAGER}
        )
        logger.info("caBundle set in %d webhooks of %s", len(stale), path)
        return True

    def _secret_path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self._options.namespace}/secrets" + (f"/{name}" if name else "")

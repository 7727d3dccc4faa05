"""Certificates that the controller makes: keeps the two Secrets and every caBundle as `rotation` plans them."""

import logging
from datetime import timedelta

import msgspec

from sekisho.cluster.api import ApiClient
from sekisho.cluster.replicas import served_authorities
from sekisho.operator.ca_bundles import CaBundles
from sekisho.operator.metrics import Metrics
from sekisho.operator.objects import FIELD_MANAGER, Secret, read_secret, secret_path
from sekisho.operator.options import Clock, Options
from sekisho.operator.reconcile_loop import Watched, keep_certificates
from sekisho.operator.rotation import Rotation, plan_rotation

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 10.0
"""How long all API servers have to read a new caBundle before a certificate is served that requires it."""

_OF_THE_RELEASE = (
    "app.kubernetes.io/",
    "helm.sh/",
    "meta.helm.sh/",
)
"""Prefixes of the labels and annotations by which Helm recognizes the objects of a release."""


class SelfSignedKeeper:
    """Keeps certificates and caBundles up to date while `run` runs; for the leader only."""

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics, clock: Clock) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._bundles = CaBundles(api, options)

    async def run(self) -> None:
        """Run until cancelled. API failures are logged, counted and tried again."""
        secrets = secret_path(self._options.namespace)
        names = (self._options.ca_secret, self._options.certificate_secret)
        watched = (*(Watched(secrets, name) for name in names), *self._bundles.watched)
        await keep_certificates(self._api, watched, self._reconcile, self._metrics)

    async def _reconcile(self) -> float:
        """Take the steps that are possible now; gives the seconds until the passing of time requires another."""
        options = self._options
        now = self._clock()
        in_use = await served_authorities(self._api, options.namespace)
        ca = await read_secret(self._api, options.namespace, options.ca_secret)
        tls = await read_secret(self._api, options.namespace, options.certificate_secret)
        published = await self._bundles.published()
        rotation = plan_rotation(ca.contents(), tls.contents(), published, in_use, options.serving_names, now)

        if rotation.why_new_authority is not None:
            logger.info(
                "making a new certificate authority for Secret %s: %s", options.ca_secret, rotation.why_new_authority
            )
        if rotation.authority_contents != ca.contents():
            await self._write_secret(options.ca_secret, ca, rotation.authority_contents)

        await self._bundles.publish(rotation.bundle)
        self._set_expiry(rotation)

        if rotation.why_new_serving is not None:
            settling = SETTLE_SECONDS - self._bundles.seconds_published
            if rotation.previous and settling > 0:  # the present certificate is trusted meanwhile
                return settling
            logger.info(
                "making a new certificate for Secret %s: %s",
                options.certificate_secret,
                rotation.why_new_serving,
            )
            await self._write_secret(
                options.certificate_secret, tls, rotation.serving_contents(options.serving_names, now)
            )
            return 0.0
        return rotation.next_check(now) / timedelta(seconds=1)

    def _set_expiry(self, rotation: Rotation) -> None:
        expiry = self._metrics.certificate_expiry
        expiry.labels("authority").set(rotation.authority.certificate.not_valid_after_utc.timestamp())
        expiry.labels("serving").set(rotation.serving.not_valid_after_utc.timestamp() if rotation.serving else 0)

    async def _write_secret(self, name: str, read: Secret, contents: dict[str, bytes]) -> None:
        """Give the Secret exactly these contents, or create it. Raises ApiError (409) when it changed since `read`."""
        namespace = self._options.namespace
        if not read.metadata.resource_version:
            metadata = {"name": name} | await self._release_metadata()
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": contents}
            await self._api.create(secret_path(namespace), msgspec.json.encode(body))
            return
        obsolete = dict.fromkeys(read.contents().keys() - contents.keys())
        patch = {"metadata": {"resourceVersion": read.metadata.resource_version}, "data": obsolete | contents}
        await self._api.patch(
            secret_path(namespace, name), msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER}
        )

    async def _release_metadata(self) -> dict[str, dict[str, str]]:
        """The labels and annotations of the webhook configuration by which Helm upgrades and removes the release."""
        release = await self._bundles.release()
        metadata = {"labels": release.labels or {}, "annotations": release.annotations or {}}
        return {
            part: {key: value for key, value in entries.items() if key.startswith(_OF_THE_RELEASE)}
            for part, entries in metadata.items()
        }

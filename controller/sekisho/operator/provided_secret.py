"""Certificates that the administrator provides in a Secret: its ca.crt becomes the caBundle."""

import logging
from datetime import datetime

from sekisho.cluster.api import ApiClient
from sekisho.cluster.owners import ObjectReference
from sekisho.operator.ca_bundles import CaBundles
from sekisho.operator.events import Notice, write_warning
from sekisho.operator.metrics import Metrics
from sekisho.operator.objects import Secret, read_secret, secret_path
from sekisho.operator.options import Clock, Options
from sekisho.operator.provided_certificate import Concern, read_provided
from sekisho.operator.reconcile_loop import RESYNC_SECONDS, Watched, keep_certificates

logger = logging.getLogger(__name__)


class ProvidedSecretKeeper:
    """Keeps caBundles up to date while `run` runs, and writes no Secret; for the leader only."""

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics, clock: Clock) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._bundles = CaBundles(api, options)
        self._written: frozenset[Notice] = frozenset()

    async def run(self) -> None:
        """Run until cancelled. API failures are logged, counted and tried again."""
        options = self._options
        watched = (Watched(secret_path(options.namespace), options.certificate_secret), *self._bundles.watched)
        await keep_certificates(self._api, watched, self._reconcile, self._metrics)

    async def _reconcile(self) -> float:
        options = self._options
        now = self._clock()
        secret = await read_secret(self._api, options.namespace, options.certificate_secret)
        provided = read_provided(secret.contents(), await self._bundles.names(), now)
        if provided.bundle is not None:  # else the API server and the webhook keep what they have
            await self._bundles.publish(provided.bundle)
        for kind, expires in (("authority", provided.authority_expires), ("serving", provided.serving_expires)):
            self._metrics.certificate_expiry.labels(kind).set(expires.timestamp() if expires else 0)
        await self._warn(provided.concerns(f"{options.namespace}/{options.certificate_secret}", now), secret, now)
        return RESYNC_SECONDS

    async def _warn(self, concerns: list[Concern], secret: Secret, now: datetime) -> None:
        """Write an Event for each, once a day, as the API server deletes Events within hours."""
        options = self._options
        regarding = ObjectReference("v1", "Secret", options.certificate_secret, options.namespace, secret.metadata.uid)
        notices = {
            Notice(regarding, concern.reason, "KeepCertificates", concern.note, f"{concern.note} {now:%Y-%m-%d}")
            for concern in concerns
        }
        for notice in notices - self._written:
            logger.warning("%s", notice.note)
            await write_warning(self._api, notice, options.identity, now)
        self._written = frozenset(notices)

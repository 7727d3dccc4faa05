"""Certificates that somebody else makes, in a Secret: keeps every caBundle as its ca.crt, and warns of their end."""

import logging
from datetime import datetime

from sekisho.cluster.api import ApiClient
from sekisho.cluster.owners import ObjectReference
from sekisho.operator.ca_bundles import CaBundles
from sekisho.operator.events import Notice, warn
from sekisho.operator.metrics import Metrics
from sekisho.operator.objects import Secret, read_secret, secret_path
from sekisho.operator.options import Clock, Options
from sekisho.operator.provided_certificate import Warned, read_given
from sekisho.operator.reconcile_loop import LOOK_SECONDS, Watched, keep_certificates

logger = logging.getLogger(__name__)


class ExistingKeeper:
    """Keeps caBundles right while it runs, and writes no Secret; for the leader only."""

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics, clock: Clock) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._bundles = CaBundles(api, options.webhook_configuration)
        self._told: frozenset[Notice] = frozenset()

    async def run(self) -> None:
        """Run until cancelled; API failures are logged, counted and tried again."""
        options = self._options
        watched = (Watched(secret_path(options.namespace), options.certificate_secret), *self._bundles.watched)
        await keep_certificates(self._api, watched, self._reconcile, self._metrics)

    async def _reconcile(self) -> float:
        options = self._options
        now = self._clock()
        secret = await read_secret(self._api, options.namespace, options.certificate_secret)
        given = read_given(secret.contents())
        if given.bundle is not None:  # else the API server goes on by what it has, as the webhook does
            await self._bundles.publish(given.bundle)
        for kind, expires in (("authority", given.authority_expires), ("serving", given.serving_expires)):
            self._metrics.certificate_expiry.labels(kind).set(expires.timestamp() if expires else 0)
        await self._tell(given.warnings(f"{options.namespace}/{options.certificate_secret}", now), secret, now)
        return LOOK_SECONDS

    async def _tell(self, warnings: list[Warned], secret: Secret, now: datetime) -> None:
        """Write an Event for each, once a day: the API server forgets Events within hours."""
        options = self._options
        regarding = ObjectReference("v1", "Secret", options.certificate_secret, options.namespace, secret.metadata.uid)
        told = {
            Notice(regarding, warned.reason, "KeepCertificates", warned.note, f"{warned.note} {now:%Y-%m-%d}")
            for warned in warnings
        }
        for notice in told - self._told:
            logger.warning("%s", notice.note)
            await warn(self._api, notice, options.identity, now)
        self._told = frozenset(told)

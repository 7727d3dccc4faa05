"""Certificates that somebody else makes, in a Secret: keeps every caBundle as its ca.crt, and warns of their end."""

import hashlib
import logging
from datetime import datetime

import msgspec

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.lease import micro_time
from sekisho.operator.ca_bundles import CaBundles
from sekisho.operator.given import Warned, read_given
from sekisho.operator.metrics import Metrics
from sekisho.operator.objects import Secret, read_secret, secret_path
from sekisho.operator.options import Clock, Options
from sekisho.operator.reconciling import LOOK_SECONDS, Watched, keep_certificates

logger = logging.getLogger(__name__)


class ExistingKeeper:
    """Keeps caBundles right while it runs, and writes no Secret; for the leader only."""

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics, clock: Clock) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._bundles = CaBundles(api, options.webhook_configuration)
        self._told: frozenset[str] = frozenset()

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
        told = {self._event_name(warned, now): warned for warned in warnings}
        for name in told.keys() - self._told:
            logger.warning("%s", told[name].note)
            try:
                await self._api.create(
                    f"/apis/events.k8s.io/v1/namespaces/{self._options.namespace}/events",
                    msgspec.json.encode(self._event(name, told[name], secret, now)),
                )
            except ApiError as error:
                if error.status != 409:  # else it was told before a restart
                    raise
        self._told = frozenset(told)

    def _event_name(self, warned: Warned, now: datetime) -> str:
        """The same name on the same day: neither a restart nor another leader tells it twice."""
        told = f"{warned.reason} {warned.note} {now:%Y-%m-%d}".encode()
        return f"{self._options.certificate_secret[:230]}.{hashlib.blake2s(told, digest_size=8).hexdigest()}"

    def _event(self, name: str, warned: Warned, secret: Secret, now: datetime) -> dict[str, object]:
        regarding = {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": self._options.namespace,
            "name": self._options.certificate_secret,
        }
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": self._options.namespace},
            "eventTime": micro_time(now),
            "type": "Warning",
            "reason": warned.reason,
            "action": "KeepCertificates",
            "reportingController": "sekisho.dev/controller",
            "reportingInstance": self._options.identity[:128],
            "regarding": regarding | ({"uid": secret.metadata.uid} if secret.metadata.uid else {}),
            "note": warned.note,
        }

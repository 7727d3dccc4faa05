"""The leader's loop that proves, again and again, that the API server sends pods to the webhook."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.events import Reason
from sekisho.cluster.owners import ObjectReference
from sekisho.cluster.reflector import Reflector
from sekisho.operator.ca_bundles import COLLECTIONS
from sekisho.operator.configurations import problems_of
from sekisho.operator.events import Notice, write_warning
from sekisho.operator.metrics import Metrics, ProofResult
from sekisho.operator.objects import WebhookConfiguration
from sekisho.operator.options import Options
from sekisho.operator.proof import Proof, proof_by_problems, try_webhooks, unknown
from sekisho.policies.status import ConditionStatus

logger = logging.getLogger(__name__)

PROOF_SECONDS: Final = 30.0
"""The time between two proofs."""
RETRY_SECONDS: Final = 5.0
"""The time until the next proof after one that failed, and until a failure is tried again before it counts."""
_RESULTS: Final = {
    ConditionStatus.TRUE: ProofResult.PROVEN,
    ConditionStatus.FALSE: ProofResult.FAILED,
    ConditionStatus.UNKNOWN: ProofResult.UNKNOWN,
}


class Prover:
    """Proves while `run` runs, for the leader only; calls `proved` with each new result.

    A change of the webhook configurations is noticed at once. A dry run that fails counts when it fails a second time:
    one request may time out.
    """

    def __init__(self, api: ApiClient, options: Options, metrics: Metrics, proved: Callable[[Proof], None]) -> None:
        self._api = api
        self._options = options
        self._metrics = metrics
        self._proved = proved
        self._last: Proof | None = None
        self._doubted = False
        self._wake = asyncio.Event()
        self._configurations = [self._follow(collection) for collection in COLLECTIONS]

    async def run(self) -> None:
        """Run until cancelled. API failures are logged and tried again."""
        async with asyncio.TaskGroup() as watches:
            for reflector in self._configurations:
                watches.create_task(reflector.run())
            for reflector in self._configurations:
                await reflector.wait_synced()
            while True:
                self._wake.clear()
                pause = await self._prove()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def _follow(self, collection: str) -> Reflector[WebhookConfiguration]:
        return Reflector(
            self._api,
            collection,
            lambda raw: msgspec.json.decode(raw, type=WebhookConfiguration),
            on_change=lambda _: self._wake.set(),
            field_selector=f"metadata.name={self._options.webhook_configuration}",
        )

    async def _prove(self) -> float:
        """Prove once; gives the seconds until the next proof."""
        validating, mutating = (next(iter(reflector.objects.values()), None) for reflector in self._configurations)
        may_ignore = self._options.admit_pods_unjudged
        problems = problems_of(validating, mutating, self._options.exclude_namespaces, may_ignore=may_ignore)
        if problems:
            await self._conclude(proof_by_problems(problems))
            return RETRY_SECONDS
        try:
            proof = await try_webhooks(self._api, self._options.proof_namespace, may_ignore=may_ignore)
        except ApiUnavailable as error:
            proof = unknown(str(error))
        is_good, before = proof.status is ConditionStatus.TRUE, self._last.status if self._last is not None else None
        if not is_good and before is ConditionStatus.TRUE and not self._doubted:
            self._doubted = True
            return RETRY_SECONDS
        if proof.status is ConditionStatus.UNKNOWN and before is ConditionStatus.FALSE:
            self._count(proof)  # a failure stands until a proof succeeds
            return RETRY_SECONDS
        await self._conclude(proof)
        return PROOF_SECONDS if is_good else RETRY_SECONDS

    async def _conclude(self, proof: Proof) -> None:
        """Count a result, and report it if it is new."""
        self._doubted = False
        self._count(proof)
        last = self._last
        if last is not None and last.key == proof.key:
            return
        self._last = proof
        self._proved(proof)
        if proof.status is ConditionStatus.TRUE:
            logger.info("proven: %s", proof.message)
            return
        logger.warning("not proven (%s): %s", proof.reason, proof.message)
        if proof.status is ConditionStatus.FALSE:
            await self._warn(proof)

    def _count(self, proof: Proof) -> None:
        self._metrics.proofs.labels(_RESULTS[proof.status]).inc()
        self._metrics.unproven.set(int(proof.status is not ConditionStatus.TRUE))
        if proof.status is ConditionStatus.TRUE:
            self._metrics.last_proof.set(time.time())

    async def _warn(self, proof: Proof) -> None:
        """Write an Event, at most one an hour for each result. Never raises."""
        name, now = self._options.webhook_configuration, self._api.clock.now()
        regarding = ObjectReference("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", name, "")
        note = f"pods are not judged: {proof.message}" if proof.pods_not_judged else proof.message
        notice = Notice(regarding, Reason.PROOF_FAILED.value, "ProveWebhooks", note, f"{proof.key} {now:%Y-%m-%dT%H}")
        try:
            await write_warning(self._api, notice, self._options.identity, now)
        except (ApiError, ApiUnavailable) as error:
            logger.warning("cannot write an Event: %s", error)

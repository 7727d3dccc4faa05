"""Keeps the status of every policy, waiver, authority and catalog up to date, by them and by the replicas' reports."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import msgspec

from sekisho.backoff import backoff
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.endpoints import SERVICE_LABEL, Pods, all_pods, pods_of, slices_path, strangers, unreported
from sekisho.cluster.events import Reason
from sekisho.cluster.lease import Lease, lease_path
from sekisho.cluster.owners import ObjectReference
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.replicas import Replica, forgotten, live, observe, silent
from sekisho.operator.auditor import Audited
from sekisho.operator.authorities import wanted_authority_status
from sekisho.operator.authority_sources import AuthoritySources
from sekisho.operator.catalogs import catalog_numbers, counts_of, wanted_catalog_status
from sekisho.operator.current_statuses import CurrentStatuses
from sekisho.operator.events import Notice, write_warning
from sekisho.operator.metrics import Metrics, Subject
from sekisho.operator.notices import without_notices, write_notices
from sekisho.operator.objects import FIELD_MANAGER
from sekisho.operator.proof import Proof
from sekisho.operator.records import Record, Status, read_record
from sekisho.operator.shown_counts import ShownCounts, ShownExamples
from sekisho.operator.status import Sources, View, waivers_in_effect, wanted_policy_status
from sekisho.operator.waiver_uses import ShownUses
from sekisho.operator.waivers import next_change, wanted_waiver_status
from sekisho.policies import PolicyWaiver
from sekisho.policies.conflicts import Conflicts
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.policies.status import PolicyImpact
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

DEBOUNCE_SECONDS: Final = 0.1
BATCH: Final = 16
"""The most requests under way at the same time."""
RECOMPUTE_SECONDS: Final = 1.0
"""While statuses are being written, all of them are computed again at most this often."""
RESYNC_SECONDS: Final = 60.0
"""The longest time between two computations of all statuses."""
END_SECONDS: Final = 20.0
"""How long a controller that is to stop may take to say that pods are not judged; the kubelet gives it 30 s."""
MAX_RETRY_SECONDS: Final = 300.0
"""The longest wait before a status that could not be written is tried again."""


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class StatusKeeper:
    """Keeps statuses up to date while `run` runs; for the leader only, which writes Events as `identity`.

    Call `changed` and `deleted` for each policy, waiver, authority and catalog. `service` is the webhook's Service in
    `namespace`: a pod to which it sends reviews counts as a replica even while it does not report. Empty when there is
    no Service. `exempt` are the namespaces whose pods the API server does not send to the webhook. `sources` are what
    authorities are read from; None where images are not verified.
    """

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        metrics: Metrics,
        identity: str = "",
        service: str = "",
        exempt: Collection[str] = EXEMPT_NAMESPACES,
        sources: AuthoritySources | None = None,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._metrics = metrics
        self._identity = identity
        self._service = service
        self._exempt = exempt
        self._sources = sources
        self._records: dict[str, Record] = {}  # by uid, as another policy may get the name of a deleted one
        self._conflicts = Conflicts()
        self._counts, self._examples, self._uses = ShownCounts(), ShownExamples(), ShownUses()
        self._retries: dict[str, tuple[int, float]] = {}  # by uid: failures so far, and when to try again
        self._current = CurrentStatuses()
        self._writing: dict[str, Status] = {}
        """By uid, the statuses that are being written: the watch may deliver one before the answer comes."""
        self._newest: dict[str, int] = {}
        """For each kind, the resourceVersion that replicas must have read to enforce all of it."""
        self._replicas: dict[str, Replica] = {}
        self._pods: Pods | None = None
        self._strangers: frozenset[str] = frozenset()
        """Those that report as replicas, and are not pods of the Service."""
        self._warned: frozenset[tuple[str, str]] = frozenset()
        """The replicas that serve no reviews, and why, for which there is an Event."""
        self._impacts: Mapping[str, PolicyImpact] = {}
        self._rules_changed: Callable[[], None] = lambda: None
        self._proof: Proof | None = None
        self._has_proof = _set_event()
        self._all_written = asyncio.Event()
        """Set once all statuses have been written since the last proof."""
        self._missing_lists = 0
        self._has_policies = _set_event()
        self._wake = asyncio.Event()
        self.progressed_at = time.monotonic()
        """When statuses were last computed or written, by the monotonic clock."""

    def changed(self, body: Mapping[str, Any]) -> None:
        """Take in a policy, waiver, authority or catalog as it is now."""
        uid = body["metadata"]["uid"]
        known = self._records.get(uid)
        try:
            record = self._records[uid] = read_record(body, known, self._exempt)
        except Exception:  # a defect: the status of this object goes stale, the others are kept up to date
            self._metrics.reconcile_errors.labels(Subject.STATUS).inc()
            logger.exception("cannot read %s %s", body.get("kind"), body["metadata"].get("name"))
            return
        is_same_generation = known is not None and known.generation == record.generation
        if not is_same_generation:
            self._conflicts.update(uid, record.defaulting)
            self._retries.pop(uid, None)
            plural = record.resource.plural
            self._newest[plural] = max(self._newest.get(plural, 0), record.since)
            self._rules_changed()
        is_own_write = is_same_generation and uid in self._writing and record.status == self._writing[uid]
        if record is not known and not is_own_write:
            self._wake.set()

    def deleted(self, uid: str) -> None:
        """Forget a policy, waiver, authority or catalog that was deleted."""
        self._forget(uid)
        self._wake.set()
        self._rules_changed()

    def on_rules_changed(self, call: Callable[[], None]) -> None:
        """Call this whenever one of the objects has another generation, or was deleted."""
        self._rules_changed = call

    async def rules(self) -> Audited:
        """The accepted policies and waivers, once all that exist are known."""
        await self._has_policies.wait()
        accepted = [(record.policy, record) for record in self._records.values() if record.policy is not None]
        return Audited([policy for policy, _ in accepted], [record for _, record in accepted])

    def audited(self, impacts: Mapping[str, PolicyImpact]) -> None:
        """Take in what policies mean for what runs, by uid."""
        if impacts != self._impacts:
            self._impacts = impacts
            self._wake.set()

    def await_lists(self, count: int) -> None:
        """Write no status before `listed` is called `count` times: it depends on all policies and waivers."""
        self._missing_lists = count
        self._has_policies.clear()

    def listed(self) -> None:
        """Take in that `changed` was called with everything that one of the watches listed at its start."""
        self._missing_lists -= 1
        if not self._missing_lists:
            self._has_policies.set()

    def await_proof(self) -> None:
        """Write no status before the first call of `proved`: until then nobody knows whether pods are judged."""
        self._has_proof.clear()

    def proved(self, proof: Proof) -> None:
        """Take in whether the API server sends pods to the webhook."""
        self._proof = proof
        self._has_proof.set()
        self._all_written.clear()
        self._wake.set()

    async def report_end(self) -> None:
        """Wait until every status says that pods are no longer judged, where that is so; END_SECONDS at most.

        When the release is uninstalled, nobody else will say it.
        """
        if self._proof is not None and self._proof.pods_not_judged:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._all_written.wait()

    async def run(self) -> None:
        """Run until cancelled. API failures are logged, counted and tried again."""
        leases = Reflector(
            self._api,
            lease_path(self._namespace),
            lambda raw: msgspec.json.decode(raw, type=Lease),
            on_change=self._leases_changed,
        )
        slices = Reflector(
            self._api,
            slices_path(self._namespace),
            pods_of,
            on_change=self._slices_changed,
            label_selector=f"{SERVICE_LABEL}={self._service}",
        )
        reflectors: list[Reflector[Any]] = [leases, slices] if self._service else [leases]
        async with asyncio.TaskGroup() as watches:
            for reflector in reflectors:
                watches.create_task(reflector.run())
            if self._sources is not None:
                watches.create_task(self._sources.run(self._wake.set))
            for reflector in reflectors:  # until then it would seem that no replica is running
                await reflector.wait_synced()
            await self._has_proof.wait()
            await self._wait_for_policies()
            await asyncio.sleep(0)  # the callbacks with the first copies are due, but may not have run yet
            while True:
                pause = await self._bring_up_to_date()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _wait_for_policies(self) -> None:
        while not self._has_policies.is_set():
            self.progressed_at = time.monotonic()  # a missing CRD does not mean that the process must start again
            with suppress(TimeoutError):
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._has_policies.wait()

    def _leases_changed(self, leases: Mapping[str, Lease]) -> None:
        now, before = time.monotonic(), self._replicas
        self._replicas = observe(leases.values(), before, now, datetime.now(UTC))
        # Replicas renew their Leases all the time, and report each status that was written as read.
        if relevant(self._replicas, self._newest, now) != relevant(before, self._newest, now):
            self._wake.set()

    def _slices_changed(self, slices: Mapping[str, Pods]) -> None:
        self._pods = all_pods(slices.values())
        self._wake.set()

    def _forget(self, uid: str) -> None:
        self._records.pop(uid, None)
        self._conflicts.update(uid, None)
        self._retries.pop(uid, None)
        self._current.forget(uid)
        self._uses.forget(uid)

    def stale_statuses(self) -> list[tuple[Record, Status]]:
        """Those whose status is out of date now, with the status that they should have."""
        return [stale for batch in self._stale_batches(self._view()) for stale in batch]

    async def _bring_up_to_date(self) -> float:
        """Write the statuses that are out of date; gives the seconds until the passing of time may change some.

        Stops in the middle when something changed and the computation is older than RECOMPUTE_SECONDS.
        """
        self._wake.clear()
        computed = self.progressed_at = time.monotonic()
        view = self._view()
        catalogs = (record.catalog for record in self._records.values() if record.catalog is not None)
        self._metrics.show_catalogs(catalog_numbers(catalog, view.now) for catalog in catalogs)
        await self._warn_of_replicas(view)
        expired = forgotten(self._replicas, computed)[:BATCH]
        removals = await asyncio.gather(*map(self._remove_lease, expired))
        self._count_failures(removals, "cannot remove the Lease of a replica that has ended")
        failures = 0
        for batch in self._stale_batches(view):
            results = await asyncio.gather(*(self._write(record, status, view.now) for record, status in batch))
            message = "cannot bring the status of policies up to date"
            failures += self._count_failures(results, message, is_logged=not failures)
            self.progressed_at = time.monotonic()
            if self._wake.is_set() and time.monotonic() - computed > RECOMPUTE_SECONDS:
                break
        else:  # all were written
            if not failures and view.proof is self._proof:
                self._all_written.set()
        return self._pause(view)

    def _count_failures(self, results: Iterable[Exception | None], message: str, *, is_logged: bool = True) -> int:
        """Count the failures among `results`, in the metric too; `message` with the first one is logged."""
        failures = [*filter(None, results)]
        if failures:
            self._metrics.reconcile_errors.labels(Subject.STATUS).inc(len(failures))
        if failures and is_logged:
            logger.warning("%s: %s", message, failures[0])
        return len(failures)

    def _view(self) -> View:
        now, moment = time.monotonic(), self._api.clock.now()
        reports = self._without_strangers()
        replicas = live(reports, now)
        records = self._records.values()
        titles = frozenset(record.title for record in records if record.is_policy)
        names = (replica.name for replica in replicas)
        return View(
            now=moment,
            replicas=replicas,
            silent=silent(reports, now) if self._pods is None else unreported(self._pods.ready, names),
            counts=self._counts.of(records, tuple(reports.values()), now),
            examples=self._examples.of(records, tuple(reports.values()), now),
            uses=self._uses.of(records, tuple(reports.values()), now),
            waivers=waivers_in_effect(records, moment),
            titles=titles,
            impacts=self._impacts,
            proof=self._proof,
            sources=self._sources.now() if self._sources is not None else Sources(),
        )

    def _without_strangers(self) -> Mapping[str, Replica]:
        """The reports of the Service's pods: anybody who may write Leases here could report as a replica."""
        if self._pods is None:
            return self._replicas
        names = strangers(self._pods, (replica.name for replica in self._replicas.values()))
        for name in names - self._strangers:
            logger.info("the report of %s does not count: it is not a pod of Service %s", name, self._service)
        self._strangers = names
        return {key: replica for key, replica in self._replicas.items() if replica.name not in names}

    def _stale_batches(self, view: View) -> Iterator[list[tuple[Record, Status]]]:
        """Those whose status is out of date, with the status that they should have, BATCH at a time.

        New generations come first, as somebody may wait for them: they are written before all others are computed.
        """
        for is_observed in (False, True):
            stale = self._stale(view, is_observed=is_observed)
            while batch := list(islice(stale, BATCH)):
                yield batch

    def _stale(self, view: View, *, is_observed: bool) -> Iterator[tuple[Record, Status]]:
        """Those whose status is out of date, each computed when it is due.

        is_observed: whether they are those whose stored status is about the present generation, or the others.

        Those that will be tried again later are left out.
        """
        now = time.monotonic()
        self._current.compare(view)
        for uid in [uid for uid, record in self._records.items() if _is_observed(record) is is_observed]:
            record = self._records.get(uid)  # as it is by now: others were written meanwhile
            _, retry_at = self._retries.get(uid, (0, now))
            if record is None or now < retry_at:
                continue
            conflicts = self._conflicts.of(uid)
            if self._current.has(record, conflicts, view):
                continue
            status = self._wanted(record, view)
            if status is not None and status != record.status:
                yield record, status
            elif status is not None:
                self._current.add(record, conflicts, view)

    def _wanted(self, record: Record, view: View) -> Status | None:
        """The status that a record should have; None when it cannot be computed, which is tried again later."""
        try:
            if record.is_waiver:
                return wanted_waiver_status(record, view)
            if record.is_authority:
                return wanted_authority_status(record, view)
            if record.is_catalog:
                return wanted_catalog_status(record, view)
            return wanted_policy_status(record, self._conflicts.of(record.uid), view)
        except Exception:  # a defect: it must not stop the others
            self._metrics.reconcile_errors.labels(Subject.STATUS).inc()
            logger.exception("cannot compute the status of %s %s", record.resource.name, record.title)
            self._retry_later(record)
            return None

    def _pause(self, view: View) -> float:
        """The seconds until a Lease or waiver expires, a catalog's entry ends, or a failed write is tried again."""
        now = time.monotonic()
        expiries = [replica.expires - now for replica in view.replicas]
        retries = [due - now for _, due in self._retries.values()]
        records = self._records.values()
        waivers = [record.policy for record in records if isinstance(record.policy, PolicyWaiver)]
        changes = [next_change(waiver.spec.expires, view.now) for waiver in waivers]
        catalogs = [counts_of(record.catalog, view.now) for record in records if record.catalog is not None]
        changes += [counts.next_end - view.now for counts in catalogs if counts.next_end is not None]
        seconds = [change.total_seconds() for change in changes if change is not None]
        return max(0.0, min([RESYNC_SECONDS, *expiries, *retries, *seconds]))

    async def _write(self, record: Record, status: Status, now: datetime) -> Exception | None:
        """Write a status, and the Event that goes with it; gives the error of a failure, which is tried again later."""
        failure: Exception | None = None
        try:
            await write_notices(self._api, record, status, self._identity, now)
        except (ApiError, ApiUnavailable) as error:
            failure, status = error, without_notices(record, status)
        try:
            if status != record.status:  # else only notices changed, and they could not be written
                self._writing[record.uid] = status
                await self._patch(record, status)
        except (ApiError, ApiUnavailable) as error:
            if isinstance(error, ApiError) and error.status == 404:
                self._forget(record.uid)
                return None
            if isinstance(error, ApiError) and error.status == 409:  # the watch is about to deliver a newer version
                return None
            failure = error
        finally:
            self._writing.pop(record.uid, None)
        if failure is None:
            self._retries.pop(record.uid, None)
        elif record.uid in self._records:
            self._retry_later(record)
        return failure

    def _retry_later(self, record: Record) -> None:
        failures = self._retries.get(record.uid, (0, 0.0))[0] + 1
        self._retries[record.uid] = failures, time.monotonic() + backoff(failures, MAX_RETRY_SECONDS)

    async def _patch(self, record: Record, status: Status) -> None:
        # The resourceVersion makes the write fail when the status was computed from an older object, or by a former
        # leader.
        patch = {"metadata": {"resourceVersion": record.resource_version}, "status": status}
        raw = await self._api.patch(
            _status_path(record), msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER}
        )
        known = self._records.get(record.uid)
        if known is not None:  # else it was deleted meanwhile
            self._records[record.uid] = read_record(msgspec.json.decode(raw), known, self._exempt)

    async def _warn_of_replicas(self, view: View) -> None:
        """Write an Event for each replica that serves no reviews, once for each reason. Never raises."""
        problems = {(replica.name, replica.problem) for replica in view.replicas if replica.problem}
        for name, problem in problems - self._warned:
            regarding = ObjectReference("coordination.k8s.io/v1", "Lease", f"sekisho-webhook-{name}", self._namespace)
            note = f"replica {name} of the webhook serves no reviews: {problem}"
            logger.warning("%s", note)
            try:
                notice = Notice(regarding, Reason.REPLICA_NOT_SERVING.value, "ServeReviews", note, note)
                await write_warning(self._api, notice, self._identity, view.now)
            except (ApiError, ApiUnavailable) as error:
                logger.warning("cannot write an Event: %s", error)
        self._warned = frozenset(problems)

    async def _remove_lease(self, name: str) -> Exception | None:
        try:
            await self._api.delete(lease_path(self._namespace, name))
        except (ApiError, ApiUnavailable) as error:
            if not isinstance(error, ApiError) or error.status != 404:
                return error
        return None


def _status_path(record: Record) -> str:
    namespace, _, name = record.title.rpartition("/")
    within = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{within}{record.resource.plural}/{name}/status"


def _is_observed(record: Record) -> bool:
    """Whether the stored status is about the present generation."""
    return record.status is not None and record.status.observed_generation == record.generation


def relevant(replicas: Mapping[str, Replica], newest: Mapping[str, int], now: float) -> list[tuple[Any, ...]]:
    """What statuses depend on in the reports of replicas at the monotonic time `now`.

    newest: for each kind, the resourceVersion that they have to read.
    """
    return [
        (
            key,
            now < replica.expires,
            replica.problem,
            replica.unusable,
            replica.counts,
            replica.examples,
            replica.waivers,
            [min(replica.versions.get(plural, -1), version) for plural, version in newest.items()],
        )
        for key, replica in replicas.items()
    ]

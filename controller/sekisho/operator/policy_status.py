"""Keeps the status of every policy and waiver true, from all of them and from what the replicas report."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.endpoints import SERVICE_LABEL, ready_pods, slices_path, unaccounted
from sekisho.cluster.events import Reason
from sekisho.cluster.lease import Lease, lease_path
from sekisho.cluster.owners import ObjectReference
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.replicas import Counts, Replica, forgotten, live, observe, silent
from sekisho.operator.events import Notice, warn
from sekisho.operator.metrics import Metrics
from sekisho.operator.records import Record, Status, read_record
from sekisho.operator.status import View, summed, waivers_in_effect, wanted_policy_status
from sekisho.operator.waivers import next_change, notice_text, wanted_waiver_status
from sekisho.policies import PolicyWaiver
from sekisho.policies.conflicts import Conflicts
from sekisho.policies.crd import RESOURCES
from sekisho.policies.status import PolicyWaiverStatus
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

FIELD_MANAGER = "sekisho-controller"

DEBOUNCE_SECONDS = 0.1
BATCH = 16
"""Requests under way at once; what is to be written is thought over anew after each batch."""
LOOK_SECONDS = 60.0
"""How often everything is looked at without being woken."""
COUNT_SECONDS = 60.0
"""The counts of one policy change in its status at most this often."""
_RETRY_SECONDS = 5.0


class StatusKeeper:
    """Keeps the status of policies and waivers true while it runs; for the leader only, which acts as `identity`.

    Feed it each one that changes or goes. `service` is the webhook's Service in `namespace`, empty where it has none:
    a pod that this sends reviews to counts as a replica, whether it reports or not.
    """

    def __init__(self, api: ApiClient, namespace: str, metrics: Metrics, identity: str = "", service: str = "") -> None:
        self._api = api
        self._namespace = namespace
        self._metrics = metrics
        self._identity = identity
        self._service = service
        self._records: dict[str, Record] = {}  # by uid: a policy of the same name made anew is another
        self._conflicts = Conflicts()
        self._counts = ShownCounts()
        self._failed: set[str] = set()  # uids: one policy that can't be written must not hold up the others
        self._replicas: dict[str, Replica] = {}
        self._ready: tuple[str, ...] | None = None
        self._wake = asyncio.Event()

    def changed(self, body: Mapping[str, Any]) -> None:
        """Take note of a policy or a waiver as it is now."""
        uid = body["metadata"]["uid"]
        known = self._records.get(uid)
        record = self._records[uid] = read_record(body, known)
        if known is None or known.generation != record.generation:
            self._conflicts.place(uid, record.defaulting)
        self._wake.set()

    def deleted(self, body: Mapping[str, Any]) -> None:
        """Take note that a policy or a waiver is gone."""
        self._forget(body["metadata"]["uid"])
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled; API failures are logged, counted and tried again."""
        leases = Reflector(
            self._api,
            lease_path(self._namespace),
            lambda raw: msgspec.json.decode(raw, type=Lease),
            on_change=self._leases_changed,
        )
        slices = Reflector(
            self._api,
            slices_path(self._namespace),
            ready_pods,
            on_change=self._slices_changed,
            label_selector=f"{SERVICE_LABEL}={self._service}",
        )
        followed: list[Reflector[Any]] = [leases, slices] if self._service else [leases]
        async with asyncio.TaskGroup() as watches:
            for reflector in followed:
                watches.create_task(reflector.run())
            for reflector in followed:  # else a controller that starts would see no replicas, and say so
                await reflector.wait_synced()
            while True:
                pause = await self._bring_up_to_date()
                if pause > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                    await asyncio.sleep(DEBOUNCE_SECONDS)

    def _leases_changed(self, leases: Mapping[str, Lease]) -> None:
        replicas = observe(leases.values(), self._replicas, time.monotonic(), datetime.now(UTC))
        if replicas != self._replicas:  # else it was another Lease of this namespace
            self._replicas = replicas
            self._wake.set()

    def _slices_changed(self, slices: Mapping[str, tuple[str, ...]]) -> None:
        self._ready = tuple(pod for pods in slices.values() for pod in pods)
        self._wake.set()

    def _forget(self, uid: str) -> None:
        self._records.pop(uid, None)
        self._conflicts.place(uid, None)
        self._failed.discard(uid)

    async def _bring_up_to_date(self) -> float:
        """Write some of what there is to say; gives the seconds until there may be more, without being woken."""
        self._wake.clear()
        view = self._view()
        stale = self._stale(view)
        writes = [self._write(record, wanted, view.now) for record, wanted in stale[:BATCH]]
        removals = [self._remove_lease(name) for name in forgotten(self._replicas, time.monotonic())[:BATCH]]
        failures = [failure for failure in await asyncio.gather(*writes, *removals) if failure is not None]
        if failures:
            self._metrics.reconcile_errors.labels("status").inc(len(failures))
            logger.warning("cannot bring the policies' status up to date (%d failures): %s", len(failures), failures[0])
            return _RETRY_SECONDS
        if len(stale) > BATCH:
            return 0.0
        return self._pause(view)

    def _view(self) -> View:
        now, moment = time.monotonic(), self._api.clock.now()
        replicas = live(self._replicas, now)
        records = self._records.values()
        titles = frozenset(r.title for r in records if r.resource is not RESOURCES["PolicyWaiver"])
        reported = summed(replica.counts for replica in self._replicas.values())
        ready = self._ready
        return View(
            now=moment,
            replicas=replicas,
            silent=silent(self._replicas, now) if ready is None else unaccounted(ready, (r.name for r in replicas)),
            counts=self._counts.of(titles, reported, now),
            waivers=waivers_in_effect(records, moment),
            titles=titles,
        )

    def _stale(self, view: View) -> list[tuple[Record, Status]]:
        """Those whose status is not what it should be; first those that somebody may be waiting for."""
        wanted = [(record, self._wanted(record, view)) for record in self._records.values()]
        stale = [(record, status) for record, status in wanted if record.status != status]
        return sorted(stale, key=lambda each: (each[0].uid in self._failed, _is_told(each[0])))

    def _wanted(self, record: Record, view: View) -> Status:
        if record.resource is RESOURCES["PolicyWaiver"]:
            return wanted_waiver_status(record, view)
        return wanted_policy_status(record, self._conflicts.of(record.uid), view)

    def _pause(self, view: View) -> float:
        """The seconds until time alone changes something: a Lease runs out, or a waiver."""
        now = time.monotonic()
        expiries = [replica.expires - now for replica in view.replicas]
        waivers = [r.policy for r in self._records.values() if isinstance(r.policy, PolicyWaiver)]
        changes = [next_change(waiver.spec.expires, view.now) for waiver in waivers]
        return min([LOOK_SECONDS, *expiries, *(change.total_seconds() for change in changes if change is not None)])

    async def _write(self, record: Record, status: Status, now: datetime) -> Exception | None:
        """Write a status, after the Event that goes with it; gives what stood in the way."""
        # The version makes sure that the status is about what it was made from, and that a leader of old loses.
        patch = {"metadata": {"resourceVersion": record.resource_version}, "status": status}
        try:
            await self._tell(record, status, now)
            raw = await self._api.patch(
                _status_path(record), msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER}
            )
        except (ApiError, ApiUnavailable) as error:
            match error:
                case ApiError(status=404):
                    self._forget(record.uid)
                case ApiError(status=409):  # the version that is there now is on its way
                    await asyncio.sleep(DEBOUNCE_SECONDS)
                case _:
                    self._failed.add(record.uid)
                    return error
            return None
        self._failed.discard(record.uid)
        if record.uid in self._records:  # else it was deleted meanwhile
            self.changed(msgspec.json.decode(raw))
        return None

    async def _tell(self, record: Record, status: Status, now: datetime) -> None:
        """Warn of a waiver's end, once a notice. The status keeps that it was done, for Events are soon forgotten."""
        if not isinstance(status, PolicyWaiverStatus) or not isinstance(record.policy, PolicyWaiver):
            return
        days = status.expires_within_days
        told = record.status.expires_within_days if isinstance(record.status, PolicyWaiverStatus) else None
        if days is None or days == told:
            return
        kind = record.resource.name
        regarding = ObjectReference(f"{GROUP}/{VERSION}", kind, record.title, "", record.uid)
        once = f"{days} {record.policy.spec.expires.isoformat()}"
        note = notice_text(record.policy)
        await warn(
            self._api, Notice(regarding, Reason.POLICY_EXPIRING.value, "LiftControls", note, once), self._identity, now
        )

    async def _remove_lease(self, name: str) -> Exception | None:
        try:
            await self._api.delete(lease_path(self._namespace, name))
        except (ApiError, ApiUnavailable) as error:
            if not isinstance(error, ApiError) or error.status != 404:
                return error
        return None


class ShownCounts:
    """Denials and warnings as statuses show them: those of one policy change once in COUNT_SECONDS at most."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[tuple[int, int], float]] = {}

    def of(self, titles: Iterable[str], reported: Counts, now: float) -> Counts:
        """What to show of the policies with these titles, when the replicas report so."""
        shown: dict[str, tuple[tuple[int, int], float]] = {}
        for title in titles:
            counted, at = self._shown.get(title, ((0, 0), now - COUNT_SECONDS))
            told = reported.get(title, (0, 0))
            shown[title] = (told, now) if told != counted and now - at >= COUNT_SECONDS else (counted, at)
        self._shown = shown
        return {title: counted for title, (counted, _) in shown.items()}


def _status_path(record: Record) -> str:
    namespace, _, name = record.title.rpartition("/")
    within = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{within}{record.resource.plural}/{name}/status"


def _is_told(record: Record) -> bool:
    """Whether the status is about this generation already."""
    return record.status is not None and record.status.observed_generation == record.generation

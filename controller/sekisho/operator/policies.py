"""Keeps the status of every policy true, from the policies and from the replicas' Leases."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import Lease, lease_path
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.replicas import Replica, forgotten, live, observe
from sekisho.operator.metrics import Metrics
from sekisho.operator.status import Policy, read_policy, wanted_status
from sekisho.policies.types import GROUP, VERSION, ClusterPodPolicyStatus

logger = logging.getLogger(__name__)

PATH = f"/apis/{GROUP}/{VERSION}/clusterpodpolicies"
FIELD_MANAGER = "sekisho-controller"

DEBOUNCE_SECONDS = 0.1
BATCH = 16
"""Requests under way at once; what is to be written is thought over anew after each batch."""
LOOK_SECONDS = 60.0
"""How often everything is looked at without being woken."""
_RETRY_SECONDS = 5.0


class StatusKeeper:
    """Keeps policy status true while it runs; for the leader only. Feed it each policy that changes or goes."""

    def __init__(self, api: ApiClient, namespace: str, metrics: Metrics) -> None:
        self._api = api
        self._namespace = namespace
        self._metrics = metrics
        self._policies: dict[str, Policy] = {}  # by uid: a policy of the same name made anew is another
        self._failed: set[str] = set()  # uids: one policy that can't be written must not hold up the others
        self._replicas: dict[str, Replica] = {}
        self._wake = asyncio.Event()

    def changed(self, body: Mapping[str, Any]) -> None:
        """Take note of a policy as it is now."""
        uid = body["metadata"]["uid"]
        self._policies[uid] = read_policy(body, self._policies.get(uid))
        self._wake.set()

    def deleted(self, body: Mapping[str, Any]) -> None:
        """Take note that a policy is gone."""
        self._forget(body["metadata"]["uid"])

    async def run(self) -> None:
        """Run until cancelled; API failures are logged, counted and tried again."""
        leases = Reflector(
            self._api,
            lease_path(self._namespace),
            lambda raw: msgspec.json.decode(raw, type=Lease),
            on_change=self._leases_changed,
        )
        async with asyncio.TaskGroup() as watch:
            watch.create_task(leases.run())
            await leases.wait_synced()  # else a controller that starts would see no replicas, and say so
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

    def _forget(self, uid: str) -> None:
        self._policies.pop(uid, None)
        self._failed.discard(uid)

    async def _bring_up_to_date(self) -> float:
        """Write some of what there is to say; gives the seconds until there may be more, without being woken."""
        self._wake.clear()
        stale = self._stale()
        writes = [self._write(policy, wanted) for policy, wanted in stale[:BATCH]]
        removals = [self._remove_lease(name) for name in forgotten(self._replicas, time.monotonic())[:BATCH]]
        failures = [failure for failure in await asyncio.gather(*writes, *removals) if failure is not None]
        if failures:
            self._metrics.reconcile_errors.labels("status").inc(len(failures))
            logger.warning("cannot bring the policies' status up to date (%d failures): %s", len(failures), failures[0])
            return _RETRY_SECONDS
        if len(stale) > BATCH:
            return 0.0
        now = time.monotonic()
        return min([LOOK_SECONDS] + [replica.expires - now for replica in live(self._replicas, now)])

    def _stale(self) -> list[tuple[Policy, ClusterPodPolicyStatus]]:
        """The policies whose status is not what it should be; first those that somebody may be waiting for."""
        replicas, now = live(self._replicas, time.monotonic()), datetime.now(UTC)
        wanted = [(policy, wanted_status(policy, replicas, now)) for policy in self._policies.values()]
        stale = [(policy, status) for policy, status in wanted if policy.status != status]
        return sorted(stale, key=lambda each: (each[0].uid in self._failed, _is_told(each[0])))

    async def _write(self, policy: Policy, status: ClusterPodPolicyStatus) -> Exception | None:
        """Write the status of a policy; gives what stood in the way."""
        # The version makes sure that the status is about what it was made from, and that a leader of old loses.
        patch = {"metadata": {"resourceVersion": policy.resource_version}, "status": status}
        path = f"{PATH}/{policy.name}/status"
        try:
            raw = await self._api.patch(path, msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER})
        except (ApiError, ApiUnavailable) as error:
            match error:
                case ApiError(status=404):
                    self._forget(policy.uid)
                case ApiError(status=409):  # the version that is there now is on its way
                    await asyncio.sleep(DEBOUNCE_SECONDS)
                case _:
                    self._failed.add(policy.uid)
                    return error
            return None
        self._failed.discard(policy.uid)
        self.changed(msgspec.json.decode(raw))
        return None

    async def _remove_lease(self, name: str) -> Exception | None:
        try:
            await self._api.delete(lease_path(self._namespace, name))
        except (ApiError, ApiUnavailable) as error:
            if not isinstance(error, ApiError) or error.status != 404:
                return error
        return None


def _is_told(policy: Policy) -> bool:
    """Whether the status is about this generation already."""
    return policy.status is not None and policy.status.observed_generation == policy.generation

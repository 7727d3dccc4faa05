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
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

PATH = f"/apis/{GROUP}/{VERSION}/clusterpodpolicies"
FIELD_MANAGER = "sekisho-controller"

DEBOUNCE_SECONDS = 0.1
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
        self._replicas: dict[str, Replica] = {}
        self._wake = asyncio.Event()

    def changed(self, body: Mapping[str, Any]) -> None:
        """Take note of a policy as it is now."""
        uid = body["metadata"]["uid"]
        self._policies[uid] = read_policy(body, self._policies.get(uid))
        self._wake.set()

    def deleted(self, body: Mapping[str, Any]) -> None:
        """Take note that a policy is gone."""
        self._policies.pop(body["metadata"]["uid"], None)

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
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
                await asyncio.sleep(DEBOUNCE_SECONDS)

    def _leases_changed(self, leases: Mapping[str, Lease]) -> None:
        replicas = observe(leases.values(), self._replicas, time.monotonic(), datetime.now(UTC))
        if replicas != self._replicas:  # else it was another Lease of this namespace
            self._replicas = replicas
            self._wake.set()

    async def _bring_up_to_date(self) -> float:
        """Write what there is to say; gives the seconds until time alone may change something."""
        self._wake.clear()
        failures: list[Exception] = []
        try:
            await self._forget_dead_replicas()
            for uid in list(self._policies):
                if (policy := self._policies.get(uid)) is not None:
                    failures += await self._write_status(policy)
        except (ApiError, ApiUnavailable) as error:
            failures.append(error)
        if failures:
            self._metrics.reconcile_errors.labels("status").inc(len(failures))
            logger.warning("cannot bring the policies' status up to date (%d failures): %s", len(failures), failures[0])
            return _RETRY_SECONDS
        now = time.monotonic()
        return min([LOOK_SECONDS] + [replica.expires - now for replica in live(self._replicas, now)])

    async def _write_status(self, policy: Policy) -> list[ApiError]:
        """Write the status of a policy, if that is news. Gives the failure that is this policy's alone."""
        wanted = wanted_status(policy, live(self._replicas, time.monotonic()), datetime.now(UTC))
        if wanted == policy.status:
            return []
        # The version makes sure that the status is about what it was made from, and that a leader of old loses.
        patch = {"metadata": {"resourceVersion": policy.resource_version}, "status": wanted}
        try:
            raw = await self._api.patch(
                f"{PATH}/{policy.name}/status", msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER}
            )
        except ApiError as error:
            if error.status == 404:
                self._policies.pop(policy.uid, None)
            elif error.status != 409:  # after a conflict, the version that is there now is on its way
                return [error]
            return []
        self.changed(msgspec.json.decode(raw))
        return []

    async def _forget_dead_replicas(self) -> None:
        for name in forgotten(self._replicas, time.monotonic()):
            try:
                await self._api.delete(lease_path(self._namespace, name))
            except ApiError as error:
                if error.status != 404:
                    raise

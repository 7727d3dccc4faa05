"""Reports what this replica of the webhook enforces, in the annotations of its Lease."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from sekisho.backoff import backoff, with_jitter
from sekisho.cluster.accounts import OwnerReference, own_account
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import lease_path
from sekisho.cluster.replicas import (
    AUTHORITY_ANNOTATION,
    COMPONENT,
    COUNTS_ANNOTATION,
    EXAMPLES_ANNOTATION,
    LABEL,
    LEASE_SECONDS,
    MAX_PROBLEM_LENGTH,
    PROBLEM_ANNOTATION,
    UNUSABLE_ANNOTATION,
    WAIVERS_ANNOTATION,
    annotation_of,
    encode_unusable,
)
from sekisho.cluster.reported import Reported, encode_examples, encode_waivers
from sekisho.timestamps import micro_time

logger = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
DEBOUNCE_SECONDS = 0.1
SETTLE_SECONDS = 3.0
"""How long versions without a change of policies are collected before they are reported."""
_WITHDRAW_SECONDS = 2.0


class ReplicaReporter:
    """Writes the reports of `replica` into the Lease sekisho-webhook-`replica` in `namespace`.

    Call `report` with each resourceVersion of each kind of policy and `report_authority` with each served authority,
    and run `run` in a task. `reported` and `problem` are called for each renewal; the latter gives why the replica
    serves no reviews, or an empty text.
    """

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        replica: str,
        reported: Callable[[], Reported] = Reported,
        problem: Callable[[], str] = str,
    ) -> None:
        self._api = api
        self._replica = replica
        self._name = f"sekisho-webhook-{replica.lower()}"
        self._namespace = namespace
        self._path = lease_path(namespace, self._name)
        self._reported = reported
        self._problem = problem
        self._versions: dict[str, str] = {}
        self._unusable: dict[str, tuple[str, ...]] = {}
        self._authority = ""
        self._owners: tuple[OwnerReference, ...] | None = None
        self._changed = asyncio.Event()
        self._settling: asyncio.TimerHandle | None = None

    def report(self, plural: str, resource_version: str, unusable: Iterable[str], *, changed: bool) -> None:
        """Report that this replica has read a kind up to `resource_version`, and cannot use the `unusable` policies.

        changed: whether it enforces something else than before. Written statuses change the version alone, in large
            numbers, and are reported together after SETTLE_SECONDS.
        """
        names = tuple(f"{plural}/{key}" for key in unusable)
        changed = changed or plural not in self._versions or names != self._unusable[plural]
        if not changed and resource_version == self._versions[plural]:
            return
        self._versions[plural], self._unusable[plural] = resource_version, names
        if changed:
            self._changed.set()
        elif self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._changed.set)

    def report_authority(self, key_id: str) -> None:
        """Report that this replica serves a certificate of the authority with this key id, in hex."""
        if key_id != self._authority:
            self._authority = key_id
            if self._versions:  # else the first report is still to come
                self._changed.set()

    async def run(self) -> None:
        """Write the reports, from the first one on, until cancelled; then delete the Lease.

        API failures are logged and tried again.
        """
        await self._changed.wait()
        try:
            failures = 0
            while True:
                await asyncio.sleep(DEBOUNCE_SECONDS)
                failures = 0 if await self._write(first_failure=failures == 0) else failures + 1
                if failures:
                    await asyncio.sleep(backoff(failures))
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(with_jitter(RENEW_SECONDS, 0.2)):
                            await self._changed.wait()
        finally:
            await self._withdraw()

    async def _write(self, *, first_failure: bool) -> bool:
        self._changed.clear()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        try:
            if self._owners is None:
                self._owners = await own_account(self._api, self._namespace)
            await self._apply(self._owners)
        except (ApiError, ApiUnavailable) as error:
            if first_failure:
                logger.warning("cannot report the enforced policies: %s", error)
            return False
        return True

    async def _apply(self, owners: tuple[OwnerReference, ...]) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "labels": {LABEL: COMPONENT},
                "annotations": self._annotations(),
                "ownerReferences": owners,
            },
            "spec": {
                "holderIdentity": self._replica,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_time(datetime.now(UTC)),
            },
        }
        # Server-side apply is one request, whether the Lease exists or not.
        await self._api.patch(
            self._path,
            msgspec.json.encode(body),
            "application/apply-patch+yaml",
            {"fieldManager": "sekisho-webhook", "force": "true"},
        )

    def _annotations(self) -> dict[str, str]:
        reported = self._reported()
        unusable = [name for names in self._unusable.values() for name in names]
        return {
            **{annotation_of(plural): version for plural, version in self._versions.items()},
            UNUSABLE_ANNOTATION: encode_unusable(unusable),
            COUNTS_ANNOTATION: msgspec.json.encode(reported.counts).decode(),
            EXAMPLES_ANNOTATION: encode_examples(reported.examples),
            WAIVERS_ANNOTATION: encode_waivers(reported.waivers),
            AUTHORITY_ANNOTATION: self._authority,
            PROBLEM_ANNOTATION: self._problem()[:MAX_PROBLEM_LENGTH],
        }

    async def _withdraw(self) -> None:
        with suppress(ApiError, ApiUnavailable, TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await self._api.delete(self._path)

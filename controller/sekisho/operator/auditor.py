"""The leader's audit of what runs: what each policy means for it, again when what it is judged by changes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.audit import Audit, BrokenDefault, Impact, OwnerAudit, Result, promotions_of
from sekisho.backoff import backoff
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.live_audit import read_objects, surroundings
from sekisho.cluster.namespace_objects import ClusterObjects
from sekisho.cluster.namespaces import PATH as NAMESPACES
from sekisho.cluster.namespaces import decode_labels
from sekisho.cluster.reflector import Reflector
from sekisho.operator.audit_reports import reports_of
from sekisho.operator.metrics import Metrics, Subject
from sekisho.operator.records import Record
from sekisho.operator.report_writer import ReportWriter
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy, PolicySet
from sekisho.policies.status import ImpactExample, PolicyImpact

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 600.0
"""The longest time between two passes: new pods are judged by the webhook anyway."""
DEBOUNCE_SECONDS = 5.0
"""How long a change waits for others until a pass begins."""
PAUSE_SECONDS = 20.0
"""The shortest time from the end of a pass to the next one. A status is up to date within half a minute of a change."""
PAUSE_SHARE: Final = 4.0
"""The shortest such time in a large cluster, in times of the pass: passes take a fifth of the time at most."""

MAX_EXAMPLE_VIOLATIONS: Final = 8
"""Violations of each owner that are kept for the examples in a status."""
MAX_VIOLATIONS: Final = 64
"""Those that are kept for reports: more than there are controls."""

Impacts = Mapping[str, PolicyImpact]
"""What policies mean for what runs, by uid."""
Labels = Mapping[str, str]


class Audited(Struct, frozen=True):
    """What a pass judges by: policies and waivers that are accepted, and the records of the policies among them."""

    policies: Sequence[Policy]
    records: Sequence[Record]


class Auditor:
    """Audits while `run` runs, for the leader only.

    exempt: the namespaces whose pods the API server does not send to the webhook.
    rules: waits until all policies are known, and gives them.
    audited: called with the impacts of each pass that came to its end.
    report: called with the defaults that keep pods from running, after each such pass. Handles API failures itself.
    reports: writes reports of each pass for other programs; None for none.

    Call `changed` when a policy or a waiver changed.
    """

    def __init__(
        self,
        api: ApiClient,
        metrics: Metrics,
        exempt: Collection[str],
        rules: Callable[[], Awaitable[Audited]],
        audited: Callable[[Impacts], None],
        report: Callable[[Sequence[BrokenDefault]], Awaitable[None]],
        reports: ReportWriter | None = None,
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._exempt = exempt
        self._rules = rules
        self._audited = audited
        self._report = report
        self._reports = reports
        self._wake = asyncio.Event()
        self._labels: dict[str, Labels] = {}
        self._objects = ClusterObjects(api)
        self._namespaces: Reflector[Labels] = Reflector(
            api, NAMESPACES, decode_labels, on_change=self._namespaces_changed, metadata_only=True
        )

    def changed(self) -> None:
        """Begin another pass soon: what pods are judged by has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Run until cancelled. API failures are logged, counted and tried again."""
        reflectors = (self._namespaces, self._objects.limit_ranges, self._objects.service_accounts)
        failures = 0
        async with asyncio.TaskGroup() as watches:
            for reflector in reflectors:
                watches.create_task(reflector.run())
            for reflector in reflectors:
                await reflector.wait_synced()
            while True:
                self._wake.clear()
                began = time.monotonic()
                failures = 0 if await self._pass() else failures + 1
                took = time.monotonic() - began
                await asyncio.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * took, backoff(failures) if failures else 0.0))
                if failures:
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL_SECONDS):
                        await self._wake.wait()
                        await asyncio.sleep(DEBOUNCE_SECONDS)

    async def _pass(self) -> bool:
        """One pass; gives whether it came to its end."""
        try:
            rules = await self._rules()
            began = time.monotonic()
            result = await self._audit(rules)
            impacts = await asyncio.to_thread(impacts_of, rules.records, result)
            self._metrics.audit.show(result, rules.records, time.monotonic() - began)
            self._audited(impacts)
            await self._report(result.broken)
            await self._write_reports(rules, result)
        except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
            # A list that took too long is begun again (410); an API server that is down comes back.
            logger.warning("cannot audit what runs, the impact in the policies' status stays: %s", error)
        except Exception:  # a defect: it must not stop the leader's other work
            logger.exception("internal error while what runs was audited")
        else:
            return True
        self._metrics.reconcile_errors.labels(Subject.AUDIT).inc()
        return False

    async def _write_reports(self, rules: Audited, result: Result) -> None:
        """Write the reports of a pass. API failures are logged and counted: the next pass writes what is missing."""
        if self._reports is None:
            return
        try:
            await self._reports.write(await asyncio.to_thread(reports_of, rules.records, result))
        except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
            logger.warning("cannot write the reports of the audit: %s", error)
            self._metrics.reconcile_errors.labels(Subject.REPORTS).inc()

    async def _audit(self, rules: Audited) -> Result:
        policies = await asyncio.to_thread(PolicySet.of, rules.policies)
        now = self._api.clock.now()
        around = surroundings(now, self._exempt, self._namespaces.objects, self._objects.for_pod)
        audit = Audit(
            policies, promotions_of(rules.policies), around, MAX_VIOLATIONS if self._reports else MAX_EXAMPLE_VIOLATIONS
        )
        if len(policies):
            await read_objects(self._api, audit)
        result = await asyncio.to_thread(audit.result)
        if result.unjudged:
            logger.warning(
                "%d objects that run or have a pod template do not count in this audit: they are too large, or judging "
                "those of their namespace takes too long",
                result.unjudged,
            )
        return result

    def _namespaces_changed(self, namespaces: Mapping[str, Labels]) -> None:
        """Begin a pass if a namespace that may have pods has other labels now."""
        known, self._labels = self._labels, dict(namespaces)
        if any(known.get(name, labels) != labels for name, labels in namespaces.items()):
            self.changed()


def impacts_of(records: Sequence[Record], result: Result) -> dict[str, PolicyImpact]:
    """What each policy means, as its status has it."""
    nothing = Impact()
    return {
        record.uid: _impact(record, result.policies.get(record.title, nothing))
        for record in records
        if isinstance(record.policy, ClusterPodPolicy | PodPolicy)
    }


def _impact(record: Record, impact: Impact) -> PolicyImpact:
    return PolicyImpact(
        observed_generation=record.generation,
        pods=impact.pods,
        violating=impact.violating,
        would_be_denied=impact.denied,
        owners=impact.owners,
        idle_templates=impact.idle_templates,
        examples=tuple(_example(record.title, audited) for audited in impact.examples) or None,
    )


def _example(title: str, audited: OwnerAudit) -> ImpactExample:
    controls = dict.fromkeys(one.finding.control for one in audited.violations if title in one.policies)
    return ImpactExample(audited.owner.title, audited.denied_by.get(title, 0), tuple(controls))

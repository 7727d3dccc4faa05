"""Metrics: plain integers while requests are answered, made into Prometheus' families when it scrapes."""

import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric

from sekisho.admission import Decision, Outcome, Violation
from sekisho.cluster.reported import Reported, WaiverReport
from sekisho.custom_kinds import COMPOSED_KINDS, CUSTOM_KINDS
from sekisho.pods import POD_TEMPLATES
from sekisho.policies import Enforcement
from sekisho.policies.crd import RESOURCES
from sekisho.telemetry.families import Family, counters, process_families, rendered
from sekisho.webhook.audited_owners import AuditedOwners
from sekisho.webhook.recent_counts import RecentCounts
from sekisho.webhook.waiver_uses import WaiverUses

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, in seconds."""
MAX_LABELS = 5000
"""Combinations of policy, control or waiver in each counter; further ones are counted as `other`."""

MAX_SHARED = 10_000
"""Policies, once for each control and enforcement, that are counted together before they are counted one by one."""

_NONE: tuple[tuple[str, ...], int] = ((), 0)
_OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
_KINDS = frozenset({"Pod", *(kind for _, kind in (*POD_TEMPLATES, *CUSTOM_KINDS, *COMPOSED_KINDS))})
_FAILURES = tuple((webhook, "CREATE", "Pod", "error") for webhook in ("validate", "mutate"))


class Metrics:
    """The metrics of the process."""

    def __init__(self) -> None:
        # At zero from the start: a rate misses the step from no sample to one.
        self._reviews: Counter[tuple[str, ...]] = Counter(dict.fromkeys(_FAILURES, 0))
        self._violations: Counter[tuple[str, ...]] = Counter()
        self._shared: dict[tuple[int, str, Enforcement], tuple[tuple[str, ...], int]] = {}
        self._shared_policies = 0
        """In the keys above, each as often as it is in them."""
        self._waivers: Counter[tuple[str, ...]] = Counter()
        self.recent = RecentCounts()
        """The last hour, for the status of policies."""
        self.audited_owners = AuditedOwners()
        self.waiver_uses = WaiverUses()
        self._http_errors: Counter[int] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._sources: list[Callable[[], Iterable[Family]]] = []
        self._process = ProcessCollector(registry=None)

    def count(self, webhook: str, outcome: Outcome, seconds: float) -> None:
        """Count one answered review: its outcome, and the seconds that it took."""
        operation, kind = outcome.review.operation, outcome.review.kind.kind
        # A client can send anything, and labels must stay few.
        operation = operation if operation in _OPERATIONS else "other"
        kind = kind if kind in _KINDS else "other"
        self._reviews[(webhook, operation, kind, outcome.decision)] += 1
        buckets = self._buckets.get(webhook)
        if buckets is None:
            buckets = self._buckets[webhook] = [0] * (len(BOUNDS) + 1)
        buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        self._seconds[webhook] += seconds
        if outcome.violations and outcome.decision is not Decision.PENDING:  # they may be none in a moment
            self.recent.count(outcome)
            self.audited_owners.count(outcome)
            self._count_violations(outcome.violations)
        if outcome.waived:
            self.waiver_uses.count(outcome)
        for waived in outcome.waived:
            key = (waived.waiver, waived.policy, waived.finding.control)
            if key not in self._waivers and len(self._waivers) >= MAX_LABELS:
                key = ("other", "other", "other")
            self._waivers[key] += 1

    def _count_violations(self, violations: Sequence[Violation]) -> None:
        # A thousand policies may share each of thousands of violations, so these are counted together until a scrape.
        for violation in violations:
            policies = violation.policies
            key = (id(policies), violation.finding.control, violation.enforcement)
            if key not in self._shared:
                self._shared_policies += len(policies)
            _, count = self._shared.get(key, _NONE)
            self._shared[key] = (policies, count + 1)  # the reference keeps the id from being used again
        if self._shared_policies > MAX_SHARED:
            self._count_shared()

    def _count_shared(self) -> None:
        for (_, control, enforcement), (policies, count) in self._shared.items():
            for policy in policies:
                key = (policy, control, enforcement.value)
                if key not in self._violations and len(self._violations) >= MAX_LABELS:
                    key = ("other", "other", enforcement.value)
                self._violations[key] += count
        self._shared.clear()
        self._shared_policies = 0

    def reported(self) -> Reported:
        """What is counted for the status of policies and waivers."""
        uses = self.waiver_uses
        return Reported(
            self.recent.last_hour(), self.audited_owners.last_hour(), WaiverReport(uses.began, uses.by_waiver())
        )

    def forget(self, plural: str, title: str) -> None:
        """Drop what is counted for the status of a deleted policy or waiver: another of its name starts at zero.

        plural: the kind's name in the API.
        """
        if plural == RESOURCES["PolicyWaiver"].plural:
            self.waiver_uses.forget(title)
        else:
            self.recent.forget(title)
            self.audited_owners.forget(title)

    def count_http_error(self, status: int) -> None:
        """Count a request that was not a review."""
        self._http_errors[status] += 1

    def add_source(self, source: Callable[[], Iterable[Family]]) -> None:
        """Add the families of `source` to each scrape."""
        self._sources.append(source)

    def render(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return rendered(self.families())

    def families(self) -> Sequence[Metric | Family]:
        """All metrics as they are now."""
        return [*self._process.collect(), *process_families("webhook"), *self._own()]

    def _own(self) -> Iterable[Metric | Family]:
        yield counters(
            "sekisho_admission_reviews",
            "Reviews answered, by decision.",
            ("webhook", "operation", "kind", "decision"),
            self._reviews,
        )
        self._count_shared()
        yield counters(
            "sekisho_admission_violations",
            "Violations; those with enforcement Deny led to a denial.",
            ("policy", "control", "enforcement"),
            self._violations,
        )
        yield counters(
            "sekisho_admission_waivers_used",
            "Violations that a waiver exempted, so that the pod was admitted.",
            ("waiver", "policy", "control"),
            self._waivers,
        )
        yield counters(
            "sekisho_http_errors",
            "Requests that were not reviews, by HTTP status.",
            ("status",),
            {(str(status),): count for status, count in self._http_errors.items()},
        )
        yield self._latency()
        for source in self._sources:
            yield from source()

    def _latency(self) -> Metric:
        family = HistogramMetricFamily(
            "sekisho_admission_duration_seconds", "From a review's arrival to its answer.", labels=("webhook",)
        )
        bounds = [*map(str, BOUNDS), "+Inf"]
        for webhook, buckets in self._buckets.items():
            family.add_metric(
                (webhook,),
                list(zip(bounds, map(float, accumulate(buckets)), strict=True)),
                sum_value=self._seconds[webhook],
            )
        return family

"""The metrics of the leader's audit."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from sekisho.audit import Impact, Result
from sekisho.operator.records import Record
from sekisho.policies import ClusterPodPolicy

MAX_POLICIES: Final = 500
"""Policies in the metric; further ones are left out."""


class AuditMetrics:
    """The numbers of the last audit."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pods = Gauge(
            "sekisho_controller_audited_pods",
            "Pods that run, violate a policy as they run, or would be denied when they are created again, in the last "
            "audit of the process that leads.",
            ["state"],
            registry=registry,
        )
        self._policy_impact = Gauge(
            "sekisho_controller_policy_impact_pods",
            "Pods to which a ClusterPodPolicy applies, that violate it as they run, or that it would deny when they "
            "are created again.",
            ["policy", "state"],
            registry=registry,
        )
        self._ended = Gauge(
            "sekisho_controller_last_audit_timestamp_seconds",
            "When this process last completed an audit; 0 for never.",
            registry=registry,
        )
        self._seconds = Gauge(
            "sekisho_controller_last_audit_duration_seconds", "How long the last audit took.", registry=registry
        )

    def show(self, result: Result, records: Sequence[Record], seconds: float) -> None:
        """Replace the numbers.

        records: of the policies; tenants can make PodPolicies, which are left out.
        seconds: how long the audit took.
        """
        _set(self._pods, (), result)
        titles = [record.title for record in records if isinstance(record.policy, ClusterPodPolicy)]
        impacts = [(result.policies[title], title) for title in titles if title in result.policies]
        impacts.sort(key=lambda impact: (-impact[0].denied, impact[1]))
        self._policy_impact.clear()
        for impact, title in islice(impacts, MAX_POLICIES):
            _set(self._policy_impact, (title,), impact)
        self._ended.set(time.time())
        self._seconds.set(seconds)


def _set(gauge: Gauge, labels: tuple[str, ...], counts: Result | Impact) -> None:
    for state, pods in (
        ("judged", counts.pods),
        ("violating", counts.violating),
        ("would_be_denied", counts.denied),
    ):
        gauge.labels(*labels, state).set(pods)

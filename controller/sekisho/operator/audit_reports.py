"""Reports of the audit for other programs: for each namespace and policy, the owners whose pods it would deny.

A report has failures only, one result for each owner and control: as many objects and bytes as there are owners with a
problem, however many pods they have.

Source: https://github.com/openreports/reports-api (v1alpha1), and its predecessor
https://github.com/kubernetes-sigs/wg-policy-prototypes (v1alpha2), which have these fields in common.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from heapq import nsmallest
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import Violation, denial_message
from sekisho.audit import OwnerAudit, Result
from sekisho.cluster.names import derived_name
from sekisho.findings import printable
from sekisho.operator.records import Record
from sekisho.policies import ClusterPodPolicy, PodPolicy
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

MAX_REPORTS: Final = 2000
MAX_RESULTS: Final = 500
"""Of one report: with far more, the API server would not store it."""
MAX_RESULTS_OF_ALL: Final = 20_000
"""Of all reports together; where there are more, each report has room for as many as the others."""
MAX_MESSAGE_LENGTH: Final = 1024
SOURCE: Final = "sekisho"
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": SOURCE}
"""The labels of all reports."""


class Timestamp(Struct, frozen=True, gc=False):
    """A time in seconds since 1970."""

    seconds: int = 0
    nanos: int = 0


class Resource(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """An owner of pods."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""


class ReportResult(Struct, frozen=True, gc=False, omit_defaults=True):
    """One owner whose pods would be denied by one control. timestamp: since when that is reported."""

    source: str = ""
    policy: str = ""
    rule: str = ""
    result: str = ""
    message: str = ""
    resources: tuple[Resource, ...] = ()
    properties: dict[str, str] | None = None
    timestamp: Timestamp | None = None

    @property
    def key(self) -> tuple[tuple[Resource, ...], str]:
        """What makes it the same result in the next audit."""
        return self.resources, self.rule


class OwnerReference(Struct, frozen=True, gc=False, rename="camel"):
    """The policy, with which the report is deleted."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""


class ReportMeta(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """The metadata of a report, as far as they are set here."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Summary(Struct, frozen=True, gc=False, rename={"passed": "pass"}):
    """How many results there are, by what they are; `fail` also counts those that a report has no room for."""

    fail: int = 0
    passed: int = 0
    warn: int = 0
    error: int = 0
    skip: int = 0


class Report(Struct, frozen=True, gc=False, omit_defaults=True):
    """A Report or PolicyReport, without its kind."""

    metadata: ReportMeta = ReportMeta()
    summary: Summary | None = None
    results: tuple[ReportResult, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and name."""
        return self.metadata.namespace, self.metadata.name


Failures = tuple[OwnerAudit, Sequence[Violation]]
"""An owner, and the first violation of each control by which a policy would deny its pods."""


def reports_of(records: Sequence[Record], result: Result) -> dict[tuple[str, str], Report]:
    """The reports of an audit by namespace and name, without timestamps.

    records: of the policies that were audited.
    """
    by_title = {record.title: record for record in records if isinstance(record.policy, ClusterPodPolicy | PodPolicy)}
    owners: dict[tuple[str, str], list[Failures]] = {}
    for audited in result.owners:
        for title in {*audited.denied_by, *(audited.template_denied_by or ())} & by_title.keys():
            if failures := _failures(title, audited):
                owners.setdefault((audited.owner.namespace, title), []).append((audited, failures))
    if len(owners) > MAX_REPORTS:
        logger.warning("%d reports of the audit are left out: there may be %d", len(owners) - MAX_REPORTS, MAX_REPORTS)
    shown = sorted(owners)[:MAX_REPORTS]
    room = room_of_each(sum(len(failures) for _, failures in owners[key]) for key in shown)
    reports = (_report(namespace, by_title[title], owners[namespace, title], room) for namespace, title in shown)
    return {report.key: report for report in reports}


def room_of_each(lengths: Iterable[int]) -> int:
    """How many results each report may have: as many as fit, if short reports leave to others what they do not need."""
    left, waiting = MAX_RESULTS_OF_ALL, sorted(lengths)
    for done, length in enumerate(waiting):
        share = left // (len(waiting) - done)
        if length > share:
            return min(share, MAX_RESULTS)
        left -= length
    return MAX_RESULTS


def is_same(report: Report, stored: Report | None) -> bool:
    """Whether the stored report says all of this. What others have added to its metadata does not matter."""
    if stored is None or (report.results, report.summary) != (stored.results, stored.summary):
        return False
    return set(report.metadata.owner_references or ()) <= set(stored.metadata.owner_references or ())


def with_first_seen(report: Report, stored: Report | None, now: datetime) -> Report:
    """The report with the times since when its results are reported: those that the stored one has, else now."""
    known: Mapping[object, Timestamp | None] = {one.key: one.timestamp for one in stored.results} if stored else {}
    moment = Timestamp(int(now.timestamp()))
    results = (replace(one, timestamp=known.get(one.key) or moment) for one in report.results)
    return replace(report, results=tuple(results))


def _failures(title: str, audited: OwnerAudit) -> Sequence[Violation]:
    """The first violation of each control by which a policy would deny an owner's pods."""
    first: dict[str, Violation] = {}
    for violation in audited.violations:
        if title in violation.policies:
            first.setdefault(violation.finding.control, violation)
    return tuple(first.values())


def _report(namespace: str, record: Record, owners: Iterable[Failures], room: int) -> Report:
    """The results of the owners with most pods, in the order of names, which does not change with the counts."""
    title = record.title
    failures = [(audited, violation) for audited, violations in owners for violation in violations]
    kept = nsmallest(
        room, failures, key=lambda one: (-one[0].denied_by.get(title, 0), one[0].owner, one[1].finding.control)
    )
    results = sorted((_result(title, audited, violation) for audited, violation in kept), key=_order)
    name = title.rpartition("/")[2]
    policy = OwnerReference(f"{GROUP}/{VERSION}", record.resource.name, name, record.uid)
    own_name = derived_name(f"{SOURCE}-{name}", f"{record.resource.name} {title}")
    meta = ReportMeta(own_name, namespace, MANAGED_BY, (policy,))
    return Report(meta, Summary(fail=len(failures)), tuple(results))


def _result(title: str, audited: OwnerAudit, violation: Violation) -> ReportResult:
    owner = audited.owner
    return ReportResult(
        source=SOURCE,
        policy=title,
        rule=violation.finding.control,
        result="fail",
        message=printable(denial_message([replace(violation, policies=(title,))]))[:MAX_MESSAGE_LENGTH],
        resources=(Resource(owner.api_version, owner.kind, owner.namespace, owner.name),),
        properties={"field": violation.finding.field, "pods": str(audited.denied_by.get(title, 0))},
    )


def _order(result: ReportResult) -> tuple[str, str, str, str]:
    (resource,) = result.resources
    return resource.kind, resource.name, resource.api_version, result.rule

"""Scans for vulnerabilities: what a signed statement says about an image, made small enough to be kept and shared.

A scan is facts: which vulnerabilities, and when. Policies judge them again for each pod, so that a changed policy and
the clock need no further request to the registry.

Source: https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from sekisho.findings import printable
from sekisho.images.reported import Ignored, Report, ReportError, Row, Severity
from sekisho.images.scan_reports import read_report
from sekisho.images.statements import NotASignatureError, decoded
from sekisho.timestamps import in_utc, parse

SCAN_PREDICATE: Final = "https://cosign.sigstore.dev/attestation/vuln/v1"
SEVERITIES: Final = tuple(Severity)
MAX_ID_BYTES: Final = 192 << 10
"""The size of all ids of a scan, so that the facts about an image fit into an object."""
MAX_WORST: Final = 48
"""Vulnerabilities of a scan that are kept with their packages."""
MAX_TEXT: Final = 100
"""The length of names and versions that are kept."""
MAX_SKEW: Final = timedelta(minutes=5)
"""How much later than another clock a scanner's may be."""
_MIN_YEAR: Final = 2000
"""cosign writes the year 1 where a predicate has no time."""

_NOTHING: Final = Raw(b"null")
_FORM: Final = "cosign's scans"
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Ids = Annotated[str, Meta(max_length=MAX_ID_BYTES)]


class Vulnerability(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A vulnerability of a package."""

    id: Annotated[_Text, Meta(description="Its id, such as CVE-2024-1234.")]
    severity: Annotated[Severity, Meta(description="Its severity.")]
    package: Annotated[_Text, Meta(description="The package.")] = ""
    installed: Annotated[_Text, Meta(description="The version in the image.")] = ""
    fixed: Annotated[_Text, Meta(description="The version with the fix; unset where there is none.")] = ""
    is_fixable: Annotated[bool, Meta(description="Whether there is a fix.")] = False


class Ids(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The ids of vulnerabilities."""

    count: Annotated[int, Meta(description="How many.", ge=0)] = 0
    ids: Annotated[
        _Ids, Meta(description="The ids, separated by spaces; behind a comma the other ids of the same vulnerability.")
    ] = ""


class BySeverity(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Vulnerabilities by severity."""

    critical: Annotated[Ids, Meta(description="Critical ones.")] = Ids()
    high: Annotated[Ids, Meta(description="High ones, and those whose severity is unknown.")] = Ids()
    medium: Annotated[Ids, Meta(description="Medium ones.")] = Ids()
    low: Annotated[Ids, Meta(description="Low and negligible ones.")] = Ids()

    def of(self, severity: Severity) -> Ids:
        """The vulnerabilities of a severity."""
        ids: Ids = getattr(self, severity)
        return ids


class Scan(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """A scan of an image for vulnerabilities."""

    finished: Annotated[datetime, Meta(tz=True, description="When the scan ended.")]
    scanner: Annotated[_Text, Meta(description="The scanner: trivy or grype; unset if unknown.")] = ""
    fixable: Annotated[BySeverity, Meta(description="Vulnerabilities with a fix.")] = BySeverity()
    unfixable: Annotated[BySeverity, Meta(description="Vulnerabilities without a fix.")] = BySeverity()
    worst: Annotated[
        tuple[Vulnerability, ...], Meta(description="The worst ones, with packages.", max_length=MAX_WORST)
    ] = ()
    problem: Annotated[
        str, Meta(description="Why it says nothing about the image; unset if it does.", max_length=400)
    ] = ""
    ignored: Annotated[
        Ids, Meta(description="Vulnerabilities that the scanner was told to ignore, as far as its report has them.")
    ] = Ids()

    def count(self, severity: Severity) -> int:
        """The vulnerabilities of a severity, with and without a fix."""
        return self.fixable.of(severity).count + self.unfixable.of(severity).count


class _Scanner(Struct, frozen=True):
    result: Raw = _NOTHING


class _Times(Struct, frozen=True, rename="camel"):
    scan_finished_on: str = ""


class _Predicate(Struct, frozen=True):
    scanner: Raw = _NOTHING
    metadata: _Times = _Times()


class _Statement(Struct, frozen=True):
    predicate: _Predicate


def is_future(moment: datetime, now: datetime) -> bool:
    """Whether a moment is later than another clock's by more than clocks differ."""
    return moment - now > MAX_SKEW


def read_scan(statement: bytes, digest: str) -> Scan:
    """The scan in an in-toto statement whose type and subject were checked.

    digest: of the image that the statement is about; the scanner's report must not be about another one.

    A scan with a time that does not say what is in the image has a problem: as the newest one it still decides. Raises
    NotASignatureError for one without a time.
    """
    predicate = decoded(statement, _Statement, _FORM).predicate
    finished = _time(predicate.metadata.scan_finished_on)
    try:
        raw = decoded(predicate.scanner, _Scanner, _FORM).result if predicate.scanner != _NOTHING else _NOTHING
    except NotASignatureError as error:
        if finished is None:
            raise
        return Scan(finished, problem=str(error))
    if raw == _NOTHING:
        problem = "its scan holds no result, as a scanner's own report that is not in cosign's form"
        if finished is None:
            raise NotASignatureError(problem)
        return Scan(finished, problem=problem)
    if finished is None:
        raise NotASignatureError("its scan does not say when it ended")
    try:
        report = read_report(raw, digest)
    except ReportError as error:
        return Scan(finished, error.scanner, problem=str(error))
    return _scan(finished, report)


def unread_scan(statement: bytes, problem: str) -> Scan | None:
    """A scan that was not read for a reason, with its time; None if it does not say when it ended."""
    try:
        finished = _time(decoded(statement, _Statement, _FORM).predicate.metadata.scan_finished_on)
    except NotASignatureError:
        return None
    return None if finished is None else Scan(finished, problem=problem)


def united(scans: Sequence[Scan]) -> Scan:
    """What several scans show together, which one scanner has made and which ended at the same time."""
    first, *more = scans = list(dict.fromkeys(scans))
    if not more:
        return first
    problem = min((scan.problem for scan in scans if scan.problem), default="")
    if problem:
        return Scan(first.finished, first.scanner, problem=problem)
    size = sum(len(of.ids) for scan in scans for of in _all_ids(scan))
    if size > MAX_ID_BYTES:  # to unite what is too large would hold others up
        problem = f"the ids of {len(scans)} scans of the same time have {size:,} bytes"
        return Scan(first.finished, first.scanner, problem=f"{problem}; the maximum is {MAX_ID_BYTES:,}")
    fixable, unfixable = _united(scan.fixable for scan in scans), _united(scan.unfixable for scan in scans)
    rows = sorted((row for scan in scans for row in scan.worst), key=msgspec.structs.astuple)
    ignored = _united_ids(scan.ignored for scan in scans)
    return _bounded(Scan(first.finished, first.scanner, fixable, unfixable, ignored=ignored), rows)


def _time(text: str) -> datetime | None:
    try:
        moment = in_utc(parse(text))
    except ValueError:
        return None
    return moment if moment.year >= _MIN_YEAR else None


def _scan(finished: datetime, report: Report) -> Scan:
    created = _time(report.created)
    if created is not None:
        finished = min(finished, created)  # an old report in a new statement is old
    fixable = _by_severity([row for row in report.rows if row.is_fixable])
    unfixable = _by_severity([row for row in report.rows if not row.is_fixable])
    return _bounded(Scan(finished, report.scanner, fixable, unfixable, ignored=_ids(report.ignored)), report.rows)


def _bounded(scan: Scan, rows: Sequence[Row | Vulnerability]) -> Scan:
    """A scan with the worst of its rows; with a problem instead of its findings where their ids are too large."""
    ids = _all_ids(scan)
    size = sum(len(of.ids) for of in ids)
    if size > MAX_ID_BYTES:
        problem = f"the ids of its {sum(of.count for of in ids):,} vulnerabilities have {size:,} bytes"
        return Scan(scan.finished, scan.scanner, problem=f"{problem}; the maximum is {MAX_ID_BYTES:,}")
    return replace(scan, worst=_worst(rows))


def _all_ids(scan: Scan) -> list[Ids]:
    return [of.of(severity) for of in (scan.fixable, scan.unfixable) for severity in SEVERITIES] + [scan.ignored]


def _by_severity(rows: Sequence[Row]) -> BySeverity:
    return BySeverity(**{severity: _ids([row for row in rows if row.severity == severity]) for severity in SEVERITIES})


def _ids(rows: Sequence[Row | Ignored]) -> Ids:
    """The ids, each once, with all its other ids; with itself too where a finding has no other id."""
    others: dict[str, set[str]] = {}
    for row in rows:
        others.setdefault(row.id, set()).update(row.other_ids or (row.id,))
    return _written(others)


def _united(several: Iterable[BySeverity]) -> BySeverity:
    scans = list(several)
    return BySeverity(**{severity: _united_ids(scan.of(severity) for scan in scans) for severity in SEVERITIES})


def _united_ids(several: Iterable[Ids]) -> Ids:
    others: dict[str, set[str]] = {}
    for of in several:
        for token in of.ids.split(" ") if of.ids else ():
            name, *more = token.split(",")
            others.setdefault(name, set()).update(more or (name,))
    return _written(others)


def _written(others: Mapping[str, set[str]]) -> Ids:
    """Ids with their other ids, which are themselves where there is no other one."""
    written = (name if others[name] == {name} else ",".join((name, *sorted(others[name]))) for name in sorted(others))
    return Ids(len(others), " ".join(written))


def _worst(rows: Sequence[Row | Vulnerability]) -> tuple[Vulnerability, ...]:
    distinct = {(row.id, row.package, row.is_fixable): row for row in rows}
    return tuple(
        Vulnerability(row.id, row.severity, _text(row.package), _text(row.installed), _text(row.fixed), row.is_fixable)
        for row in nsmallest(MAX_WORST, distinct.values(), key=_badness)
    )


def _text(text: str) -> str:
    """A text as denials show it: a package must not write to terminals by its name."""
    return printable(text[:MAX_TEXT])[:MAX_TEXT]


def _badness(row: Row | Vulnerability) -> tuple[int, bool, str, str]:
    return SEVERITIES.index(row.severity), not row.is_fixable, row.id, row.package

"""What a policy requires of a scan for vulnerabilities: its types, and what is judged."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import ParameterError
from sekisho.controls.image_signatures import MAX_AUTHORITIES, AuthorityName
from sekisho.findings import count_as_findings, words
from sekisho.images.keeping import UNREAD_SCAN
from sekisho.images.reported import ID_PATTERN, Scanner, Severity
from sekisho.images.scans import SEVERITIES, Ids, Scan, Vulnerability, is_future
from sekisho.images.trivy_reports import NO_PACKAGES, NO_SYSTEM_PACKAGES, UNLISTED
from sekisho.images.vex import Exclusions, covers
from sekisho.timestamps import rfc3339

MAX_IDS: Final = 128
MAX_SHOWN: Final = 3
"""Vulnerabilities that a denial names."""
_IDS_OF_A_FINDING: Final = 10
"""Ids of a scan: reading this many takes as long as making a finding."""
_RECOGNIZABLE: Final = "use a base image whose packages Trivy recognizes, or have an administrator waive this image"
"""Where another scan would find as little."""
_PROBLEM_FIXES: Final = {
    NO_PACKAGES: _RECOGNIZABLE,
    NO_SYSTEM_PACKAGES: _RECOGNIZABLE,
    UNREAD_SCAN: "scan and attest it again, or remove what sekisho verify IMAGE says cannot be read",
    UNLISTED: f"scan it by trivy image --list-all-pkgs, and if that lists none, {_RECOGNIZABLE}",
}
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}

Id = Annotated[str, Meta(pattern=f"^{ID_PATTERN}$")]
Limit = Annotated[int, Meta(ge=0, le=100_000)]


class Maximums(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The maximum number of vulnerabilities by severity; no limit where unset. Unknown severities count as high."""

    critical: Annotated[Limit, Meta(description="The maximum number of critical ones.")] | None = None
    high: (
        Annotated[Limit, Meta(description="The maximum number of high ones, with those of unknown severity.")] | None
    ) = None
    medium: Annotated[Limit, Meta(description="The maximum number of medium ones.")] | None = None
    low: Annotated[Limit, Meta(description="The maximum number of low and negligible ones.")] | None = None


class Maximum(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The maximum number of vulnerabilities, with and without a fix."""

    fixable: Annotated[Maximums, Meta(description="The maximum number of those with a fix, by severity.")] | None = None
    unfixable: (
        Annotated[Maximums, Meta(description="The maximum number of those without a fix, by severity.")] | None
    ) = None


class AllowedVulnerability(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A vulnerability that does not count for a while."""

    id: Annotated[Id, Meta(description="Its id as the scanner reports it, such as CVE-2024-1234.")]
    until: Annotated[datetime, Meta(tz=True, description="When it counts again, such as 2027-01-31T00:00:00Z.")]
    reason: Annotated[str, Meta(description="Why it does not count, for people.", min_length=1, max_length=1024)]


class VexAuthorities(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The ImageAuthorities whose VEX documents count."""

    any_of: Annotated[
        tuple[AuthorityName, ...],
        Meta(
            description="ImageAuthorities; the newest document of them that has an id decides about it.",
            min_length=1,
            max_length=MAX_AUTHORITIES,
        ),
    ]


class Vex(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Whose VEX documents say which vulnerabilities do not count."""

    by: Annotated[VexAuthorities, Meta(description="Whose OpenVEX documents count.")]


class Vulnerabilities(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What a scan must show."""

    max_age: Annotated[
        str,
        Meta(
            description="The largest age of the newest scan, in minutes, hours or days, such as 168h or 7d.",
            pattern="^[1-9][0-9]{0,4}[mhd]$",
        ),
    ]
    maximum: (
        Annotated[
            Maximum,
            Meta(description="How many vulnerabilities the image may have; if unset, a scan of this age is enough."),
        ]
        | None
    ) = None
    allowed: (
        Annotated[
            tuple[AllowedVulnerability, ...],
            Meta(description="Vulnerabilities that do not count towards the maximum for a while.", max_length=MAX_IDS),
        ]
        | None
    ) = None
    denied: (
        Annotated[
            tuple[Id, ...],
            Meta(
                description="Ids of vulnerabilities that no image may have, whatever their severity, such as "
                "CVE-2021-44228.",
                max_length=MAX_IDS,
            ),
        ]
        | None
    ) = None
    scanners: (
        Annotated[
            tuple[Scanner, ...],
            Meta(
                description="Scanners whose scans are needed, each of them; any one if unset.",
                min_length=1,
                max_length=2,
            ),
        ]
        | None
    ) = None
    vex: (
        Annotated[
            Vex,
            Meta(
                description="Whose OpenVEX documents are read: what they call not_affected or fixed does not count "
                "towards the maximum."
            ),
        ]
        | None
    ) = None


class _Bound(Struct, frozen=True):
    is_fixable: bool
    severity: Severity
    maximum: int

    @property
    def name(self) -> str:
        return f"{'fixable' if self.is_fixable else 'unfixable'} {self.severity}"


class Requirement(Struct, frozen=True, eq=False):
    """Compiled parameters.

    text: continues `an image scanned by AUTHORITY`.
    recent: how it begins, with when.
    scanners: of each the newest scan is judged; an empty name stands for any.
    vex: the authorities whose VEX documents count.
    """

    text: str
    recent: str
    max_age: timedelta
    bounds: tuple[_Bound, ...]
    allowed: tuple[AllowedVulnerability, ...]
    denied: tuple[str, ...]
    scanners: tuple[str, ...]
    vex: tuple[str, ...] = ()


class ScanProblem(Struct, frozen=True, gc=False):
    """Why a scan does not pass.

    text: a clause that continues `the image`.
    allowed: what would pass, in words; empty where any newer valid scan may.
    fix: an imperative clause; empty where a new scan may pass.
    """

    text: str
    allowed: str = ""
    fix: str = ""


def compiled(where: str, written: Vulnerabilities) -> Requirement:
    """Compile what a policy requires of scans. Raises ParameterError for a path below `where`."""
    ids = [exception.id for exception in written.allowed or ()]
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise ParameterError(f"{where}.allowed[{index}].id", f"{name} is a duplicate")
        if name in (written.denied or ()):
            raise ParameterError(f"{where}.allowed[{index}].id", f"{name} is in denied, which takes precedence")
    scanners = written.scanners or ("",)
    if len(set(scanners)) != len(scanners):
        raise ParameterError(f"{where}.scanners", "has a duplicate scanner")
    vex = written.vex.by.any_of if written.vex is not None else ()
    if len(set(vex)) != len(vex):
        raise ParameterError(f"{where}.vex.by", "has a duplicate authority")
    bounds = tuple(_bounds(written.maximum or Maximum()))
    recent = f"in the last {written.max_age}"
    return Requirement(
        recent + _limits(written, bounds),
        recent,
        timedelta(**{_UNITS[written.max_age[-1]]: int(written.max_age[:-1])}),
        bounds,
        written.allowed or (),
        written.denied or (),
        scanners,
        vex,
    )


def _bounds(maximum: Maximum) -> Iterator[_Bound]:
    for is_fixable, numbers in ((True, maximum.fixable), (False, maximum.unfixable)):
        for severity in SEVERITIES if numbers is not None else ():
            number = getattr(numbers, severity)
            if number is not None:
                yield _Bound(is_fixable, severity, number)


def _limits(written: Vulnerabilities, bounds: Sequence[_Bound]) -> str:
    """What is required of a scan besides its age."""
    text = f" with {words(written.scanners, 'and')}" if written.scanners else ""
    limits = [f"{bound.maximum} {bound.name}" for bound in bounds]
    if limits:
        text += f", with at most {words(limits, 'and')} vulnerabilities"
        if written.vex is not None:
            text += f" that {words(written.vex.by.any_of)} does not exclude"
    return text + (f", and without {words(written.denied)}" if written.denied else "")


def scan_problem(requirement: Requirement, scan: Scan, now: datetime, exclusions: Exclusions) -> ScanProblem | None:
    """Why the newest scan of an image does not pass; None if it does.

    exclusions: what VEX documents say about the image.
    """
    if is_future(scan.finished, now):
        return ScanProblem(f"has a scan from the future, {rfc3339(scan.finished)}")
    if scan.problem:
        text = f"has no valid scan; that of {rfc3339(scan.finished)} does not count: {scan.problem}"
        return ScanProblem(text, fix=_PROBLEM_FIXES.get(scan.problem, ""))
    age = now - scan.finished
    if age > requirement.max_age:
        return ScanProblem(f"was last scanned {_age(age)} ago, at {rfc3339(scan.finished)}")
    reported, ignored = _first_ids(_cells(scan), requirement), _first_ids([scan.ignored], requirement)
    denied = ignored | reported
    exceeded = [
        (bound, ids)
        for bound in requirement.bounds
        if len(ids := _counted(requirement, bound, scan, now, exclusions)) > bound.maximum
    ]
    if not denied and not exceeded:
        return None
    counts = [f"{len(ids)} {bound.name}" for bound, ids in exceeded]
    what = list(_denied_words(list(reported), [name for name in ignored if name not in reported]))
    if counts:
        is_one = len(exceeded) == 1 and len(exceeded[0][1]) == 1
        what.append(f"{words(counts, 'and')} {'vulnerability' if is_one else 'vulnerabilities'}")
    worst = _worst(scan, list(dict.fromkeys(denied.values())), exceeded)
    more = len({*denied.values(), *(name for _, ids in exceeded for name in ids)}) - len({one.id for one in worst})
    shown = "; ".join(map(_shown, worst)) + (f"; and {more} more" if more > 0 else "")
    by = f" by {scan.scanner}" if scan.scanner else ""
    text = f"has {', and '.join(what)}, in a scan{by} {_age(age)} ago: {shown}"
    return ScanProblem(text, _allowed([bound for bound, _ in exceeded], requirement.vex), _fix(worst))


def _allowed(exceeded: Sequence[_Bound], vex: Sequence[str]) -> str:
    """How many of the vulnerabilities that a denial is about would pass. None of those that a policy denies would."""
    unexcluded = f" that {words(vex)} does not exclude" if vex and exceeded else ""
    if all(bound.maximum == 0 for bound in exceeded):
        return f"none of these{unexcluded}"
    return f"at most {words([f'{bound.maximum} {bound.name}' for bound in exceeded], 'and')}{unexcluded}"


def _counted(
    requirement: Requirement, bound: _Bound, scan: Scan, now: datetime, exclusions: Exclusions
) -> Sequence[str]:
    """The ids that count towards a bound, or fewer where they do not exceed it."""
    of = (scan.fixable if bound.is_fixable else scan.unfixable).of(bound.severity)
    if of.count <= bound.maximum:  # nearly always
        return ()
    count_as_findings(of.count // _IDS_OF_A_FINDING)
    allowed = frozenset(exception.id for exception in requirement.allowed if now < exception.until)
    return _counting(of.ids, allowed, exclusions)


@lru_cache(maxsize=4)
def _counting(listed: str, allowed: frozenset[str], exclusions: Exclusions) -> tuple[str, ...]:
    """Of the ids that a scan lists, those that count. Several rules may go through the same long list."""
    tokens = [token.split(",") for token in listed.split(" ")]
    return tuple(ids[0] for ids in tokens if not covers(allowed, ids) and not exclusions.covers(ids, allowed))


def _denied_words(reported: Sequence[str], ignored: Sequence[str]) -> Iterator[str]:
    if reported:
        yield f"{words(reported, 'and')}, which the policy denies"
    if ignored:
        yield f"{words(ignored, 'and')}, which the policy denies and the scanner was told to ignore"


def _cells(scan: Scan) -> list[Ids]:
    return [of.of(severity) for of in (scan.fixable, scan.unfixable) for severity in SEVERITIES]


def _first_ids(several: Sequence[Ids], requirement: Requirement) -> dict[str, str]:
    """The ids that the policy denies, each with that of the vulnerability that has it as its id or other id."""
    if not requirement.denied:
        return {}
    first = _first_by_id(tuple(of.ids for of in several if of.ids))
    return {name: first[name] for name in requirement.denied if name in first}


@lru_cache(maxsize=8)
def _first_by_id(lists: tuple[str, ...]) -> Mapping[str, str]:
    """Each id and other id in lists, with the id of the first vulnerability that has it."""
    count_as_findings(sum(ids.count(" ") + ids.count(",") + 1 for ids in lists) // _IDS_OF_A_FINDING)
    first: dict[str, str] = {}
    for ids in lists:
        for token in ids.split(" "):
            names = token.split(",")
            for name in names:
                first.setdefault(name, names[0])
    return first


def _worst(scan: Scan, denied: Sequence[str], exceeded: Sequence[tuple[_Bound, Sequence[str]]]) -> list[Vulnerability]:
    """The vulnerabilities to name, each once: those that the policy denies, then the worst ones that count."""
    shown: dict[str, Vulnerability] = {}
    for name in denied:
        details = (vulnerability for vulnerability in scan.worst if vulnerability.id == name)
        shown[name] = next(details, Vulnerability(name, Severity.HIGH))
    ranked = sorted(exceeded, key=lambda pair: (SEVERITIES.index(pair[0].severity), not pair[0].is_fixable))
    for bound, ids in ranked:
        alike = (one for one in scan.worst if (one.severity, one.is_fixable) == (bound.severity, bound.is_fixable))
        known = {vulnerability.id: vulnerability for vulnerability in reversed(list(alike))}
        for name in islice(filter(known.__contains__, ids), MAX_SHOWN):
            shown.setdefault(name, known[name])
        for name in islice((name for name in ids if name not in known), MAX_SHOWN):
            shown.setdefault(name, Vulnerability(name, bound.severity))
    return list(shown.values())[:MAX_SHOWN]


def _shown(one: Vulnerability) -> str:
    if not one.package:
        return one.id
    to = f" -> {one.fixed}" if one.fixed else ""
    return f"{one.package} {one.installed}{to}, {one.id}"


def _fix(worst: Sequence[Vulnerability]) -> str:
    if any(vulnerability.fixed for vulnerability in worst):
        return "rebuild it with the fixed versions, and scan it"
    return "rebuild it without these packages, or have the ids allowed in the policy until a date"


def _age(age: timedelta) -> str:
    """An age in the largest unit of which there are two."""
    minutes = max(int(age.total_seconds() // 60), 0)
    for size, unit in ((24 * 60, "days"), (60, "hours")):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'}"

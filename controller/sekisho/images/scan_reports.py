"""Reports of scanners, typed: Trivy's and Grype's own JSON, as far as policies judge it.

Sources: https://github.com/aquasecurity/trivy/blob/main/pkg/types/report.go and
https://github.com/anchore/grype/blob/main/grype/presenter/models/document.go
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from sekisho.errors import SekishoError
from sekisho.findings import render_value

MAX_ROWS: Final = 20_000
"""Findings of a report: vulnerabilities by package."""
ID_PATTERN: Final = "[A-Za-z0-9][A-Za-z0-9.:_-]{0,63}"
TRIVY_SCHEMA: Final = 2
NO_PACKAGES: Final = "its report is empty, as no packages were recognized"
NO_SYSTEM_PACKAGES: Final = "its report has nothing about the packages of the operating system"
UNLISTED: Final = "its report does not list the packages of the operating system"

_ID: Final = re.compile(ID_PATTERN)
_NOT_IN_ID: Final = re.compile("[^A-Za-z0-9.:_-]")
_OS_PACKAGES: Final = "os-pkgs"
_LIST_BYTES: Final = 256
"""Of a list of packages; its first one begins there, however it is indented."""
_PACKAGES: Final = frozenset({_OS_PACKAGES, "lang-pkgs"})
_COMPARED: Final = re.compile(
    "alma|alpine|amazon|azurelinux|bottlerocket|cbl-mariner|centos|centos-stream|chainguard|coreos|debian|echo|minimos|"
    "opensuse[.-](leap|tumbleweed)|oracle|photon|redhat|rocky|sle[ms]|suse linux enterprise (micro|server)|ubuntu|wolfi"
)
"""The families of operating systems whose packages Trivy compares. Some of its releases list those of others, too.

Source: https://github.com/aquasecurity/trivy/blob/main/pkg/detector/ospkg/detect.go
"""


class Severity(StrEnum):
    """How bad a vulnerability is, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Scanner(StrEnum):
    """A scanner whose reports are read."""

    GRYPE = "grype"
    TRIVY = "trivy"


_SEVERITIES: Final = {severity.value: severity for severity in Severity} | {"negligible": Severity.LOW}


class ReportError(SekishoError, ValueError):
    """Why a report says nothing about the image, as a clause. `scanner` made it; empty if that is unknown."""

    def __init__(self, scanner: str, message: str) -> None:
        super().__init__(message)
        self.scanner = scanner


class Row(Struct, frozen=True, gc=False):
    """A vulnerability of a package.

    other_ids: other ones under which it is known too, such as the CVE of a GitHub advisory.
    severity: an unknown one counts as high, a negligible one as low.
    fixed: the versions with the fix; empty where there is none, or where it is unknown.
    """

    id: str
    other_ids: tuple[str, ...]
    severity: Severity
    package: str
    installed: str
    fixed: str
    is_fixable: bool


class Report(Struct, frozen=True, gc=False):
    """A report. created: as the scanner writes it; empty if it does not say."""

    scanner: str
    created: str
    rows: tuple[Row, ...]


class _Descriptor(Struct, frozen=True):
    name: str = ""
    timestamp: str = ""


class _Any(Struct, frozen=True):
    """What tells reports apart."""

    schema_version: Raw = field(name="SchemaVersion", default=Raw())
    matches: Raw = Raw()
    descriptor: _Descriptor = _Descriptor()


class _TrivyVulnerability(Struct, frozen=True, gc=False):
    id: str = field(name="VulnerabilityID")
    vendor_ids: tuple[str, ...] | None = field(name="VendorIDs", default=None)
    package: str = field(name="PkgName", default="")
    installed: str = field(name="InstalledVersion", default="")
    fixed: str = field(name="FixedVersion", default="")
    severity: str = field(name="Severity", default="")


class _TrivyResult(Struct, frozen=True):
    """kind: of a report of Trivy before 0.21 empty. packages: by default not written before 0.67."""

    kind: str = field(name="Class", default="")
    type: str = field(name="Type", default="")
    packages: Raw = field(name="Packages", default=Raw())
    vulnerabilities: tuple[_TrivyVulnerability, ...] | None = field(name="Vulnerabilities", default=None)


class _TrivyOs(Struct, frozen=True):
    family: str = field(name="Family", default="")


class _TrivyMetadata(Struct, frozen=True):
    os: _TrivyOs | None = field(name="OS", default=None)
    repo_digests: tuple[str, ...] | None = field(name="RepoDigests", default=None)


class _TrivyReport(Struct, frozen=True):
    created: str = field(name="CreatedAt", default="")
    metadata: _TrivyMetadata = field(name="Metadata", default=_TrivyMetadata())
    results: tuple[_TrivyResult, ...] | None = field(name="Results", default=None)


class _GrypeFix(Struct, frozen=True, gc=False):
    versions: tuple[str, ...] | None = None
    state: str = ""


class _GrypeVulnerability(Struct, frozen=True, gc=False):
    """fix: Grype before 0.13 has another field, so that findings with a fix would seem to have none."""

    id: str
    fix: _GrypeFix
    severity: str = ""


class _GrypeId(Struct, frozen=True, gc=False):
    id: str


class _GrypeArtifact(Struct, frozen=True, gc=False):
    name: str = ""
    version: str = ""


class _GrypeMatch(Struct, frozen=True, gc=False):
    vulnerability: _GrypeVulnerability
    related: tuple[_GrypeId, ...] | None = field(name="relatedVulnerabilities", default=None)
    artifact: _GrypeArtifact = _GrypeArtifact()


class _GrypeTarget(Struct, frozen=True, rename="camel"):
    manifest_digest: str = ""
    repo_digests: tuple[str, ...] | None = None


class _GrypeSource(Struct, frozen=True):
    target: _GrypeTarget | str | None = None


class _GrypeReport(Struct, frozen=True):
    matches: tuple[_GrypeMatch, ...]
    source: _GrypeSource | None = None
    descriptor: _Descriptor = _Descriptor()


def read_report(text: Raw, digest: str) -> Report:
    """A scanner's report, which must be about the image with a digest where it names one. Raises ReportError."""
    scanner = ""
    if bytes(memoryview(text)[:1]) == b"[":
        raise ReportError(
            scanner, "its report is a list without a schema version, as before Trivy 0.20; 2 is supported"
        )
    try:
        shape = msgspec.json.decode(text, type=_Any)
        if bytes(shape.schema_version):
            scanner = Scanner.TRIVY
            version = msgspec.json.decode(shape.schema_version)
            if version != TRIVY_SCHEMA:
                raise ReportError(scanner, f"its report has schema version {render_value(version)}; 2 is supported")
            return _trivy(msgspec.json.decode(text, type=_TrivyReport), digest)
        if bytes(shape.matches) and shape.descriptor.name == Scanner.GRYPE:
            scanner = Scanner.GRYPE
            return _grype(msgspec.json.decode(text, type=_GrypeReport), digest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReportError(scanner, f"its report has another form: {str(error)[:100]}") from None
    raise ReportError(scanner, "its report is neither Trivy's nor Grype's JSON")


def _trivy(report: _TrivyReport, digest: str) -> Report:
    results = report.results or ()
    _deny_unrecognized(results, report.metadata.os)
    _deny_other_image(Scanner.TRIVY, report.metadata.repo_digests or (), digest)
    _deny_many(Scanner.TRIVY, sum(len(one.vulnerabilities or ()) for one in results))
    return Report(Scanner.TRIVY, report.created, tuple(_trivy_rows(results)))


def _deny_unrecognized(results: Sequence[_TrivyResult], os: _TrivyOs | None) -> None:
    """Raise ReportError where no packages were compared, or not those of the operating system.

    Of a system that its database lacks, or whose name the image hides, Trivy says only that it has seen it. Where the
    image hides the packages of a known system, it compares none, and reports no vulnerabilities of them.

    Sources: https://github.com/aquasecurity/trivy/blob/main/pkg/scan/local/service.go and
    https://github.com/aquasecurity/trivy/blob/main/pkg/scan/ospkg/scan.go
    """
    is_compared = os is not None and _COMPARED.fullmatch(os.family) is not None
    system_results = [one for one in results if os is not None and _is_of_system(one, os)]
    if any(one.vulnerabilities or (is_compared and _lists_packages(one)) for one in system_results):
        return
    if system_results:
        raise ReportError(Scanner.TRIVY, UNLISTED if is_compared else NO_SYSTEM_PACKAGES)
    if not any(one.kind in _PACKAGES or one.vulnerabilities for one in results):
        raise ReportError(Scanner.TRIVY, NO_PACKAGES)
    if os is not None:
        raise ReportError(Scanner.TRIVY, NO_SYSTEM_PACKAGES)


def _lists_packages(result: _TrivyResult) -> bool:
    return bytes(memoryview(result.packages)[:_LIST_BYTES]).lstrip(b"[ \t\r\n").startswith(b"{")


def _is_of_system(result: _TrivyResult, os: _TrivyOs) -> bool:
    """Whether a result is about the packages of the operating system; older reports say so by its name alone."""
    return result.kind == _OS_PACKAGES or (not result.kind and bool(os.family) and result.type == os.family)


def _trivy_rows(results: Iterable[_TrivyResult]) -> Iterator[Row]:
    for result in results:
        for one in result.vulnerabilities or ():
            name = _id(one.id)
            yield Row(
                name,
                _other_ids(name, one.vendor_ids) if one.vendor_ids else (),
                _severity(one.severity),
                one.package,
                one.installed,
                one.fixed,
                bool(one.fixed),
            )


def _grype(report: _GrypeReport, digest: str) -> Report:
    target = report.source.target if report.source is not None else None
    if isinstance(target, _GrypeTarget):
        _deny_other_image(Scanner.GRYPE, target.repo_digests or (target.manifest_digest,), digest)
    _deny_many(Scanner.GRYPE, len(report.matches))
    return Report(Scanner.GRYPE, report.descriptor.timestamp, tuple(map(_grype_row, report.matches)))


def _grype_row(match: _GrypeMatch) -> Row:
    vulnerability, fix = match.vulnerability, match.vulnerability.fix
    versions = tuple(version for version in fix.versions or () if version)
    name = _id(vulnerability.id)
    return Row(
        name,
        _other_ids(name, (one.id for one in match.related or ())),
        _severity(vulnerability.severity),
        match.artifact.name,
        match.artifact.version,
        ", ".join(versions),
        bool(versions) or fix.state == "fixed",
    )


def _deny_other_image(scanner: str, named: Iterable[str], digest: str) -> None:
    digests = [name.rpartition("@")[2] for name in named if name]
    if digests and digest not in digests:
        raise ReportError(scanner, f"its report is about another image, {render_value(digests[0])}")


def _deny_many(scanner: str, count: int) -> None:
    if count > MAX_ROWS:
        raise ReportError(scanner, f"its report has {count:,} findings; the maximum is {MAX_ROWS:,}")


def _severity(text: str) -> Severity:
    return _SEVERITIES.get(text.lower(), Severity.HIGH)


def _other_ids(name: str, ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(other for other in map(_id, ids) if other != name)


def _id(text: str) -> str:
    """An id, with `?` for what no id has, so that it cannot be one that a policy names."""
    return text if _ID.fullmatch(text) else "?" + _NOT_IN_ID.sub("?", text[:63])

"""Trivy's own JSON, as far as policies judge it.

Source: https://github.com/aquasecurity/trivy/blob/main/pkg/types/report.go
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Raw, Struct, field

from sekisho.images.reported import (
    Ignored,
    Report,
    ReportError,
    Row,
    Scanner,
    deny_many,
    deny_other_image,
    deny_other_kind,
    other_ids,
    safe_id,
    severity_of,
)

NO_PACKAGES: Final = "its report is empty, as no packages were recognized"
NO_SYSTEM_PACKAGES: Final = "its report has nothing about the packages of the operating system"
UNLISTED: Final = "its report does not list the packages of the operating system"

_IMAGE: Final = "container_image"
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


class _Vulnerability(Struct, frozen=True, gc=False):
    id: str = field(name="VulnerabilityID")
    vendor_ids: tuple[str, ...] | None = field(name="VendorIDs", default=None)
    package: str = field(name="PkgName", default="")
    installed: str = field(name="InstalledVersion", default="")
    fixed: str = field(name="FixedVersion", default="")
    severity: str = field(name="Severity", default="")


class _Finding(Struct, frozen=True, gc=False):
    """A finding of any kind. id: empty where it is not a vulnerability."""

    id: str = field(name="VulnerabilityID", default="")
    vendor_ids: tuple[str, ...] | None = field(name="VendorIDs", default=None)


class _Modified(Struct, frozen=True, gc=False):
    finding: _Finding = field(name="Finding")


class _Result(Struct, frozen=True):
    """What was found in one place, such as the packages of the operating system.

    kind: of a report of Trivy before 0.21 empty.
    packages: by default not written before 0.67.
    ignored: only written with `--show-suppressed`.
    """

    kind: str = field(name="Class", default="")
    type: str = field(name="Type", default="")
    packages: Raw = field(name="Packages", default=Raw())
    vulnerabilities: tuple[_Vulnerability, ...] | None = field(name="Vulnerabilities", default=None)
    ignored: tuple[_Modified, ...] | None = field(name="ExperimentalModifiedFindings", default=None)


class _Os(Struct, frozen=True):
    family: str = field(name="Family", default="")


class _Metadata(Struct, frozen=True):
    os: _Os | None = field(name="OS", default=None)
    repo_digests: tuple[str, ...] | None = field(name="RepoDigests", default=None)


class TrivyReport(Struct, frozen=True):
    """A report with schema version 2."""

    created: str = field(name="CreatedAt", default="")
    kind: str = field(name="ArtifactType", default="")
    metadata: _Metadata = field(name="Metadata", default=_Metadata())
    results: tuple[_Result, ...] | None = field(name="Results", default=None)


def trivy_report(report: TrivyReport, digest: str) -> Report:
    """A report of Trivy, which must be about the image with a digest where it names one. Raises ReportError."""
    results = report.results or ()
    deny_other_kind(Scanner.TRIVY, report.kind, _IMAGE)
    _deny_unrecognized(results, report.metadata.os)
    deny_other_image(Scanner.TRIVY, report.metadata.repo_digests or (), digest)
    deny_many(Scanner.TRIVY, sum(len(result.vulnerabilities or ()) + len(result.ignored or ()) for result in results))
    ignored = (ignored.finding for result in results for ignored in result.ignored or () if ignored.finding.id)
    return Report(Scanner.TRIVY, report.created, tuple(_rows(results)), tuple(map(_ignored, ignored)))


def _deny_unrecognized(results: Sequence[_Result], os: _Os | None) -> None:
    """Raise ReportError where no packages were compared, or not those of the operating system.

    Of a system that its database lacks, or whose name the image hides, Trivy says only that it has seen it. Where the
    image hides the packages of a known system, it compares none, and reports no vulnerabilities of them.

    Sources: https://github.com/aquasecurity/trivy/blob/main/pkg/scan/local/service.go and
    https://github.com/aquasecurity/trivy/blob/main/pkg/scan/ospkg/scan.go
    """
    is_compared = os is not None and _COMPARED.fullmatch(os.family) is not None
    system_results = [result for result in results if os is not None and _is_of_system(result, os)]
    if any(result.vulnerabilities or (is_compared and _lists_packages(result)) for result in system_results):
        return
    if system_results:
        raise ReportError(Scanner.TRIVY, UNLISTED if is_compared else NO_SYSTEM_PACKAGES)
    if not any(result.kind in _PACKAGES or result.vulnerabilities for result in results):
        raise ReportError(Scanner.TRIVY, NO_PACKAGES)
    if os is not None:
        raise ReportError(Scanner.TRIVY, NO_SYSTEM_PACKAGES)


def _lists_packages(result: _Result) -> bool:
    return bytes(memoryview(result.packages)[:_LIST_BYTES]).lstrip(b"[ \t\r\n").startswith(b"{")


def _is_of_system(result: _Result, os: _Os) -> bool:
    """Whether a result is about the packages of the operating system; older reports say so by its name alone."""
    return result.kind == _OS_PACKAGES or (not result.kind and bool(os.family) and result.type == os.family)


def _rows(results: Iterable[_Result]) -> Iterator[Row]:
    for result in results:
        for vulnerability in result.vulnerabilities or ():
            name = safe_id(vulnerability.id)
            yield Row(
                name,
                other_ids(name, vulnerability.vendor_ids) if vulnerability.vendor_ids else (),
                severity_of(vulnerability.severity),
                vulnerability.package,
                vulnerability.installed,
                vulnerability.fixed,
                bool(vulnerability.fixed),
            )


def _ignored(finding: _Finding) -> Ignored:
    name = safe_id(finding.id)
    return Ignored(name, other_ids(name, finding.vendor_ids or ()))

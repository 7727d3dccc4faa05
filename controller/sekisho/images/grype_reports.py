"""Grype's own JSON, as far as policies judge it.

Source: https://github.com/anchore/grype/blob/main/grype/presenter/models/document.go
"""

from typing import Final

from msgspec import Struct, field

from sekisho.images.reported import (
    Ignored,
    Report,
    Row,
    Scanner,
    deny_many,
    deny_other_image,
    deny_other_kind,
    other_ids,
    safe_id,
    severity_of,
)

_IMAGE: Final = "image"


class Descriptor(Struct, frozen=True):
    """What has made a report, and when."""

    name: str = ""
    timestamp: str = ""


class _Fix(Struct, frozen=True, gc=False):
    versions: tuple[str, ...] | None = None
    state: str = ""


class _Vulnerability(Struct, frozen=True, gc=False):
    """fix: Grype before 0.13 has another field, so that findings with a fix would seem to have none."""

    id: str
    fix: _Fix
    severity: str = ""


class _Id(Struct, frozen=True, gc=False):
    id: str


class _Artifact(Struct, frozen=True, gc=False):
    name: str = ""
    version: str = ""


class _Match(Struct, frozen=True, gc=False):
    vulnerability: _Vulnerability
    related: tuple[_Id, ...] | None = field(name="relatedVulnerabilities", default=None)
    artifact: _Artifact = _Artifact()


class _Ignored(Struct, frozen=True, gc=False):
    """A match that a rule, or a VEX document that Grype was given, leaves out of `matches`."""

    vulnerability: _Id
    related: tuple[_Id, ...] | None = field(name="relatedVulnerabilities", default=None)


class _Target(Struct, frozen=True, rename="camel"):
    manifest_digest: str = ""
    repo_digests: tuple[str, ...] | None = None


class _Source(Struct, frozen=True):
    kind: str = field(name="type", default="")
    target: _Target | str | None = None


class GrypeReport(Struct, frozen=True):
    """A report of Grype."""

    matches: tuple[_Match, ...]
    source: _Source | None = None
    descriptor: Descriptor = Descriptor()
    ignored: tuple[_Ignored, ...] | None = field(name="ignoredMatches", default=None)


def grype_report(report: GrypeReport, digest: str) -> Report:
    """A report of Grype, which must be about the image with a digest where it names one. Raises ReportError."""
    source, ignored = report.source or _Source(), report.ignored or ()
    deny_other_kind(Scanner.GRYPE, source.kind, _IMAGE)
    if isinstance(source.target, _Target):
        deny_other_image(Scanner.GRYPE, source.target.repo_digests or (source.target.manifest_digest,), digest)
    deny_many(Scanner.GRYPE, len(report.matches) + len(ignored))
    rows = tuple(map(_row, report.matches))
    return Report(Scanner.GRYPE, report.descriptor.timestamp, rows, tuple(map(_ignored, ignored)))


def _row(match: _Match) -> Row:
    vulnerability, fix = match.vulnerability, match.vulnerability.fix
    versions = tuple(version for version in fix.versions or () if version)
    name = safe_id(vulnerability.id)
    return Row(
        name,
        other_ids(name, (related.id for related in match.related or ())),
        severity_of(vulnerability.severity),
        match.artifact.name,
        match.artifact.version,
        ", ".join(versions),
        bool(versions) or fix.state == "fixed",
    )


def _ignored(one: _Ignored) -> Ignored:
    name = safe_id(one.vulnerability.id)
    return Ignored(name, other_ids(name, (related.id for related in one.related or ())))

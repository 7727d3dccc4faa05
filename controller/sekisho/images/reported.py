"""What scanners report about an image, in one form: vulnerabilities of packages."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from sekisho.errors import SekishoError
from sekisho.findings import render_value

MAX_ROWS: Final = 20_000
"""Findings of a report: vulnerabilities by package, with those that were ignored."""
ID_PATTERN: Final = "[A-Za-z0-9][A-Za-z0-9.:_-]{0,63}"

_ID: Final = re.compile(ID_PATTERN)
_NOT_IN_ID: Final = re.compile("[^A-Za-z0-9.:_-]")


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


class Ignored(Struct, frozen=True, gc=False):
    """A vulnerability that the image has, and that the scanner was told to ignore; ids as in Row."""

    id: str
    other_ids: tuple[str, ...]


class Report(Struct, frozen=True, gc=False):
    """A report.

    created: as the scanner writes it; empty if it does not say.
    ignored: those that the report still has.
    """

    scanner: str
    created: str
    rows: tuple[Row, ...]
    ignored: tuple[Ignored, ...] = ()


def deny_other_kind(scanner: str, kind: str, image: str) -> None:
    """Raise ReportError for a report about something else than an image, such as a folder.

    kind: what the report says that it is about; empty if it does not say. image: its word for images.
    """
    if not kind:
        raise ReportError(scanner, "its report does not say that it is about an image")
    if kind != image:
        raise ReportError(scanner, f"its report is about {render_value(kind)}, not an image")


def deny_other_image(scanner: str, named: Iterable[str], digest: str) -> None:
    """Raise ReportError where a report names images, such as ghcr.io/acme/pay@sha256:…, and none by this digest."""
    digests = [name.rpartition("@")[2] for name in named if name]
    if digests and digest not in digests:
        raise ReportError(scanner, f"its report is about another image, {render_value(digests[0])}")


def deny_many(scanner: str, count: int) -> None:
    """Raise ReportError for more findings than MAX_ROWS."""
    if count > MAX_ROWS:
        raise ReportError(scanner, f"its report has {count:,} findings; the maximum is {MAX_ROWS:,}")


def severity_of(text: str) -> Severity:
    """A severity in the words of a scanner, in any case."""
    return _SEVERITIES.get(text.lower(), Severity.HIGH)


def other_ids(name: str, ids: Iterable[str]) -> tuple[str, ...]:
    """The ids besides `name`, as `safe_id` writes them."""
    return tuple(other for other in map(safe_id, ids) if other != name)


def safe_id(text: str) -> str:
    """An id, with `?` for what no id has, so that it cannot be one that a policy names."""
    return text if _ID.fullmatch(text) else "?" + _NOT_IN_ID.sub("?", text[:63])

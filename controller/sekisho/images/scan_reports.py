"""Reports of scanners: Trivy's and Grype's own JSON."""

from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from sekisho.findings import render_value
from sekisho.images.grype_reports import Descriptor, GrypeReport, grype_report
from sekisho.images.reported import Report, ReportError, Scanner
from sekisho.images.trivy_reports import TrivyReport, trivy_report

TRIVY_SCHEMA: Final = 2


class _Any(Struct, frozen=True):
    """What tells reports apart."""

    schema_version: Raw = field(name="SchemaVersion", default=Raw())
    matches: Raw = Raw()
    descriptor: Descriptor = Descriptor()


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
            return trivy_report(msgspec.json.decode(text, type=TrivyReport), digest)
        if bytes(shape.matches) and shape.descriptor.name == Scanner.GRYPE:
            scanner = Scanner.GRYPE
            return grype_report(msgspec.json.decode(text, type=GrypeReport), digest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReportError(scanner, f"its report has another form: {str(error)[:100]}") from None
    raise ReportError(scanner, "its report is neither Trivy's nor Grype's JSON")

"""What `sekisho verify` reports about an image: the fields for programs, and the lines for people."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from click import style
from msgspec import Struct

from sekisho.cli.reports.wording import VERDICTS
from sekisho.controls.attestation_judges import shown_values
from sekisho.findings import printable, words
from sekisho.images.attested import Build
from sekisho.images.evidence import signatures_by_others
from sekisho.images.scans import SEVERITIES, Scan
from sekisho.images.vex import Vex
from sekisho.policies import Enforcement
from sekisho.timestamps import rfc3339

_SHOWN_FINGERPRINT: Final = 16


class SignatureReport(Struct, frozen=True, rename="camel"):
    """`Signature` in the report for programs."""

    authority: str
    fingerprint: str
    identity: str
    issuer: str
    signed_at: datetime | None
    candidate: str


class AttestationReport(Struct, frozen=True, rename="camel"):
    """`Attestation` in the report for programs."""

    predicate_type: str
    signatures: tuple[SignatureReport, ...]
    scan: Scan | None
    build: Build | None
    vex: Vex | None
    values: Mapping[str, str]


class RuleReport(Struct, frozen=True, rename="camel"):
    """The result of a rule for the image; `problem` and `fix` are empty if it is met."""

    policy: str
    rule: str
    enforcement: Enforcement
    requires: str
    is_met: bool
    problem: str = ""
    fix: str = ""


class ImageReport(Struct, frozen=True, rename="camel"):
    """What is known about an image.

    problem: why it could not be looked up; empty if it was.
    elsewhere: policies that have rules for the image and do not apply in the namespace.
    platforms: of an index, if statements about them count, by digest.
    """

    image: str
    digest: str | None
    is_admitted: bool
    signatures: tuple[SignatureReport, ...]
    other_signatures: int
    problems: tuple[str, ...]
    omitted: int
    rules: tuple[RuleReport, ...]
    problem: str = ""
    attestations: tuple[AttestationReport, ...] = ()
    elsewhere: tuple[str, ...] = ()
    platforms: Mapping[str, str] = {}

    @property
    def exit_code(self) -> int:
        """0 for an image that is admitted, 1 for one that is denied, 2 for one that could not be looked up."""
        return 2 if self.problem else 0 if self.is_admitted else 1


def image_lines(report: ImageReport, namespace: str) -> Iterator[str]:
    """The report as text; `namespace` is the one whose policies were applied."""
    verdict = style("admitted", fg="green") if report.is_admitted else style("denied", fg="red")
    if report.problem and report.is_admitted:
        verdict = style("not verified", fg="yellow")
    yield f"{style(printable(report.image), bold=True)}: {verdict}"
    if report.digest is not None and report.digest not in report.image:
        yield f"  digest {report.digest}"
    if report.problem and all(rule.problem != report.problem for rule in report.rules):
        yield printable(f"  it {report.problem}")
    yield from _facts_lines(report)
    if not report.rules:
        yield printable(f"  no rule on signatures, attestations or catalogs applies to it in namespace {namespace}")
        if report.elsewhere:
            yield printable(f"  {_in_other_namespaces(report.elsewhere)}; name its namespace with --namespace")
        else:
            yield "  if one should, compare the registry and the repository in its images with those of this image"
    for rule in report.rules:
        yield from _rule_lines(rule)


def _facts_lines(report: ImageReport) -> Iterator[str]:
    yield from (f"  {printable(_signed(signature))}" for signature in report.signatures)
    yield from (f"  {printable(_attested(attestation))}" for attestation in report.attestations)
    for digest, name in report.platforms.items():
        yield printable(f"  platform {name}, {digest}: statements about it count")
    if not report.signatures and not report.problem:
        yield "  no signature by an ImageAuthority"
    if report.other_signatures:
        yield f"  {signatures_by_others(report.other_signatures)}"
    yield from (printable(f"  one does not count: {problem}") for problem in report.problems)
    if report.omitted:
        yield f"  {report.omitted} more were not read"


def _in_other_namespaces(policies: Sequence[str]) -> str:
    names = words([f'"{name}"' for name in policies], "and")
    return f"policy {names} has rules for it" if len(policies) == 1 else f"policies {names} have rules for it"


def _signed(signature: SignatureReport) -> str:
    if not signature.identity:
        return f"signed by {signature.authority}, with key {signature.fingerprint[:_SHOWN_FINGERPRINT]}"
    at = f" at {rfc3339(signature.signed_at)}" if signature.signed_at is not None else ""
    return f"signed by {signature.authority}{at}, as {signature.identity} of {signature.issuer}"


def _attested(attestation: AttestationReport) -> str:
    by = words(list(dict.fromkeys(signature.authority for signature in attestation.signatures)), "and")
    scan, build = attestation.scan, attestation.build
    if build is not None:
        sources = f" from {words(build.sources, 'and')}" if build.sources else ""
        return f"built by {build.builder}{sources}, says {by}"
    if attestation.vex is not None:
        excluded, affecting = len(attestation.vex.excluded.split()), len(attestation.vex.affecting.split())
        issued = rfc3339(attestation.vex.issued)
        return f"VEX by {by} of {issued}: ids that it excludes: {excluded}, that it calls affecting: {affecting}"
    if scan is None:
        values = f", in which {shown_values(attestation.values)}" if attestation.values else ""
        return f"attested by {by}: {attestation.predicate_type}{values}"
    text = f"scanned by {by}{f' with {scan.scanner}' if scan.scanner else ''} at {rfc3339(scan.finished)}: "
    return text + (scan.problem or words([f"{scan.count(severity)} {severity}" for severity in SEVERITIES], "and"))


def _rule_lines(rule: RuleReport) -> Iterator[str]:
    rule_name = f'policy "{rule.policy}" {rule.rule}'
    if rule.is_met:
        yield printable(f"  {rule_name}: passes: requires {rule.requires}")
        return
    verdict = VERDICTS[rule.enforcement]
    yield printable(f"  {rule_name}: {verdict}: requires {rule.requires}, and the image {rule.problem}")
    yield printable(f"    Fix: {rule.fix}.")

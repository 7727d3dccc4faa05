"""What attestations of an image must say: judged from facts about those that an authority has signed."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Final

from msgspec import Struct

from sekisho.controls.image_vulnerabilities import Requirement, scan_problem
from sekisho.findings import count_as_findings, render_value, words
from sekisho.images.attested import SbomFormat
from sekisho.images.authorities import identity_matches, may_match
from sekisho.images.evidence import Attestation
from sekisho.images.reported import Scanner
from sekisho.images.scans import Scan
from sekisho.images.vex import exclusions_of

_LETTERS_OF_A_FINDING: Final = 160
"""Letters of VEX documents: reading this many takes as long as making a finding."""
_LETTERS_OF_A_MATCH: Final = 20
"""Letters of patterns for builders and sources: comparing this many takes as long as making a finding, at worst. So
does it to rule this many patterns out."""
_REVISION: Final = re.compile("[@#]")
"""Begins the revision in the URI of a source."""
_GRYPE: Final = "scan it with Grype in cosign's form (docs/scanned-images.md)"
_TRIVY: Final = "run trivy image -f cosign-vuln -o scan.json IMAGE"
_ATTEST: Final = "then cosign attest {key}--type %s --predicate %s IMAGE, then kubectl rollout restart KIND/NAME"
_SBOM_TYPES: Final[dict[SbomFormat, tuple[str, str]]] = {
    SbomFormat.CYCLONEDX: ("cyclonedx", "cyclonedx"),
    SbomFormat.SPDX: ("spdx-json", "spdxjson"),
}
"""How Trivy names a format, and cosign."""


class AttestationProblem(Struct, frozen=True, gc=False):
    """Why attestations do not pass.

    text: a clause that continues `the image`.
    fix: an imperative clause. IMAGE is the image that the finding shows, and {key} stands for cosign's option of a key.
    allowed: what of that which the rule requires is not met, in words; empty for all of it.
    is_missing: whether there is none, so that it helps to say which candidates do not count.
    """

    text: str
    fix: str
    allowed: str = ""
    is_missing: bool = False


JudgeAttestations = Callable[[Sequence[Attestation], Sequence[str], datetime], AttestationProblem | None]
"""Judges the attestations by some authorities, given with their names, at a time; None if they pass."""


def judge_scans(
    requirement: Requirement, attestations: Sequence[Attestation], names: Sequence[str], now: datetime
) -> AttestationProblem | None:
    """Why the newest scan of some scanner does not pass; None if all do. VEX documents are among the attestations."""
    scans = [attestation.scan for attestation in attestations if attestation.scan is not None]
    documents = [attestation.vex for attestation in attestations if attestation.vex is not None]
    count_as_findings(sum(len(vex.excluded) + len(vex.affecting) for vex in documents) // _LETTERS_OF_A_FINDING)
    exclusions = exclusions_of(documents, now)
    for scanner in requirement.scanners:
        newest, by = _newest(scans, scanner), f"{words(names)}{f' with {scanner}' if scanner else ''}"
        allowed = f"scanned by {by} {requirement.recent}"
        if not newest:
            text = f"has no scan by {by}"
            return AttestationProblem(text, _scan_fix(scanner), allowed, is_missing=True)
        problems = (scan_problem(requirement, scan, now, exclusions) for scan in newest)
        problem = next((problem for problem in problems if problem is not None), None)
        if problem is not None:
            return AttestationProblem(problem.text, problem.fix or _scan_fix(scanner), problem.allowed or allowed)
    return None


def _scan_fix(scanner: str) -> str:
    return f"{_GRYPE if scanner == Scanner.GRYPE else _TRIVY}, {_ATTEST % ('vuln', 'scan.json')}"


def _newest(scans: Sequence[Scan], scanner: str) -> list[Scan]:
    """The newest scan by a scanner, or by one that is not known; by any for an empty name. All of the same time."""
    by_it = [scan for scan in scans if not scanner or scan.scanner in (scanner, "")]
    newest = max((scan.finished for scan in by_it), default=None)
    return [scan for scan in by_it if scan.finished == newest]


def judge_sbom(
    formats: Sequence[SbomFormat], attestations: Sequence[Attestation], names: Sequence[str], now: datetime
) -> AttestationProblem | None:
    """Why there is no SBOM; None if there is one. The time does not matter."""
    if attestations:
        return None
    trivy, cosign = _SBOM_TYPES[formats[0]]
    fix = f"run trivy image --format {trivy} -o sbom.json IMAGE, {_ATTEST % (cosign, 'sbom.json')}"
    return AttestationProblem(f"has no SBOM in {words(formats)} by {words(names)}", fix, is_missing=True)


def judge_build(
    builders: Sequence[str],
    sources: Sequence[str],
    attestations: Sequence[Attestation],
    names: Sequence[str],
    now: datetime,
) -> AttestationProblem | None:
    """Why no provenance is as required; None if one is. The time does not matter.

    sources: empty for any.
    """
    builds = [attestation.build for attestation in attestations if attestation.build is not None]
    is_builder, is_source = cache(partial(_match, builders)), cache(partial(_match_source, sources))
    if any(
        is_builder(build.builder) and (not sources or (build.sources and all(map(is_source, build.sources))))
        for build in builds
    ):
        return None
    fix = f"use an image that {words(builders)} built, and whose provenance is attached"
    if not builds:
        return AttestationProblem(f"has no provenance by {words(names)}", fix, is_missing=True)
    build = builds[0]
    source = (
        f" from {words(list(map(render_value, build.sources)), 'and')}" if build.sources else " from no named source"
    )
    return AttestationProblem(f"was built by {render_value(build.builder)}{source if sources else ''}", fix)


def required_build(builders: Sequence[str], sources: Sequence[str]) -> str:
    """What `judge_build` requires, in words."""
    return f"built by {words(builders)}{f' from {words(sources)}' if sources else ''}"


def _match(patterns: Sequence[str], uri: str) -> bool:
    """Whether a pattern matches a URI. Counts its work as findings."""
    possible = [pattern for pattern in patterns if may_match(pattern, uri)]
    count_as_findings((len(patterns) + sum(map(len, possible))) // _LETTERS_OF_A_MATCH)
    return any(identity_matches(pattern, uri) for pattern in possible)


def _match_source(patterns: Sequence[str], uri: str) -> bool:
    """Whether a pattern matches a source, of any revision where the pattern names none."""
    with_revision = [pattern for pattern in patterns if _REVISION.search(pattern)]
    without = [pattern for pattern in patterns if not _REVISION.search(pattern)]
    return _match(with_revision, uri) or _match(without, _REVISION.split(uri, 1)[0])


def judge_other(
    predicate_type: str,
    equals: Mapping[str, str],
    attestations: Sequence[Attestation],
    names: Sequence[str],
    now: datetime,
) -> AttestationProblem | None:
    """Why there is no attestation of a type with these values; None if there is one. The time does not matter.

    equals: what one attestation must say at paths, as JSON, by path.
    """
    differing = [[path for path, value in equals.items() if one.values.get(path) != value] for one in attestations]
    if not all(differing):
        return None
    by = words(names)
    if differing:
        closest = min(range(len(differing)), key=lambda index: len(differing[index]))
        path, values = differing[closest][0], attestations[closest].values
        says = (
            f"{path} is {values[path]}" if path in values else f"there is no short text, integer or boolean at {path}"
        )
        fix = (
            f"use an image for which {by} attested that {shown_values(equals)}, then kubectl rollout restart KIND/NAME"
        )
        return AttestationProblem(f"has an attestation {predicate_type} by {by} in which {says}", fix)
    attest = _ATTEST % (predicate_type, "predicate.json")
    fix = f"write what the statement says into predicate.json, {attest}"
    return AttestationProblem(f"has no attestation {predicate_type} by {by}", fix, is_missing=True)


def shown_values(equals: Mapping[str, str]) -> str:
    """The values that a statement must have at paths, in words."""
    return words([f"{path} is {value}" for path, value in equals.items()], "and")

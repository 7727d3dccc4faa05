"""Rules on attestations of images, which the control `images` has: what must be attached to an image, and by whom."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import ParameterError, cel
from sekisho.controls.image_rules import Fault, ImageRule, patterns_of
from sekisho.controls.image_signatures import MAX_AUTHORITIES, AuthorityName, Registry
from sekisho.controls.image_vulnerabilities import Requirement, Vulnerabilities, compiled, scan_problem
from sekisho.findings import words
from sekisho.images import Reference
from sekisho.images.evidence import Attestation, ImageFacts
from sekisho.images.scans import SCAN_PREDICATE, Scan
from sekisho.images.trust import Trust

ANY_OR_ALL = "set either anyOf or allOf"


class Attesters(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The ImageAuthorities whose attestations count."""

    any_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageAuthorities of which any may have attested; the newest attestation of them decides.",
                min_length=1,
                max_length=MAX_AUTHORITIES,
            ),
        ]
        | None
    ) = None
    all_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageAuthorities that must all have attested; the newest attestation of each decides.",
                min_length=1,
                max_length=MAX_AUTHORITIES,
            ),
        ]
        | None
    ) = None

    @property
    def names(self) -> tuple[str, ...]:
        """The authorities."""
        return self.any_of or self.all_of or ()


class AttestationRule(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Images, and what must be attached to them."""

    images: Annotated[
        tuple[Registry, ...],
        Meta(
            description="Registries and repositories that the rule applies to, as in signatures.",
            min_length=1,
            max_length=64,
        ),
    ]
    by: Annotated[
        Attesters,
        Meta(
            description="Whose attestations count.",
            extra_json_schema=cel("has(self.anyOf) != has(self.allOf)", ANY_OR_ALL),
        ),
    ]
    vulnerabilities: Annotated[Vulnerabilities, Meta(description="What a scan of the image must show.")]


def attestation_rules(written: Sequence[AttestationRule], resolves: bool = False) -> list[ImageRule]:
    """The rules of a policy, ready to judge. Raises ParameterError.

    resolves: whether the tags of images that they apply to are resolved.
    """
    return [_compiled(f"attestations[{index}]", rule, resolves) for index, rule in enumerate(written)]


def _compiled(place: str, rule: AttestationRule, resolves: bool) -> ImageRule:
    by = _verified(f"{place}.by", rule.by)
    requirement = compiled(f"{place}.vulnerabilities", rule.vulnerabilities)
    of_all = by.all_of is not None
    return ImageRule(
        place=place,
        patterns=patterns_of(f"{place}.images", rule.images),
        requires=f"an image that {words(by.names, 'and' if of_all else 'or')} scanned {requirement.text}",
        names=by.names,
        required=len(by.names) if of_all else 1,
        kind="attestations",
        attached="scanned",
        judge=partial(_judge, tuple((name,) for name in by.names) if of_all else (by.names,), requirement),
        predicate=SCAN_PREDICATE,
        resolves=resolves,
    )


def _verified(where: str, by: Attesters) -> Attesters:
    if (by.any_of is None) is (by.all_of is None):
        raise ParameterError(where, ANY_OR_ALL)
    if len(set(by.names)) != len(by.names):
        raise ParameterError(where, "has a duplicate authority")
    return by


def _judge(
    groups: Sequence[tuple[str, ...]],
    requirement: Requirement,
    reference: Reference,
    facts: ImageFacts,
    trust: Trust,
    unusable: Mapping[str, str],
) -> Fault | None:
    """Why an image has no scan as a rule requires; None if it has.

    groups: authorities; of each group and scanner the newest scan must pass.
    """
    for names in groups:
        usable = [name for name in names if name not in unusable]
        scans = [one.scan for one in facts.attestations if _is_by(one, usable, trust)]
        for scanner in requirement.scanners:
            newest = _newest(scans, scanner)
            problem = scan_problem(requirement, newest, trust.now) if newest is not None else None
            if newest is None or problem is not None:
                text = problem.text if problem is not None else _missing(names, scanner, facts)
                fix = problem.fix if problem is not None else ""
                return Fault(text, fix or f"as {words(names)}, run {_commands(scanner, reference, usable, trust)}")
    return None


def _is_by(attestation: Attestation, names: Sequence[str], trust: Trust) -> bool:
    if attestation.predicate_type != SCAN_PREDICATE:
        return False
    return any(
        signature.authority in names and trust.authorities[signature.authority].accepts(signature, trust.now)
        for signature in attestation.signatures
    )


def _newest(scans: Sequence[Scan], scanner: str) -> Scan | None:
    """The newest scan by a scanner, or by one that is not known; by any for an empty name."""
    by_it = [scan for scan in scans if not scanner or scan.scanner in (scanner, "")]
    return max(by_it, key=lambda scan: scan.finished, default=None)


def _missing(names: Sequence[str], scanner: str, facts: ImageFacts) -> str:
    parts = [f"has no scan by {words(names)}{f' with {scanner}' if scanner else ''}"]
    if facts.problems:
        parts.append(f"one does not count: {facts.problems[0]}")
    if facts.omitted:
        parts.append(f"{facts.omitted} more were not read")
    return "; ".join(parts)


def _commands(scanner: str, reference: Reference, names: Sequence[str], trust: Trust) -> str:
    """How to scan an image and attach the result."""
    image = f"{reference.registry}/{reference.repository}@{reference.digest}"
    key = "" if names and all(trust.authorities[name].keyless is not None for name in names) else "--key KEY "
    scan = "scan it with Grype in cosign's form (docs/scanned-images.md)"
    if scanner != "grype":
        scan = f"trivy image --format cosign-vuln -o scan.json {image}"
    return f"{scan}, then cosign attest {key}--type vuln --predicate scan.json {image}, then kubectl rollout restart"

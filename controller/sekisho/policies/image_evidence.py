"""ImageEvidence: facts about one image, which the replicas of the webhook share. Facts, not verdicts."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final

from msgspec import Meta, Struct, structs

from sekisho.findings import words
from sekisho.images.attested import Build
from sekisho.images.evidence import MAX_ATTESTATIONS, Attestation, ImageFacts, Signature, signatures_by_others
from sekisho.images.keeping import MAX_SIGNERS
from sekisho.images.reported import Severity
from sekisho.images.scans import Scan, is_future
from sekisho.images.vex import Vex
from sekisho.policies.types import GROUP

KIND: Final = "ImageEvidence"
PLURAL: Final = "imageevidences"
RELEASE_LABEL: Final = f"{GROUP}/release"
"""The namespace of the release that found the facts, and that alone uses them."""
_SCANNED: Final = (
    "When its newest scan ended; of the newest by different scanners and authorities, the oldest. Unset where one of "
    "them does not count."
)
_COUNTED: Final = (
    "{} vulnerabilities of the newest scan; of the newest by different scanners and authorities, the most."
)
_Text = Annotated[str, Meta(max_length=2048)]


class SharedSignature(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A signature by an authority."""

    authority: Annotated[_Text, Meta(description="The ImageAuthority.")]
    fingerprint: Annotated[_Text, Meta(description="SHA-256 of the public key, or of the trusted root.")]
    identity: Annotated[_Text, Meta(description="Who signed, for a keyless signature.")] = ""
    issuer: Annotated[_Text, Meta(description="The issuer of the identity.")] = ""
    signed_at: Annotated[datetime, Meta(tz=True, description="When it was signed, where that is proven.")] | None = None
    candidate: Annotated[_Text, Meta(description="The digest of the manifest with the signature.")] = ""


class SharedAttestation(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A statement about the image by an authority."""

    predicate_type: Annotated[_Text, Meta(description="The type of the statement.")]
    signatures: Annotated[
        tuple[SharedSignature, ...], Meta(description="Its signatures by authorities.", max_length=MAX_SIGNERS)
    ]
    scan: Annotated[Scan, Meta(description="What it says, for a scan for vulnerabilities.")] | None = None
    build: Annotated[Build, Meta(description="What it says, for a provenance.")] | None = None
    vex: Annotated[Vex, Meta(description="What it says, for a VEX document.")] | None = None
    values: Annotated[
        dict[str, str],
        Meta(description="What it says at the paths that policies compare, as JSON, by path.", max_length=1024),
    ] = {}


class ImageEvidenceSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What was found beside the image in its registry."""

    repository: Annotated[_Text, Meta(description="The registry and the repository.")]
    digest: Annotated[_Text, Meta(description="The digest of the image.")]
    image: Annotated[_Text, Meta(description="The repository and the digest in one, for people.")]
    looked_up: Annotated[datetime, Meta(tz=True, description="When it was looked up at its registry.")]
    signed_by: Annotated[_Text, Meta(description="The authorities that signed it, for people.")] = ""
    why_not: Annotated[_Text, Meta(description="Why signatures do not count, for people.")] = ""
    signatures: Annotated[
        tuple[SharedSignature, ...], Meta(description="The signatures by authorities.", max_length=512)
    ] = ()
    others: Annotated[int, Meta(description="The number of signatures by other keys.", ge=0)] = 0
    problems: Annotated[tuple[_Text, ...], Meta(description="Why candidates do not count.", max_length=16)] = ()
    omitted: Annotated[int, Meta(description="The number of candidates that were not read.", ge=0)] = 0
    checked: Annotated[
        dict[str, str],
        Meta(description="The fingerprint of each authority that was looked for, by name.", max_length=1024),
    ] = {}
    predicates: Annotated[
        tuple[_Text, ...],
        Meta(description="The types of statements that were looked for, and paths in them.", max_length=4096),
    ] = ()
    attestations: Annotated[
        tuple[SharedAttestation, ...],
        Meta(
            description="Statements about the image by authorities, scans first, then VEX, the newest before others.",
            max_length=MAX_ATTESTATIONS,
        ),
    ] = ()
    platforms: Annotated[
        dict[str, str],
        Meta(
            description="The platforms by digest, of an index that lacks a statement itself. Facts about them have "
            "their own objects.",
            max_length=16,
        ),
    ] = {}
    scanned: Annotated[datetime, Meta(tz=True, description=_SCANNED)] | None = None
    critical: Annotated[int, Meta(description=_COUNTED.format("Critical"), ge=0)] | None = None
    high: Annotated[int, Meta(description=_COUNTED.format("High"), ge=0)] | None = None


class ImageEvidence(Struct, frozen=True):
    """Facts about an image that Sekisho has verified. Only Sekisho itself can write them."""

    spec: ImageEvidenceSpec


def name_of(facts: ImageFacts, release: str) -> str:
    """The object's name: a hash of the image and of the release's namespace."""
    return name_of_image(f"{facts.repository}@{facts.digest}", release)


def name_of_image(image: str, release: str) -> str:
    """The name of the object about an image, written as registry/repository@digest: a hash of both arguments."""
    return sha256(f"{release} {image}".encode()).hexdigest()[:40]


def shared(facts: ImageFacts, looked_up: datetime) -> ImageEvidenceSpec:
    """The facts about an image, in the form in which replicas share them."""
    why_not = [*([signatures_by_others(facts.others)] if facts.others else []), *facts.problems]
    signers = list(dict.fromkeys(signature.authority for signature in facts.signatures))
    scans = _newest_scans(facts)
    are_valid = bool(scans) and all(not scan.problem and not is_future(scan.finished, looked_up) for scan in scans)
    return ImageEvidenceSpec(
        repository=facts.repository,
        digest=facts.digest,
        image=f"{facts.repository}@{facts.digest}",
        looked_up=looked_up,
        signed_by=words(signers, "and")[:2048] if signers else "",
        why_not="; ".join(why_not)[:2048],
        signatures=_shared_signatures(facts.signatures),
        others=facts.others,
        problems=tuple(dict.fromkeys(facts.problems)),
        omitted=facts.omitted,
        checked=dict(facts.checked),
        predicates=facts.predicates,
        attestations=tuple(
            SharedAttestation(
                one.predicate_type, _shared_signatures(one.signatures), one.scan, one.build, one.vex, dict(one.values)
            )
            for one in facts.attestations
        ),
        platforms=dict(facts.platforms),
        scanned=min(scan.finished for scan in scans) if are_valid else None,
        critical=max(scan.count(Severity.CRITICAL) for scan in scans) if are_valid else None,
        high=max(scan.count(Severity.HIGH) for scan in scans) if are_valid else None,
    )


def _newest_scans(facts: ImageFacts) -> list[Scan]:
    """The newest scan of each scanner by the same authorities; which of them a policy requires is not known here."""
    newest: dict[tuple[frozenset[str], str], Scan] = {}
    for attestation in facts.attestations:
        if attestation.scan is not None:
            key = frozenset(signature.authority for signature in attestation.signatures), attestation.scan.scanner
            if key not in newest or newest[key].finished < attestation.scan.finished:
                newest[key] = attestation.scan
    return list(newest.values())


def facts_of(spec: ImageEvidenceSpec) -> ImageFacts:
    """The facts about an image, from the form in which replicas share them."""
    return ImageFacts(
        repository=spec.repository,
        digest=spec.digest,
        signatures=_signatures(spec.signatures),
        others=spec.others,
        problems=spec.problems,
        omitted=spec.omitted,
        checked=spec.checked,
        looked_up=spec.looked_up,
        predicates=spec.predicates,
        attestations=tuple(
            Attestation(one.predicate_type, _signatures(one.signatures), one.scan, one.build, one.vex, one.values)
            for one in spec.attestations
        ),
        platforms=spec.platforms,
    )


def _shared_signatures(signatures: Iterable[Signature]) -> tuple[SharedSignature, ...]:
    return tuple(SharedSignature(**structs.asdict(signature)) for signature in signatures)


def _signatures(shared_ones: Iterable[SharedSignature]) -> tuple[Signature, ...]:
    return tuple(Signature(**structs.asdict(signature)) for signature in shared_ones)

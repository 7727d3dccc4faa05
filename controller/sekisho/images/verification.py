"""Verification: from what is attached to an image to facts about it."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.findings import printable, render_value
from sekisho.images.attested import PROVENANCE_PREDICATES, read_build, verify_sbom
from sekisho.images.authorities import Authority
from sekisho.images.bundles import (
    BUNDLE_TYPES,
    CERTIFICATE_ANNOTATION,
    ENVELOPE_TYPE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_TYPE,
    Bundle,
    Signed,
    read_bundle,
    read_envelope,
    read_simple_signing,
)
from sekisho.images.evidence import (
    MAX_CANDIDATES,
    MAX_PAYLOAD_BYTES,
    MAX_PROBLEM_LENGTH,
    MAX_PROBLEMS,
    Attestation,
    Candidate,
    ImageFacts,
    Signature,
)
from sekisho.images.keeping import keep
from sekisho.images.keyless import verify_keyless
from sekisho.images.keys import has_signed
from sekisho.images.predicate_values import paths_of, read_values
from sekisho.images.roots import TrustedRoot
from sekisho.images.scans import MAX_SKEW, SCAN_PREDICATE, Scan, read_scan, unread_scan
from sekisho.images.statements import (
    MAX_SIGNATURE_BYTES,
    SIGN_PREDICATE,
    NotASignatureError,
    UnreadStatementError,
    deny_large,
    unread_predicate,
    verify_simple_signing,
    verify_statement,
)
from sekisho.images.vex import VEX_PREDICATES, read_vex, unread_vex

_OLDER_ATTESTATION: Final = "it is an attestation of the older format, not a signature"


class _Result(Struct, frozen=True, gc=False):
    """What one candidate is.

    signatures: empty for a signature by an unknown signer.
    problem: says more about a signature by an unknown signer, or why it is not a signature; empty where there is
        nothing to say.
    attestation: what it is otherwise; None for a signature.
    is_signature: whether it is a signature or an attestation that counts, by whomever.
    """

    signatures: tuple[Signature, ...] = ()
    problem: str = ""
    attestation: Attestation | None = None
    is_signature: bool = True

    @property
    def is_by_unknown(self) -> bool:
        """Whether it is a signature that no authority made."""
        return self.is_signature and self.attestation is None and not self.signatures


def verify(
    repository: str,
    digest: str,
    candidates: Sequence[Candidate],
    authorities: Sequence[Authority],
    now: datetime,
    omitted: int = 0,
    predicates: Collection[str] = (),
    *,
    may_hide_vex: bool = False,
    large_scan: datetime | None = None,
) -> ImageFacts:
    """The facts about an image.

    repository: with the registry, as in ImageFacts.
    digest: of the manifest that the pod names, such as sha256:….
    candidates: all that were found; those past MAX_CANDIDATES are left out.
    authorities: those that policies name; the ones that are unusable have signed nothing.
    omitted: the number of candidates that were found and not read.
    predicates: the types of attestations that policies need, and the paths in them (`predicate_values.needed_path`).
    may_hide_vex: whether a VEX document may be among those that were not read. Then none counts: it may be the newest.
    large_scan: when the newest scan that is too large to be read may have been attached; None where there is none.

    Takes milliseconds for each candidate with a certificate, and the first one imports sigstore: call it in a thread
    where an authority is keyless.
    """
    results = list(_results(candidates[:MAX_CANDIDATES], repository, digest, authorities, predicates))
    read = [result.attestation for result in results if result.attestation is not None]
    may_hide_vex = _needs_vex(predicates) and (may_hide_vex or len(candidates) > MAX_CANDIDATES)
    attestations, unkept = keep(read, may_hide_vex=may_hide_vex, large_scan=large_scan)
    problems = dict.fromkeys([*unkept, *(_short(result.problem) for result in results if result.problem)])
    return ImageFacts(
        repository=repository,
        digest=digest,
        signatures=_distinct(chain.from_iterable(result.signatures for result in results)),
        others=sum(result.is_by_unknown for result in results),
        problems=tuple(problems)[:MAX_PROBLEMS],
        omitted=omitted + max(0, len(candidates) - MAX_CANDIDATES),
        checked={authority.name: authority.fingerprint for authority in authorities},
        looked_up=now,
        predicates=tuple(sorted(predicates)),
        attestations=attestations,
    )


def _needs_vex(predicates: Collection[str]) -> bool:
    return not set(VEX_PREDICATES).isdisjoint(predicates)


def _distinct(signatures: Iterable[Signature]) -> tuple[Signature, ...]:
    """The first signature by each key or identity of each authority."""
    distinct: dict[tuple[str, str, str], Signature] = {}
    for signature in signatures:
        distinct.setdefault((signature.authority, signature.fingerprint, signature.identity), signature)
    return tuple(distinct.values())


def _results(
    candidates: Iterable[Candidate],
    repository: str,
    digest: str,
    authorities: Sequence[Authority],
    predicates: Collection[str],
) -> Iterator[_Result]:
    """What each candidate is, without those that hold no signature."""
    for candidate in candidates:
        try:
            result = _verify_candidate(candidate, repository, digest, authorities, predicates)
        except NotASignatureError as error:
            result = _Result(problem=str(error), is_signature=False)
        if result is not None:
            yield result


def _short(problem: str) -> str:
    line = printable(" ".join(problem.split()))
    return line if len(line) <= MAX_PROBLEM_LENGTH else line[: MAX_PROBLEM_LENGTH - 1] + "…"


def _verify_candidate(
    candidate: Candidate, repository: str, digest: str, authorities: Sequence[Authority], predicates: Collection[str]
) -> _Result | None:
    """What a candidate is, None for one that holds no signature. Raises NotASignatureError."""
    if candidate.media_type in BUNDLE_TYPES:
        bundle = read_bundle(candidate.payload, MAX_PAYLOAD_BYTES if predicates else MAX_SIGNATURE_BYTES)
        return _verify_bundle(candidate, bundle, repository, digest, authorities, predicates)
    if candidate.media_type == SIMPLE_SIGNING_TYPE:
        if CERTIFICATE_ANNOTATION in candidate.annotations:
            raise NotASignatureError("it is a keyless signature of the older format; sign again with cosign 3")
        signed = read_simple_signing(candidate.payload, candidate.annotations.get(SIGNATURE_ANNOTATION))
        verify_simple_signing(signed.payload, digest)
        return _Result(tuple(_by_keys(signed, candidate, authorities)))
    if candidate.media_type == ENVELOPE_TYPE:
        if not predicates:
            raise NotASignatureError(_OLDER_ATTESTATION)
        if CERTIFICATE_ANNOTATION in candidate.annotations:
            raise NotASignatureError("it is a keyless attestation of the older format; attest again with cosign 3")
        envelope = read_envelope(candidate.payload, MAX_PAYLOAD_BYTES)
        result = _verify_bundle(candidate, envelope, repository, digest, authorities, predicates)
        if result.attestation is None:  # else whether an image is signed would depend on what another policy requires
            raise NotASignatureError(_OLDER_ATTESTATION)
        return result
    return None


def _verify_bundle(
    candidate: Candidate,
    bundle: Bundle,
    repository: str,
    digest: str,
    authorities: Sequence[Authority],
    predicates: Collection[str],
) -> _Result:
    result: _Result | None = None
    if len(candidate.payload) > MAX_SIGNATURE_BYTES:
        # A large statement is costly to read, and anyone who may push can attach one: first, who has signed it.
        result = _signers(candidate, bundle, authorities)
        if not result.signatures:
            raise NotASignatureError(result.problem or "it is an attestation by another key")
    # Before the costly part: what is not about this image need not be verified.
    try:
        predicate = verify_statement(bundle.signed.payload, digest, predicates)
    except UnreadStatementError as error:
        signers = result if result is not None else _signers(candidate, bundle, authorities)
        unread = _unread(bundle.signed.payload, str(error), signers.signatures, digest, predicates)
        if unread is None:
            raise
        return _Result(attestation=unread)
    if predicate == SIGN_PREDICATE:
        deny_large(candidate.payload)
    if result is None:
        result = _signers(candidate, bundle, authorities)
    if predicate == SIGN_PREDICATE:
        return result
    if not result.signatures:
        raise NotASignatureError(result.problem or f"it is an attestation, {render_value(predicate)}, by another key")
    read = _read_attestation(bundle.signed.payload, predicate, result.signatures, (repository, digest), predicates)
    return _Result(attestation=read)


def _signers(candidate: Candidate, bundle: Bundle, authorities: Sequence[Authority]) -> _Result:
    """Who has signed a bundle's statement, whatever it says."""
    if bundle.is_keyless:
        return _by_identity(candidate, bundle, authorities)
    return _Result(tuple(_by_keys(bundle.signed, candidate, authorities)))


def _unread(
    statement: bytes, problem: str, signatures: tuple[Signature, ...], digest: str, predicates: Collection[str]
) -> Attestation | None:
    """A signed scan or VEX document that was not read; None for other statements, or by an unknown signer.

    It has the problem: the newest one decides, so that an older one must not count instead.
    """
    predicate = unread_predicate(statement, digest, predicates) if signatures else None
    if predicate == SCAN_PREDICATE:
        scan = unread_scan(statement, problem)
        return Attestation(predicate, signatures, scan) if scan is not None else None
    if predicate in VEX_PREDICATES:
        vex = unread_vex(statement, problem)
        return Attestation(predicate, signatures, vex=vex) if vex is not None else None
    return None


def _read_attestation(
    statement: bytes,
    predicate: str,
    signatures: tuple[Signature, ...],
    image: tuple[str, str],
    predicates: Collection[str],
) -> Attestation:
    """What a signed statement says about an image, given as repository and digest. Raises NotASignatureError."""
    if predicate == SCAN_PREDICATE:
        return Attestation(predicate, signatures, _scan(statement, image[1], signatures))
    if predicate in PROVENANCE_PREDICATES:
        return Attestation(predicate, signatures, build=read_build(statement, predicate))
    if predicate in VEX_PREDICATES:
        return Attestation(predicate, signatures, vex=read_vex(statement, *image))
    verify_sbom(statement, predicate)
    return Attestation(predicate, signatures, values=read_values(statement, paths_of(predicate, predicates)))


def _scan(statement: bytes, digest: str, signatures: Sequence[Signature]) -> Scan:
    scan = read_scan(statement, digest)
    signed_at = [one.signed_at for one in signatures if one.signed_at is not None]
    if signed_at and scan.finished > max(signed_at) + MAX_SKEW:
        return replace(scan, problem="it ended after it was signed")
    return scan


def _by_keys(signed: Signed, candidate: Candidate, authorities: Sequence[Authority]) -> Iterator[Signature]:
    verified: dict[str, bool] = {}
    for authority in authorities:
        for key in authority.keys:
            if key.fingerprint not in verified:
                verified[key.fingerprint] = has_signed(key.key, signed.message, signed.signature)
            if verified[key.fingerprint]:
                yield Signature(authority.name, key.fingerprint, candidate=candidate.digest)


def _by_identity(candidate: Candidate, bundle: Bundle, authorities: Sequence[Authority]) -> _Result:
    roots: dict[str, TrustedRoot] = {
        authority.keyless.root.fingerprint: authority.keyless.root for authority in authorities if authority.keyless
    }
    signatures: list[Signature] = []
    problem = ""
    for fingerprint, root in roots.items():
        try:
            signer = verify_keyless(candidate.payload, bundle, root)
        except NotASignatureError as error:
            problem = str(error)
            continue
        signatures += [
            Signature(authority.name, fingerprint, signer.identity, signer.issuer, signer.signed_at, candidate.digest)
            for authority in authorities
            if authority.keyless is not None
            and authority.keyless.root.fingerprint == fingerprint
            and authority.keyless.names(signer.issuer, signer.identity)
        ]
        if not signatures:
            problem = f"it is signed by {signer.identity} of {signer.issuer}, which no authority names"
    return _Result(tuple(signatures), "" if signatures else problem)

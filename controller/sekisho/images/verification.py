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
from sekisho.images.keeping import keep, unkept_scanners
from sekisho.images.predicate_values import paths_of, read_values
from sekisho.images.scans import SCAN_PREDICATE, Scan, is_future, read_scan, unread_scan
from sekisho.images.signers import SignedBy, Signers, by_identity, by_key, signers_of
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

MAX_VERIFIED: Final = 4 * MAX_CANDIDATES
"""Candidates that are verified in one pass: clients attach in four ways."""
_ANY_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_OLDER_ATTESTATION: Final = "it is an attestation of the older format, not a signature"


class _Result(Struct, frozen=True, gc=False):
    """What one candidate is.

    signatures: empty for a signature by an unknown signer.
    problem: says more about a signature by an unknown signer, or why it is not a signature; empty where there is
        nothing to say.
    attestation: what it is otherwise; None for a signature.
    is_signature: whether it is a signature or an attestation that counts, by whomever.
    untried: the authorities that may have signed it: not all of their keys were tried.
    """

    signatures: tuple[Signature, ...] = ()
    problem: str = ""
    attestation: Attestation | None = None
    is_signature: bool = True
    untried: tuple[str, ...] = ()

    @property
    def is_by_unknown(self) -> bool:
        """Whether it is a signature that no authority made."""
        return self.is_signature and self.attestation is None and not self.signatures


class Verified(Struct, frozen=True, eq=False):
    """What was read about an image so far.

    repository: with the registry, as in ImageFacts.
    digest: of the manifest that the pod names, such as sha256:….
    authorities: those of the cluster; the ones that are unusable have signed nothing.
    predicates: the types of attestations that policies need, and the paths in them (`predicate_values.needed_path`).
    named: the authorities that rules for the image name.
    results: what the candidates are.
    omitted: the number of candidates that were found and not read.
    problems: why some could not be read, as clauses.
    may_hide_vex: whether a VEX document may be among those that were not read. Then none counts: it may be the newest.
    unread_scan_at: when the newest scan that cannot be read may have been attached; None where there is none.
    """

    repository: str
    digest: str
    authorities: tuple[Authority, ...]
    predicates: Collection[str] = ()
    named: Collection[str] = ()
    results: tuple[_Result, ...] = ()
    omitted: int = 0
    problems: tuple[str, ...] = ()
    may_hide_vex: bool = False
    unread_scan_at: datetime | None = None


def verify_more(
    verified: Verified,
    candidates: Sequence[Candidate],
    omitted: int = 0,
    problems: Sequence[str] = (),
    *,
    may_hide_vex: bool = False,
    unread_scan_at: datetime | None = None,
) -> Verified:
    """What was read before, with further candidates.

    candidates: those past MAX_VERIFIED are left out.
    omitted, problems, may_hide_vex, unread_scan_at: of the sources that have the candidates, as in Verified.

    Takes milliseconds for each candidate with a certificate, and the first one imports sigstore: call it in a thread
    where an authority is keyless.
    """
    left_out = max(0, len(candidates) - MAX_VERIFIED)
    return replace(
        verified,
        results=(*verified.results, *_results(candidates[:MAX_VERIFIED], verified)),
        omitted=verified.omitted + omitted + left_out,
        problems=(*verified.problems, *problems),
        may_hide_vex=verified.may_hide_vex or may_hide_vex or left_out > 0,
        unread_scan_at=max((one for one in (verified.unread_scan_at, unread_scan_at) if one is not None), default=None),
    )


def facts_of(verified: Verified, now: datetime) -> ImageFacts:
    """The facts about an image."""
    results, predicates = verified.results, verified.predicates
    needs_vex = not set(VEX_PREDICATES).isdisjoint(predicates)
    untried = set(chain.from_iterable(result.untried for result in results))
    attested = [result.attestation for result in results if result.attestation is not None]
    attestations, unkept = keep(
        attested,
        may_hide_vex=needs_vex and verified.may_hide_vex,
        unread_scan_at=verified.unread_scan_at,
        named=verified.named,
    )
    untried |= unkept_scanners(attested, attestations)
    if any(not result.is_signature and not set(verified.named).isdisjoint(result.untried) for result in results):
        attestations = ()  # it may be a newer one
    problems = dict.fromkeys([*unkept, *(_short(result.problem) for result in results if result.problem)])
    return ImageFacts(
        repository=verified.repository,
        digest=verified.digest,
        signatures=_distinct(chain.from_iterable(result.signatures for result in results)),
        others=sum(result.is_by_unknown for result in results),
        problems=(*problems, *verified.problems)[:MAX_PROBLEMS],
        omitted=verified.omitted,
        checked={
            one.name: "" if one.name in untried and one.name not in verified.named else one.fingerprint
            for one in verified.authorities
        },
        looked_up=now,
        predicates=tuple(sorted(predicates)),
        attestations=attestations,
    )


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
    unread_scan_at: datetime | None = None,
) -> ImageFacts:
    """The facts about an image, from all of its candidates. Parameters are those of Verified and `verify_more`."""
    nothing = Verified(repository, digest, tuple(authorities), predicates)
    more = verify_more(nothing, candidates, omitted, may_hide_vex=may_hide_vex, unread_scan_at=unread_scan_at)
    return facts_of(more, now)


def _distinct(signatures: Iterable[Signature]) -> tuple[Signature, ...]:
    """The first signature by each key or identity of each authority."""
    distinct: dict[tuple[str, str, str], Signature] = {}
    for signature in signatures:
        distinct.setdefault((signature.authority, signature.fingerprint, signature.identity), signature)
    return tuple(distinct.values())


def _results(candidates: Sequence[Candidate], verified: Verified) -> Iterator[_Result]:
    """What each candidate is, without those that hold no signature."""
    signers = signers_of(verified.authorities, verified.named, len(candidates))
    for candidate in candidates:
        try:
            result = _verify_candidate(candidate, verified, signers)
        except NotASignatureError as error:
            result = _Result(problem=str(error), is_signature=False)
        if result is not None:
            yield result


def _short(problem: str) -> str:
    line = printable(" ".join(problem.split()))
    return line if len(line) <= MAX_PROBLEM_LENGTH else line[: MAX_PROBLEM_LENGTH - 1] + "…"


def _verify_candidate(candidate: Candidate, verified: Verified, signers: Signers) -> _Result | None:
    """What a candidate is, None for one that holds no signature. Raises NotASignatureError."""
    predicates = verified.predicates
    if candidate.media_type in BUNDLE_TYPES:
        bundle = read_bundle(candidate.payload, MAX_PAYLOAD_BYTES if predicates else MAX_SIGNATURE_BYTES)
        return _verify_bundle(candidate, bundle, verified, signers)
    if candidate.media_type == SIMPLE_SIGNING_TYPE:
        if CERTIFICATE_ANNOTATION in candidate.annotations:
            raise NotASignatureError("it is a keyless signature of the older format; sign again with cosign 3")
        signed = read_simple_signing(candidate.payload, candidate.annotations.get(SIGNATURE_ANNOTATION))
        verify_simple_signing(signed.payload, verified.digest)
        return _signature(by_key(signed, candidate, signers))
    if candidate.media_type == ENVELOPE_TYPE:
        if not predicates:
            raise NotASignatureError(_OLDER_ATTESTATION)
        if CERTIFICATE_ANNOTATION in candidate.annotations:
            raise NotASignatureError("it is a keyless attestation of the older format; attest again with cosign 3")
        envelope = read_envelope(candidate.payload, MAX_PAYLOAD_BYTES)
        result = _verify_bundle(candidate, envelope, verified, signers)
        if result.is_signature and result.attestation is None:
            # Else whether an image is signed would depend on what another policy requires.
            raise NotASignatureError(_OLDER_ATTESTATION)
        return result
    if candidate.media_type.startswith(_ANY_BUNDLE):
        raise NotASignatureError(f"it is a bundle of the type {render_value(candidate.media_type)}; 0.3 is supported")
    return None


def _verify_bundle(candidate: Candidate, bundle: Bundle, verified: Verified, signers: Signers) -> _Result:
    by: SignedBy | None = None
    if len(candidate.payload) > MAX_SIGNATURE_BYTES:
        # A large statement is costly to read, and anyone who may push can attach one: first, who has signed it.
        by = _signers(candidate, bundle, signers)
        if not by.signatures:
            return _not_counted(by.problem or "it is an attestation by another key", by)
    # Before the costly part: what is not about this image need not be verified.
    statement, digest = bundle.signed.payload, verified.digest
    try:
        predicate = verify_statement(statement, digest, verified.predicates)
    except UnreadStatementError as error:
        by = by or _signers(candidate, bundle, signers)
        unread = _unread(statement, str(error), by.signatures, digest, verified.predicates)
        return _not_counted(str(error), by) if unread is None else _Result(attestation=unread, untried=by.untried)
    if predicate == SIGN_PREDICATE:
        deny_large(candidate.payload)
    by = by or _signers(candidate, bundle, signers)
    if predicate == SIGN_PREDICATE:
        return _signature(by)
    if not by.signatures:
        return _not_counted(by.problem or f"it is an attestation, {render_value(predicate)}, by another key", by)
    image = (verified.repository, digest)
    read = _read_attestation(statement, predicate, by.signatures, image, verified.predicates)
    return _Result(attestation=read, untried=by.untried)


def _signers(candidate: Candidate, bundle: Bundle, signers: Signers) -> SignedBy:
    """Who has signed a bundle's statement, whatever it says."""
    if bundle.is_keyless:
        return by_identity(candidate, bundle, signers)
    return by_key(bundle.signed, candidate, signers, bundle.hint)


def _signature(by: SignedBy) -> _Result:
    return _Result(by.signatures, by.problem, untried=by.untried)


def _not_counted(problem: str, by: SignedBy) -> _Result:
    """A candidate that counts for nothing, as far as it is known who has signed it."""
    return _Result(problem=problem, is_signature=False, untried=by.untried)


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
    signed_at = [signature.signed_at for signature in signatures if signature.signed_at is not None]
    if signed_at and is_future(scan.finished, max(signed_at)):
        return replace(scan, problem="it ended after it was signed")
    return scan

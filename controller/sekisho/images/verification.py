"""Verification: from what is attached to an image to facts about it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from sekisho.images.authorities import Authority
from sekisho.images.evidence import (
    MAX_CANDIDATES,
    MAX_PROBLEM_LENGTH,
    MAX_PROBLEMS,
    Candidate,
    ImageFacts,
    Signature,
)
from sekisho.images.keyless import verify_keyless
from sekisho.images.keys import has_signed
from sekisho.images.roots import TrustedRoot
from sekisho.images.statements import (
    BUNDLE_TYPES,
    CERTIFICATE_ANNOTATION,
    ENVELOPE_TYPE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_TYPE,
    Bundle,
    NotASignatureError,
    Signed,
    read_bundle,
    read_simple_signing,
    verify_simple_signing,
    verify_statement,
)


class _Result(Struct, frozen=True, gc=False):
    """What one candidate is.

    signatures: empty for a signature by an unknown signer.
    problem: says more about a signature by an unknown signer; empty where there is nothing to say.
    """

    signatures: tuple[Signature, ...] = ()
    problem: str = ""


def verify(
    repository: str,
    digest: str,
    candidates: Sequence[Candidate],
    authorities: Sequence[Authority],
    now: datetime,
    omitted: int = 0,
) -> ImageFacts:
    """The facts about an image.

    repository: with the registry, as in ImageFacts.
    digest: of the manifest that the pod names, such as sha256:….
    candidates: all that were found; those past MAX_CANDIDATES are left out.
    authorities: those that policies name; the ones that are unusable have signed nothing.
    omitted: the number of candidates that were found and not read.

    Takes milliseconds for each candidate with a certificate, and the first one imports sigstore: call it in a thread
    where an authority is keyless.
    """
    signatures: dict[tuple[str, str, str], Signature] = {}
    problems: dict[str, None] = {}
    others = 0
    for candidate in candidates[:MAX_CANDIDATES]:
        try:
            result = _verify_candidate(candidate, digest, authorities)
        except NotASignatureError as error:
            problems[str(error)] = None
            continue
        if result is None:
            continue
        others += not result.signatures
        if result.problem:
            problems[result.problem] = None
        for signature in result.signatures:
            signatures.setdefault((signature.authority, signature.fingerprint, signature.identity), signature)
    return ImageFacts(
        repository=repository,
        digest=digest,
        signatures=tuple(signatures.values()),
        others=others,
        problems=tuple(_short(problem) for problem in list(problems)[:MAX_PROBLEMS]),
        omitted=omitted + max(0, len(candidates) - MAX_CANDIDATES),
        checked={authority.name: authority.fingerprint for authority in authorities},
        looked_up=now,
    )


def _short(problem: str) -> str:
    line = " ".join(problem.split())
    return line if len(line) <= MAX_PROBLEM_LENGTH else line[: MAX_PROBLEM_LENGTH - 1] + "…"


def _verify_candidate(candidate: Candidate, digest: str, authorities: Sequence[Authority]) -> _Result | None:
    """What a candidate is, None for one that holds no signature. Raises NotASignatureError."""
    if candidate.media_type in BUNDLE_TYPES:
        bundle = read_bundle(candidate.payload)
        # Before the costly part: what is not about this image need not be verified.
        verify_statement(bundle.signed.payload, digest)
        if bundle.is_keyless:
            return _by_identity(candidate, bundle, digest, authorities)
        return _Result(tuple(_by_keys(bundle.signed, candidate, authorities)))
    if candidate.media_type == SIMPLE_SIGNING_TYPE:
        if CERTIFICATE_ANNOTATION in candidate.annotations:
            raise NotASignatureError("it is a keyless signature of the older format; sign again with cosign 3")
        signed = read_simple_signing(candidate.payload, candidate.annotations.get(SIGNATURE_ANNOTATION))
        verify_simple_signing(signed.payload, digest)
        return _Result(tuple(_by_keys(signed, candidate, authorities)))
    if candidate.media_type == ENVELOPE_TYPE:
        raise NotASignatureError("it is an attestation of the older format, not a signature")
    return None


def _by_keys(signed: Signed, candidate: Candidate, authorities: Sequence[Authority]) -> Iterator[Signature]:
    verified: dict[str, bool] = {}
    for authority in authorities:
        for key in authority.keys:
            if key.fingerprint not in verified:
                verified[key.fingerprint] = has_signed(key.key, signed.signature, signed.message)
            if verified[key.fingerprint]:
                yield Signature(authority.name, key.fingerprint, candidate=candidate.digest)


def _by_identity(candidate: Candidate, bundle: Bundle, digest: str, authorities: Sequence[Authority]) -> _Result:
    roots: dict[str, TrustedRoot] = {
        authority.keyless.root.fingerprint: authority.keyless.root for authority in authorities if authority.keyless
    }
    signatures: list[Signature] = []
    problem = ""
    for fingerprint, root in roots.items():
        try:
            signer = verify_keyless(candidate.payload, bundle, digest, root)
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

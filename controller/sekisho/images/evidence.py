"""Evidence about images: what a registry holds beside an image, and the facts that verification makes of it.

Facts are not verdicts: who signed, by which key or root, and when. Policies judge them again for each pod, so that a
changed policy needs no further request to the registry, and facts from a key that an authority no longer has are void.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from sekisho.images.attested import Build
from sekisho.images.reference import Reference
from sekisho.images.scans import Scan
from sekisho.images.vex import Vex

DEFAULT_TAG: Final = "latest"
"""The tag of an image that has neither tag nor digest."""
MAX_CANDIDATES: Final = 32
"""The most candidates in one of the sources where clients attach to an image; anyone who may push can attach more."""
MAX_PAYLOAD_BYTES: Final = 16 << 20
"""The size of one candidate."""
MAX_PROBLEMS: Final = 8
"""The problems of one image that are kept: the first ones."""
MAX_PROBLEM_LENGTH: Final = 160
MAX_SCANS: Final = 16
"""The scans of one image that are kept: the newest of each scanner and signer."""
MAX_SCANS_BYTES: Final = 1 << 20
"""The size of all of them."""
MAX_VEX: Final = 6
"""The VEX documents of one image that are kept: the newest ones."""
MAX_ATTESTATIONS: Final = 40
"""The attestations of one image that are kept, scans and VEX documents included."""


class Candidate(Struct, frozen=True, gc=False):
    """A layer of a manifest that is attached to an image, and that may hold a signature.

    source: where it is listed: `referrers`, `fallback tag`, `.sig tag` or `.att tag`.
    media_type: of the layer.
    payload: the layer's bytes, at most MAX_PAYLOAD_BYTES.
    annotations: of the layer; in the older format the signature and the certificate are among them.
    digest: of the manifest that has the layer.
    layer: the digest of the layer.
    """

    source: str
    media_type: str
    payload: bytes
    annotations: Mapping[str, str]
    digest: str
    layer: str = ""


class Signature(Struct, frozen=True, gc=False):
    """A fact: somebody whom an authority names has signed the image.

    authority: the name of the ImageAuthority.
    fingerprint: hex SHA-256 of the key's SubjectPublicKeyInfo; of the trusted root for a keyless signature.
    identity, issuer: of the certificate of a keyless signature; empty for one by a key.
    signed_at: the proven time, None for a signature by a key, which proves none.
    candidate: the digest of the manifest that has the signature.
    """

    authority: str
    fingerprint: str
    identity: str = ""
    issuer: str = ""
    signed_at: datetime | None = None
    candidate: str = ""


class Attestation(Struct, frozen=True, gc=False):
    """A fact: somebody whom an authority names has signed a statement about the image.

    signatures: of the statement, one for each authority that counts its signer as its own.
    scan: what a scan says; None for other types of statements.
    build: what a provenance says; None for other types of statements.
    vex: what a VEX document says; None for other types of statements.
    values: what other statements say at the paths that policies compare, as JSON, by path.
    """

    predicate_type: str
    signatures: tuple[Signature, ...]
    scan: Scan | None = None
    build: Build | None = None
    vex: Vex | None = None
    values: Mapping[str, str] = {}


class ImageFacts(Struct, frozen=True, gc=False):
    """What is known about an image, by its digest.

    repository: with the registry, such as ghcr.io/acme/pay; Docker Hub is docker.io.
    signatures: those by authorities.
    others: the number of signatures of the image that no authority made.
    problems: why candidates do not count, as clauses; at most MAX_PROBLEMS.
    omitted: the number of candidates past MAX_CANDIDATES of a source, which nobody looked at.
    checked: the fingerprint of each authority that the candidates were verified with, by name; empty if not all of them
        were tried with its keys, or its scans are not kept, because no rule for the image names it. No signature by
        another authority, or by an authority of another fingerprint, says nothing.
    looked_up: when it was looked up at its registry.
    predicates: the types of statements that were read, and the paths in them (`predicate_values.needed_path`); others
        are not known.
    attestations: statements of these types by authorities; scans first, then VEX documents, the newest before others.
    platforms: the platforms of an index by the digests of their images, where the index lacks a statement that a rule
        requires. They are there if an authority has attested one of them, or vouches for the index and it is not known
        of them all.
    """

    repository: str
    digest: str
    signatures: tuple[Signature, ...] = ()
    others: int = 0
    problems: tuple[str, ...] = ()
    omitted: int = 0
    checked: Mapping[str, str] = {}
    looked_up: datetime | None = None
    predicates: tuple[str, ...] = ()
    attestations: tuple[Attestation, ...] = ()
    platforms: Mapping[str, str] = {}

    @property
    def is_vouched_for(self) -> bool:
        """Whether an authority has signed the image, or a statement about it or one of its platforms."""
        return bool(self.signatures or self.attestations or self.platforms)


class Unknown(Struct, frozen=True, gc=False):
    """Why there are no facts about an image.

    reason: a clause that continues `the image`, such as `is still being verified at registry ghcr.io, 2.7 s so
        far`.
    fix: what to do about it, as an imperative clause.
    is_pending: whether the look-up goes on, so that a later try finds its result.
    """

    reason: str
    fix: str
    is_pending: bool = False


Evidence = Mapping[str, ImageFacts | Unknown]
"""By `evidence_key`. An image that is not in it was not looked up. By `tag_key`, why a tag has no digest."""


def signatures_by_others(count: int) -> str:
    """Signatures that no authority made, in words, such as `2 signatures by other keys`."""
    return "1 signature by another key" if count == 1 else f"{count} signatures by other keys"


def evidence_key(reference: Reference) -> str | None:
    """The image's name in Evidence: registry/repository@digest; None for a reference without a digest."""
    if reference.digest is None:
        return None
    return f"{reference.registry}/{reference.repository}@{reference.digest}"


def tag_key(reference: Reference) -> str:
    """The name in Evidence of an image without digest: registry/repository:tag."""
    return f"{reference.registry}/{reference.repository}:{reference.tag or DEFAULT_TAG}"

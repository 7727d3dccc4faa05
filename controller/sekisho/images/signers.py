"""Who has signed a candidate: keys and trusted roots of authorities are tried, within bounds.

Anyone who may push can attach many candidates, and an installation may have many authorities. So the key that a
signature says it is by comes first, then those that rules for the image name, and of the others some.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from msgspec import Struct

from sekisho.images.authorities import Authority
from sekisho.images.bundles import Bundle, Signed
from sekisho.images.evidence import Candidate, Signature
from sekisho.images.keyless import verify_keyless
from sekisho.images.keys import Key, has_signed
from sekisho.images.roots import TrustedRoot
from sekisho.images.statements import NotASignatureError

MAX_KEY_CHECKS: Final = 1024
"""Checks of candidates by keys in one pass over them, without those of keys that they name themselves."""
MAX_ROOT_CHECKS: Final = 256
"""Checks of candidates by trusted roots in such a pass: with one, a certificate and a log entry are verified too."""


class SignedBy(Struct, frozen=True, gc=False):
    """Who has signed a candidate.

    signatures: one for each authority; empty for an unknown signer.
    problem: says more about an unknown signer; empty where there is nothing to say.
    untried: the authorities with keys or roots that were not tried with it.
    """

    signatures: tuple[Signature, ...] = ()
    problem: str = ""
    untried: tuple[str, ...] = ()


class Signers(Struct, frozen=True, eq=False):
    """Who may have signed the candidates of one pass: by fingerprint each key, and each root, in the order in which
    they are tried, with its authorities.

    max_keys, max_roots: how many are tried with a candidate.
    """

    keys: Mapping[str, tuple[Key, tuple[str, ...]]]
    roots: Mapping[str, tuple[TrustedRoot, tuple[Authority, ...]]]
    max_keys: int
    max_roots: int


def signers_of(authorities: Sequence[Authority], named: Collection[str], candidates: int) -> Signers:
    """Who may have signed the candidates of an image.

    candidates: how many there are.
    named: the authorities that rules for the image name, which are tried before others.
    """
    keys: dict[str, tuple[Key, tuple[str, ...]]] = {}
    roots: dict[str, tuple[TrustedRoot, tuple[Authority, ...]]] = {}
    for one in sorted(authorities, key=lambda authority: authority.name not in named):
        for fingerprint, key in {key.fingerprint: key.key for key in one.keys}.items():
            keys[fingerprint] = (key, (*(keys[fingerprint][1] if fingerprint in keys else ()), one.name))
        if one.keyless is not None:
            root = one.keyless.root
            before = roots[root.fingerprint][1] if root.fingerprint in roots else ()
            roots[root.fingerprint] = (root, (*before, one))
    return Signers(keys, roots, MAX_KEY_CHECKS // max(candidates, 1), MAX_ROOT_CHECKS // max(candidates, 1))


def by_key(signed: Signed, candidate: Candidate, signers: Signers, hint: str = "") -> SignedBy:
    """Whose key has signed a candidate.

    hint: the fingerprint of the key that the candidate says it is by; empty where it says nothing.
    """
    checked = dict.fromkeys((hint, *islice(signers.keys, signers.max_keys)))
    for fingerprint in checked:
        key, names = signers.keys.get(fingerprint, (None, ()))
        if key is not None and has_signed(key, signed.message, signed.signature):
            return SignedBy(tuple(Signature(name, fingerprint, candidate=candidate.digest) for name in names))
    untried = tuple(chain.from_iterable(names for one, (_, names) in signers.keys.items() if one not in checked))
    return SignedBy((), _too_many(signers.max_keys, len(signers.keys), "keys") if untried else "", untried)


def by_identity(candidate: Candidate, bundle: Bundle, signers: Signers) -> SignedBy:
    """Whose identity has signed a candidate with a certificate."""
    signatures: list[Signature] = []
    problem = ""
    for fingerprint, (root, authorities) in islice(signers.roots.items(), signers.max_roots):
        try:
            signer = verify_keyless(candidate.payload, bundle, root)
        except NotASignatureError as error:
            problem = str(error)
            continue
        signatures += [
            Signature(authority.name, fingerprint, signer.identity, signer.issuer, signer.signed_at, candidate.digest)
            for authority in authorities
            if authority.keyless is not None and authority.keyless.names(signer.issuer, signer.identity)
        ]
        if not signatures:
            problem = f"it is signed by {signer.identity} of {signer.issuer}, which no authority names"
    others = islice(signers.roots.values(), signers.max_roots, None)
    untried = tuple(authority.name for _, authorities in others for authority in authorities)
    if signatures:
        problem = ""
    elif untried:
        problem = problem or _too_many(signers.max_roots, len(signers.roots), "trusted roots")
    return SignedBy(tuple(signatures), problem, untried)


def _too_many(maximum: int, count: int, kind: str) -> str:
    return f"it was compared with {maximum} of the {count} {kind} of all authorities"

"""What the rules on images are judged from: the authorities and the facts about images, at one moment."""

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import Struct, field

from sekisho.images.authorities import Authority
from sekisho.images.evidence import Evidence, ImageFacts, Signature
from sekisho.images.reference import Reference

Signer = tuple[str, ...]
"""A key, by its fingerprint; or an issuer and an identity."""


class Trust(Struct, frozen=True, eq=False):
    """What is known when a pod is judged.

    authorities: every ImageAuthority by name, the unusable ones included.
    evidence: the facts about images; one that is not there was not looked up.
    now: the time that decides which keys have ended.
    digests: what tags stand for, as far as they were resolved; used by the mutating webhook.
    registries: those that may be asked; None for any.
    predicates: the types of attestations that are looked for; None for any.
    accepted, signers: what was computed before: hundreds of rules may ask for the same.
    """

    authorities: Mapping[str, Authority]
    evidence: Evidence
    now: datetime
    digests: Mapping[Reference, str] = {}
    registries: Collection[str] | None = None
    predicates: Collection[str] | None = None
    accepted: dict[tuple[str, ...], bool] = field(default_factory=dict)
    signers: dict[tuple[int, str], tuple[ImageFacts, frozenset[Signer]]] = field(default_factory=dict)

    def accepts(self, signature: Signature) -> bool:
        """Whether the authority of a signature, which must be one of `authorities`, accepts it now."""
        key = (signature.authority, signature.fingerprint, signature.issuer, signature.identity)
        is_accepted = self.accepted.get(key)
        if is_accepted is None:
            is_accepted = self.accepted[key] = self.authorities[signature.authority].accepts(signature, self.now)
        return is_accepted

    def signers_of(self, facts: ImageFacts, name: str) -> frozenset[Signer]:
        """Who signed an image, of those whom an authority accepts now. name: of one of `authorities`."""
        key = (id(facts), name)
        if key not in self.signers:
            own = [signature for signature in facts.signatures if signature.authority == name]
            signers = frozenset(signer_of(signature) for signature in own if self.accepts(signature))
            self.signers[key] = (facts, signers)  # the reference keeps the id from being used again
        return self.signers[key][1]


def signer_of(signature: Signature) -> Signer:
    """Who made a signature: a key, or an issuer's identity, whichever root its certificate leads to."""
    return (signature.issuer, signature.identity) if signature.identity else (signature.fingerprint,)


class Lookup(Struct, frozen=True):
    """An image that must be looked up before a rule can be judged; a tag must be resolved first.

    authorities: those that the rule names.
    """

    reference: Reference
    authorities: tuple[str, ...]

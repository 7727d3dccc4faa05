"""What the rules on images are judged from: the authorities and the facts about images, at one moment."""

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import Struct

from sekisho.images.authorities import Authority
from sekisho.images.evidence import Evidence
from sekisho.images.reference import Reference


class Trust(Struct, frozen=True, eq=False):
    """What is known when a pod is judged.

    authorities: every ImageAuthority by name, the unusable ones included.
    evidence: the facts about images; one that is not there was not looked up.
    now: the time that decides which keys have ended.
    digests: what tags stand for, as far as they were resolved; used by the mutating webhook.
    registries: those that may be asked; None for any.
    predicates: the types of attestations that are looked for; None for any.
    """

    authorities: Mapping[str, Authority]
    evidence: Evidence
    now: datetime
    digests: Mapping[Reference, str] = {}
    registries: Collection[str] | None = None
    predicates: Collection[str] | None = None


class Lookup(Struct, frozen=True):
    """An image that must be looked up before a rule can be judged; a tag must be resolved first.

    authorities: those that the rule names.
    """

    reference: Reference
    authorities: tuple[str, ...]

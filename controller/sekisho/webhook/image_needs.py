"""What policies need of the facts about images: it decides what a look-up reads."""

from collections.abc import Callable, Collection
from itertools import chain

from msgspec import Struct

from sekisho.controls.image_rules import fails_statement, lacks_signature, lacks_statement
from sekisho.images import Reference
from sekisho.images.evidence import ImageFacts
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet
from sekisho.policies.sets import MAX_RULES


class Needs(Struct, frozen=True, eq=False):
    """What policies need now; the functions are called during a look-up.

    predicates: the types of attestations.
    named: the authorities that rules for an image name.
    lacks_signature: whether some rule on signatures is not met by the facts about an image, so that all sources
        are read where there may be more.
    fails_statement: whether some rule on attestations is not met by them, with the same consequence.
    lacks_statement: whether some rule finds no statement among the facts about an image, so that those about the
        platforms of an index count.
    """

    predicates: Callable[[], Collection[str]] = tuple
    named: Callable[[Reference], Collection[str]] = lambda reference: ()
    lacks_signature: Callable[[Reference, ImageFacts], bool] = lambda reference, facts: True
    fails_statement: Callable[[Reference, ImageFacts], bool] = lambda reference, facts: True
    lacks_statement: Callable[[Reference, ImageFacts], bool] = lambda reference, facts: False


def needs_of(policies: Callable[[], PolicySet], trust: Callable[[], Trust]) -> Needs:
    """The needs of policies.

    trust: has the authorities, and the time.
    """

    def named(image: Reference) -> Collection[str]:
        rules = chain(policies().signature_rules or (), policies().statement_rules)
        return {name for rule in rules if rule.applies(image) for name in (*rule.names, *rule.others)}

    def fails(image: Reference, facts: ImageFacts) -> bool:
        rules = policies().statement_rules
        return len(rules) >= MAX_RULES or fails_statement(rules, image, facts, trust())

    return Needs(
        lambda: policies().predicates,
        named,
        lambda image, facts: lacks_signature(policies().signature_rules, image, facts, trust()),
        fails,
        lambda image, facts: lacks_statement(policies().statement_rules, image, facts, trust()),
    )

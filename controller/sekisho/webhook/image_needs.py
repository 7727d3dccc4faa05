"""What policies need of the facts about images: it decides what a look-up reads."""

from collections.abc import Callable, Collection
from typing import Final, ParamSpec, TypeVar

from msgspec import Struct

from sekisho.controls.image_rules import fails_statement, lacks_signature, lacks_statement
from sekisho.findings import ManyFindingsError, begin_findings, end_findings
from sekisho.images import Reference
from sekisho.images.evidence import ImageFacts
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet
from sekisho.policies.sets import MAX_RULES

MAX_WORK: Final = 1000
"""Findings, of about 10 us each, that asking for one need may take as long as. Teams write most of the rules."""

P = ParamSpec("P")
T = TypeVar("T")


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
        rules = [*(policies().signature_rules or ()), *policies().statement_rules]
        applying = _within_bounds(lambda: [rule for rule in rules if rule.applies(image)], rules)
        return {name for rule in applying for name in (*rule.names, *rule.others)}

    def fails(image: Reference, facts: ImageFacts) -> bool:
        rules = policies().statement_rules
        return len(rules) >= MAX_RULES or _holds(fails_statement, rules, image, facts, trust())

    return Needs(
        lambda: policies().predicates,
        named,
        lambda image, facts: _holds(lacks_signature, policies().signature_rules, image, facts, trust()),
        fails,
        lambda image, facts: _holds(lacks_statement, policies().statement_rules, image, facts, trust()),
    )


def _holds(needs: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Whether more must be read, as a function says; also where it takes too long to know."""
    return _within_bounds(lambda: needs(*args, **kwargs), True)


def _within_bounds(call: Callable[[], T], otherwise: T) -> T:
    """What a call gives, or something else where it takes as long as too many findings: it holds up all reviews."""
    begin_findings(MAX_WORK)
    try:
        return call()
    except ManyFindingsError:
        return otherwise
    finally:
        end_findings()

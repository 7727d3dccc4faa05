"""Laws of rules on SBOMs, provenances and values: what the order of the registry and further statements change.

Statements are drawn as plain values, so that a verdict can be compared with one that is worked out from these alone.
"""

from collections.abc import Sequence
from typing import Any, Final

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from sekisho.images.evidence import Candidate
from sekisho.policies import ClusterPodPolicy
from tests.unit.admission.test_image_attestations import (
    AUTHORITIES,
    BOM,
    BUILDER,
    CYCLONEDX,
    DOCUMENT,
    QA,
    SLSA_02,
    SLSA_1,
    SPDX,
    THIRD_KEY,
    attested,
    judged,
    policy,
    slsa_02,
    slsa_1,
)
from tests.unit.images.scan_data import scanned_by
from tests.unit.images.signing import OTHER_IMAGE, OTHER_P256, P256, PrivateKey, signed_by

KEYS: Final[dict[str, PrivateKey]] = {"release": P256, "other": OTHER_P256}
BUILDERS: Final = (BUILDER, f"{BUILDER}2")
SOURCES: Final = ("git+https://github.com/acme/pay@v1", "git+https://github.com/evil/pay@v1", "")


class Said(Struct, frozen=True):
    """A statement: by whom, of which type, and what counts of it; nothing for one that is not what its type says."""

    by: str
    type: str
    counts: tuple[str, ...] = ()

    @property
    def candidate(self) -> Candidate:
        """It as cosign attaches it."""
        return attested(self.type, _predicate(self.type, self.counts), KEYS[self.by])


class Required(Struct, frozen=True):
    """What a policy requires: `is_all` of the authorities or any; the types, and what must count of one statement."""

    by: tuple[str, ...]
    is_all: bool
    types: tuple[str, ...]
    rule: tuple[tuple[str, Any], ...]
    passing: tuple[tuple[str, ...], ...]

    @property
    def policy(self) -> ClusterPodPolicy:
        """It as a policy."""
        return policy({"allOf" if self.is_all else "anyOf": self.by}, **dict(self.rule))


def _predicate(of_type: str, counts: tuple[str, ...]) -> Any:
    if of_type in (CYCLONEDX, SPDX):
        sbom = BOM if of_type == CYCLONEDX else DOCUMENT
        without = {"empty": {"components", "packages"}, "of no format": {"bomFormat", "spdxVersion"}}
        left_out = without.get(counts[0], set()) if counts else set(sbom)
        return {name: value for name, value in sbom.items() if name not in left_out}
    if of_type == QA:
        return {"passed": counts[0] == "passed"} if counts else {}
    if not counts:
        return {"builder": 1, "runDetails": 1}
    return (slsa_02 if of_type == SLSA_02 else slsa_1)(*counts)


def _said(of_type: str) -> st.SearchStrategy[Said]:
    counts: st.SearchStrategy[tuple[str, ...]] = st.sampled_from([(), ("listed",), ("empty",), ("of no format",)])
    if of_type in (SLSA_02, SLSA_1):
        counts = st.just(()) | st.tuples(st.sampled_from(BUILDERS), st.sampled_from(SOURCES))
    elif of_type == QA:
        counts = st.sampled_from([(), ("passed",), ("failed",)])
    return st.builds(Said, st.sampled_from(["release", "other"]), st.just(of_type), counts)


TYPES: Final = (CYCLONEDX, SPDX, SLSA_02, SLSA_1, QA)
FROM_ACME: Final = ("git+https://github.com/acme/*",)
RULES: Final = [
    ((CYCLONEDX,), {"sbom": {"formats": ["cyclonedx"]}}, [("listed",)]),
    ((CYCLONEDX, SPDX), {"sbom": {"formats": ["spdx", "cyclonedx"]}}, [("listed",)]),
    ((SLSA_02, SLSA_1), {"provenance": {"builders": [BUILDER]}}, [(BUILDER, source) for source in SOURCES]),
    ((SLSA_02, SLSA_1), {"provenance": {"builders": [BUILDER], "sources": FROM_ACME}}, [(BUILDER, SOURCES[0])]),
    ((QA,), {"predicateType": QA}, [(), ("passed",), ("failed",)]),
    ((QA,), {"predicateType": QA, "equals": [{"path": ".passed", "value": True}]}, [("passed",)]),
]
REQUIRED = st.builds(
    lambda by, is_all, rule: Required(by, is_all, rule[0], tuple(rule[1].items()), tuple(rule[2])),
    st.sampled_from([("release",), ("release", "other")]),
    st.booleans(),
    st.sampled_from(RULES),
)
SAID = st.sampled_from(TYPES).flatmap(_said)
CASES = REQUIRED.flatmap(
    lambda required: st.tuples(
        st.just(required), st.lists(st.sampled_from((*required.types, QA)).flatmap(_said), max_size=6)
    )
)
"""What is required, and statements of which most are of the types that it is about."""


def all_of(said: Sequence[Said]) -> list[Candidate]:
    """Statements as cosign attaches them."""
    return [one.candidate for one in said]


def is_denied(required: Required, attached: Sequence[Candidate]) -> bool:
    """The verdict on a pod with the image to which these statements are attached."""
    return judged(required.policy, *attached, authorities=AUTHORITIES).is_denied


def expected_denied(required: Required, said: Sequence[Said]) -> bool:
    """The verdict, from what is drawn alone: one statement of each group must pass, whatever others say."""
    groups = [{name} for name in required.by] if required.is_all else [set(required.by)]
    passing = [one.by for one in said if one.type in required.types and one.counts in required.passing]
    return not all(any(by in group for by in passing) for group in groups)


@given(case=CASES, data=st.data())
def test_verdict_is_whether_one_statement_of_each_authority_passes(
    case: tuple[Required, list[Said]], data: st.DataObject
) -> None:
    required, said = case
    attached = data.draw(st.permutations(all_of(said)))
    assert is_denied(required, attached) is expected_denied(required, said)


@given(case=CASES, more=SAID, data=st.data())
def test_further_statement_never_makes_an_admitted_image_denied(
    case: tuple[Required, list[Said]], more: Said, data: st.DataObject
) -> None:
    required, said = case
    assume(not is_denied(required, all_of(said)))
    assert not is_denied(required, data.draw(st.permutations(all_of([*said, more]))))


@given(case=CASES, more=SAID, data=st.data())
def test_statement_that_does_not_pass_alone_never_makes_a_denied_image_admitted(
    case: tuple[Required, list[Said]], more: Said, data: st.DataObject
) -> None:
    required, said = case
    by_both = [replace(more, by=name) for name in KEYS]
    assume(is_denied(required, all_of(said)) and is_denied(required, all_of(by_both)))
    assert is_denied(required, data.draw(st.permutations(all_of([*said, *by_both]))))


@given(case=CASES, more=st.lists(SAID, min_size=1, max_size=4), data=st.data())
def test_what_strangers_attach_and_copies_change_no_verdict(
    case: tuple[Required, list[Said]], more: list[Said], data: st.DataObject
) -> None:
    required, said = case
    attached = all_of(said)
    strange = [attested(one.type, _predicate(one.type, one.counts), THIRD_KEY) for one in more]
    elsewhere = [attested(one.type, _predicate(one.type, one.counts), KEYS[one.by], OTHER_IMAGE) for one in more]
    others = [*strange, *elsewhere, signed_by(P256), scanned_by(P256), *(replace(one, digest="x") for one in attached)]
    before = is_denied(required, attached)
    assert is_denied(required, data.draw(st.permutations([*attached, *others]))) is before

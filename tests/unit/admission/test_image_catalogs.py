"""Catalogs of certified images: what they deny and admit, by the clock, without a registry, and what they say."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sekisho.admission import Context, Evaluation, Form, denial_message, evaluate
from sekisho.admission.evaluation import NOT_VERIFIED
from sekisho.images import parse
from sekisho.images.evidence import ImageFacts
from sekisho.images.trust import Trust
from sekisho.images.verification import verify
from sekisho.pods import Pod
from sekisho.policies import (
    ClusterPodPolicy,
    ImageCatalog,
    PodPolicy,
    PolicyError,
    PolicySet,
    PolicyWaiver,
    compile_catalog,
    compile_policy,
)
from tests.pods import container, restricted_pod
from tests.unit.images.signing import NOW, OTHER_P256, P256, keyed, signed_by

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
PAY, LEDGER = "ghcr.io/acme/pay", "ghcr.io/acme/ledger"
RELEASE = keyed("release", P256)
SOON, PAST = "2026-12-31T00:00:00Z", "2026-11-26T12:00:00Z"  # PAST is NOW: an entry ends at that moment
ENTRIES = [
    {"repository": PAY, "digest": A, "validUntil": SOON},
    {"repository": LEDGER, "digest": B, "withdrawn": {"reason": "CVE-2026-1234"}},
    {"repository": "ghcr.io/acme/old", "digest": C, "validUntil": PAST},
    {"repository": "ghcr.io/acme/base/*", "by": {"anyOf": ["release"]}},
]


def catalog(*entries: Any, name: str = "certified", owner: str = "security") -> ImageCatalog:
    spec = {"owner": owner, "entries": list(entries or ENTRIES)}
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ImageCatalog)


def policy(*names: str, kind: str = "anyOf", **images: Any) -> ClusterPodPolicy:
    controls = {"images": {"catalogs": {kind: list(names or ["certified"])}, **images}}
    return msgspec.convert({"metadata": {"name": "p"}, "spec": {"controls": controls}}, ClusterPodPolicy)


def pod(*images: str, **spec: Any) -> Pod:
    containers = [container(f"c{number}", image=image) for number, image in enumerate(images)]
    return msgspec.convert(restricted_pod(*containers, **spec), Pod)


def judged(
    of: Pod | str,
    *objects: Any,
    known: Mapping[str, ImageFacts] | None = None,
    now: datetime | None = NOW,
    **how: Any,
) -> Evaluation:
    """The evaluation of a pod, or of one with an image. Without `known`, the installation verifies no images."""
    trust = None if known is None else Trust({"release": RELEASE}, known, NOW)
    judging: tuple[Any, ...] = objects or (policy(), catalog())
    policies = PolicySet.of(judging)
    clock = None if now is None else lambda: now
    return evaluate(
        pod(of) if isinstance(of, str) else of, Context(policies, "shop", {}, trust=trust, clock=clock), **how
    )


def message(evaluation: Evaluation) -> str:
    return denial_message(evaluation.violations)


CERTIFIED = "(allowed: certified by ImageCatalog certified)"
DENIED = [
    (
        f"{LEDGER}@{B}",
        f'which was withdrawn in ImageCatalog "certified": CVE-2026-1234 {CERTIFIED}. Fix: use a certified image',
    ),
    (
        f"ghcr.io/acme/old@{C}",
        f'which was certified in ImageCatalog "certified" until {PAST} {CERTIFIED}. Fix: use a certified image, '
        "or have security certify this one again",
    ),
    (
        f"{PAY}@{C}",
        f'not certified: ImageCatalog "certified" certifies other digests of {PAY} {CERTIFIED}. Fix: use '
        f"@{A}, or have security certify this one",
    ),
    (
        f"ghcr.io/acme/other@{A}",
        'not certified: ImageCatalog "certified" has no entry for ghcr.io/acme/other '
        f"{CERTIFIED}. Fix: use a certified image, or have security certify it",
    ),
    (
        f"{PAY}:1.4",
        f"which has a mutable tag {CERTIFIED}. Fix: append @sha256: and "
        "the digest of the certified image, or have an administrator set resolveTags in the policy",
    ),
]


@pytest.mark.parametrize(("image", "expected"), DENIED)
def test_image_that_is_not_certified_is_denied_with_the_reason(image: str, expected: str) -> None:
    assert expected in message(judged(image))


@pytest.mark.parametrize("image", [f"{PAY}@{A}", f"{PAY}:1.4@{A}", f"GHCR.io:443/acme/pay@{A}"])
def test_certified_image_is_admitted_without_a_registry(image: str) -> None:
    for form in Form:
        evaluation = judged(image, form=form)
        assert (evaluation.violations, evaluation.lookups, evaluation.notes) == ((), (), ())


@pytest.mark.parametrize("image", [f"ghcr.io:5000/acme/pay@{A}", f"evil.test/acme/pay@{A}", f"ghcr.io/acme/pay/x@{A}"])
def test_digest_certifies_nothing_in_another_repository(image: str) -> None:
    assert judged(image).is_denied


def test_withdrawn_digest_is_denied_in_every_repository() -> None:
    mirrored = {"repository": "mirror.test/ledger", "digest": B}
    objects = [policy(), catalog(*ENTRIES, mirrored)]
    assert "was withdrawn" in message(judged(f"mirror.test/ledger@{B}", *objects))
    assert not judged(f"mirror.test/ledger@{B}", policy(), catalog(mirrored)).violations


def test_withdrawal_in_any_named_catalog_decides() -> None:
    other = catalog({"repository": PAY, "digest": A, "withdrawn": {"reason": "leaked key"}}, name="other")
    for kind in ("anyOf", "allOf"):
        both = policy("certified", "other", kind=kind)
        assert 'was withdrawn in ImageCatalog "other": leaked key' in message(
            judged(f"{PAY}@{A}", both, catalog(), other)
        )
    assert not judged(f"{PAY}@{A}", policy(), catalog(), other).violations


def test_withdrawn_pattern_denies_its_images_whatever_other_entries_say() -> None:
    base = {"repository": "ghcr.io/acme/base/*", "by": {"anyOf": ["release"]}, "withdrawn": {"reason": "rebuild"}}
    own = {"repository": "ghcr.io/acme/base/os", "digest": A}
    assert "was withdrawn" in message(judged(f"ghcr.io/acme/base/os@{A}", policy(), catalog(own, base)))
    assert "was withdrawn" in message(judged(f"ghcr.io:5000/acme/base/os@{A}", policy(), catalog(own, base)))
    assert not judged(f"ghcr.io/acme/base/os@{A}", policy(), catalog(own)).violations


def test_entry_ends_by_the_clock() -> None:
    end = datetime(2026, 12, 31, tzinfo=UTC)
    assert not judged(f"{PAY}@{A}", now=end - timedelta(seconds=1)).violations
    assert f'was certified in ImageCatalog "certified" until {SOON}' in message(judged(f"{PAY}@{A}", now=end))
    assert judged(f"{PAY}@{A}", now=None).is_denied  # nobody knows whether it has ended


def test_one_of_several_catalogs_or_all_of_them_must_certify() -> None:
    team = catalog({"repository": LEDGER, "digest": C}, name="team", owner="team-a")
    any_of, all_of = policy("certified", "team"), policy("certified", "team", kind="allOf")
    for image in (f"{PAY}@{A}", f"{LEDGER}@{C}"):
        assert not judged(image, any_of, catalog(), team).violations
        assert judged(image, all_of, catalog(), team).is_denied
    both = catalog({"repository": PAY, "digest": A}, name="team")
    assert not judged(f"{PAY}@{A}", all_of, catalog(), both).violations


def test_offline_a_catalog_without_the_image_denies_where_all_must_certify_it() -> None:
    signed = catalog({"repository": "ghcr.io/acme/*", "by": {"anyOf": ["release"]}}, name="signed")

    def offline(image: str, kind: str) -> Evaluation:
        return judged(image, policy("certified", "signed", kind=kind), catalog(), signed, form=Form.MANIFEST)

    for image in (f"{PAY}@{C}", f"ghcr.io/acme/other@{A}", f"ghcr.io/acme/old@{C}"):
        assert offline(image, "allOf").is_denied
        assert (offline(image, "anyOf").violations, offline(image, "anyOf").notes) == ((), (NOT_VERIFIED,))
    certified = offline(f"{PAY}@{A}", "allOf")
    assert (certified.violations, certified.notes) == ((), (NOT_VERIFIED,))


def test_missing_catalog_denies_every_image() -> None:
    evaluation = judged(f"{PAY}@{A}", policy("certified", "gone"), catalog())
    assert "not certified: there is no ImageCatalog gone" in message(evaluation)
    assert "Fix: an administrator must create ImageCatalog gone" in message(evaluation)


def test_entry_by_signatures_certifies_what_the_authority_has_signed() -> None:
    image = f"ghcr.io/acme/base/os@{A}"
    signed = {image: verify("ghcr.io/acme/base/os", A, [signed_by(P256, A)], [RELEASE], NOW)}
    other = {image: verify("ghcr.io/acme/base/os", A, [signed_by(OTHER_P256, A)], [RELEASE], NOW)}
    assert not judged(image, known=signed).violations
    assert 'ImageCatalog "certified" requires an image signed by release, and it has no accepted signature' in message(
        judged(image, known=other)
    )
    [lookup] = judged(image, known={}).lookups
    assert lookup.reference == parse(image)


def test_entry_by_signatures_needs_verification_of_images() -> None:
    image = f"ghcr.io/acme/base/os@{A}"
    assert "this installation does not verify images" in message(judged(image))
    offline = judged(image, form=Form.MANIFEST)
    assert (offline.violations, offline.notes) == ((), (NOT_VERIFIED,))


def test_tag_is_looked_up_where_the_policy_resolves_it() -> None:
    objects = [policy(resolveTags=True, requireDigest=True), catalog()]
    [lookup] = judged(f"{PAY}:1.4", *objects, known={}).lookups
    assert lookup.reference == parse(f"{PAY}:1.4")
    assert not judged("ghcr.io/acme/other:1", *objects, known={}).lookups
    offline = judged(f"{PAY}:1.4", *objects, form=Form.MANIFEST)
    assert (offline.violations, offline.notes) == ((), (NOT_VERIFIED,))
    assert judged("ghcr.io/acme/other:1", *objects, form=Form.MANIFEST).is_denied


def test_image_that_catalogs_deny_is_not_looked_up() -> None:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["release"]}}
    objects = [policy(signatures=[rule]), catalog()]
    assert not judged(f"{LEDGER}@{B}", *objects, known={}).lookups
    assert judged(f"{PAY}@{A}", *objects, known={}).lookups


def test_every_place_of_an_image_is_judged() -> None:
    bad, good = f"{LEDGER}@{B}", f"{PAY}@{A}"
    volume = {"name": "v", "image": {"reference": bad}}
    for spec in (
        {"initContainers": [container("i", image=bad)]},
        {"ephemeralContainers": [container("e", image=bad)]},
        {"volumes": [volume]},
    ):
        assert judged(pod(good, **spec)).is_denied, spec
    assert not judged(pod(good, initContainers=[container("i", image=good)])).violations


def test_waiver_exempts_from_catalogs() -> None:
    spec = {"policies": ["p"], "controls": ["images"], "expires": SOON, "reason": "x"}
    waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
    evaluation = judged(f"{LEDGER}@{B}", policy(), catalog(), waiver)
    assert not evaluation.violations
    assert [waived.waiver for waived in evaluation.waived] == ["w"]


def test_tenant_names_catalogs_too() -> None:
    raw = {"metadata": {"name": "own", "namespace": "shop"}, "spec": msgspec.to_builtins(policy().spec)}
    own = msgspec.convert({**raw, "spec": {"controls": {"images": {"catalogs": {"anyOf": ["certified"]}}}}}, PodPolicy)
    assert judged(f"{LEDGER}@{B}", own, catalog()).is_denied
    assert not judged(f"{PAY}@{A}", own, catalog()).violations


def test_sekisho_connects_to_registries_of_catalogs() -> None:
    assert PolicySet.of([policy(), catalog()]).registries == {"ghcr.io"}
    assert not PolicySet.of([policy()]).registries


MALFORMED: list[tuple[list[dict[str, Any]], str]] = [
    ([{"repository": PAY}], "spec.entries[0]: set either digest or by"),
    ([{"repository": PAY, "digest": A, "by": {"anyOf": ["release"]}}], "spec.entries[0]: set either digest or by"),
    ([{"repository": "nginx", "digest": A}], 'spec.entries[0].repository: "nginx" does not begin with a registry'),
    ([{"repository": "ghcr.io/acme/*", "digest": A}], 'spec.entries[0].repository: "ghcr.io/acme/*" has *'),
    ([{"repository": f"{PAY}:1", "digest": A}], f'spec.entries[0].repository: "{PAY}:1" '),
    ([{"repository": "ghcr.io", "digest": A}], 'spec.entries[0].repository: "ghcr.io" '),
    ([{"repository": "*/base", "by": {"anyOf": ["release"]}}], "spec.entries[0].repository: '*/base' begins with *"),
    ([{"repository": PAY, "by": {}}], "spec.entries[0].by: set either anyOf, with or without count, or allOf"),
    ([{"repository": PAY, "digest": A}] * 2, "spec.entries[1]: has the repository and the digest of an earlier entry"),
    (
        [{"repository": PAY, "digest": A}, {"repository": "GHCR.io:443/acme/pay", "digest": A}],
        "spec.entries[1]: has the repository and the digest of an earlier entry",
    ),
    ([{"repository": PAY, "digest": A, "withdrawn": {"reason": "a\nb"}}], "spec.entries[0].withdrawn.reason: must be"),
    (
        [{"repository": f"ghcr.io/a{number}/*", "by": {"anyOf": ["release"]}} for number in range(17)],
        "spec.entries: has more than 16 entries with by",
    ),
]


@pytest.mark.parametrize(("entries", "problem"), MALFORMED)
def test_malformed_catalog_is_invalid(entries: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        compile_catalog(catalog(*entries))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({}, "spec.controls.images.catalogs: set either anyOf or allOf"),
        ({"anyOf": ["a"], "allOf": ["a"]}, "spec.controls.images.catalogs: set either anyOf or allOf"),
        ({"anyOf": ["a", "a"]}, "spec.controls.images.catalogs: has a duplicate catalog"),
    ],
)
def test_malformed_names_of_catalogs_are_invalid(names: dict[str, Any], problem: str) -> None:
    raw = {"metadata": {"name": "p"}, "spec": {"controls": {"images": {"catalogs": names}}}}
    with pytest.raises(PolicyError) as caught:
        compile_policy(msgspec.convert(raw, ClusterPodPolicy))
    assert str(caught.value) == problem


def test_catalog_counts_in_the_cost_of_a_policy() -> None:
    one, two = (compile_policy(policy(*names)).rules[0].cost for names in (["a"], ["a", "b"]))
    assert two - one > 64  # each image is compared with as many entries by signatures, some of them judged

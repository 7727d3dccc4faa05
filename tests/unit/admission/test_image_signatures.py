"""Rules on signatures of images: what they deny and admit, what must be looked up, and what they say."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs

from sekisho.admission import Context, Evaluation, Form, denial_message, evaluate
from sekisho.images import parse
from sekisho.images.authorities import Authority, Keyless, authority
from sekisho.images.evidence import Candidate, ImageFacts, Signature, Unknown
from sekisho.images.roots import TrustedRoot
from sekisho.images.trust import Lookup, Trust
from sekisho.images.verification import verify
from sekisho.pods import Pod
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicyError, PolicySet, PolicyWaiver
from tests.pods import container, restricted_pod
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_IMAGE,
    OTHER_P256,
    P256,
    REPOSITORY,
    bundle,
    candidate,
    key_of,
    keyed,
    signed_by,
    statement,
)

NAME = f"{REPOSITORY}@{IMAGE}"
RELEASE, SCANNER, TEAM = keyed("release", P256), keyed("scanner", OTHER_P256), keyed("team", P256)
AUTHORITIES = {one.name: one for one in (RELEASE, SCANNER, TEAM)}
BY_RELEASE = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["release"]}}


def policy(*rules: Any, **images: Any) -> ClusterPodPolicy:
    spec = {"controls": {"images": {"signatures": list(rules) or [BY_RELEASE], **images}}}
    return msgspec.convert({"metadata": {"name": "signed"}, "spec": spec}, ClusterPodPolicy)


def pod(*images: str, **spec: Any) -> Pod:
    containers = [container(f"c{number}", image=image) for number, image in enumerate(images or (NAME,))]
    return msgspec.convert(restricted_pod(*containers, **spec), Pod)


def facts(*candidates: Candidate, authorities: Mapping[str, Authority] = AUTHORITIES) -> ImageFacts:
    return verify(REPOSITORY, IMAGE, candidates, list(authorities.values()), NOW)


def judged(
    of: Pod,
    *policies: Any,
    known: ImageFacts | Unknown | None = None,
    authorities: Mapping[str, Authority] = AUTHORITIES,
    now: datetime = NOW,
    **how: Any,
) -> Evaluation:
    """The evaluation of a pod; `known` is what is known of NAME."""
    trust = Trust(authorities, {} if known is None else {NAME: known}, now)
    return evaluate(
        of, Context(PolicySet.of(policies or [policy()]), "shop", {}, trust=trust, clock=lambda: now), **how
    )


def message(evaluation: Evaluation) -> str:
    return denial_message(evaluation.violations)


def test_signed_image_is_admitted() -> None:
    assert not judged(pod(), known=facts(signed_by(P256))).violations


def test_image_that_no_rule_matches_needs_no_signature() -> None:
    evaluation = judged(pod("ghcr.io/other/pay:1", "docker.io/acme/pay"))
    assert (evaluation.violations, evaluation.lookups) == ((), ())


SPELLINGS = [
    "ghcr.io:443",
    "ghcr.io:0443",
    "GHCR.io",
    "Ghcr.IO:443",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_image_cannot_avoid_a_rule_by_another_spelling_of_its_registry(host: str) -> None:
    image = NAME.replace("ghcr.io", host)
    assert judged(pod(image), known=facts()).is_denied
    assert not judged(pod(image), known=facts(signed_by(P256))).violations
    assert not judged(pod(image.replace("/acme/", "/other/"))).violations


@pytest.mark.parametrize(
    "name", ["nginx", "docker.io/nginx", "index.docker.io/nginx", "registry-1.docker.io/library/nginx"]
)
def test_image_of_docker_hub_cannot_avoid_a_rule_by_another_name(name: str) -> None:
    rule = policy({"images": ["docker.io/library/*"], "by": {"anyOf": ["release"]}})
    image = f"{name}@{IMAGE}"
    [lookup] = judged(pod(image), rule).lookups
    assert (lookup.reference.registry, lookup.reference.repository) == ("docker.io", "library/nginx")
    assert not judged(pod(f"acme/web@{IMAGE}"), rule).violations


def test_image_cannot_avoid_a_rule_by_another_port_of_its_registry() -> None:
    image = NAME.replace("ghcr.io", "ghcr.io:5000")
    trust = Trust(AUTHORITIES, {}, NOW, registries={"ghcr.io"})

    def violations(of: Pod, rule: Any) -> Sequence[Any]:
        return evaluate(of, Context(PolicySet.of([rule]), "shop", {}, trust=trust, clock=lambda: NOW)).violations

    [violation] = violations(pod(image), policy())
    assert "no ClusterPodPolicy names registry ghcr.io:5000 in a rule on signatures" in str(violation.finding)
    other = policy(BY_RELEASE | {"images": ["ghcr.io:8443/acme/*"]})
    assert not violations(pod(image), other)


def test_registry_with_a_dot_at_its_end_is_denied() -> None:
    assert "valid image reference" in message(
        judged(pod(NAME.replace("ghcr.io", "ghcr.io.")), known=facts(signed_by(P256)))
    )


UNSIGNED = {
    "not signed": ([], "not signed"),
    "another key": ([signed_by(OTHER_P256)], "signed by scanner only"),
    "another image": (
        [signed_by(P256, OTHER_IMAGE)],
        "which has no accepted signature; one does not count: it is about another image",
    ),
    "attestation": (
        [candidate(bundle(P256, statement(predicate_type="https://spdx.dev/Document")))],
        'which has no accepted signature; one does not count: it is an attestation, "https://spdx.dev/Document", not '
        "a signature",
    ),
}


@pytest.mark.parametrize("name", UNSIGNED)
def test_image_that_is_not_signed_as_required_is_denied(name: str) -> None:
    candidates, problem = UNSIGNED[name]
    text = message(judged(pod(), known=facts(*candidates)))
    assert text == (
        f'policy "signed" denies container "c0" for its image "{NAME}", {problem} (allowed: signed by '
        "release). Fix: run cosign sign -r --key KEY IMAGE, "
        "then kubectl rollout restart KIND/NAME. [images]"
    )


@pytest.mark.parametrize("by", [{"allOf": ["release", "scanner"]}, {"anyOf": ["release", "scanner"], "count": 2}])
def test_one_key_counts_for_one_authority(by: dict[str, Any]) -> None:
    of = policy(BY_RELEASE | {"by": by})
    authorities = {"release": keyed("release", P256), "scanner": keyed("scanner", OTHER_P256, P256)}
    one = facts(signed_by(P256), authorities=authorities)
    denial = message(judged(pod(), of, known=one, authorities=authorities))
    assert "signed by release and scanner with keys or identities that they share" in denial
    both = facts(signed_by(P256), signed_by(OTHER_P256), authorities=authorities)
    assert not judged(pod(), of, known=both, authorities=authorities).violations


def test_one_identity_counts_for_one_authority() -> None:
    root = TrustedRoot("root", None, {})
    authorities = {name: authority(name, keyless=Keyless("ci", ("*",), root)) for name in ("release", "scanner")}

    def is_denied(*identities: str) -> bool:
        signatures = tuple(Signature(name, "root", one, "ci") for one in identities for name in authorities)
        checked = {name: one.fingerprint for name, one in authorities.items()}
        image_facts = ImageFacts(REPOSITORY, IMAGE, signatures, checked=checked, looked_up=NOW)
        of = policy(BY_RELEASE | {"by": {"allOf": ["release", "scanner"]}})
        return judged(pod(), of, known=image_facts, authorities=authorities).is_denied

    assert is_denied("build")
    assert not is_denied("build", "review")


def test_signatures_by_unknown_signers_are_counted() -> None:
    only = {"release": RELEASE}
    for count, words in ((1, "1 signature by another key"), (2, "2 signatures by other keys")):
        image_facts = facts(*[signed_by(OTHER_P256)] * count, authorities=only)
        assert f"which has no accepted signature; {words} (" in message(
            judged(pod(), known=image_facts, authorities=only)
        )


def test_signature_that_may_be_by_an_unusable_key_of_the_authority_has_that_key_repaired() -> None:
    problem = 'Secret "new" has no key "cosign.pub"'
    partly = authority("release", RELEASE.keys, key_problems=(problem,))
    only = {"release": partly}
    repair = f"Fix: if a key of ImageAuthority release has signed it, repair that key: {problem}, or run cosign"
    for image_facts, has_repair in (
        (facts(signed_by(OTHER_P256), authorities=only), True),
        (facts(authorities=only), False),
    ):
        assert (repair in message(judged(pod(), known=image_facts, authorities=only))) is has_repair
    assert not judged(pod(), known=facts(signed_by(P256), authorities=only), authorities=only).violations


RULES: dict[str, tuple[dict[str, Any], Sequence[Candidate], Sequence[Candidate], str]] = {
    "any": ({"anyOf": ["release", "scanner"]}, [], [signed_by(OTHER_P256)], "release or scanner"),
    "all": (
        {"allOf": ["release", "scanner"]},
        [signed_by(P256)],
        [signed_by(P256), signed_by(OTHER_P256)],
        "release and scanner",
    ),
    "count": (
        {"anyOf": ["release", "scanner", "missing"], "count": 2},
        [signed_by(P256), signed_by(P256)],
        [signed_by(P256), signed_by(OTHER_P256)],
        "2 of release, scanner or missing",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_by(name: str) -> None:
    by, too_few, enough, allowed = RULES[name]
    rule = policy(BY_RELEASE | {"by": by})
    assert f"(allowed: signed by {allowed})" in message(judged(pod(), rule, known=facts(*too_few)))
    assert not judged(pod(), rule, known=facts(*enough)).violations


def test_every_rule_that_matches_applies() -> None:
    rules = policy(BY_RELEASE, {"images": [REPOSITORY], "by": {"anyOf": ["scanner"]}})
    assert len(judged(pod(), rules, known=facts()).violations) == 2
    assert len(judged(pod(), rules, known=facts(signed_by(P256))).violations) == 1
    assert not judged(pod(), rules, known=facts(signed_by(P256), signed_by(OTHER_P256))).violations


@pytest.mark.parametrize("lists", ["initContainers", "ephemeralContainers"])
def test_every_list_of_containers_is_judged(lists: str) -> None:
    signed, unsigned = NAME, f"{REPOSITORY}@{OTHER_IMAGE}"
    for image, count in ((unsigned, 1), (signed, 0)):
        of = pod(NAME, **{lists: [container("other", image=image)]})
        assert len(judged(of, known=facts(signed_by(P256))).violations) == count


def test_image_volume_is_judged() -> None:
    volumes = [{"name": "m", "image": {"reference": NAME}}]
    evaluation = judged(pod("docker.io/nginx", volumes=volumes), known=facts())
    assert [v.finding.field for v in evaluation.violations] == ["spec.volumes[0].image.reference"]
    assert not judged(pod("docker.io/nginx", volumes=volumes), known=facts(signed_by(P256))).violations


def test_tag_is_denied_and_not_looked_up() -> None:
    evaluation = judged(pod(f"{REPOSITORY}:1.4"))
    assert "has a mutable tag" in message(evaluation)
    assert "Fix: append @sha256: and the digest of the signed image." in message(evaluation)
    assert evaluation.lookups == ()
    assert not judged(pod(f"{REPOSITORY}:1.4@{IMAGE}"), known=facts(signed_by(P256))).violations


def test_without_facts_an_image_is_denied_and_must_be_looked_up() -> None:
    evaluation = judged(pod())
    assert evaluation.is_denied
    assert evaluation.lookups == (Lookup(parse(NAME), ("release",)),)
    assert not evaluation.is_pending
    assert evaluate(pod(), Context(PolicySet.of([policy()]), "shop", {})).is_denied


def test_look_up_that_goes_on_is_pending() -> None:
    going_on = Unknown("is still being verified at registry ghcr.io", "try again", is_pending=True)
    evaluation = judged(pod(), known=going_on)
    assert evaluation.is_denied
    assert evaluation.is_pending
    assert f'for its image "{NAME}", still being verified at registry ghcr.io (allowed' in message(evaluation)
    failed = judged(pod(), known=Unknown("cannot be verified", "repair the registry"))
    assert failed.is_denied
    assert not failed.is_pending
    assert failed.lookups


def test_pod_with_another_problem_is_not_pending() -> None:
    going_on = Unknown("is still being verified", "try again", is_pending=True)
    other = policy(requireDigest=True)
    assert not judged(pod(NAME, "docker.io/nginx"), other, known=going_on).is_pending
    assert judged(pod(NAME, f"docker.io/nginx@{IMAGE}"), other, known=going_on).is_pending


def test_image_that_is_denied_already_is_not_looked_up() -> None:
    untrusted = policy(trustedRegistries=["ghcr.io/acme/other"])
    assert judged(pod(), untrusted).lookups == ()
    assert len(judged(pod(), untrusted).violations) == 1
    assert judged(pod(), policy(trustedRegistries=["ghcr.io/acme"])).lookups
    only_warned = policy(trustedRegistries=["ghcr.io/acme/other"], enforcement="Warn")
    assert judged(pod(), only_warned).lookups


def _waiver(**match: Any) -> PolicyWaiver:
    spec = {"policies": ["signed"], "controls": ["images"], "expires": "2027-01-31T00:00:00Z", "reason": "known"}
    return msgspec.convert({"metadata": {"name": "w"}, "spec": spec | {"match": match}}, PolicyWaiver)


def test_waived_image_is_admitted_and_not_looked_up() -> None:
    evaluation = judged(pod(), policy(), _waiver(containers=["c0"]))
    assert (evaluation.violations, evaluation.lookups) == ((), ())
    assert [waived.waiver for waived in evaluation.waived] == ["w"]
    assert judged(pod(), policy(), _waiver(containers=["other"])).lookups


def test_image_whose_registry_is_waived_is_still_verified() -> None:
    other = msgspec.convert(
        {"metadata": {"name": "trusted"}, "spec": {"controls": {"images": {"trustedRegistries": ["a.io"]}}}},
        ClusterPodPolicy,
    )
    spec = {"policies": ["trusted"], "controls": ["images"], "expires": "2027-01-31T00:00:00Z", "reason": "known"}
    waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
    assert judged(pod(), policy(), other).lookups == ()
    assert judged(pod(), policy(), other, waiver).lookups


def test_update_that_changes_no_image_makes_no_look_up() -> None:
    evaluation = judged(pod(), old=pod())
    assert (evaluation.violations, evaluation.lookups) == ((), ())
    assert judged(pod(), old=pod(f"{REPOSITORY}@{OTHER_IMAGE}")).lookups


def test_template_starts_look_ups_and_is_not_warned_about_yet() -> None:
    evaluation = judged(pod(), form=Form.TEMPLATE)
    assert evaluation.violations == ()
    assert evaluation.lookups
    assert judged(pod(), form=Form.TEMPLATE, known=facts()).violations
    assert not judged(pod(), form=Form.TEMPLATE, known=facts(signed_by(P256))).violations
    assert not judged(pod(), form=Form.TEMPLATE, old=pod()).lookups


def test_template_that_would_be_denied_is_denied_without_facts() -> None:
    strict = msgspec.structs.replace(policy(), spec=msgspec.structs.replace(policy().spec, templates="Deny"))
    assert judged(pod(), strict, form=Form.TEMPLATE).is_denied
    assert not judged(pod(), strict, form=Form.TEMPLATE, known=facts(signed_by(P256))).is_denied


def test_manifest_without_facts_gets_a_note() -> None:
    policies = PolicySet.of([policy()])
    evaluation = evaluate(pod(), Context(policies, "shop", {}), form=Form.MANIFEST)
    assert evaluation.violations == ()
    assert evaluation.notes == ("the rules on signatures and attestations of images were not judged",)
    assert [violation.policies for violation in evaluation.not_judged] == [("signed",)]
    assert judged(pod(), form=Form.MANIFEST, known=facts()).is_denied
    assert not evaluate(pod("a.io/x"), Context(PolicySet.of([]), "shop", {}), form=Form.MANIFEST).notes


def test_unusable_authority_denies_and_says_why() -> None:
    authorities = {"release": authority("release", problem='Secret "cosign" does not exist; create it')}
    text = message(judged(pod(), known=facts(signed_by(P256)), authorities=authorities))
    assert 'not verified: ImageAuthority "release" is unusable, Secret "cosign" does not exist; create it' in text
    assert "Fix: an administrator must repair it." in text
    assert 'ImageAuthority "release" is unusable, it does not exist' in message(judged(pod(), authorities={}))


def test_unusable_authority_does_not_matter_where_another_is_enough() -> None:
    authorities = AUTHORITIES | {"release": authority("release", problem="it is broken")}
    image_facts = facts(signed_by(OTHER_P256), authorities=authorities)
    any_of = policy(BY_RELEASE | {"by": {"anyOf": ["release", "scanner"]}})
    all_of = policy(BY_RELEASE | {"by": {"allOf": ["release", "scanner"]}})
    assert not judged(pod(), any_of, known=image_facts, authorities=authorities).violations
    assert judged(pod(), all_of, known=image_facts, authorities=authorities).is_denied


def test_key_that_has_ended_denies_at_its_end() -> None:
    until = NOW + timedelta(days=1)
    authorities = {"release": authority("release", [key_of(P256, until), key_of(OTHER_P256)])}
    image_facts = facts(signed_by(P256), authorities=authorities)
    assert not judged(pod(), known=image_facts, authorities=authorities).violations
    late = judged(pod(), known=image_facts, authorities=authorities, now=until)
    assert "which has no accepted signature; a signature by release with a key that ended at 2026-11-27" in message(
        late
    )


def test_changed_authority_keeps_facts_of_its_remaining_keys() -> None:
    image_facts = facts(signed_by(P256))
    more = AUTHORITIES | {"release": keyed("release", OTHER_P256, P256)}
    assert not judged(pod(), known=image_facts, authorities=more).violations
    other = AUTHORITIES | {"release": keyed("release", OTHER_P256)}
    evaluation = judged(pod(), known=image_facts, authorities=other)
    assert evaluation.is_pending
    assert evaluation.lookups
    assert "still being verified, because ImageAuthority release changed" in message(evaluation)
    assert not judged(pod(), known=image_facts).lookups


def test_authority_whose_keys_were_not_tried_is_looked_for_when_a_rule_names_it() -> None:
    known = facts(signed_by(OTHER_P256))
    untried = structs.replace(known, checked={**known.checked, "release": ""})
    evaluation = judged(pod(), known=untried)
    assert evaluation.is_pending
    assert [lookup.reference for lookup in evaluation.lookups] == [parse(NAME)]
    assert "still being verified, because a rule names ImageAuthority release now" in message(evaluation)
    by_scanner = BY_RELEASE | {"by": {"anyOf": ["scanner"]}}
    assert not judged(pod(), policy(by_scanner), known=untried).violations


def test_pod_policy_may_require_signatures() -> None:
    raw = {
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"controls": {"images": {"signatures": [BY_RELEASE]}}},
    }
    own = msgspec.convert(raw, PodPolicy)
    assert judged(pod(), own, known=facts()).is_denied
    assert not judged(pod(), own, known=facts(signed_by(P256))).is_denied


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "any registry": (
        {"images": ["*/acme"]},
        "images[0]: '*/acme' begins with *; name the registry, because the webhook connects to it",
    ),
    "part of a registry": (
        {"images": ["ghcr.io", "*.example.com"]},
        "images[1]: '*.example.com' begins with *; name the registry, because the webhook connects to it",
    ),
    "no registry": (
        {"images": ["acme"]},
        "images[0]: 'acme' begins with 'acme', which is not a registry host; for Docker Hub write "
        "'docker.io/library/acme'",
    ),
    "nobody": ({"by": {}}, "by: set either anyOf, with or without count, or allOf"),
    "any and all": (
        {"by": {"anyOf": ["a"], "allOf": ["a"]}},
        "by: set either anyOf, with or without count, or allOf",
    ),
    "count of all": ({"by": {"allOf": ["a"], "count": 1}}, "by: set either anyOf, with or without count, or allOf"),
    "count": (
        {"by": {"anyOf": ["a"], "count": 2}},
        "by.count: count must not be larger than the number of authorities in anyOf",
    ),
    "twice": ({"by": {"anyOf": ["a", "a"]}}, "by: has a duplicate authority"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_denied_with_its_field(name: str) -> None:
    changes, why = BROKEN[name]
    with pytest.raises(PolicyError) as error:
        PolicySet.of([policy(BY_RELEASE | changes)])
    assert str(error.value) == f"spec.controls.images.signatures[0].{why}"


def test_policies_without_such_rules_need_no_evidence() -> None:
    policies = PolicySet.of(
        [msgspec.convert({"metadata": {"name": "p"}, "spec": {"controls": {"images": {}}}}, ClusterPodPolicy)]
    )
    assert not policies.plan("shop", {}, pod()).needs_evidence
    assert PolicySet.of([policy()]).plan("shop", {}, pod()).needs_evidence


def test_expired_waiver_does_not_exempt() -> None:
    late = datetime(2027, 2, 1, tzinfo=UTC)
    assert judged(pod(), policy(), _waiver(), now=late).is_denied


def test_tags_are_resolved_only_for_rules_on_signatures() -> None:
    assert PolicySet.of([policy(resolveTags=True)])
    spec = {"controls": {"images": {"trustedRegistries": ["ghcr.io"], "resolveTags": True}}}
    with pytest.raises(PolicyError, match="resolveTags: requires signatures"):
        PolicySet.of([msgspec.convert({"metadata": {"name": "tags"}, "spec": spec}, ClusterPodPolicy)])


def test_hundreds_of_rules_on_an_image_with_many_signatures_take_little_time() -> None:
    issuer, identity = "https://ci.acme.example", "https://git.acme.example/shop/.ci/release.yml@refs/tags/v1"
    patterns = [f"https://git.acme.example/{name}/.ci/*@refs/tags/*" for name in [*range(7), "shop"]]
    by_ci = authority("release", keyless=Keyless(issuer, tuple(patterns), TrustedRoot("root", None, {})))
    made = tuple(Signature("release", "root", identity, issuer, NOW, f"sha256:{index:064x}") for index in range(128))
    known = ImageFacts(REPOSITORY, IMAGE, made, checked={"release": by_ci.fingerprint}, looked_up=NOW)
    policies = [
        policy(*({**BY_RELEASE, "images": ["ghcr.io/acme/*", f"x.test/{one}-{rule}"]} for rule in range(32)))
        for one in range(15)
    ]
    named = [
        structs.replace(one, metadata=structs.replace(one.metadata, name=f"p{n}")) for n, one in enumerate(policies)
    ]
    for signed in (known, structs.replace(known, signatures=())):
        began = time.thread_time()
        assert judged(pod(), *named, known=signed, authorities={"release": by_ci}).is_denied is (signed is not known)
        assert time.thread_time() - began < 0.2

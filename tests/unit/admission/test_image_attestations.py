"""Rules on SBOMs, provenances and other attestations: what they deny and admit, and what they say."""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sekisho.admission import Context, Evaluation, denial_message, evaluate
from sekisho.findings import ManyFindingsError
from sekisho.images.attested import PROVENANCE_PREDICATES, SBOM_PREDICATES
from sekisho.images.authorities import Authority, authority
from sekisho.images.evidence import Candidate, ImageFacts
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.statements import SIGN_PREDICATE
from sekisho.images.trust import Trust
from sekisho.images.verification import verify
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicyError, PolicySet
from sekisho.policies.advice import advice
from tests.unit.admission.test_image_signatures import pod
from tests.unit.images.scan_data import HOUR, grype, scan_statement, scanned_by, trivy, trivy_row
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_IMAGE,
    OTHER_P256,
    P256,
    REPOSITORY,
    PrivateKey,
    bundle,
    candidate,
    keyed,
    signed_by,
)

NAME = f"{REPOSITORY}@{IMAGE}"
AUTHORITIES = {one.name: one for one in (keyed("release", P256), keyed("other", OTHER_P256))}
THIRD_KEY = ec.generate_private_key(ec.SECP384R1())
QA = "https://acme.example/qa/v1"
BUILDER = "https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1"
SOURCE = "git+https://github.com/acme/pay@refs/tags/v1.2.3"
CYCLONEDX, SPDX = "https://cyclonedx.org/bom", "https://spdx.dev/Document"
SLSA_02, SLSA_1 = PROVENANCE_PREDICATES
BOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "openssl"}]}
DOCUMENT = {"spdxVersion": "SPDX-2.3", "packages": [{"name": "openssl"}]}


def attested(predicate_type: str, predicate: Any, key: PrivateKey = P256, digest: str = IMAGE) -> Candidate:
    return candidate(bundle(key, scan_statement(predicate, digest, predicate_type)))


def slsa_02(builder: str = BUILDER, source: str = SOURCE) -> dict[str, Any]:
    materials = [{"uri": source}, {"uri": "pkg:docker/debian@12"}]
    return {"builder": {"id": builder}, "invocation": {"configSource": {"uri": source}}, "materials": materials}


def slsa_1(builder: str = BUILDER, source: str = SOURCE) -> dict[str, Any]:
    dependencies = [{"uri": source}, {"uri": "git+https://github.com/acme/library@v1"}]
    return {"buildDefinition": {"resolvedDependencies": dependencies}, "runDetails": {"builder": {"id": builder}}}


def policy(by: Any = None, **required: Any) -> ClusterPodPolicy:
    rule = {"images": ["ghcr.io/acme/*"], "by": by or {"anyOf": ["release"]}} | required
    spec = {"controls": {"images": {"attestations": [rule]}}}
    return msgspec.convert({"metadata": {"name": "attested"}, "spec": spec}, ClusterPodPolicy)


SBOM = policy(sbom={"formats": ["cyclonedx", "spdx"]})
BUILT = policy(provenance={"builders": [BUILDER], "sources": ["git+https://github.com/acme/*"]})
OTHER = policy(predicateType=QA)
EQUAL = policy(
    predicateType=QA,
    equals=[{"path": ".passed", "value": True}, {"path": ".tests[0].name", "value": "load"}],
)
PASSED = {"passed": True, "tests": [{"name": "load"}]}


def judged(
    required: ClusterPodPolicy | PodPolicy, *candidates: Candidate, authorities: Mapping[str, Authority] = AUTHORITIES
) -> Evaluation:
    policies = PolicySet.of([required])
    image_facts: ImageFacts = verify(
        REPOSITORY, IMAGE, candidates, list(authorities.values()), NOW, predicates=policies.predicates
    )
    return evaluate(
        pod(),
        Context(
            policies, "shop", {}, trust=Trust(authorities, {NAME: image_facts}, NOW, predicates=policies.predicates)
        ),
    )


def message(evaluation: Evaluation) -> str:
    return denial_message(evaluation.violations)


PASSES: dict[str, tuple[ClusterPodPolicy, Candidate]] = {
    "CycloneDX": (SBOM, attested(CYCLONEDX, BOM)),
    "SPDX": (SBOM, attested(SPDX, DOCUMENT)),
    "SPDX with its version in the type": (SBOM, attested(f"{SPDX}/v2.3", DOCUMENT)),
    "SPDX as cosign wraps text": (
        SBOM,
        attested(SPDX, {"Data": "SPDXVersion: SPDX-2.3\nPackageName: openssl\n", "Timestamp": ""}),
    ),
    "SLSA v0.2": (BUILT, attested(SLSA_02, slsa_02())),
    "SLSA v0.2 without configSource": (
        BUILT,
        attested(SLSA_02, {"builder": {"id": BUILDER}, "materials": [{"uri": SOURCE}]}),
    ),
    "SLSA v1": (BUILT, attested(SLSA_1, slsa_1())),
    "a source with its revision behind #": (
        BUILT,
        attested(SLSA_1, slsa_1(source="git+https://github.com/acme/pay#main")),
    ),
    "any other": (OTHER, attested(QA, {"passed": True})),
    "the values": (EQUAL, attested(QA, PASSED | {"more": 1})),
}

DENIED: dict[str, tuple[ClusterPodPolicy, Sequence[Candidate], str]] = {
    "no SBOM": (SBOM, [signed_by(P256)], "has no SBOM in cyclonedx or spdx by release ("),
    "SBOM that is a scan report": (
        SBOM,
        [attested(CYCLONEDX, {"SchemaVersion": 2, "Results": []})],
        "one does not count: it is not an SBOM: bomFormat is not CycloneDX",
    ),
    "SPDX that is none": (SBOM, [attested(SPDX, BOM)], "one does not count: it is not an SBOM: it has no spdxVersion"),
    "empty SBOM": (SBOM, [attested(CYCLONEDX, BOM | {"components": []})], "it is an SBOM that lists nothing"),
    "SPDX 3": (
        SBOM,
        [attested(SPDX, {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [{}]})],
        "one does not count: it is an SBOM in SPDX 3.0.1; 2.2 and 2.3 are read",
    ),
    "SBOM of nothing with a name": (
        SBOM,
        [attested(CYCLONEDX, BOM | {"components": [None, {}, 0, {"name": ""}]})],
        "it is an SBOM that lists nothing",
    ),
    "SPDX of nothing with a name": (SBOM, [attested(SPDX, DOCUMENT | {"packages": [0]})], "an SBOM that lists nothing"),
    "SPDX of no version": (SBOM, [attested(SPDX, DOCUMENT | {"spdxVersion": "SPDX-"})], "it has no spdxVersion"),
    "empty SPDX": (SBOM, [attested(SPDX, {"spdxVersion": "SPDX-2.3"})], "it is an SBOM that lists nothing"),
    "SBOM in another format": (
        policy(sbom={"formats": ["spdx"]}),
        [attested(CYCLONEDX, BOM)],
        "has no SBOM in spdx by release",
    ),
    "SBOM by another key": (
        SBOM,
        [attested(CYCLONEDX, BOM, OTHER_P256)],
        "has no SBOM in cyclonedx or spdx by release",
    ),
    "SBOM of another image": (
        SBOM,
        [attested(CYCLONEDX, BOM, digest=OTHER_IMAGE)],
        "one does not count: it is about another image",
    ),
    "no provenance": (BUILT, [attested(CYCLONEDX, BOM)], "has no provenance by release"),
    "another builder": (
        BUILT,
        [attested(SLSA_1, slsa_1(builder=BUILDER + "2"))],
        f'was built by "{BUILDER}2" from "{SOURCE}"',
    ),
    "another source": (
        BUILT,
        [attested(SLSA_02, slsa_02(source="git+https://github.com/acme2/pay@v1"))],
        f'was built by "{BUILDER}" from "git+https://github.com/acme2/pay@v1"',
    ),
    "a source behind a user": (
        BUILT,
        [attested(SLSA_1, slsa_1(source="git+https://github.com@evil.test/acme/pay"))],
        "was built by",
    ),
    "no source": (BUILT, [attested(SLSA_1, {"runDetails": {"builder": {"id": BUILDER}}})], "from no named source"),
    "no builder": (BUILT, [attested(SLSA_1, slsa_1(builder=""))], "its provenance names no builder"),
    "another form": (BUILT, [attested(SLSA_02, {"builder": "me"})], "it is not in the form of SLSA v0.2"),
    "a long URI": (BUILT, [attested(SLSA_1, slsa_1(builder="x" * 1025))], "a URI of more than 1,024 characters"),
    "another type": (OTHER, [attested(QA + "2", {})], f"has no attestation {QA} by release"),
    "no statement with the values": (EQUAL, [], f"has no attestation {QA} by release ("),
    "another value": (
        EQUAL,
        [attested(QA, PASSED | {"passed": False})],
        f"has an attestation {QA} by release in which .passed is false (allowed: with an attestation {QA} by "
        'release in which .passed is true and .tests[0].name is "load"). Fix: use an image for which release attested '
        'that .passed is true and .tests[0].name is "load", then kubectl rollout restart KIND/NAME.',
    ),
    "a value of another type": (EQUAL, [attested(QA, PASSED | {"passed": "true"})], 'in which .passed is "true" ('),
    "an integer instead of a boolean": (EQUAL, [attested(QA, PASSED | {"passed": 1})], "in which .passed is 1 ("),
    "no value": (
        EQUAL,
        [attested(QA, {"passed": True})],
        "there is no short text, integer or boolean at .tests[0].name (",
    ),
    "the values in two statements": (
        EQUAL,
        [attested(QA, PASSED | {"passed": False}), attested(QA, {"passed": True})],
        "in which ",
    ),
    "the values by another key": (EQUAL, [attested(QA, PASSED, OTHER_P256)], f"has no attestation {QA} by release ("),
    "a large statement": (
        EQUAL,
        [attested(QA, PASSED | {"more": "x" * (1 << 20)})],
        "one whose values policies compare has at most 1,048,576",
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_attestation_that_passes(name: str) -> None:
    required, attached = PASSES[name]
    assert not judged(required, attached).violations
    assert judged(required).is_denied


@pytest.mark.parametrize("name", DENIED)
def test_image_without_the_attestation_is_denied(name: str) -> None:
    required, attached, expected = DENIED[name]
    evaluation = judged(required, *attached)
    assert evaluation.is_denied
    assert expected in message(evaluation)


@pytest.mark.parametrize("field", ["builders", "sources"])
@pytest.mark.parametrize(
    ("pattern", "uri", "number", "is_long"),
    [
        ("https://github.com/acme/ci-{:02}/.github/workflows/*@refs/tags/*", BUILDER, 8, False),
        ("https:/" + "/*a" * 330 + "/*{:02}*", "https:/" + "/aa" * 330, 32, True),
        ("https://" + "*a" * 500 + "/*{:02}*", "https://" + "ab" * 400, 32, True),
    ],
)
def test_comparing_long_builders_and_sources_with_long_patterns_counts_as_many_findings(
    field: str, pattern: str, uri: str, number: int, *, is_long: bool
) -> None:
    patterns = [pattern.format(index) for index in range(64)]
    builders, sources = (patterns, None) if field == "builders" else ([BUILDER], patterns)
    required = policy(provenance={"builders": builders} | ({"sources": sources} if sources else {}))
    builds = [
        slsa_1(f"{uri}/x{index}") if sources is None else slsa_1(source=f"{uri}/x{index}") for index in range(number)
    ]
    facts = verify(
        REPOSITORY,
        IMAGE,
        [attested(SLSA_1, build) for build in builds],
        list(AUTHORITIES.values()),
        NOW,
        predicates=PROVENANCE_PREDICATES,
    )
    trust = Trust(AUTHORITIES, {NAME: facts}, NOW, predicates=PROVENANCE_PREDICATES)
    context = Context(PolicySet.of([required]), "shop", {}, trust=trust)
    began = time.thread_time()
    with pytest.raises(ManyFindingsError) if is_long else nullcontext():
        assert evaluate(pod(), msgspec.structs.replace(context, max_findings=1000)).is_denied
    assert time.thread_time() - began < 0.05


def test_builder_and_source_must_be_of_the_same_build() -> None:
    evil = "git+https://github.com/evil/pay@v1"
    apart = [attested(SLSA_1, slsa_1(source=evil)), attested(SLSA_1, slsa_1(builder="https://evil.test"))]
    assert judged(BUILT, *apart).is_denied
    assert not judged(BUILT, *apart, attested(SLSA_1, slsa_1())).violations


def test_source_with_a_revision_must_match_it() -> None:
    tagged = policy(provenance={"builders": [BUILDER], "sources": [SOURCE.replace("v1.2.3", "v*")]})
    assert not judged(tagged, attested(SLSA_1, slsa_1())).violations
    assert judged(tagged, attested(SLSA_1, slsa_1(source=SOURCE.replace("tags/v", "heads/v")))).is_denied


def test_denials_say_how_to_attest() -> None:
    assert (
        "(allowed: with an SBOM in cyclonedx or spdx by release). Fix: run trivy image --format "
        "cyclonedx -o sbom.json IMAGE, then cosign attest --key KEY --type cyclonedx --predicate sbom.json IMAGE, "
        "then kubectl rollout restart KIND/NAME."
    ) in message(judged(SBOM))
    assert (
        f"(allowed: with a provenance by release, built by {BUILDER} from git+https://github.com/acme/*). "
        f"Fix: use an image that {BUILDER} built, and whose provenance is attached."
    ) in message(judged(BUILT))
    assert (
        f"(allowed: with an attestation {QA} by release). Fix: write what the statement says into "
        f"predicate.json, then cosign attest --key KEY --type {QA} --predicate predicate.json IMAGE"
    ) in message(judged(OTHER))


def test_each_of_several_authorities_must_have_attested() -> None:
    both = policy({"allOf": ["release", "other"]}, predicateType=QA)
    assert "by other" in message(judged(both, attested(QA, {})))
    assert not judged(both, attested(QA, {}), attested(QA, {}, OTHER_P256)).violations


BOTH = {"allOf": ["release", "scanner"]}
SCANNED_BY_BOTH = {"maxAge": "1d", "maximum": {"fixable": {"critical": 0}}}
BY_BOTH_SCANNERS = SCANNED_BY_BOTH | {"scanners": ["trivy", "grype"]}
CRITICAL, CLEAN = trivy(trivy_row()), grype()
SHARED: dict[str, tuple[dict[str, Any], list[Candidate], list[Candidate]]] = {
    "SBOM": ({"sbom": {"formats": ["cyclonedx"]}}, [attested(CYCLONEDX, BOM)], [attested(CYCLONEDX, BOM, OTHER_P256)]),
    "any other": ({"predicateType": QA}, [attested(QA, PASSED)], [attested(QA, PASSED, OTHER_P256)]),
    "scan": ({"vulnerabilities": SCANNED_BY_BOTH}, [scanned_by()], [scanned_by(OTHER_P256)]),
    "scan that does not pass": (
        {"vulnerabilities": SCANNED_BY_BOTH},
        [scanned_by(), scanned_by(OTHER_P256, CRITICAL, NOW - 2 * HOUR)],
        [scanned_by(OTHER_P256, CLEAN, NOW - 1.5 * HOUR)],
    ),
    "scans of two scanners": (
        {"vulnerabilities": BY_BOTH_SCANNERS},
        [scanned_by(), scanned_by(report=CLEAN), scanned_by(OTHER_P256)],
        [scanned_by(OTHER_P256, CLEAN)],
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_attestation_by_a_key_of_two_authorities_counts_for_one(name: str) -> None:
    required, by_one, others = SHARED[name]
    shared = {"release": keyed("release", P256), "scanner": keyed("scanner", OTHER_P256, P256)}
    denial = message(judged(policy(BOTH, **required), *by_one, authorities=shared))
    assert re.search("(scann|attest)ed by release and scanner with keys or identities that they share", denial)
    assert "Fix: attest IMAGE also by a key or an identity that only one of release and scanner has" in denial
    assert not judged(policy(BOTH, **required), *by_one, *others, authorities=shared).violations
    assert not judged(policy({"anyOf": ["scanner"]}, **required), *by_one[:2], authorities=shared).violations


def test_each_scanner_may_have_a_key_of_its_own() -> None:
    shared = {"release": keyed("release", P256), "scanner": keyed("scanner", OTHER_P256, THIRD_KEY, P256)}
    of_both = policy(BOTH, vulnerabilities=BY_BOTH_SCANNERS)
    by_release = [scanned_by(), scanned_by(report=CLEAN)]
    by_scanner = [scanned_by(OTHER_P256), scanned_by(THIRD_KEY, CLEAN)]
    assert judged(of_both, *by_release, by_scanner[0], authorities=shared).violations
    assert not judged(of_both, *by_release, *by_scanner, authorities=shared).violations


def test_types_that_rules_need_are_read() -> None:
    types = {one for kinds in SBOM_PREDICATES.values() for one in kinds}
    for required, expected in ((SBOM, types), (BUILT, {SLSA_02, SLSA_1}), (OTHER, {QA})):
        assert PolicySet.of([required]).predicates == expected
    assert judged(OTHER, scanned_by()).is_denied


def test_a_type_that_only_a_tenant_requires_is_not_looked_for() -> None:
    controls = msgspec.to_builtins(OTHER)["spec"]["controls"]
    own = msgspec.convert({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"controls": controls}}, PodPolicy)
    assert PolicySet.of([own]).predicates == frozenset()
    assert PolicySet.of([own, OTHER]).predicates == {QA}
    denied = judged(own, attested(QA, {}))
    assert f"not verified: no ClusterPodPolicy requires attestations {QA}" in message(denied)
    assert not denied.is_pending
    problem = "spec.controls.images.attestations[0].predicateType: no ClusterPodPolicy requires"
    assert [text for text in advice(own, PolicySet.of([own])) if text.startswith(problem)]
    assert not [text for text in advice(own, PolicySet.of([own, OTHER])) if text.startswith(problem)]


def test_facts_from_before_a_policy_compared_a_value_are_pending() -> None:
    image_facts = verify(REPOSITORY, IMAGE, [attested(QA, PASSED)], list(AUTHORITIES.values()), NOW, predicates={QA})
    trust = Trust(AUTHORITIES, {NAME: image_facts}, NOW)
    evaluation = evaluate(pod(), Context(PolicySet.of([EQUAL]), "shop", {}, trust=trust))
    assert (evaluation.is_denied, evaluation.is_pending) == (True, True)
    assert not evaluate(pod(), Context(PolicySet.of([OTHER]), "shop", {}, trust=trust)).is_denied


def test_a_path_that_only_a_tenant_compares_is_not_read() -> None:
    controls = msgspec.to_builtins(EQUAL)["spec"]["controls"]
    own = msgspec.convert({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"controls": controls}}, PodPolicy)
    assert PolicySet.of([own, OTHER]).predicates == {QA}
    assert PolicySet.of([own, EQUAL]).predicates == {QA, f"{QA} .passed", f"{QA} .tests[0].name"}
    trust = Trust(AUTHORITIES, {}, NOW, predicates=frozenset({QA}))
    denied = evaluate(pod(), Context(PolicySet.of([own, OTHER]), "shop", {}, trust=trust))
    assert f"no ClusterPodPolicy requires attestations {QA} .passed" in message(denied)


def test_values_are_texts_integers_and_booleans() -> None:
    for value in (1.5, None, ["a"], {"a": 1}, "x" * 127, 2**53 + 1):
        with pytest.raises(msgspec.ValidationError):
            policy(predicateType=QA, equals=[{"path": ".a", "value": value}])
    for value in (0, False, "", "x" * 126, -(2**53)):
        assert PolicySet.of([policy(predicateType=QA, equals=[{"path": ".a", "value": value}])])


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, ": set one of vulnerabilities, sbom, provenance and predicateType"),
    "two": ({"predicateType": QA, "sbom": {"formats": ["spdx"]}}, ": set one of vulnerabilities, sbom, provenance"),
    "a scan": (
        {"predicateType": SCAN_PREDICATE},
        ".predicateType: has a field of its own: set vulnerabilities instead",
    ),
    "an SBOM": ({"predicateType": SPDX}, ".predicateType: has a field of its own: set sbom instead"),
    "a provenance": ({"predicateType": SLSA_1}, ".predicateType: has a field of its own: set provenance instead"),
    "a path twice": (
        {"predicateType": QA, "equals": [{"path": ".a", "value": 1}, {"path": ".a", "value": 2}]},
        ".equals[1].path: .a is a duplicate",
    ),
    "values of an SBOM": (
        {"sbom": {"formats": ["spdx"]}, "equals": [{"path": ".a", "value": 1}]},
        ": equals is only possible with predicateType",
    ),
    "VEX": (
        {"predicateType": "https://openvex.dev/ns"},
        ".predicateType: has a field of its own: set vulnerabilities.vex instead",
    ),
    "a signature": (
        {"predicateType": SIGN_PREDICATE},
        ".predicateType: has a field of its own: set signatures instead",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_rule(name: str) -> None:
    required, problem = MALFORMED[name]
    with pytest.raises(PolicyError) as raised:
        PolicySet.of([policy(**required)])
    assert f"spec.controls.images.attestations[0]{problem}" in str(raised.value)


def test_attestation_that_may_be_by_an_unusable_key_of_the_authority_has_that_key_repaired() -> None:
    problem = 'spec.keys[1].secret: Secret "new" does not exist'
    partly = authority("release", AUTHORITIES["release"].keys, key_problems=(problem,))
    policies = PolicySet.of([OTHER])

    def denial_of(*candidates: Candidate) -> str:
        image_facts = verify(REPOSITORY, IMAGE, candidates, [partly], NOW, predicates=policies.predicates)
        trust = Trust({"release": partly}, {NAME: image_facts}, NOW, predicates=policies.predicates)
        return message(evaluate(pod(), Context(policies, "shop", {}, trust=trust)))

    repair = f"Fix: if a key of ImageAuthority release has signed it, repair that key: {problem}, or "
    assert repair in denial_of(attested(QA, PASSED, OTHER_P256))
    assert repair not in denial_of()
    assert denial_of(attested(QA, PASSED)) == ""

"""What hundreds of rules on images cost, of which a team's own policies may have as many as fit into its limits."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import ManyFindingsError, Review, UnjudgedError
from sekisho.images import parse
from sekisho.images.authorities import Authority, Keyless
from sekisho.images.evidence import Attestation, ImageFacts, Signature
from sekisho.images.scans import SCAN_PREDICATE, BySeverity, Ids, Scan
from sekisho.images.trust import Trust
from sekisho.images.vex import VEX_PREDICATES, Vex
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet
from sekisho.webhook.image_needs import needs_of
from sekisho.webhook.pod_reviews import MAX_FINDINGS_ON_LOOP
from tests.reviews import review_body

NOW: Final = datetime(2026, 11, 28, tzinfo=UTC)
ISSUER: Final = "https://token.actions.githubusercontent.com"
WORKFLOW: Final = "https://github.com/acme/shop/.github/workflows/{}.yaml@refs/tags/v1"
MAX_SECONDS: Final = 0.05
DIGEST: Final = "sha256:" + "1" * 64


def rules(field: str, count: int, **requires: Any) -> PolicySet:
    """A rule of the cluster, and as many different ones of a team as `count` says."""
    by = {"anyOf": ["ci"]}
    cluster = {"images": {field: [{"images": ["r.example"], "by": by, **requires}]}}
    own = [
        {"images": {field: [{"images": ["r.example/a", f"r.example/x{n}"], "by": by, **requires} for n in part]}}
        for part in (range(start, min(start + 32, count)) for start in range(0, count, 32))
    ]
    return PolicySet.of(
        [
            msgspec.convert({"metadata": {"name": "c"}, "spec": {"controls": cluster}}, ClusterPodPolicy),
            *(
                msgspec.convert(
                    {"metadata": {"name": f"t{k}", "namespace": "shop"}, "spec": {"controls": one}}, PodPolicy
                )
                for k, one in enumerate(own)
            ),
        ]
    )


def keyless(identities: int) -> Authority:
    patterns = tuple(f"https://github.com/acme/repo-{n}/.github/workflows/*@refs/tags/*" for n in range(identities))
    root: Any = SimpleNamespace(fingerprint="r", ends=None)
    return Authority("ci", (), Keyless(ISSUER, (*patterns, WORKFLOW.format("*")), root), fingerprint="f")


def scanned(authority: Authority) -> ImageFacts:
    by = (Signature("ci", "r", WORKFLOW.format(0), ISSUER),)
    ids = " ".join(f"CVE-2020-{number}" for number in range(10_000, 12_000))
    scan = Scan(NOW - timedelta(hours=1), "trivy", fixable=BySeverity(critical=Ids(2000, ids)))
    vex = Vex(NOW - timedelta(hours=1), excluded=" ".join(f"CVE-1-{number}" for number in range(1300)))
    return ImageFacts(
        "r.example/a",
        DIGEST,
        checked={"ci": authority.fingerprint},
        looked_up=NOW,
        predicates=(SCAN_PREDICATE, *VEX_PREDICATES),
        attestations=(Attestation(SCAN_PREDICATE, by, scan), Attestation(VEX_PREDICATES[0], by, vex=vex)),
    )


def trust_of(policies: PolicySet, authority: Authority, facts: ImageFacts) -> Trust:
    evidence = {f"r.example/a@{DIGEST}": facts}
    return Trust({"ci": authority}, evidence, NOW, {}, policies.registries, policies.predicates)


def review(image: str = f"r.example/a@{DIGEST}") -> Review:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": image}]}}
    return admission.decode(review_body(pod, namespace="shop"))


def seconds(call: Any) -> float:
    started = time.thread_time()
    with pytest.raises(ManyFindingsError):
        call()
    return time.thread_time() - started


VULNERABILITIES: Final = {"maxAge": "2h", "maximum": {"fixable": {"critical": 2000}}, "vex": {"by": {"anyOf": ["ci"]}}}


def test_rules_on_long_scans_are_judged_apart_by_the_mutating_webhook_too() -> None:
    policies = rules("attestations", 20, vulnerabilities=VULNERABILITIES)
    trust = trust_of(policies, keyless(8), scanned(keyless(8)))
    policies.plan("shop", None, review().pod)

    def mutate(image: str) -> admission.Outcome:
        return admission.mutate(review(image), policies, None, lambda: NOW, trust, max_findings=MAX_FINDINGS_ON_LOOP)

    # A pod that has an image with a tag beside the scanned one is judged, to find out which tags to resolve.
    pod = {"containers": [{"name": "a", "image": f"r.example/a@{DIGEST}"}, {"name": "b", "image": "r.example/b:1"}]}
    mixed = admission.decode(review_body({"metadata": {"name": "p"}, "spec": pod}, namespace="shop"))
    taken = seconds(
        lambda: admission.mutate(mixed, policies, None, lambda: NOW, trust, max_findings=MAX_FINDINGS_ON_LOOP)
    )
    assert taken < MAX_SECONDS
    assert mutate(f"r.example/a@{DIGEST}").message == ""  # there is nothing to resolve


def test_what_a_look_up_must_read_is_decided_in_little_time() -> None:
    """It is asked on the event loop. Where it takes too long to know, more is read; with few rules it is known."""
    policies = rules("attestations", 480, vulnerabilities=VULNERABILITIES)
    facts = scanned(keyless(8))
    needs = needs_of(lambda: policies, lambda: trust_of(policies, keyless(8), facts))
    image = parse(f"r.example/a@{DIGEST}")
    for must_read in (needs.lacks_statement, needs.fails_statement):
        started = time.thread_time()
        assert must_read(image, facts)
        assert time.thread_time() - started < MAX_SECONDS
    assert needs.named(image) == {"ci"}
    few = rules("attestations", 2, vulnerabilities=VULNERABILITIES)
    known = needs_of(lambda: few, lambda: trust_of(few, keyless(8), facts))
    assert not known.lacks_statement(image, facts)
    assert not known.fails_statement(image, facts)


def test_in_a_thread_judging_ends_within_a_rule() -> None:
    policies = rules("attestations", 20, vulnerabilities=VULNERABILITIES)
    trust = trust_of(policies, keyless(8), scanned(keyless(8)))
    calls = 0

    def check_time() -> None:
        nonlocal calls
        calls += 1
        if calls > 15:  # between steps and containers it is called less often
            raise UnjudgedError("it takes too long")

    outcome = admission.validate(review(), policies, None, lambda: NOW, check_time, trust=trust)
    assert "it takes too long" in outcome.message

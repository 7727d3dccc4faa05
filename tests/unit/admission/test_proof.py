"""The proof's two dry runs: which reviews they are, and how the built-in policy judges them."""

from typing import Any

import pytest

from sekisho.admission import Decision, decode, mutate, validate
from sekisho.admission.proof import PROOF_ANNOTATION, PROOF_POLICIES, is_proof, proof_pod
from tests.reviews import review_body

CONTEXT = ("securityContext", "readOnlyRootFilesystem")


def review(pod: dict[str, Any], **changed: Any) -> Any:
    request: dict[str, Any] = {"namespace": "any", "dryRun": True} | changed
    return decode(review_body(pod, **request))


def with_default(pod: dict[str, Any]) -> dict[str, Any]:
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = True
    return pod


def test_only_a_dry_run_of_an_annotated_pod_is_a_proof() -> None:
    pod = proof_pod(violating=True)
    assert is_proof(review(pod))
    assert not is_proof(review(pod, dryRun=False))
    assert not is_proof(review({**pod, "metadata": {"annotations": {f"{PROOF_ANNOTATION}s": ""}}}))
    deployments = {"group": "apps", "version": "v1", "resource": "deployments"}
    assert not is_proof(review(pod, resource=deployments))


@pytest.mark.parametrize("violating", [False, True])
def test_both_pods_get_a_default(violating: bool) -> None:
    outcome = mutate(review(proof_pod(violating=violating)), PROOF_POLICIES, None)
    assert outcome.decision is Decision.PATCH
    assert outcome.filled == (("built-in-proof", ("spec.containers[0].securityContext.readOnlyRootFilesystem",)),)


def test_the_violating_pod_is_denied_and_its_twin_is_admitted_once_it_has_the_default() -> None:
    bad, good = proof_pod(violating=True), proof_pod(violating=False)
    assert validate(review(with_default(bad)), PROOF_POLICIES, None).decision is Decision.DENY
    assert validate(review(good), PROOF_POLICIES, None).decision is Decision.DENY
    assert validate(review(with_default(good)), PROOF_POLICIES, None).decision is Decision.ALLOW

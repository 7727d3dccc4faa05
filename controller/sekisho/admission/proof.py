"""The proof that the API server calls both webhooks for pods: two dry runs, which no policy of the cluster judges.

The controller sends both. The webhook judges them by one built-in policy, which is the same on every replica: it denies
the first pod for its image, and admits the second only after the mutating webhook has applied a default.
"""

from typing import Any, Final

from sekisho.admission.review import Review
from sekisho.policies import ClusterPodPolicy, PolicySet, compile_policy
from sekisho.policies.loading import from_object

PROOF_ANNOTATION: Final = "sekisho.dev/proof"
"""A dry run of a pod with this annotation is judged by the built-in policy. Nothing comes of a dry run."""
PROOF_NAME: Final = "sekisho-proof"
"""The name of the pods, and of the policy with a mistake that the controller sends in another dry run."""
PROOF_POLICY: Final = "built-in-proof"
_TRUSTED: Final = "proof.invalid/trusted"
_UNTRUSTED: Final = "proof.invalid/untrusted"

PROOF_POLICIES: Final = PolicySet(
    [
        compile_policy(
            from_object(
                {
                    "apiVersion": "sekisho.dev/v1alpha1",
                    "kind": "ClusterPodPolicy",
                    "metadata": {"name": PROOF_POLICY},
                    "spec": {
                        "controls": {"images": {"trustedRegistries": [_TRUSTED]}, "readOnlyRootFilesystem": {}},
                        "defaults": {"container": {"securityContext": {"readOnlyRootFilesystem": True}}},
                    },
                },
                ClusterPodPolicy,
            )
        )
    ]
)


def is_proof(review: Review) -> bool:
    """Whether a review is one of the two dry runs."""
    return bool(review.dry_run) and review.is_pod and PROOF_ANNOTATION in (review.metadata.annotations or {})


def proof_pod(*, violating: bool) -> dict[str, Any]:
    """One of the two pods, as JSON. Both meet the Pod Security Standards, so that nothing else denies them."""
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "proof", "image": _UNTRUSTED if violating else _TRUSTED, "securityContext": context}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": PROOF_NAME, "annotations": {PROOF_ANNOTATION: ""}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }

"""AdmissionReviews for tests: one builder, and the kinds that reviews are about."""

from typing import Any, Final

import msgspec

UID: Final = "6b4f5c0e-1f52-4c1e-9e8c-8f2f7c9f0a11"
POD: Final = {"group": "", "version": "v1", "kind": "Pod"}
PODS: Final = {"group": "", "version": "v1", "resource": "pods"}
DEPLOYMENT: Final = {"group": "apps", "version": "v1", "kind": "Deployment"}
DEPLOYMENTS: Final = {"group": "apps", "version": "v1", "resource": "deployments"}


def review(obj: Any, old: Any = None, operation: str = "", **request: Any) -> dict[str, Any]:
    """The review of an object: a pod that is created in the namespace shop, unless `request` says otherwise.

    obj: the object as the API server sends it, None for a deletion.
    old: the object before an update; with one the operation is UPDATE by default, else CREATE.
    request: more fields of the request, in their spelling in JSON.
    """
    fields = {
        "uid": UID,
        "kind": POD,
        "resource": PODS,
        "requestKind": request.get("kind", POD),
        "requestResource": request.get("resource", PODS),
        "name": "pod",
        "namespace": "shop",
        "operation": operation or ("CREATE" if old is None else "UPDATE"),
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
        "options": None,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": fields | request}


def review_body(obj: Any, old: Any = None, operation: str = "", **request: Any) -> bytes:
    """The body of a review, made as `review` does: compact JSON, which is how the API server writes it."""
    return msgspec.json.encode(review(obj, old, operation, **request))

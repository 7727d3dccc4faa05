"""The service account of this process: objects that it owns are deleted together with it."""

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError


class OwnerReference(Struct, frozen=True, rename="camel"):
    """An entry of an object's ownerReferences."""

    api_version: str
    kind: str
    name: str
    uid: str


class _User(Struct, frozen=True):
    username: str = ""
    uid: str = ""


class _Status(Struct, frozen=True, rename="camel"):
    user_info: _User = _User()


class _SelfSubjectReview(Struct, frozen=True):
    status: _Status = _Status()


async def own_account(api: ApiClient, namespace: str) -> tuple[OwnerReference, ...]:
    """The account as the owner of objects in `namespace`; empty if it is not a service account of that namespace.

    Every account is permitted to ask who it is. Raises ApiUnavailable, and ApiError when another attempt may succeed.
    """
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        raw = await api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", msgspec.json.encode(review))
    except ApiError as error:
        if error.is_transient:
            raise
        return ()
    try:
        user = msgspec.json.decode(raw, type=_SelfSubjectReview).status.user_info
    except msgspec.DecodeError:  # without an owner the object is only cleaned up later
        return ()
    prefix = f"system:serviceaccount:{namespace}:"
    if not user.username.startswith(prefix) or not user.uid:
        return ()
    return (OwnerReference("v1", "ServiceAccount", user.username.removeprefix(prefix), user.uid),)

"""The service account that this process acts as, for what it writes to go when the account goes."""

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
    """The account as the owner of objects in `namespace`; none when it is no service account of that namespace.

    Asking takes no permission but the one that every account has. Raises ApiUnavailable, and ApiError when asking
    again may help.
    """
    question = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        raw = await api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", msgspec.json.encode(question))
    except ApiError as error:
        if error.is_transient:
            raise
        return ()
    try:
        user = msgspec.json.decode(raw, type=_SelfSubjectReview).status.user_info
    except msgspec.DecodeError:  # who it is matters too little to fail over
        return ()
    prefix = f"system:serviceaccount:{namespace}:"
    if not user.username.startswith(prefix) or not user.uid:
        return ()
    return (OwnerReference("v1", "ServiceAccount", user.username.removeprefix(prefix), user.uid),)

"""AdmissionReview, in: the API server's request, decoded once into the fields that judging reads.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, structs

from sekisho.admission import wire
from sekisho.admission.bounds import (
    MAX_NAMESPACE_LENGTH,
    body_excess,
    needs_counting,
    pod_excess,
    row_excess,
    unknown_containers,
    workload_excess,
)
from sekisho.admission.unchanged import is_unchanged
from sekisho.custom_kinds import is_custom
from sekisho.documents.duplicates import deny_duplicates
from sekisho.errors import SekishoError
from sekisho.findings import render_path
from sekisho.pods import POD_TEMPLATES, ObjectMeta, Pod, Workload, WorkloadMeta, pod_template

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"


class MalformedReviewError(SekishoError, ValueError):
    """A body that is not an AdmissionReview; the message says what is wrong with it, in one line."""


class GroupVersionKind(Struct, frozen=True, gc=False):
    """The kind of the object."""

    group: str = ""
    version: str = ""
    kind: str = ""


class GroupVersionResource(Struct, frozen=True, gc=False):
    """The resource that the request is about."""

    group: str = ""
    version: str = ""
    resource: str = ""


class UserInfo(Struct, frozen=True, gc=False):
    """The user who makes the request."""

    username: str = ""
    groups: list[str] | None = None


class RequestHead(Struct, frozen=True, gc=False, rename="camel"):
    """The request of an AdmissionReview without its objects."""

    uid: str
    kind: GroupVersionKind = GroupVersionKind()
    resource: GroupVersionResource = GroupVersionResource()
    sub_resource: str | None = None
    name: str | None = None
    namespace: str | None = None
    operation: str = ""
    user_info: UserInfo = UserInfo()
    dry_run: bool | None = None


NO_JSON: Final = Raw(b"null")


class Review(RequestHead, frozen=True, gc=False, rename="camel"):
    """The request of an AdmissionReview.

    object, old_object: None where the request has none (DELETE, CONNECT).
    defect: why the object cannot be judged, as a clause; None when it can. A review with a defect is always denied.
    is_unchanged: whether the object is over a bound, and an update changes nothing of it that policies judge.
    custom, old_custom: an object of a custom kind as JSON, of which `object` has only the metadata; NO_JSON for others.
    """

    object: Workload | None = None
    old_object: Workload | None = None
    defect: str | None = None
    is_unchanged: bool = False
    custom: Raw = NO_JSON
    old_custom: Raw = NO_JSON

    @property
    def is_pod(self) -> bool:
        """Whether the object is a pod; true for the subresources of pods too, which send the whole pod."""
        return self.resource.resource == "pods" and self.resource.group == ""

    @property
    def is_template(self) -> bool:
        """Whether the object holds a pod template."""
        return (self.kind.group, self.kind.kind) in POD_TEMPLATES

    @property
    def is_custom(self) -> bool:
        """Whether the object is of a custom kind that makes pods."""
        return not self.is_pod and is_custom(self.kind.group, self.kind.kind)

    @property
    def pod(self) -> Pod | None:
        """The pod, or the pod template read as the pod that it makes; None where there is neither."""
        return self._pod_of(self.object)

    @property
    def old_pod(self) -> Pod | None:
        """The pod, or the pod template as a pod, before an update; None where there was none."""
        return self._pod_of(self.old_object)

    @property
    def workload(self) -> WorkloadMeta | None:
        """Kind and metadata of the object with a pod template; None for a pod."""
        return None if self.object is None or self.is_pod else WorkloadMeta(self.kind.kind, self.object.metadata)

    @property
    def old_workload(self) -> WorkloadMeta | None:
        """Kind and metadata of the object with a pod template before an update; None where there was none."""
        old = self.old_object
        return None if old is None or self.is_pod else WorkloadMeta(self.kind.kind, old.metadata)

    @property
    def containers(self) -> int:
        """The number of containers of the pod or pod template."""
        spec = (self.pod or Pod()).spec
        return len(spec.containers or ()) + len(spec.init_containers or ()) + len(spec.ephemeral_containers or ())

    @property
    def metadata(self) -> ObjectMeta:
        """The object's own metadata, empty where there is no object."""
        return self.object.metadata if self.object is not None else ObjectMeta()

    def _pod_of(self, workload: Workload | None) -> Pod | None:
        if workload is None or self.is_pod:
            return workload
        return pod_template(workload, self.kind.group, self.kind.kind) if self.is_template else None


class _Envelope(Struct, frozen=True, gc=False, rename="camel"):
    request: Review
    api_version: str
    kind: str


class _BareEnvelope(Struct, frozen=True, gc=False):
    request: RequestHead


_decoder = msgspec.json.Decoder(_Envelope)
_bare_decoder = msgspec.json.Decoder(_BareEnvelope)
MAX_HEAD_BYTES: Final = 4096
"""The start of a body in which its uid is searched where the body is not decoded."""
_UID = re.compile(rb'"uid"\s*+:\s*+"([0-9A-Za-z-]{1,64})"')
_LONG_NAMESPACE: Final = "the name of its namespace is longer than any namespace's"


def decode(body: bytes) -> Review:
    """The request in a body. Raises MalformedReviewError.

    The object of a review may be unreadable (a string in place of a number, a duplicate key, too deep nesting, a too
    large number) or over a bound. Such a review still has the uid that an answer needs. It is returned with `defect`
    set, and the answer is a denial with that reason; or with `is_unchanged` set.

    Only an object before an update may be over a bound of objects. Then it is left out, and excuses nothing.
    """
    review = _decoded(body)
    if len(review.namespace or "") <= MAX_NAMESPACE_LENGTH:
        return review
    return structs.replace(review, namespace=None, defect=review.defect or _LONG_NAMESPACE)


def _decoded(body: bytes) -> Review:
    excess = body_excess(body)
    if excess:
        if is_unchanged(body):
            return Review(**structs.asdict(_bare_decoder.decode(body).request), is_unchanged=True)
        return Review(uid=_first_uid(body), defect=excess)
    review = _decode_as_written(body)
    return _decode_any(body) if review is None else _within_bounds(review, body)


def decode_head(body: bytes) -> Review:
    """The request in a body without its objects, as far as it can be read. Raises MalformedReviewError."""
    if body_excess(body):
        return Review(uid=_first_uid(body))
    try:
        head = _bare_decoder.decode(body).request
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        uid = _UID.search(body, 0, MAX_HEAD_BYTES)  # API servers write it first
        if uid is None:
            raise MalformedReviewError(_reason_of(error)) from None
        return Review(uid=uid[1].decode())  # whether it is a review is left to `decode`, which takes longer
    return Review(**structs.asdict(head))


def _within_bounds(review: Review, body: bytes) -> Review:
    """The review with `defect` or `is_unchanged` if its object is over a bound, and without an old object that is."""
    is_counted = needs_counting(body)
    excess = _object_excess(review.pod, review.workload, is_counted=is_counted)
    if excess:
        return structs.replace(review, is_unchanged=True) if is_unchanged(body) else _defective(review, excess)
    if _object_excess(review.old_pod, review.old_workload, is_counted=is_counted):
        return structs.replace(review, old_object=None)
    return review


def _defective(review: Review, defect: str) -> Review:
    return structs.replace(review, defect=defect)


def _object_excess(pod: Pod | None, workload: WorkloadMeta | None, *, is_counted: bool) -> str:
    """What an object has too much of, as a clause; empty where it may be judged.

    pod: that it is or makes, None for neither.
    workload: its own metadata if it makes one.
    """
    if pod is None:
        return ""
    return pod_excess(pod, is_counted=is_counted) or ("" if workload is None else workload_excess(workload))


def _wire_envelope() -> Any:
    kind = wire.wire_type(GroupVersionKind, "group! version! kind!", {})
    resource = wire.wire_type(GroupVersionResource, "group! version! resource!", {})
    user = wire.wire_type(UserInfo, "username uid groups extra", {})
    others: dict[type, Any] = {
        GroupVersionKind: kind,
        GroupVersionResource: resource,
        UserInfo: user,
        Workload: wire.POD,
    }
    request = wire.wire_type(Review, wire.REQUEST, others)
    return wire.wire_type(_Envelope, "kind! apiVersion! request!", {Review: request})


_wire_decoder = msgspec.json.Decoder(_wire_envelope())
_encoder = msgspec.json.Encoder()


def _decode_as_written(body: bytes) -> Review | None:
    """The request in a body about a pod that is written as API servers write it; None for any other body."""
    try:
        envelope = _wire_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if _encoder.encode(envelope) != body.rstrip(b"\n") or not _is_review(envelope):
        return None
    request = envelope.request
    review = Review(
        uid=request.uid,
        kind=request.kind,
        resource=request.resource,
        sub_resource=request.sub_resource,
        name=request.name,
        namespace=request.namespace,
        operation=request.operation,
        user_info=request.user_info,
        dry_run=request.dry_run,
        object=request.object,
        old_object=request.old_object,
    )
    return review if review.is_pod else None


def _decode_any(body: bytes) -> Review:
    try:
        envelope = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _decode_custom(body) or _salvage(body, error)
    if not _is_review(envelope):
        raise MalformedReviewError(f"expected kind {KIND} of {API_VERSION}, found another kind or version")
    request = envelope.request
    return (_decode_custom(body) if request.is_custom else None) or _checked(request, body)


def _checked(request: Review, body: bytes) -> Review:
    """The review with `defect` or `is_unchanged` if its object is over a bound or cannot be judged."""
    if request.operation not in ("DELETE", "CONNECT"):
        # Before the search for duplicate keys, which takes far longer and holds up all threads.
        request = _within_bounds(request, body)
        if request.defect is not None or request.is_unchanged:
            return request
    if excess := row_excess(body):
        if is_unchanged(body):
            return structs.replace(request, is_unchanged=True)
        return structs.replace(request, operation="", defect=excess)
    try:
        deny_duplicates(body)
    except (ValueError, RecursionError) as error:
        # The operation is not certain either, so it is cleared: DELETE and CONNECT would be allowed unjudged.
        return structs.replace(request, operation="", defect=_unreadable(_reason_of(error)))
    if request.is_pod or request.is_template:
        path = () if request.is_pod else POD_TEMPLATES[request.kind.group, request.kind.kind]
        if defect := _unknown_containers(body, (*path, "spec")):
            return structs.replace(request, defect=defect)
    return request


class _CustomRequest(RequestHead, frozen=True, gc=False, rename="camel"):
    object: Raw = NO_JSON
    old_object: Raw = NO_JSON


class _CustomEnvelope(Struct, frozen=True, gc=False, rename="camel"):
    request: _CustomRequest
    api_version: str
    kind: str


class _Described(Struct, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()


_custom_decoder = msgspec.json.Decoder(_CustomEnvelope)
_metadata_decoder = msgspec.json.Decoder(_Described | None)


def _decode_custom(body: bytes) -> Review | None:
    """The request in a body about an object of a custom kind, with pods that are read later; None for others."""
    try:
        envelope = _custom_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    request = envelope.request
    head = {name: getattr(request, name) for name in RequestHead.__struct_fields__}
    if not (_is_review(envelope) and Review(**head).is_custom):
        return None
    if excess := row_excess(body):
        return Review(**(head | {"operation": ""}), defect=excess)
    try:
        deny_duplicates(body)
        described = _metadata_decoder.decode(request.object)
    except (ValueError, RecursionError) as error:
        return Review(**(head | {"operation": ""}), defect=_unreadable(_reason_of(error)))
    workload = None if described is None else Workload(metadata=described.metadata)
    return Review(**head, object=workload, custom=request.object, old_custom=request.old_object)


class _RawRequest(Struct, frozen=True, gc=False):
    object: Raw = NO_JSON


class _RawEnvelope(Struct, frozen=True, gc=False):
    request: _RawRequest


_raw_decoder = msgspec.json.Decoder(_RawEnvelope)
_value_decoder = msgspec.json.Decoder(Raw)
_keys_decoder = msgspec.json.Decoder(dict[str, Raw] | None)
_containers_decoder = msgspec.json.Decoder(list[dict[str, Raw]])


def _unknown_containers(body: bytes, path: tuple[str, ...]) -> str:
    """Names a list of a pod's spec that may hold containers that nothing would judge; empty where there is none.

    path: where the object has the spec.

    A newer API server may know such a list. What has an image there would run unjudged.
    """
    spec = _raw_decoder.decode(body).request.object
    for part in path:
        spec = (_keys_decoder.decode(spec) or {}).get(part, NO_JSON)
    for key, value in (_keys_decoder.decode(spec) or {}).items():
        if key not in wire.POD_SPEC_KEYS and bytes(value).startswith(b"["):
            try:
                entries = _containers_decoder.decode(value)
            except msgspec.DecodeError:
                continue
            if any("image" in entry for entry in entries):
                return unknown_containers(render_path((*path, key)))
    return ""


def _is_review(envelope: _Envelope | _CustomEnvelope) -> bool:
    return envelope.kind == KIND and envelope.api_version == API_VERSION


def _salvage(body: bytes, error: Exception) -> Review:
    reason = _reason_of(error)
    try:
        bare = _bare_decoder.decode(body).request
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Review(uid=_find_uid(body, reason), defect=_unreadable(reason))
    return Review(**structs.asdict(bare), defect=_unreadable(reason))


def _unreadable(reason: str) -> str:
    return f"the object cannot be read: {reason}"


def _reason_of(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:300]


def _first_uid(body: bytes) -> str:
    """The uid of a review that is too large to be decoded; API servers write it first."""
    uid = _UID.search(body, 0, MAX_HEAD_BYTES)
    if uid is None or KIND.encode() not in body[:MAX_HEAD_BYTES]:
        raise MalformedReviewError("it is too large to be decoded, and does not begin with a uid")
    return uid[1].decode()


def _find_uid(body: bytes, reason: str) -> str:
    """The uid of a review that is valid JSON and still cannot be decoded; API servers write it first."""
    uid = _UID.search(body)
    if uid is None or KIND.encode() not in body or not _is_json(body):
        raise MalformedReviewError(reason)
    return uid[1].decode()


def _is_json(body: bytes) -> bool:
    """Whether a body is JSON, or nested too deeply to know."""
    # Half of a surrogate pair is JSON, too, and the decoder does not read it.
    return _is_readable(body) or _is_readable(body.replace(b"\\ud", b"\\u0").replace(b"\\uD", b"\\u0"))


def _is_readable(body: bytes) -> bool:
    try:
        _value_decoder.decode(body)
    except RecursionError:
        return True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True

"""Updates that change nothing that policies judge, of objects that are over a bound: these are allowed.

An object that is older than Sekisho may be over a bound. It cannot be judged, so its updates are denied. But where the
last step of its deletion is an update, such as the removal of a finalizer, neither it nor its namespace could ever be
deleted. Such an update violates nothing: what the object violated before is excused.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from sekisho.admission import wire

MAX_PARTS: Final = 400_000
"""Openings and commas of a body that is compared. To read it holds up all threads, for up to 0.1 us for each."""
MAY_CHANGE: Final = frozenset(
    {
        *("resourceVersion", "generation", "managedFields"),
        *("finalizers", "deletionTimestamp", "deletionGracePeriodSeconds"),
    }
)
"""Metadata that no policy judges, matches by, or exempts by."""
OWNERS: Final = "ownerReferences"
"""Of a pod they decide only what waivers exempt it from. Of a workload they decide whether it is judged itself."""
TEMPLATES: Final = ("template", "jobTemplate", "volumeClaimTemplates")
"""What is judged in the spec of a workload; of a pod it is the whole spec."""
_UPDATE: Final = b'"operation":"UPDATE"'
_MAX_HEAD_BYTES: Final = 4096


class _Object(Struct, frozen=True, gc=False):
    metadata: dict[str, Raw]
    spec: dict[str, Raw] = {}
    template: Raw = Raw()


class _Request(Struct, frozen=True, gc=False, rename="camel"):
    resource: dict[str, str]
    object: _Object
    old_object: _Object


class _Envelope(Struct, frozen=True, gc=False):
    request: _Request


def _wire_envelope() -> Any:
    compared = wire.wire_type(_Object, "kind apiVersion metadata! spec template status", {})
    request = wire.wire_type(_Request, wire.REQUEST, {_Object: compared})
    return wire.wire_type(_Envelope, "kind! apiVersion! request!", {_Request: request})


_decoder = msgspec.json.Decoder(_wire_envelope())
_encoder = msgspec.json.Encoder()


def is_unchanged(body: bytes) -> bool:
    """Whether a review's body is an update, as the API server writes it, that changes nothing that policies judge.

    False for other bodies, and for those with more than MAX_PARTS, which are not compared.
    """
    if body.find(_UPDATE, 0, _MAX_HEAD_BYTES) < 0 or sum(map(body.count, (b"{", b"[", b","))) > MAX_PARTS:
        return False
    try:
        envelope = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    if _encoder.encode(envelope) != body.rstrip(b"\n"):  # a key may be duplicate
        return False
    request = envelope.request
    of_pod = request.resource.get("resource") == "pods"
    return _judged_parts(request.old_object, of_pod=of_pod) == _judged_parts(request.object, of_pod=of_pod)


def _judged_parts(of: _Object, *, of_pod: bool) -> tuple[Raw, Mapping[str, Raw | None], Mapping[str, Raw]]:
    """The parts of an object that policies judge: template, spec and metadata. of_pod: whether it is a pod."""
    spec = of.spec if of_pod else {key: of.spec.get(key) for key in TEMPLATES}
    may_change = MAY_CHANGE | {OWNERS} if of_pod else MAY_CHANGE
    return of.template, spec, {key: value for key, value in of.metadata.items() if key not in may_change}

"""Events (events.k8s.io/v1): what one says, how it is written, and how it is read back.

The API server lets nothing of an Event change but its series and its metadata. Whoever has put half of a problem right
must not go on reading of the other half, so whatever is said anew is another Event.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.admission import Review
from sekisho.cluster.names import MAX_SUBDOMAIN_LENGTH, is_label, is_subdomain
from sekisho.cluster.owners import ObjectReference, controller_of
from sekisho.timestamps import micro_time

CONTROLLER: Final = "sekisho.dev/webhook"
POLICIES_ANNOTATION: Final = "sekisho.dev/policies"
CONTROLS_ANNOTATION: Final = "sekisho.dev/controls"
FIXES_ANNOTATION: Final = "sekisho.dev/fixes"

MAX_NOTE_LENGTH: Final = 1024
"""Bytes; the API server rejects more, and instances of more than 128 characters."""
MAX_INSTANCE_LENGTH: Final = 128
MAX_NAMES: Final = 30
MAX_FIXES: Final = 5
MAX_FIX_LENGTH: Final = 300


class Reason(StrEnum):
    """Why there is an Event."""

    POD_DENIED = "PodDenied"
    POD_WARNED = "PodWarned"
    POD_DEFAULTED = "PodDefaulted"
    WAIVER_USED = "WaiverUsed"
    POLICY_EXPIRING = "PolicyExpiring"


_NORMAL = frozenset({Reason.POD_DEFAULTED, Reason.WAIVER_USED})
"""Those that need nobody's attention; the others are of type Warning."""


class Statement(Struct, frozen=True, gc=False):
    """What an Event says: to people in `note`, to programs in the rest. Make it with `statement`."""

    reason: Reason
    note: str
    policies: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


class Occurrence(Struct, frozen=True, gc=False):
    """What happened once. It is told on the owner of `regarding`; `related` is the object that it happened to."""

    regarding: ObjectReference
    related: ObjectReference | None
    statement: Statement
    observed: datetime


class Meta(Struct, frozen=True, gc=False, omit_defaults=True):
    """The metadata of an Event."""

    name: str
    namespace: str
    annotations: dict[str, str] | None = None


class Series(Struct, frozen=True, gc=False, rename="camel"):
    """How often it happened, and when last. The API server takes counts from 2 on."""

    count: int
    last_observed_time: str


class Event(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """An Event, written by this program or by an earlier one."""

    metadata: Meta
    event_time: str | None = None
    type: str = ""
    reason: str = ""
    action: str = ""
    reporting_controller: str = ""
    reporting_instance: str = ""
    regarding: ObjectReference | None = None
    related: ObjectReference | None = None
    note: str = ""
    series: Series | None = None


_decoder = msgspec.json.Decoder(Event)


def statement(
    reason: Reason,
    message: str,
    policies: Iterable[str] = (),
    controls: Iterable[str] = (),
    fixes: Iterable[str] = (),
) -> Statement:
    """A statement, cut to what an Event holds; of what is given twice, the first counts."""
    return Statement(
        reason,
        note_of(message),
        tuple(dict.fromkeys(policies))[:MAX_NAMES],
        tuple(dict.fromkeys(controls))[:MAX_NAMES],
        tuple(fix if len(fix) <= MAX_FIX_LENGTH else f"{fix[: MAX_FIX_LENGTH - 1]}…" for fix in dict.fromkeys(fixes))[
            :MAX_FIXES
        ],
    )


def note_of(message: str) -> str:
    """The message, cut to what an Event holds: after a whole line, or else a whole sentence."""
    if len(message.encode()) <= MAX_NOTE_LENGTH:
        return message
    cut = message.encode()[: MAX_NOTE_LENGTH - 4].decode(errors="ignore")
    for end in ("\n", ". "):
        head, found, _ = cut.rpartition(end)
        if found:
            return f"{head}{end}…"
    return f"{cut}…"


def occurrence_of(review: Review, said: Statement, observed: datetime) -> Occurrence | None:
    """What to record of a review; None for a dry run, and outside of namespaces.

    A new pod with a generated name goes by the prefix of that name, which is what its user wrote: there is no such pod
    where it was denied, and the next try has another name.
    """
    if review.dry_run or not review.namespace or not is_label(review.namespace):
        return None
    kind, meta = review.kind, review.metadata
    is_named = bool(review.name or meta.name) and not (review.operation == "CREATE" and meta.generate_name)
    name = (review.name or meta.name if is_named else meta.generate_name) or kind.kind.lower()
    subject = ObjectReference(
        api_version=(f"{kind.group}/{kind.version}" if kind.group else kind.version)[:MAX_SUBDOMAIN_LENGTH],
        kind=kind.kind[:MAX_SUBDOMAIN_LENGTH],
        name=name[:MAX_SUBDOMAIN_LENGTH],
        namespace=review.namespace,
    )
    owner = controller_of(meta.owner_references, subject.namespace)
    return Occurrence(owner or subject, subject if is_named else owner, said, observed)


def event_of(occurrence: Occurrence, top: ObjectReference, instance: str) -> Event:
    """The Event about an occurrence, told on `top` by the process `instance`.

    The same occurrence has the same name: one that is written twice, for the first answer was lost, is there once.
    """
    said, observed = occurrence.statement, micro_time(occurrence.observed)
    prefix = top.name[: MAX_SUBDOMAIN_LENGTH - 17].rstrip("-.")
    suffix = hashlib.blake2s(f"{top} {observed} {instance} {said}".encode(), digest_size=8).hexdigest()
    annotations = {
        POLICIES_ANNOTATION: ",".join(said.policies),
        CONTROLS_ANNOTATION: ",".join(said.controls),
        FIXES_ANNOTATION: "\n".join(said.fixes),
    }
    return Event(
        # Events about objects outside of namespaces are in `default`, as the API server asks.
        metadata=Meta(
            name=f"{prefix if is_subdomain(prefix) else 'pod'}.{suffix}",
            namespace=top.namespace or "default",
            annotations={key: value for key, value in annotations.items() if value},
        ),
        event_time=observed,
        type="Normal" if said.reason in _NORMAL else "Warning",
        reason=said.reason.value,
        action="Admit",
        reporting_controller=CONTROLLER,
        reporting_instance=instance[:MAX_INSTANCE_LENGTH],
        regarding=top,
        related=occurrence.related if occurrence.related != top else None,
        note=said.note,
    )


def body_of(event: Event) -> bytes:
    """The Event as the API server takes it."""
    head: dict[str, Any] = {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
    return msgspec.json.encode(head | msgspec.to_builtins(event))


def decode_event(raw: bytes) -> Event:
    """An Event as the API server gives it. Raises msgspec.DecodeError."""
    return _decoder.decode(raw)


def events_path(namespace: str | None) -> str:
    """The Events of a namespace, or of all."""
    return f"/apis/events.k8s.io/v1{f'/namespaces/{namespace}' if namespace else ''}/events"

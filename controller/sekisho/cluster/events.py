"""Events (events.k8s.io/v1): their content, how they are written, and how they are read.

The API server allows changes of an Event's series and metadata only. So a changed message becomes a new Event: a
half-fixed problem must not keep showing the old text.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.admission import Review
from sekisho.cluster.names import MAX_SUBDOMAIN_LENGTH, derived_name, is_label
from sekisho.cluster.owners import ObjectReference, controller_in
from sekisho.findings import render_path
from sekisho.pods import POD_TEMPLATES
from sekisho.timestamps import micro_time

CONTROLLER: Final = "sekisho.dev/webhook"
POLICIES_ANNOTATION: Final = "sekisho.dev/policies"
CONTROLS_ANNOTATION: Final = "sekisho.dev/controls"
FIXES_ANNOTATION: Final = "sekisho.dev/fixes"

MAX_NOTE_LENGTH: Final = 1024
"""Bytes; the API server rejects longer notes."""
MAX_INSTANCE_LENGTH: Final = 128
"""Characters; the API server rejects longer instances."""
MAX_NAMES: Final = 30
MAX_FIXES: Final = 5
MAX_FIX_LENGTH: Final = 300

_BATCH_TEMPLATE: Final = re.compile(r"(?<![\w./\]\"'])spec\.(?:jobTemplate\.spec\.)?template\.(?=(?:spec|metadata)\.)")
"""Where a text names the pod template of a Job or of a CronJob."""


class Reason(StrEnum):
    """The reasons of Events."""

    POD_DENIED = "PodDenied"
    POD_WARNED = "PodWarned"
    POD_AUDITED = "PodAudited"
    POD_DEFAULTED = "PodDefaulted"
    WAIVER_USED = "WaiverUsed"
    IMAGE_NO_LONGER_TRUSTED = "ImageNoLongerTrusted"
    DEFAULT_BREAKS_POD = "DefaultBreaksPod"
    POLICY_EXPIRING = "PolicyExpiring"
    CATALOG_ENTRIES_ENDING = "CatalogEntriesEnding"
    REPLICA_NOT_SERVING = "ReplicaNotServing"
    PROOF_FAILED = "ProofFailed"


_NORMAL = frozenset({Reason.POD_AUDITED, Reason.POD_DEFAULTED, Reason.WAIVER_USED})
"""Those of type Normal; the others are of type Warning."""


class Statement(Struct, frozen=True, gc=False):
    """The content of an Event: `note` for people, the rest for programs. Make it with `statement`."""

    reason: Reason
    note: str
    policies: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


class Occurrence(Struct, frozen=True, gc=False):
    """Something that happened once.

    The Event will be about the top owner of `regarding`. `related` is the object that was reviewed; None when it has no
    name that anybody knows.
    """

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
    """How often something happened, and when last. The API server accepts counts from 2 on."""

    count: int
    last_observed_time: str


class Event(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """An Event."""

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
    """A statement, shortened to the limits of an Event and without repeated entries."""
    return Statement(
        reason,
        note_of(message),
        tuple(dict.fromkeys(policies))[:MAX_NAMES],
        tuple(dict.fromkeys(controls))[:MAX_NAMES],
        tuple(fix if len(fix) <= MAX_FIX_LENGTH else f"{fix[: MAX_FIX_LENGTH - 1]}…" for fix in dict.fromkeys(fixes))[
            :MAX_FIXES
        ],
    )


def as_owner_writes_it(content: Statement, owner: ObjectReference) -> Statement:
    """The statement with the paths of a pod template in its top owner, when that is a Job or a CronJob.

    A pod shows only the name of its Job: whether a CronJob has made that, and so where the template is written, is
    known when the owner has been looked up.
    """
    template = POD_TEMPLATES.get(("batch", owner.kind)) if owner.api_version == "batch/v1" else None
    if template is None:
        return content
    above = f"{render_path(template)}."
    return statement(
        content.reason,
        _BATCH_TEMPLATE.sub(above, content.note),
        content.policies,
        content.controls,
        (_BATCH_TEMPLATE.sub(above, fix) for fix in content.fixes),
    )


def note_of(message: str) -> str:
    """The message, shortened to MAX_NOTE_LENGTH: after a whole line, or else after a whole sentence."""
    if len(message.encode()) <= MAX_NOTE_LENGTH:
        return message
    cut = message.encode()[: MAX_NOTE_LENGTH - 4].decode(errors="ignore")
    for end in ("\n", ". "):
        head, separator, _ = cut.rpartition(end)
        if separator:
            return f"{head}{end}…"
    return f"{cut}…"


def occurrence_of(review: Review, content: Statement, observed: datetime) -> Occurrence | None:
    """The occurrence to record for a review; None for a dry run and for an object outside of namespaces.

    A new pod with a generated name is called by the prefix that its user wrote: a denied pod never exists under the
    generated name, and the next attempt has another.
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
    owner = controller_in(subject.namespace, meta.owner_references)
    return Occurrence(owner or subject, subject if is_named else owner, content, observed)


def event_of(occurrence: Occurrence, top: ObjectReference, instance: str) -> Event:
    """The Event about an occurrence, regarding `top`, written by the process `instance`.

    Its name is derived from its content: writing it again after a lost answer does not make a second Event.
    """
    content, observed = occurrence.statement, micro_time(occurrence.observed)
    annotations = {
        POLICIES_ANNOTATION: ",".join(content.policies),
        CONTROLS_ANNOTATION: ",".join(content.controls),
        FIXES_ANNOTATION: "\n".join(content.fixes),
    }
    return Event(
        # The API server requires the namespace `default` for Events about cluster-scoped objects.
        metadata=Meta(
            name=derived_name(top.name, f"{top} {observed} {instance} {content}"),
            namespace=top.namespace or "default",
            annotations={key: value for key, value in annotations.items() if value},
        ),
        event_time=observed,
        type="Normal" if content.reason in _NORMAL else "Warning",
        reason=content.reason.value,
        action="Admit",
        reporting_controller=CONTROLLER,
        reporting_instance=instance[:MAX_INSTANCE_LENGTH],
        regarding=top,
        related=occurrence.related if occurrence.related != top else None,
        note=content.note,
    )


def body_of(event: Event) -> bytes:
    """The Event as JSON for the API server."""
    head: dict[str, Any] = {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
    return msgspec.json.encode(head | msgspec.to_builtins(event))


def decode_event(raw: bytes) -> Event:
    """An Event from the API server's JSON. Raises msgspec.DecodeError."""
    return _decoder.decode(raw)


def events_path(namespace: str | None) -> str:
    """The path of the Events in a namespace; None for all namespaces."""
    return f"/apis/events.k8s.io/v1{f'/namespaces/{namespace}' if namespace else ''}/events"

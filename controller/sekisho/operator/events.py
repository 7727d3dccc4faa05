"""Events of the controller, each of which is written once: its name says what it tells."""

import hashlib
from datetime import datetime

from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.events import MAX_INSTANCE_LENGTH, Event, Meta, body_of, events_path, note_of
from sekisho.cluster.owners import ObjectReference
from sekisho.timestamps import micro_time

CONTROLLER = "sekisho.dev/controller"
_MAX_NAME_LENGTH = 230


class Notice(Struct, frozen=True):
    """What somebody has to see to. Notices about an object with the same reason and `told_once` are one Event."""

    regarding: ObjectReference
    reason: str
    action: str
    note: str
    told_once: str


async def warn(api: ApiClient, notice: Notice, identity: str, now: datetime) -> None:
    """Write the Event of a notice as `identity`, unless it is there already. Raises ApiError, ApiUnavailable."""
    regarding = notice.regarding
    told = f"{regarding.kind} {regarding.uid} {notice.reason} {notice.told_once}".encode()
    name = f"{regarding.name[:_MAX_NAME_LENGTH]}.{hashlib.blake2s(told, digest_size=8).hexdigest()}"
    event = Event(
        metadata=Meta(name, regarding.namespace or "default"),  # what belongs to no namespace has its Events there
        event_time=micro_time(now),
        type="Warning",
        reason=notice.reason,
        action=notice.action,
        reporting_controller=CONTROLLER,
        reporting_instance=identity[:MAX_INSTANCE_LENGTH],
        regarding=regarding,
        note=note_of(notice.note),
    )
    try:
        await api.create(events_path(event.metadata.namespace), body_of(event))
    except ApiError as error:
        if error.status != 409:  # else it was told before, by this process or an earlier one
            raise

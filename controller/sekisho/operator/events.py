"""Events of the controller. Each gets its name from its content, so that it is not written again after a restart."""

from datetime import datetime

from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.events import MAX_INSTANCE_LENGTH, Event, Meta, body_of, events_path, note_of
from sekisho.cluster.names import derived_name
from sekisho.cluster.owners import ObjectReference
from sekisho.timestamps import micro_time

CONTROLLER = "sekisho.dev/controller"


class Notice(Struct, frozen=True):
    """A warning for the administrator. Notices about one object with equal `reason` and `key` are one Event."""

    regarding: ObjectReference
    reason: str
    action: str
    note: str
    key: str


async def write_warning(api: ApiClient, notice: Notice, identity: str, now: datetime) -> None:
    """Write the Event of a notice as `identity`, unless it exists already. Raises ApiError, ApiUnavailable."""
    regarding = notice.regarding
    name = derived_name(regarding.name, f"{regarding.kind} {regarding.uid} {notice.reason} {notice.key}")
    event = Event(
        metadata=Meta(name, regarding.namespace or "default"),  # Events about cluster-scoped objects are in default
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
        if error.status != 409:  # 409: this process or an earlier one wrote it
            raise

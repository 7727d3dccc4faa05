"""Events before waivers expire and entries of catalogs end."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from sekisho.cluster.api import ApiClient
from sekisho.cluster.events import Reason
from sekisho.cluster.owners import ObjectReference
from sekisho.operator import catalogs, waivers
from sekisho.operator.events import Notice, write_warning
from sekisho.operator.records import Record, Status
from sekisho.policies import PolicyWaiver
from sekisho.policies.status import ImageCatalogStatus, PolicyWaiverStatus
from sekisho.policies.types import GROUP, VERSION


async def write_notices(api: ApiClient, record: Record, status: Status, identity: str, now: datetime) -> None:
    """Write an Event before a waiver expires or entries of a catalog end, once for each notice.

    status: the one to be written, which records the notices, as Events are deleted within hours.
    identity: who writes the Events.

    Raises what the client raises.
    """
    for notice in _notices(record, status, now):
        await write_warning(api, notice, identity, now)


def _notices(record: Record, status: Status, now: datetime) -> Iterator[Notice]:
    """The notices that are due, and that the stored status does not record."""
    regarding = ObjectReference(f"{GROUP}/{VERSION}", record.resource.name, record.title, "", record.uid)
    if record.catalog is not None:
        for ending in catalogs.unreported(record, now):
            note, key = catalogs.notice_text(record.catalog, ending), f"{ending.days} {ending.until} {ending.marks}"
            yield Notice(regarding, Reason.CATALOG_ENTRIES_ENDING.value, "CertifyImages", note, key)
    if isinstance(status, PolicyWaiverStatus) and isinstance(record.policy, PolicyWaiver):
        days = status.expires_within_days
        if days is not None and days != _stored_notice(record):
            note, key = waivers.notice_text(record.policy), f"{days} {record.policy.spec.expires.isoformat()}"
            yield Notice(regarding, Reason.POLICY_EXPIRING.value, "ExemptPods", note, key)


def _stored_notice(record: Record) -> int | None:
    return record.status.expires_within_days if isinstance(record.status, PolicyWaiverStatus) else None


def without_notices(record: Record, status: Status) -> Status:
    """The status with the notices that are stored: it must not record an Event that could not be written."""
    if isinstance(status, ImageCatalogStatus):
        return msgspec.structs.replace(status, notices=tuple(catalogs.stored_notices(record)) or None)
    if not isinstance(status, PolicyWaiverStatus):
        return status
    return msgspec.structs.replace(status, expires_within_days=_stored_notice(record))

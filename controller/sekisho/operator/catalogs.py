"""The status of a catalog, and the warnings before its entries end."""

from base64 import urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from sekisho.controls.image_catalogs import Catalog, Entry
from sekisho.findings import words
from sekisho.operator.conditions import accepted_condition, coverage_state, make_condition, not_accepted
from sekisho.operator.metrics import CatalogNumbers
from sekisho.operator.records import Record, coverage_of
from sekisho.operator.status import View, as_proven
from sekisho.operator.waivers import NOTICE_DAYS
from sekisho.policies.status import MARK_LENGTH, EndNotice, ImageCatalogStatus
from sekisho.timestamps import in_utc, rfc3339

MAX_NAMED: Final = 3
"""Entries that an Event names; it counts the others."""


class Counts(Struct, frozen=True):
    """The entries of a catalog at one moment.

    next_end: when the next entry ends; None if none will.
    """

    entries: int
    ended: int
    withdrawn: int
    next_end: datetime | None


class Ending(Struct, frozen=True):
    """Entries of a catalog that end within `days`, and that no Event reported.

    until: the last day, in UTC, that the Event reports.
    marks: of all entries that end by then, whether they were reported before or not.
    """

    days: int
    until: date
    entries: tuple[tuple[datetime, Entry], ...]
    marks: str


def counts_of(catalog: Catalog, now: datetime) -> Counts:
    """The entries of a catalog at one moment."""
    ended = _ended(catalog, now)
    return Counts(
        entries=sum(map(len, catalog.by_repository.values())) + len(catalog.signed),
        ended=ended,
        withdrawn=catalog.withdrawn,
        next_end=catalog.ends[ended][0] if ended < len(catalog.ends) else None,
    )


def ending_within(catalog: Catalog, now: datetime, days: int) -> int:
    """How many entries have not ended, and will within `days`."""
    return _ended(catalog, now + timedelta(days=days)) - _ended(catalog, now)


def catalog_numbers(catalog: Catalog, now: datetime) -> CatalogNumbers:
    """The numbers of a catalog for the metrics."""
    counts = counts_of(catalog, now)
    return CatalogNumbers(
        catalog.name,
        {
            "certified": counts.entries - counts.ended - counts.withdrawn,
            "ended": counts.ended,
            "withdrawn": counts.withdrawn,
        },
        {days: ending_within(catalog, now, days) for days in NOTICE_DAYS},
    )


def wanted_catalog_status(record: Record, view: View) -> ImageCatalogStatus:
    """What the status should be; equal to `record.status` when there is nothing to write."""
    if record.catalog is None:
        enforced = make_condition(record, "Enforced", not_accepted("catalog"), view.now)
        return ImageCatalogStatus(record.generation, (accepted_condition(record, view.now), enforced))
    state = as_proven(coverage_state(coverage_of(record, view.replicas, view.silent), "enforce"), view.proof)
    counts = counts_of(record.catalog, view.now)
    notices = {notice.days: notice for notice in stored_notices(record)}
    notices |= {one.days: EndNotice(one.days, one.until.isoformat(), one.marks) for one in unreported(record, view.now)}
    return ImageCatalogStatus(
        observed_generation=record.generation,
        conditions=(
            accepted_condition(record, view.now),
            make_condition(record, "Enforced", state, view.now),
        ),
        entries=counts.entries,
        ended=counts.ended,
        withdrawn=counts.withdrawn,
        next_end=rfc3339(counts.next_end) if counts.next_end is not None else None,
        notices=tuple(notices[days] for days in NOTICE_DAYS if days in notices) or None,
    )


def stored_notices(record: Record) -> Sequence[EndNotice]:
    """The Events about entries that end which the stored status says were written."""
    return (record.status.notices if isinstance(record.status, ImageCatalogStatus) else None) or ()


def unreported(record: Record, now: datetime) -> Iterator[Ending]:
    """The entries that end soon and that no Event reported, for each of NOTICE_DAYS together.

    Days are those of UTC, so that there is at most one Event a day for each of NOTICE_DAYS, and one when the catalog
    changes. An entry is reported once for each, at first for the least that holds.
    """
    catalog = record.catalog
    if catalog is None or not ending_within(catalog, now, max(NOTICE_DAYS) + 1):
        return
    notices = {notice.days: notice for notice in stored_notices(record)}
    today = in_utc(now).replace(hour=0, minute=0, second=0, microsecond=0)
    first = _ended(catalog, now)
    for days in sorted(NOTICE_DAYS):
        following = _ended_before(catalog, today + timedelta(days=days + 1))
        near = {_mark(one): one for one in catalog.ends[first:following]}
        first = following
        reported = _reported(notices.get(days), near)
        entries = tuple(ending for mark, ending in near.items() if mark not in reported)
        if entries:
            yield Ending(days, today.date() + timedelta(days=days), entries, "".join(near))


def _reported(notice: EndNotice | None, near: Mapping[str, tuple[datetime, Entry]]) -> Collection[str]:
    """The marks of the entries that an Event reported; None for no Event."""
    if notice is None:
        return ()
    if notice.reported is None:  # as earlier versions wrote it
        return {mark for mark, (end, _) in near.items() if in_utc(end).date().isoformat() <= notice.until}
    return {notice.reported[at : at + MARK_LENGTH] for at in range(0, len(notice.reported), MARK_LENGTH)}


def _mark(ending: tuple[datetime, Entry]) -> str:
    """Stands for an entry and its end in a status, which has little room."""
    end, entry = ending
    content = f"{entry.repository} {entry.digest} {end.timestamp()}".encode()
    return urlsafe_b64encode(blake2b(content, digest_size=MARK_LENGTH * 3 // 4).digest()).decode()


def notice_text(catalog: Catalog, ending: Ending) -> str:
    """The note of the Event that warns: how many entries end, when, what happens, and what to do."""
    count = len(ending.entries)
    named = [f"{_name(entry)} at {rfc3339(end)}" for end, entry in ending.entries[:MAX_NAMED]]
    more = [f"{count - MAX_NAMED} more"] if count > MAX_NAMED else []
    subject = "1 entry ends" if count == 1 else f"{count} entries end"
    within = "1 day" if ending.days == 1 else f"{ending.days} days"
    return (
        f"{subject} within {within}: {words([*named, *more], 'and')}. From then on policies that name the catalog "
        f"deny these images: {catalog.owner} must set a later validUntil, or certify newer images"
    )


def _name(entry: Entry) -> str:
    """The repository and the beginning of the digest: a note has little room."""
    return f"{entry.repository}@{entry.digest[:19]}" if entry.digest else entry.repository


def _ended(catalog: Catalog, now: datetime) -> int:
    """How many entries have ended."""
    return bisect_right(catalog.ends, now, key=lambda pair: pair[0])


def _ended_before(catalog: Catalog, moment: datetime) -> int:
    """How many entries end before a moment."""
    return bisect_left(catalog.ends, moment, key=lambda pair: pair[0])

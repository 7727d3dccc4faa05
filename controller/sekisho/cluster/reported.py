"""What a replica has counted for the status of policies, as its Lease has it.

All of it is bounded, as the annotations of an object may have 256 KiB together.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from sekisho.policies.status import MAX_EXAMPLES, AuditedExample

MAX_EXAMPLES_LENGTH: Final = 32 << 10
"""Bytes of all examples."""
MAX_WAIVERS_LENGTH: Final = 32 << 10
"""Bytes of the uses of all waivers."""
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the beginning of a process that has not reported it."""

_Count = Annotated[int, Meta(ge=0)]


class Recent(NamedTuple):
    """Requests of the last hour that a policy denied, warned about or audited, and how many no Event shows."""

    denials: _Count
    warnings: _Count
    without_event: _Count = 0
    audited: _Count = 0


Counts = Mapping[str, Recent]
"""By the policies' titles."""

Examples = Mapping[str, Sequence[AuditedExample]]
"""Owners of what was only audited, by the policies' titles."""


class WaiverUse(NamedTuple):
    """How many pods a waiver exempted: since the replica began, and in the last hour; its last owners, latest first."""

    total: _Count
    last_hour: _Count
    owners: tuple[tuple[str, datetime], ...] = ()


class WaiverReport(Struct, frozen=True):
    """The uses of waivers by name, and when the process began that has counted them."""

    began: Annotated[datetime, Meta(tz=True)] = NEVER
    uses: Mapping[str, WaiverUse] = {}


class Reported(Struct, frozen=True):
    """What a replica has counted."""

    counts: Counts = {}
    examples: Examples = {}
    waivers: WaiverReport = WaiverReport()


def encode_examples(examples: Examples) -> str:
    """The examples that fit: first one of each policy, then the second ones. Those of ClusterPodPolicies come first."""
    titles = sorted(examples, key=lambda title: ("/" in title, title))
    fitting: dict[str, list[AuditedExample]] = {}
    size = 2
    for index in range(MAX_EXAMPLES):
        for title in titles:
            if index >= len(examples[title]):
                continue
            size += len(msgspec.json.encode(examples[title][index])) + 1 + (0 if index else len(title.encode()) + 6)
            if size > MAX_EXAMPLES_LENGTH:
                return msgspec.json.encode(fitting).decode()
            fitting.setdefault(title, []).append(examples[title][index])
    return msgspec.json.encode(fitting).decode()


def encode_waivers(report: WaiverReport) -> str:
    """The uses of waivers that fit, the first ones first."""
    fitting: dict[str, WaiverUse] = {}
    size = len(msgspec.json.encode(WaiverReport(report.began)))
    for waiver, use in report.uses.items():
        size += len(msgspec.json.encode({waiver: use}))
        if size > MAX_WAIVERS_LENGTH:
            break
        fitting[waiver] = use
    return msgspec.json.encode(WaiverReport(report.began, fitting)).decode()


def decode_waivers(text: str) -> WaiverReport:
    """The uses of waivers in a report; none where it is not readable."""
    try:
        return msgspec.json.decode(text, type=WaiverReport)
    except msgspec.DecodeError:
        return WaiverReport()


def decode_examples(text: str) -> Examples:
    """The examples of a report; none where it is not readable."""
    try:
        return msgspec.json.decode(text, type=dict[str, tuple[AuditedExample, ...]])
    except msgspec.DecodeError:
        return {}


def decode_counts(text: str) -> Counts:
    """The counts of a report; none where they are not readable."""
    try:
        return msgspec.json.decode(text, type=dict[str, Recent])
    except msgspec.DecodeError:
        return {}

"""What an Event about a review says, and about whom."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.cluster.events import (
    MAX_FIX_LENGTH,
    MAX_FIXES,
    MAX_NAMES,
    Event,
    Occurrence,
    Reason,
    body_of,
    decode_event,
    event_of,
    note_of,
    occurrence_of,
    statement,
)
from sekisho.cluster.owners import ObjectReference
from tests.reviews import review

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
POD = {"group": "", "version": "v1", "kind": "Pod"}
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r", "controller": True}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "n", "controller": True}
SAID = statement(
    Reason.POD_DENIED, 'policy "p" denies it', ["p", "q"], ["privileged"], ["set it to false", "remove it"]
)


def occurrence(meta: dict[str, Any], **request: Any) -> Occurrence | None:
    body = review({"metadata": meta, "spec": {}}, **{"name": "", "namespace": "ns", **request})
    return occurrence_of(admission.decode(msgspec.json.encode(body)), SAID, NOW)


def event(meta: dict[str, Any], **request: Any) -> Event:
    occurred = occurrence(meta, **request)
    assert occurred is not None
    return event_of(occurred, occurred.regarding, "replica-1")


@pytest.mark.parametrize(
    ("meta", "request_fields", "regarding", "related"),
    [
        ({"name": "bare"}, {}, "bare", None),
        ({"generateName": "job-"}, {}, "job-", None),
        ({"generateName": "job-", "name": "job-abcde"}, {}, "job-", None),
        ({"name": "db-0", "ownerReferences": [STATEFUL_SET]}, {}, "db", "db-0"),
        ({"generateName": "db-", "ownerReferences": [STATEFUL_SET]}, {}, "db", None),
        ({"generateName": "web-1-", "name": "web-1-ab", "ownerReferences": [REPLICA_SET]},
         {"operation": "UPDATE", "name": "web-1-ab"}, "web-1", "web-1-ab"),
        ({"name": "node-1-proxy", "ownerReferences": [NODE]}, {}, "node-1-proxy", None),
        ({"name": "db-0", "ownerReferences": [STATEFUL_SET | {"uid": "u" * 318}]}, {}, "db-0", None),
        ({"name": "db-0", "ownerReferences": [STATEFUL_SET | {"kind": "\U0001f600"}]}, {}, "db-0", None),
        ({}, {}, "pod", None),
        ({"name": "Not/A name"}, {}, "Not/A name", None),
        ({"name": "x" * 500}, {}, "x" * 253, None),
    ],
)  # fmt: skip
def test_the_object_that_an_event_regards(
    meta: dict[str, Any], request_fields: dict[str, Any], regarding: str, related: str | None
) -> None:
    written = event(meta, **request_fields)
    assert written.regarding is not None
    assert written.regarding.name == regarding
    assert (written.related.name if written.related is not None else None) == related
    assert SUBDOMAIN.fullmatch(written.metadata.name)
    assert len(written.metadata.name) <= 253


def test_dry_runs_and_cluster_scoped_objects_cause_no_event() -> None:
    assert occurrence({"name": "p"}, dryRun=True) is None
    assert occurrence({"name": "p"}, namespace="") is None
    assert occurrence({"name": "p"}, namespace="a/../b") is None
    assert occurrence({"name": "p"}, dryRun=False) is not None


def test_event_has_the_same_content_for_people_and_programs() -> None:
    written = msgspec.json.decode(body_of(event({"name": "p"})))
    assert written.pop("metadata") == {
        "name": written_name(written),
        "namespace": "ns",
        "annotations": {
            "sekisho.dev/policies": "p,q",
            "sekisho.dev/controls": "privileged",
            "sekisho.dev/fixes": "set it to false\nremove it",
        },
    }
    assert written == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "type": "Warning",
        "reason": "PodDenied",
        "action": "Admit",
        "eventTime": "2026-11-23T12:00:00.123456Z",
        "reportingController": "sekisho.dev/webhook",
        "reportingInstance": "replica-1",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "ns"},
        "note": 'policy "p" denies it',
    }


def written_name(written: dict[str, Any]) -> str:
    return event({"name": written["regarding"]["name"]}).metadata.name


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.POD_DENIED, "Warning"),
        (Reason.POD_WARNED, "Warning"),
        (Reason.POLICY_EXPIRING, "Warning"),
        (Reason.POD_AUDITED, "Normal"),
        (Reason.POD_DEFAULTED, "Normal"),
        (Reason.WAIVER_USED, "Normal"),
    ],
)
def test_reason_decides_the_type(reason: Reason, kind: str) -> None:
    pod = ObjectReference("v1", "Pod", "p", "ns")
    written = event_of(Occurrence(pod, None, statement(reason, "text"), NOW), pod, "i")
    assert (written.type, written.reason, written.metadata.annotations) == (kind, reason.value, {})


def test_event_about_an_object_outside_of_namespaces_is_in_the_default_one() -> None:
    waiver = ObjectReference("sekisho.dev/v1alpha1", "PolicyWaiver", "w", "")
    written = event_of(Occurrence(waiver, None, statement(Reason.POLICY_EXPIRING, "soon"), NOW), waiver, "i")
    assert written.metadata.namespace == "default"


def test_event_is_read_as_it_was_written_and_other_programs_events_are_read_too() -> None:
    written = event({"name": "p"})
    assert decode_event(body_of(written)) == written
    other = b'{"metadata": {"name": "n", "namespace": "ns"}, "eventTime": null, "deprecatedCount": 3, "note": "x"}'
    assert decode_event(other).note == "x"


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ("short. text", "short. text"),
        ("a" * 1024, "a" * 1024),
        ("first line.\n" + "b" * 2000, "first line.\n…"),
        ("one. two. " + "c" * 2000, "one. two. …"),
        ("é" * 2000, "é" * 510 + "…"),
    ],
)
def test_long_message_is_cut_after_a_whole_line_or_sentence(message: str, note: str) -> None:
    assert note_of(message) == note
    assert len(note_of(message).encode()) <= 1024


def test_every_part_of_a_statement_is_bounded() -> None:
    many = [f"name-{number}" for number in range(100)]
    said = statement(Reason.POD_DENIED, "x" * 9999, many, many, ["f" * 9999, *many])
    assert (len(said.policies), len(said.controls), len(said.fixes)) == (MAX_NAMES, MAX_NAMES, MAX_FIXES)
    assert len(said.fixes[0]) == MAX_FIX_LENGTH
    occurred = occurrence({"name": "n" * 5000}, kind={"group": "g" * 5000, "version": "v1", "kind": "K" * 5000})
    assert occurred is not None
    assert all(
        len(value) <= 253
        for value in (occurred.regarding.name, occurred.regarding.kind, occurred.regarding.api_version)
    )

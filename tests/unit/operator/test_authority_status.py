"""The status of an authority: valid or not, usable or not, until when, and what to do."""

from datetime import UTC, datetime

import pytest

from sekisho.operator.authorities import wanted_authority_status
from sekisho.operator.records import Record, read_record
from sekisho.operator.status import Sources, View
from tests.unit.images.signing import OTHER_P256, P256, pem

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
END = datetime(2027, 6, 30, tzinfo=UTC)
PEM = {"pem": pem(P256), "until": "2027-06-30T00:00:00Z"}
LATER = {"pem": pem(OTHER_P256), "until": "2027-07-30T00:00:00Z"}
SECRET = {"secret": {"name": "k"}}
THERE = Sources({"k": {"cosign.pub": pem(P256).encode()}}, {}, None)
NOWHERE = Sources({}, {}, None)
MISSING = (
    'spec.keys[0].secret: Secret "k" does not exist in the namespace where Sekisho is installed, or is not in '
    "imageVerification.secrets of the chart"
)


def record(*keys: object) -> Record:
    metadata = {"name": "release", "uid": "u", "generation": 4, "resourceVersion": "100"}
    return read_record({"kind": "ImageAuthority", "metadata": metadata, "spec": {"keys": list(keys)}}, None)


def view(sources: Sources, now: datetime = NOW) -> View:
    return View(now, (), sources=sources)


CASES: list[tuple[tuple[object, ...], View, tuple[str, str, str], str | None]] = [
    ((SECRET,), view(THERE), ("True", "Usable", "signatures are verified without an end"), None),
    (
        (PEM,),
        view(NOWHERE),
        ("True", "Usable", "signatures are verified until 2027-06-30T00:00:00Z"),
        "2027-06-30T00:00:00Z",
    ),
    (
        (PEM,),
        view(NOWHERE, END),
        ("False", "Unusable", "its last key ended at 2027-06-30T00:00:00Z; add the key that signs now"),
        "2027-06-30T00:00:00Z",
    ),
    ((SECRET,), view(NOWHERE), ("False", "Unusable", MISSING), None),
    (
        (PEM, SECRET),
        view(NOWHERE),
        (
            "True",
            "PartlyUsable",
            f"signatures are verified until 2027-06-30T00:00:00Z, but {MISSING.replace('[0]', '[1]')}",
        ),
        "2027-06-30T00:00:00Z",
    ),
    (
        (PEM, SECRET),
        view(THERE),
        ("True", "Usable", "signatures are verified without an end; spec.keys[0] ends at 2027-06-30T00:00:00Z"),
        None,
    ),
    (
        (PEM, SECRET, LATER),
        view(THERE, END),
        (
            "True",
            "Usable",
            "signatures are verified without an end; spec.keys[0] ended at 2027-06-30T00:00:00Z; "
            "spec.keys[2] ends at 2027-07-30T00:00:00Z",
        ),
        None,
    ),
    (
        (PEM, LATER, SECRET),
        view(NOWHERE, END),
        (
            "True",
            "PartlyUsable",
            f"signatures are verified until 2027-07-30T00:00:00Z, but {MISSING.replace('[0]', '[2]')}; "
            "spec.keys[0] ended at 2027-06-30T00:00:00Z",
        ),
        "2027-07-30T00:00:00Z",
    ),
    (
        (SECRET,),
        view(Sources({}, {}, None, "not read yet: Secret k")),
        ("Unknown", "NotRead", "not read yet: Secret k"),
        None,
    ),
]


@pytest.mark.parametrize(("keys", "seen", "usable", "expires"), CASES)
def test_status_says_whether_the_authority_is_usable(
    keys: tuple[object, ...], seen: View, usable: tuple[str, str, str], expires: str | None
) -> None:
    status = wanted_authority_status(record(*keys), seen)
    accepted, condition = status.conditions or ()
    assert (accepted.type, accepted.status, accepted.message) == ("Accepted", "True", "the authority is valid")
    assert (condition.type, condition.status, condition.reason, condition.message) == ("Usable", *usable)
    assert (status.expires, status.observed_generation) == (expires, 4)


def test_invalid_authority_is_not_accepted_and_the_field_is_named() -> None:
    accepted, usable = wanted_authority_status(record({"pem": "x"}), view(THERE)).conditions or ()
    said = "spec.keys[0].pem: is not a public key in PEM, such as cosign.pub"
    assert (accepted.status, accepted.message) == ("False", said)
    assert (usable.status, usable.reason) == ("False", "NotAccepted")

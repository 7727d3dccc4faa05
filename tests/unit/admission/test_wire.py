"""Bodies as an API server writes them are read in one pass, with the verdicts that any other reading gives."""

import json

import msgspec
import pytest
from hypothesis import given, reject, settings

from sekisho import admission
from sekisho.admission.review import _decode_any, _decode_as_written
from sekisho.admission.wire import POD
from tests.load.reviews import pod, review
from tests.strategies import Pod, pods
from tests.unit.admission.test_answers import RESTRICTED


def as_written(obj: Pod, operation: str = "CREATE") -> bytes:
    """A review of a pod in the order and form of an API server: no nulls, keys in order, what is unknown left out."""
    try:
        read = msgspec.json.decode(json.dumps(obj), type=POD)
    except msgspec.ValidationError:  # a field is not there that an API server always writes
        reject()
    return review(json.loads(msgspec.json.encode(read)), operation)


@settings(max_examples=400, deadline=None)
@given(pods() | pods(wild=False))
def test_either_reading_of_a_pod_gives_the_same_answers(generated: Pod) -> None:
    body = as_written(generated)
    quick, slow = _decode_as_written(body), _decode_any(body)
    assert quick is not None
    for answer in (admission.validate, admission.mutate):
        assert answer(quick, RESTRICTED, {}).response == answer(slow, RESTRICTED, {}).response


@pytest.mark.parametrize("body", [review(pod()), review(pod(violates=True)), review(pod(with_defaults=False))])
def test_body_as_an_api_server_writes_it_is_read_in_one_pass(body: bytes) -> None:
    assert _decode_as_written(body) is not None
    assert _decode_as_written(body + b"\n") is not None


@pytest.mark.parametrize(
    ("once", "changed"),
    [
        ('"privileged":true', '"privileged":null'),
        ('"status":{}', '"status":{},"unknown":{}'),
        ('"operation":"CREATE"', '"operation": "CREATE"'),
        ('"resource":"pods"', '"resource":"deployments"'),
        ('"configMap":{"name":"web-files-0","defaultMode":420}', '"hostPath":null'),
        ('"kind":"AdmissionReview"', '"kind":"AdmissionReviews"'),
        (',"oldObject":null', ""),
    ],
)
def test_any_other_body_is_not(once: str, changed: str) -> None:
    text = review(pod(violates=True)).decode()
    assert once in text
    assert _decode_as_written(text.replace(once, changed, 1).encode()) is None


def test_no_value_of_the_environment_becomes_an_object() -> None:
    read = _decode_as_written(review(pod()))
    assert read is not None
    assert read.object is not None
    assert read.object.spec.containers is not None
    container, *_ = read.object.spec.containers
    assert isinstance(msgspec.structs.asdict(container)["unread_env"], msgspec.Raw)

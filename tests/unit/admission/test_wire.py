"""Bodies as an API server writes them are read in one pass, with the verdicts that any other reading gives."""

import json
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import given, reject

from sekisho import admission
from sekisho.admission.review import _decode_any, _decode_as_written
from sekisho.admission.wire import POD, require_every_field, wire_type
from sekisho.pods import (
    Capabilities,
    Handler,
    HostPath,
    Lifecycle,
    PodSecurityContext,
    SecurityContext,
    SELinuxOptions,
    WindowsOptions,
)
from tests.load.reviews import pod, review
from tests.strategies import Pod, pods
from tests.unit.admission.test_answers import RESTRICTED

ALL_BUT_CAPABILITIES = " ".join(key for key in SecurityContext.__struct_encode_fields__ if key != "capabilities")


def as_written(obj: Pod, operation: str = "CREATE") -> bytes:
    """A review of a pod in the order and form of an API server: no nulls, keys in order, what is unknown left out."""
    try:
        read = msgspec.json.decode(json.dumps(obj), type=POD)
    except msgspec.ValidationError:  # a field is not there that an API server always writes
        reject()
    return review(json.loads(msgspec.json.encode(read)), operation)


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
    assert isinstance(msgspec.structs.asdict(container)["env"], msgspec.Raw)


@pytest.mark.parametrize(
    ("lean", "keys", "message"),
    [
        (HostPath, "type", "the keys of HostPath lack path"),
        (Capabilities, "drop", "the keys of Capabilities lack add"),
        (SecurityContext, f"{ALL_BUT_CAPABILITIES}", "the keys of SecurityContext lack capabilities"),
        (SecurityContext, f"capabilities {ALL_BUT_CAPABILITIES}", "the keys of Capabilities must be listed before"),
        (Lifecycle, "postStart preStop", "the keys of Handler must be listed before those of Lifecycle"),
        (PodSecurityContext, " ".join(PodSecurityContext.__struct_encode_fields__), "must be listed before"),
    ],
)
def test_field_that_the_wire_lacks_is_an_error_at_import(lean: type[msgspec.Struct], keys: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        require_every_field(lean, keys, {SELinuxOptions: str, WindowsOptions: str})


class DeeperTypes(msgspec.Struct):
    """Types of fields that no type of a pod has yet."""

    by_name: dict[str, list[HostPath]] | None = None


def test_type_in_a_map_of_lists_must_be_listed_and_is_replaced() -> None:
    with pytest.raises(TypeError, match="the keys of HostPath must be listed before those of DeeperTypes"):
        require_every_field(DeeperTypes, "by_name", {})
    require_every_field(DeeperTypes, "by_name", {HostPath: str})
    made = wire_type(DeeperTypes, "by_name", {HostPath: str})
    assert get_type_hints(made)["by_name"] == dict[str, list[str]] | None


def test_field_that_the_wire_has_raises_nothing() -> None:
    require_every_field(HostPath, "path! type", {})
    require_every_field(Lifecycle, "postStart preStop", {Handler: str})

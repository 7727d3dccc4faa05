"""A review with a duplicate key in any of its objects is denied, in every way to write it."""

import json
from typing import Any

import pytest

from sekisho import admission
from sekisho.documents.duplicates import DuplicateKeyError, deny_duplicates
from tests.load.reviews import pod, review
from tests.unit.admission.test_answers import RESTRICTED

GOOD = review(pod()).decode()
DUPLICATED = {
    "the operation": ('"operation":"CREATE"', '"operation":"CREATE","operation":"DELETE"'),
    "the object": ('"oldObject":null', '"oldObject":null,"object":null'),
    "the old object": ('"oldObject":null', '"oldObject":{"spec":{}},"oldObject":null'),
    "the resource": ('"resource":"pods"', '"resource":"configmaps","resource":"pods"'),
    "the spec": ('"status":{}', '"spec":{"containers":[]},"status":{}'),
    "the containers": ('"restartPolicy":"Always"', '"containers":[],"restartPolicy":"Always"'),
    "an image": (
        '"image":"registry.example.com/platform/web:1.2.3"',
        '"image":"evil.com/x","image":"registry.example.com/x"',
    ),
    "a security context": ('"imagePullPolicy"', '"securityContext":{"privileged":true},"imagePullPolicy"'),
    "privileged": ('"allowPrivilegeEscalation":false', '"privileged":true,"privileged":false'),
    "a label": ('"pod-template-hash":"6c5d9f7b8"', '"pod-template-hash":"x","pod-template-hash":"6c5d9f7b8"'),
    "an escaped key": ('"allowPrivilegeEscalation":false', '"privileged":true,"privi\\u006ceged":false'),
    "a volume's source": ('"configMap":{"name":"web-files-0"', '"configMap":{},"configMap":{"name":"web-files-0"'),
    "a probe's host": ('"scheme":"HTTP"', '"host":"10.0.0.1","scheme":"HTTP","host":""'),
    "a subject": ('"username":', '"username":"alice","username":'),
    "the uid": ('"uid":"705ab4f5', '"uid":"x","uid":"705ab4f5'),
}


def answer_to(text: str) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(admission.validate(admission.decode(text.encode()), RESTRICTED, {}).response)
    return response["response"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("what", DUPLICATED)
@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
def test_duplicate_key_is_denied(what: str, *, spaced: bool) -> None:
    unique, duplicate = DUPLICATED[what]
    assert unique in GOOD
    text = GOOD.replace(unique, duplicate, 1)
    answer = answer_to(text.replace('":', '" : ') if spaced else text)
    assert not answer["allowed"]
    assert "duplicate key" in answer["status"]["message"]


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
def test_same_key_in_several_objects_is_allowed(*, spaced: bool) -> None:
    assert answer_to(GOOD.replace('":', '" : ') if spaced else GOOD)["allowed"]


def test_duplicate_key_beyond_what_judging_reads_is_denied_in_other_text_than_an_api_servers() -> None:
    text = GOOD.replace('"name":"LOG_LEVEL"', '"name":"LOG_LEVEL","name":"HOME"', 1)
    assert not answer_to(text.replace('":', '" : '))["allowed"]


def test_denial_names_the_key_in_ascii_and_shortened() -> None:
    with pytest.raises(DuplicateKeyError, match=r'^an object in it has the duplicate key "privileged"$'):
        deny_duplicates(b'{"a":{"privileged":1,"privileged":1}}')
    with pytest.raises(DuplicateKeyError) as raised:
        deny_duplicates(b'{"\\ud800%s":1,"\\ud800%s":1}' % (b"x" * 900, b"x" * 900))
    assert str(raised.value).isascii()
    assert len(str(raised.value)) < 120
    deny_duplicates(b'{"a":{"privileged":1},"privileged":1}')


def test_text_that_is_not_utf_8_is_denied() -> None:
    body = GOOD.encode().replace(b'"dryRun":', b'"dryRun" :').replace(b'"value":"info"', b'"value":"\xff"')
    outcome = admission.validate(admission.decode(body), RESTRICTED, {})
    assert outcome.decision == "error"
    assert "utf-8" in outcome.message

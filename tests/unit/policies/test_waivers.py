"""Waivers from files: what one has to say, and what of it makes no sense."""

from datetime import UTC, datetime

import msgspec
import pytest

from sekisho.admission.waivers import Exemptions
from sekisho.manifests import parse_policies
from sekisho.pods import Container, ObjectMeta, Pod
from sekisho.policies import PolicyError, PolicySet, PolicyWaiver, compile_waiver

HEAD = "apiVersion: sekisho.dev/v1alpha1\nkind: PolicyWaiver\nmetadata: {name: w}\n"
GOOD = {
    "policies": "[restricted]",
    "controls": "[privileged]",
    "expires": "2027-01-31T00:00:00Z",
    "reason": "a driver",
}


def text(**changed: str | None) -> str:
    lines = [f"  {name}: {value}" for name, value in (GOOD | changed).items() if value is not None]
    return HEAD + "spec:\n" + "\n".join(lines) + "\n"


WRONG = [
    ({"policies": None}, "w.yaml:5:3: spec: the field 'policies' must be set"),
    ({"controls": None}, "spec: the field 'controls' must be set"),
    ({"expires": None}, "spec: the field 'expires' must be set"),
    ({"reason": None}, "spec: the field 'reason' must be set"),
    ({"policies": "[]"}, "spec.policies: must not be empty"),
    ({"controls": "[]"}, "spec.controls: must not be empty"),
    ({"controls": "['*']"}, "spec.controls[0]: must match"),
    (
        {"controls": "[hostPathVolume]"},
        "w.yaml:6:14: spec.controls[0]: there is no control 'hostPathVolume'; did you mean hostPathVolumes?",
    ),
    ({"controls": "[images, images]"}, "spec.controls: must not have duplicate items"),
    ({"policies": "[Restricted]"}, "spec.policies[0]: must match"),
    ({"policies": "['*']"}, "spec.policies[0]: must match"),
    ({"expires": "tomorrow"}, 'spec.expires: must be a time such as 2027-01-31T00:00:00Z, found "tomorrow"'),
    ({"expires": "2027-01-31"}, "spec.expires: must be a time such as"),
    ({"expires": "2027-01-31T00:00:00"}, "spec.expires: must be a time such as"),
    ({"expires": "'0001-01-01T00:00:00+14:00'"}, "spec.expires: must be between the years 2000 and 2999"),
    ({"expires": "'1999-12-31T23:59:59Z'"}, "spec.expires: must be between the years 2000 and 2999"),
    ({"expires": "'3000-01-01T00:00:00Z'"}, "spec.expires: must be between the years 2000 and 2999"),
    ({"expires": "'9999-12-31T23:59:59-12:00'"}, "spec.expires: must be between the years 2000 and 2999"),
    ({"reason": "' '"}, "spec.reason: must match"),
    ({"match": "{images: []}"}, "spec.match.images: must not be empty"),
    ({"match": "{images: [acme/web]}"}, "spec.match.images[0]: 'acme/web' begins with 'acme', which is not a registry"),
    ({"match": "{containers: [App]}"}, "spec.match.containers[0]: must match"),
    ({"match": "{names: [Web]}"}, "spec.match.names[0]: must match"),
    ({"values": "[]"}, "spec.values: must not be empty"),
    ({"values": "[9100]"}, "spec.values[0]: must be a string, found 9100"),
    ({"match": "{namespace: shop}"}, "spec.match.namespace: unknown field; did you mean namespaces?"),
    (
        {"match": "{podSelector: {matchExpressions: [{key: a, operator: In}]}}"},
        "spec.match.podSelector.matchExpressions[0].values: the operator In requires at least one value",
    ),
]


@pytest.mark.parametrize(("changed", "expected"), WRONG)
def test_invalid_waiver_is_reported_with_its_place(changed: dict[str, str | None], expected: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(text(**changed), "w.yaml")
    assert expected in str(raised.value)
    assert str(raised.value).startswith("w.yaml:")


RIGHT = [
    {},
    {"policies": "[restricted, shop/own]"},
    {"expires": "'2027-01-31T00:00:00+01:00'"},
    {"expires": "'2000-01-01T00:00:00Z'"},
    {"expires": "'2999-12-31T23:59:59Z'"},
    {"reason": "|\n    two\n    lines"},
    {"match": "{namespaces: [monitoring, 'team-*'], images: [quay.io/prometheus/node-exporter], containers: [app]}"},
    {"requestedBy": "alice"},
    {"match": "{names: [web, 'web-*']}"},
    {"values": "[NET_ADMIN, /var/log, '9100']"},
]


@pytest.mark.parametrize("changed", RIGHT)
def test_valid_waiver_is_read(changed: dict[str, str | None]) -> None:
    (waiver,) = parse_policies(text(**changed), "w.yaml")
    assert isinstance(waiver, PolicyWaiver)
    assert compile_waiver(waiver).name == "w"


def test_an_unknown_control_in_a_waiver_is_an_error() -> None:
    spec = {"policies": ["p"], "controls": ["fromTheFuture"], "expires": "2027-01-31T00:00:00Z", "reason": "x"}
    waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
    with pytest.raises(PolicyError, match=r"^spec\.controls\[0\]: there is no control 'fromTheFuture'"):
        compile_waiver(waiver)


COVERED = [
    ({}, "any", "app", "x", True),
    ({"namespaces": ["shop"]}, "shop", "app", "x", True),
    ({"namespaces": ["shop"]}, "shop-evil", "app", "x", False),
    ({"podSelector": {"matchLabels": {"a": "b"}}}, "shop", "app", "x", True),
    ({"podSelector": {"matchLabels": {"a": "c"}}}, "shop", "app", "x", False),
    ({"containers": ["app"]}, "shop", "app", "x", True),
    ({"containers": ["app"]}, "shop", "app2", "x", False),
    ({"images": ["quay.io/prom"]}, "shop", "app", "quay.io/prom/node:1", True),
    ({"images": ["quay.io/prom"]}, "shop", "app", "quay.io/prom-evil/node", False),
    ({"images": ["quay.io/prom"]}, "shop", "app", "quay.io.evil.com/prom/node", False),
    ({"images": ["docker.io/library/nginx"]}, "shop", "app", "nginx", True),
    ({"images": ["quay.io"]}, "shop", "app", "quay.io/X@y", False),
    ({"images": ["quay.io"]}, "shop", "app", "", False),
    ({"images": ["quay.io"], "containers": ["app"]}, "shop", "app", "ghcr.io/x", False),
    ({"images": ["quay.io"], "containers": ["app"]}, "shop", "other", "quay.io/x", False),
    ({"images": ["quay.io"]}, "shop", None, None, False),
    ({"containers": ["app"]}, "shop", None, None, False),
    ({"namespaces": ["shop"]}, "shop", None, None, True),
]


@pytest.mark.parametrize(("match", "namespace", "container", "image", "covered"), COVERED)
def test_all_conditions_must_hold_for_the_same_container(
    match: object, namespace: str, container: str | None, image: str | None, *, covered: bool
) -> None:
    spec = {"policies": ["p"], "controls": ["images"], "expires": "2027-01-31T00:00:00Z", "reason": "x", "match": match}
    waiver = compile_waiver(msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver))
    pod = Pod(ObjectMeta(labels={"a": "b"}))
    target = Container(container, image) if container is not None else None
    about = PolicySet((), [waiver]).waivers_of("p", namespace)
    assert ("p" in Exemptions(pod, about, datetime(2026, 12, 1, tzinfo=UTC)).policies("images", target)) is covered

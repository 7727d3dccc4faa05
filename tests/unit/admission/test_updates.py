"""Updates of pods: what the old pod excuses, and what has the new one judged whole."""

import copy
import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from sekisho import admission
from sekisho.admission.updates import EXCUSED_FIELDS, runs_the_same
from sekisho.pods import Container, Pod, PodSpec
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import container, restricted_pod
from tests.reviews import review_body


def policies(**specs: Any) -> PolicySet:
    return PolicySet.of(
        msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy) for name, spec in specs.items()
    )


BASELINE = policies(
    p={"podSecurityStandard": {"level": "baseline"}, "controls": {"images": {"trustedRegistries": ["trusted.io"]}}}
)
BAD = {"privileged": True, "allowPrivilegeEscalation": None}
OLD = restricted_pod(
    container("app", "trusted.io/app:1", securityContext=BAD),
    container("log", "trusted.io/log:1"),
    volumes=[{"name": "host", "hostPath": {"path": "/"}}],
    tolerations=[],
)


def admits(new: dict[str, Any], old: dict[str, Any] = OLD, policy_set: PolicySet = BASELINE, **request: Any) -> bool:
    review = admission.decode(review_body(new, old, **request))
    answer = json.loads(admission.validate(review, policy_set, {}).response)
    allowed: bool = answer["response"]["allowed"]
    return allowed


def changed(*path: str | int, to: Any, of: dict[str, Any] = OLD) -> dict[str, Any]:
    """The pod with another value at a path."""
    pod = copy.deepcopy(of)
    target: Any = pod
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = to
    return pod


LISTS_OF_CONTAINERS = {"containers", "init_containers", "ephemeral_containers"}
EXCUSED = {
    "nothing": OLD,
    "labels": changed("metadata", "labels", to={"a": "b"}),
    "annotations": changed("metadata", "annotations", to={"a": "b"}),
    "finalizers": changed("metadata", "finalizers", to=["example.com/x"]),
    "tolerations": changed("spec", "tolerations", to=[{"operator": "Exists"}]),
    "a deadline": changed("spec", "activeDeadlineSeconds", to=60),
    "resources": changed("spec", "containers", 0, "resources", to={"limits": {"memory": "1Gi"}}),
}


@pytest.mark.parametrize("new", EXCUSED.values(), ids=EXCUSED)
def test_update_that_changes_nothing_that_runs_is_excused(new: dict[str, Any]) -> None:
    assert admits(new)
    assert not admits(new, restricted_pod())


@pytest.mark.parametrize("of", [Container, PodSpec])
def test_fields_are_judged_again_unless_they_are_excused(of: type[Container | PodSpec]) -> None:
    """A field that somebody adds to a pod's types is judged again when an update changes it."""
    pod = Pod(spec=PodSpec(containers=[Container()]))
    excused = set()
    for name in set(of.__struct_fields__) - LISTS_OF_CONTAINERS:
        other = replace(of(), **{name: "other"})
        spec = replace(other, containers=[Container()]) if isinstance(other, PodSpec) else PodSpec(containers=[other])
        if runs_the_same(pod, Pod(spec=spec)):
            excused.add(name)
    assert excused == EXCUSED_FIELDS & set(of.__struct_fields__)


def test_excused_fields_are_fields_of_pods() -> None:
    assert set(Container.__struct_fields__) | set(PodSpec.__struct_fields__) >= EXCUSED_FIELDS


JUDGED = {
    "the image of the bad container": changed("spec", "containers", 0, "image", to="trusted.io/app:2"),
    "the image of another container": changed("spec", "containers", 1, "image", to="trusted.io/log:2"),
    "a new ephemeral container": changed("spec", "ephemeralContainers", to=[container("debug", "trusted.io/debug:1")]),
    "a new ephemeral container that mounts the old volume": changed(
        "spec",
        "ephemeralContainers",
        to=[container("debug", "trusted.io/debug:1", volumeMounts=[{"name": "host", "mountPath": "/host"}])],
    ),
    "a container less": changed("spec", "containers", to=OLD["spec"]["containers"][:1]),
    "the names of containers": changed("spec", "containers", 0, "name", to="other"),
}


@pytest.mark.parametrize("what", JUDGED)
def test_update_that_changes_what_runs_has_the_pod_judged_whole(what: str) -> None:
    new = JUDGED[what]
    assert not admits(new, subResource="ephemeralcontainers" if "ephemeral" in what else "")
    good_old, good_new = copy.deepcopy(OLD), copy.deepcopy(new)
    for pod in (good_old, good_new):
        pod["spec"]["volumes"] = []
        for one in pod["spec"]["containers"]:
            one["securityContext"]["privileged"] = False
    assert admits(good_new, good_old)


def test_images_that_differ_where_a_denial_does_not_show_it_are_different() -> None:
    """Both are untrusted, and alike in the characters that a denial shows."""
    long = "evil.io/" + "x" * 150
    old = restricted_pod(container("app", long + ":1"))
    assert not admits(changed("spec", "containers", 0, "image", to=long + ":2", of=old), old)
    assert admits(changed("metadata", "labels", to={"a": "b"}, of=old), old)


def test_resize_over_a_maximum_is_denied_even_where_the_old_pod_violates_others() -> None:
    limited = policies(
        p={"controls": {"privileged": {}, "resources": {"maxLimits": [{"resource": "memory", "quantity": "2Gi"}]}}}
    )
    try_of = {"1Gi": True, "3Gi": False}
    old = changed("spec", "containers", 0, "resources", to={"limits": {"memory": "1Gi"}})
    for memory, admitted in try_of.items():
        new = changed("spec", "containers", 0, "resources", to={"limits": {"memory": memory}})
        assert admits(new, old, limited, subResource="resize") is admitted


def test_label_that_has_another_policy_apply_has_the_pod_judged_by_it() -> None:
    selecting = policies(
        p={"match": {"podSelector": {"matchLabels": {"tier": "web"}}}, "podSecurityStandard": {"level": "baseline"}}
    )
    assert not admits(changed("metadata", "labels", to={"tier": "web"}), policy_set=selecting)
    assert admits(changed("metadata", "labels", to={"tier": "db"}), policy_set=selecting)
    labelled = changed("metadata", "labels", to={"tier": "web"})
    more = changed("metadata", "labels", to={"tier": "web", "a": "b"})
    assert admits(more, labelled, selecting)

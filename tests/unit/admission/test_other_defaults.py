"""Defaults beside those of the securityContext: resources, pull policies, AppArmor, labels and annotations."""

import json
from typing import Any

import pytest

from sekisho.manifests import parse_policies
from sekisho.policies import ClusterPodPolicy, PolicyError, PolicySet, compile_policy
from sekisho.policies.advice import advice
from tests.unit.admission.test_applied_defaults import denies, plain_pod, policy, waiver, with_defaults

Json = dict[str, Any]
APP_ARMOR = {"type": "RuntimeDefault"}
HEAD: Json = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": "p"}}
ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def resources(own: Json | None, requests: Json | None = None, limits: Json | None = None, **spec: Any) -> Json | None:
    """The resources that a container gets from defaults."""
    wanted = {key: amounts for key, amounts in (("requests", requests), ("limits", limits)) if amounts}
    container = {"name": "a", "image": "x", **({} if own is None else {"resources": own})}
    pod = with_defaults(plain_pod(container, **spec), policy(defaults={"container": {"resources": wanted}}))
    got: Json | None = pod["spec"]["containers"][0].get("resources")
    return got


@pytest.mark.parametrize("own", [None, {}, {"requests": {}, "limits": {}}])
def test_unset_requests_and_limits_are_set(own: Json | None) -> None:
    expected = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    assert resources(own, {"cpu": "100m"}, {"memory": "1Gi"}) == expected


@pytest.mark.parametrize(
    ("own", "requests", "limits"),
    [
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, {"cpu": "5"}, {"cpu": "10"}),
        ({"requests": {"cpu": "2"}}, None, {"cpu": "1"}),
        ({"limits": {"cpu": "500m"}}, {"cpu": "1"}, None),
        ({"requests": {"cpu": 2}}, None, {"cpu": "1999m"}),
    ],
)
def test_no_request_that_is_set_changes_and_none_is_above_its_limit(own: Json, requests: Json, limits: Json) -> None:
    assert resources(own, requests, limits) == own


def test_a_request_below_the_default_limit_stays_and_one_below_the_own_limit_is_set() -> None:
    assert resources({"requests": {"cpu": "1"}}, None, {"cpu": "1000m"}) == {
        "requests": {"cpu": "1"},
        "limits": {"cpu": "1000m"},
    }
    assert resources({"limits": {"cpu": "1"}}, {"cpu": "1"}) == {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}


def test_a_pod_with_resources_of_its_own_gets_none_in_its_containers() -> None:
    assert resources(None, {"cpu": "1"}, None, resources={"limits": {"cpu": "4"}}) is None


def test_ephemeral_containers_get_no_resources_but_a_pull_policy() -> None:
    defaults = {"resources": {"requests": {"cpu": "1"}}, "imagePullPolicy": "Always"}
    pod = plain_pod(ephemeralContainers=[{"name": "b", "image": "x:1"}], initContainers=[{"name": "c", "image": "x:1"}])
    spec = with_defaults(pod, policy(defaults={"container": defaults}))["spec"]
    assert spec["ephemeralContainers"] == [{"name": "b", "image": "x:1", "imagePullPolicy": "Always"}]
    assert spec["initContainers"][0]["resources"] == {"requests": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("image", "own", "expected"),
    [
        ("x:1", None, "Always"),
        ("x:1", "IfNotPresent", "Always"),
        ("x:1", "Never", "Never"),
        ("x", "Always", "Always"),
        ("x", "IfNotPresent", "IfNotPresent"),
    ],
)
def test_the_pull_policy_of_the_api_server_counts_as_unset(image: str, own: str | None, expected: str) -> None:
    always = policy(defaults={"container": {"imagePullPolicy": "Always"}})
    container = {"name": "a", "image": image, **({"imagePullPolicy": own} if own else {})}
    volume = {"name": "v", "image": {"reference": image, **({"pullPolicy": own} if own else {})}}
    spec = with_defaults(plain_pod(container, volumes=[volume]), always)["spec"]
    assert spec["containers"][0]["imagePullPolicy"] == expected
    assert spec["volumes"][0]["image"]["pullPolicy"] == expected


def test_app_armor_is_set_for_the_pod_but_not_beside_its_annotation() -> None:
    confined = policy(defaults={"pod": {"securityContext": {"appArmorProfile": APP_ARMOR}}})
    assert with_defaults(plain_pod(), confined)["spec"]["securityContext"] == {"appArmorProfile": APP_ARMOR}
    pod = plain_pod({"name": "a", "image": "x"}, {"name": "b", "image": "x"})
    pod["metadata"]["annotations"] = {ANNOTATION + "a": "unconfined"}
    spec = with_defaults(pod, confined)["spec"]
    assert "securityContext" not in spec
    assert [container.get("securityContext") for container in spec["containers"]] == [
        None,
        {"appArmorProfile": APP_ARMOR},
    ]


def test_labels_and_annotations_are_added_and_none_that_is_there_changes() -> None:
    labelled = policy(
        defaults={"pod": {"labels": {"team": "shop", "example.com/tier": ""}, "annotations": {"example.com/url": "u"}}}
    )
    pod = plain_pod(labels={"team": "own"})
    metadata = with_defaults(pod, labelled)["metadata"]
    assert metadata["labels"] == {"team": "own", "example.com/tier": ""}
    recorded = json.loads(metadata["annotations"].pop("sekisho.dev/defaulted"))
    assert metadata["annotations"] == {"example.com/url": "u"}
    assert recorded == {"p": ["metadata.labels[example.com/tier]", "metadata.annotations[example.com/url]"]}
    bare = {"metadata": {"name": "pod"}, "spec": plain_pod()["spec"]}
    changed = with_defaults(bare, labelled)
    assert changed["metadata"]["labels"] == {"team": "shop", "example.com/tier": ""}
    assert with_defaults(changed, labelled) == changed


def test_an_annotation_that_would_exceed_the_bound_of_all_annotations_is_not_added() -> None:
    annotated = policy(defaults={"pod": {"annotations": {"example.com/url": "u" * 1024}}})
    pod = plain_pod()
    pod["metadata"]["annotations"] = {"large": "x" * (256 * 1024 - 1030)}
    assert with_defaults(pod, annotated) == pod


@pytest.mark.parametrize("kind", ["policy", "waiver"])
def test_a_label_that_selects_pods_is_not_added(kind: str) -> None:
    labelled = policy("labelled", defaults={"pod": {"labels": {"team": "shop", "tier": "web"}}})
    match = {"podSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}
    strict = policy("strict", match=match, controls={"privileged": {}, "runAsNonRoot": {}})
    selecting = strict if kind == "policy" else waiver(["privileged"], match=match)
    assert with_defaults(plain_pod(), labelled, selecting)["metadata"]["labels"] == {"tier": "web"}
    assert not denies(with_defaults(plain_pod(), labelled, selecting), labelled, selecting)
    [warning] = [line for line in advice(labelled, PolicySet.of([selecting])) if "labels" in line]
    assert warning.startswith("spec.defaults.pod.labels[team]: the podSelector of a policy or waiver names this label")
    assert not [line for line in advice(labelled, PolicySet.of([])) if "labels" in line]


@pytest.mark.parametrize(
    ("control", "denied", "defaults"),
    [
        ({"resources": {"maxLimits": [{"resource": "cpu", "quantity": "1"}]}}, False, {"limits": {"cpu": "1"}}),
        ({"resources": {"maxLimits": [{"resource": "cpu", "quantity": "1"}]}}, True, {"limits": {"cpu": "2"}}),
    ],
)
def test_a_default_that_a_policy_denies_is_not_applied(control: Json, denied: bool, defaults: Json) -> None:
    both = policy(controls=control, defaults={"container": {"resources": defaults}})
    assert denies(with_defaults(plain_pod(), both), both) is denied


def test_waived_containers_get_no_resources() -> None:
    both = policy(
        controls={"resources": {"requiredRequests": ["cpu"]}},
        defaults={"container": {"resources": {"requests": {"cpu": "1"}}}},
    )
    pod = plain_pod({"name": "a", "image": "x"}, {"name": "b", "image": "x"})
    containers = with_defaults(pod, both, waiver(["resources"], match={"containers": ["a"]}))["spec"]["containers"]
    assert [container.get("resources") for container in containers] == [None, {"requests": {"cpu": "1"}}]


@pytest.mark.parametrize(
    ("defaults", "field", "message"),
    [
        ({"pod": {"labels": {"a b": "x"}}}, "pod.labels[a b]", "is not a key"),
        (
            {"pod": {"annotations": {"sekisho.dev/defaulted": "{}"}}},
            "pod.annotations[sekisho.dev/defaulted]",
            "changes",
        ),
        ({"pod": {"annotations": {ANNOTATION + "a": "x"}}}, f"pod.annotations[{ANNOTATION}a]", "changes how a pod"),
        (
            {"container": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}},
            "container.resources.requests.cpu",
            "2 is above the default limit 1",
        ),
        (
            {"container": {"securityContext": {"appArmorProfile": {"type": "Localhost"}}}},
            "container.securityContext.appArmorProfile",
            "localhostProfile must be set",
        ),
    ],
)
def test_a_default_that_no_pod_could_have_is_denied(defaults: Json, field: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        compile_policy(policy(defaults=defaults))
    [problem] = error.value.problems
    assert problem.where == f"spec.defaults.{field}"
    assert message in problem.message


def test_amounts_of_defaults_may_be_whole_numbers() -> None:
    amounts = {"requests": {"cpu": 1, "memory": 134217728}, "limits": {"cpu": "2"}}
    spec = {"defaults": {"container": {"resources": amounts}}}
    (loaded,) = parse_policies(json.dumps(HEAD | {"spec": spec}), "p.yaml")
    assert isinstance(loaded, ClusterPodPolicy)
    got = with_defaults(plain_pod({"name": "a", "image": "x"}), loaded)["spec"]["containers"][0]["resources"]
    assert got == {"requests": {"cpu": "1", "memory": "134217728"}, "limits": {"cpu": "2"}}


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0.5, 'must be a string or a whole number, found 0.5; write "0.5", in quotes'),
        (True, "must be a string or a whole number, found true"),
        (-1, "must be at least 0, found -1"),
        (2**53, f"must be at most {2**53 - 1}, found {2**53}"),
        ("1GB", "must match"),
    ],
)
def test_any_other_amount_is_denied_with_its_place(amount: object, expected: str) -> None:
    spec = {"defaults": {"container": {"resources": {"limits": {"cpu": amount}}}}}
    with pytest.raises(PolicyError) as raised:
        parse_policies(json.dumps(HEAD | {"spec": spec}), "p.yaml")
    assert f"spec.defaults.container.resources.limits.cpu: {expected}" in str(raised.value)


def test_profiles_are_set_for_each_container_and_the_policy_of_groups_for_the_pod() -> None:
    profiles = {"seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": APP_ARMOR}
    defaults = {
        "pod": {"securityContext": {"supplementalGroupsPolicy": "Strict"}},
        "container": {"securityContext": profiles},
    }
    own = {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}
    pod = plain_pod(
        {"name": "a", "image": "x"},
        initContainers=[{"name": "b", "image": "x", "restartPolicy": "Always"}],
        ephemeralContainers=[{"name": "c", "image": "x", "securityContext": own}],
    )
    spec = with_defaults(pod, policy(defaults=defaults))["spec"]
    assert spec["securityContext"] == {"supplementalGroupsPolicy": "Strict"}
    assert [spec[key][0]["securityContext"] for key in ("containers", "initContainers")] == [profiles, profiles]
    assert spec["ephemeralContainers"][0]["securityContext"] == own | {"appArmorProfile": APP_ARMOR}
    merged = with_defaults(plain_pod(securityContext={"supplementalGroupsPolicy": "Merge"}), policy(defaults=defaults))
    assert merged["spec"]["securityContext"]["supplementalGroupsPolicy"] == "Merge"

"""A pod as the API server creates it: each rule with a near-twin that it leaves alone.

That the rules are the API server's own, tests/cluster/test_pod_defaults.py proves on the real one.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from sekisho.admission.pod_defaults import NO_OBJECTS, NamespaceObjects, ServiceAccount, as_created
from sekisho.admission.pod_resources import LimitRangeItem, limit_range
from sekisho.findings import render_path
from sekisho.pods import LocalObjectReference, Pod
from tests.strategies import pods

Json = dict[str, Any]
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
QUIET = NamespaceObjects(service_accounts={"default": ServiceAccount(automount_service_account_token=False)})


def pod_of(spec: Json, **metadata: Any) -> Pod:
    fields = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 30, **spec}
    return msgspec.convert({"metadata": metadata, "spec": fields}, Pod)


def created(spec: Json, objects: NamespaceObjects = NO_OBJECTS, **metadata: Any) -> tuple[Json, dict[str, str]]:
    """The spec as created, and the cause of each field by its path."""
    defaulted = as_created(pod_of(spec, **metadata), objects)
    causes = {render_path(path): origin.cause for path, origin in defaulted.origins.items()}
    spec_as_created: Json = msgspec.json.decode(msgspec.json.encode(defaulted.pod.spec))
    return spec_as_created, causes


def set_fields(value: Json) -> Json:
    return {key: one for key, one in value.items() if one is not None}


def container(**fields: Any) -> Json:
    return {"name": "app", "image": "a", "imagePullPolicy": "Always", **fields}


DEFAULT = "the API server's default"
PINNED = "a.io/b@sha256:" + "a" * 64


@pytest.mark.parametrize("key", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        (PINNED, "IfNotPresent"),
        ("A:latest", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_unset_pull_policy_depends_on_the_image(key: str, image: str, policy: str) -> None:
    spec, causes = created({key: [container(image=image, imagePullPolicy="")]})
    assert spec[key][0]["imagePullPolicy"] == policy
    assert causes == {f"spec.{key}[0].imagePullPolicy": DEFAULT}


def test_pull_policy_that_is_set_stays() -> None:
    spec, causes = created({"containers": [container(image="a:1", imagePullPolicy="Never")]})
    assert (spec["containers"][0]["imagePullPolicy"], causes) == ("Never", {})


def test_image_of_a_volume_gets_a_pull_policy_unless_it_has_one() -> None:
    images = [{"reference": "a:1"}, {"reference": "a:1", "pullPolicy": "Always"}, {"reference": "a"}]
    volumes = [{"name": f"v{number}", "image": image} for number, image in enumerate(images)]
    spec, causes = created({"volumes": [*volumes, {"name": "other", "emptyDir": {}}]})
    assert [one["image"]["pullPolicy"] for one in spec["volumes"][:3]] == ["IfNotPresent", "Always", "Always"]
    assert causes == {f"spec.volumes[{index}].image.pullPolicy": DEFAULT for index in (0, 2)}


@pytest.mark.parametrize(("written", "stored"), [(None, 30), (0, 0), (60, 60)])
def test_pods_have_thirty_seconds_to_stop_unless_they_say_otherwise(written: int | None, stored: int) -> None:
    spec, causes = created({"terminationGracePeriodSeconds": written})
    assert spec["terminationGracePeriodSeconds"] == stored
    assert causes == ({"spec.terminationGracePeriodSeconds": DEFAULT} if written is None else {})


@pytest.mark.parametrize("key", ["containers", "initContainers"])
def test_port_of_a_pod_on_the_hosts_network_is_a_host_port(key: str) -> None:
    spec, causes = created({"hostNetwork": True, key: [container(ports=[{"containerPort": 9100}])]})
    assert spec[key][0]["ports"][0]["hostPort"] == 9100
    assert causes == {f"spec.{key}[0].ports[0].hostPort": "set by hostNetwork"}


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [container(ports=[{"containerPort": 9100}])]},
        {"hostNetwork": False, "containers": [container(ports=[{"containerPort": 9100}])]},
        {"hostNetwork": True, "containers": [container(ports=[{"containerPort": 9100, "hostPort": 9100}])]},
        {"hostNetwork": True, "ephemeralContainers": [container(ports=[{"containerPort": 9100}])]},
        {"hostNetwork": True, "containers": [container()]},
    ],
)
def test_no_other_port_becomes_a_host_port(spec: Json) -> None:
    assert created(spec)[1] == {}


def test_requests_are_copied_from_limits() -> None:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    spec, causes = created({"containers": [container(resources=resources)]})
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert causes == {"spec.containers[0].resources.requests.memory": "copied from limits"}


def test_limits_are_not_copied_from_requests() -> None:
    spec, causes = created({"containers": [container(resources={"requests": {"cpu": "1"}})]})
    assert spec["containers"][0]["resources"]["limits"] is None
    assert causes == {}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0.0001", "1m"),
        ("1500u", "2m"),
        ("100n", "1m"),
        ("0.0001Ki", "103m"),
        ("1001u", "2m"),
        ("1m", "1m"),
        ("0.5", "0.5"),
        ("1.5Gi", "1.5Gi"),
        ("much", "much"),
        (2, 2),
        (0.5, 0.5),
    ],
)
def test_quantities_are_rounded_up_to_thousandths(written: str | float, stored: str | float) -> None:
    spec, _ = created({"containers": [container(resources={"requests": {"cpu": written}})]})
    assert spec["containers"][0]["resources"]["requests"]["cpu"] == stored


def test_limit_range_sets_what_is_unset_after_limits_were_copied() -> None:
    item = LimitRangeItem(
        "Container", default={"cpu": "2", "memory": "4Gi"}, default_request={"cpu": "1", "memory": "2Gi"}
    )
    objects = NamespaceObjects(limit_ranges=(limit_range("lr", [item]),))
    containers = [container(), container(name="b", resources={"limits": {"memory": "1Gi"}, "requests": {"cpu": "3"}})]
    spec, causes = created({"containers": containers}, objects)
    first, second = (one["resources"] for one in spec["containers"])
    assert first == {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "1", "memory": "2Gi"}}
    assert second == {"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"cpu": "3", "memory": "1Gi"}}
    assert causes["spec.containers[1].resources.limits.cpu"] == "set by LimitRange lr"
    assert causes["spec.containers[1].resources.requests.memory"] == "copied from limits"
    assert "spec.containers[1].resources.requests.cpu" not in causes


@pytest.mark.parametrize(
    ("item", "limits", "requests"),
    [
        ({"max": {"cpu": "4"}}, {"cpu": "4"}, {"cpu": "4"}),
        ({"max": {"cpu": "4"}, "default": {"cpu": "1"}}, {"cpu": "1"}, {"cpu": "1"}),
        ({"min": {"cpu": "1"}}, {}, {"cpu": "1"}),
        ({"min": {"cpu": "1"}, "max": {"cpu": "4"}}, {"cpu": "4"}, {"cpu": "4"}),
        ({"defaultRequest": {"cpu": "2"}, "min": {"cpu": "1"}}, {}, {"cpu": "2"}),
        ({"type": "Pod", "max": {"cpu": "4"}}, {}, {}),
    ],
)
def test_limit_range_has_defaults_of_its_own(item: Json, limits: Json, requests: Json) -> None:
    defaulted = limit_range("lr", [msgspec.convert({"type": "Container", **item}, LimitRangeItem)])
    assert (defaulted.limits, defaulted.requests) == (limits, requests)


def test_requests_of_the_pod_come_from_its_containers_and_else_from_its_limits() -> None:
    resources = {"limits": {"cpu": "4", "memory": "8Gi"}}
    spec, causes = created(
        {
            "resources": resources,
            "initContainers": [
                container(name="init", resources={"requests": {"cpu": "3"}}),
                container(name="side", restartPolicy="Always", resources={"requests": {"cpu": "250m"}}),
            ],
            "containers": [container(resources={"requests": {"cpu": "500m"}})],
        }
    )
    assert spec["resources"]["requests"] == {"cpu": "3", "memory": "8Gi"}
    assert causes == {
        "spec.resources.requests.cpu": "the sum of the containers' requests",
        "spec.resources.requests.memory": "copied from limits",
    }


def test_limits_of_the_pod_come_from_its_containers_where_all_have_one() -> None:
    both = [
        container(resources={"limits": {"memory": "1Gi"}}),
        container(name="b", resources={"limits": {"memory": "512Mi"}}),
    ]
    spec, _ = created({"resources": {"requests": {"cpu": "1"}}, "containers": both})
    assert spec["resources"]["limits"] == {"memory": "1536Mi"}
    spec, _ = created({"resources": {"requests": {"cpu": "1"}}, "containers": [*both, container(name="c")]})
    assert not spec["resources"]["limits"]
    spec, _ = created({"resources": {"requests": {"memory": "2Gi"}}, "containers": both})
    assert spec["resources"]["limits"] == {"memory": "2Gi"}


def test_pod_without_resources_of_its_own_gets_none() -> None:
    spec, _ = created({"containers": [container(resources={"limits": {"memory": "1Gi"}})]})
    assert spec["resources"] is None


@pytest.mark.parametrize(
    ("written", "account"),
    [
        ({}, "default"),
        ({"serviceAccount": "old"}, "old"),
        ({"serviceAccountName": "new"}, "new"),
        ({"serviceAccountName": "new", "serviceAccount": "old"}, "new"),
    ],
)
def test_service_account_has_two_names(written: Json, account: str) -> None:
    spec, _ = created({**written, "containers": [container()]})
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == (account, account)


def test_token_of_the_account_is_mounted_in_containers_and_init_containers() -> None:
    spec, causes = created(
        {
            "automountServiceAccountToken": None,
            "initContainers": [container()],
            "containers": [container(name="b", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
            "ephemeralContainers": [container(name="c")],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }
    )
    volume = spec["volumes"][1]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["sources"][0]["serviceAccountToken"] is not None
    mount = {"name": volume["name"], "readOnly": True, "mountPath": TOKEN_PATH}
    assert [set_fields(one) for one in spec["initContainers"][0]["volumeMounts"]] == [mount]
    assert set_fields(spec["containers"][0]["volumeMounts"][1]) == mount
    assert spec["ephemeralContainers"][0]["volumeMounts"] is None
    assert set(causes.values()) == {"added for the service account's token"}


@pytest.mark.parametrize(
    ("spec", "objects"),
    [
        ({"automountServiceAccountToken": False}, NamespaceObjects()),
        ({"automountServiceAccountToken": None}, QUIET),
        ({"automountServiceAccountToken": None, "serviceAccount": "default"}, QUIET),
        (
            {
                "automountServiceAccountToken": True,
                "containers": [container(volumeMounts=[{"name": "v", "mountPath": TOKEN_PATH}])],
            },
            NamespaceObjects(),
        ),
    ],
)
def test_no_token_is_mounted_where_none_is_required(spec: Json, objects: NamespaceObjects) -> None:
    assert created({"containers": [container()], **spec}, objects)[0]["volumes"] is None


def test_pod_that_wants_a_token_gets_it_whatever_its_account_says() -> None:
    assert created({"automountServiceAccountToken": True, "containers": [container()]}, QUIET)[0]["volumes"]


def test_mirror_pod_has_no_account() -> None:
    spec, _ = created(
        {"automountServiceAccountToken": None, "containers": [container()]},
        annotations={"kubernetes.io/config.mirror": "x"},
    )
    assert (spec["serviceAccountName"], spec["volumes"]) == (None, None)


APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/app"


@pytest.mark.parametrize("key", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(
    ("annotation", "profile"),
    [
        ("unconfined", {"type": "Unconfined", "localhostProfile": None}),
        ("runtime/default", {"type": "RuntimeDefault", "localhostProfile": None}),
        ("localhost/x", {"type": "Localhost", "localhostProfile": "x"}),
    ],
)
def test_app_armor_annotation_becomes_the_containers_profile(key: str, annotation: str, profile: Json) -> None:
    spec, causes = created({key: [container()]}, annotations={APP_ARMOR: annotation})
    assert spec[key][0]["securityContext"]["appArmorProfile"] == profile
    assert causes == {f"spec.{key}[0].securityContext.appArmorProfile": "copied from the annotation"}


@pytest.mark.parametrize(
    ("annotation", "spec"),
    [
        ("localhost/", {}),
        ("localhost/ x", {}),
        ("Unconfined", {}),
        ("", {}),
        ("localhost/" + "x" * 4096, {}),
        ("unconfined", {"os": {"name": "windows"}}),
        ("runtime/default", {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}),
        ("unconfined", {"containers": [container(securityContext={"appArmorProfile": {"type": "RuntimeDefault"}})]}),
        ("unconfined", {"containers": [container(name="other")]}),
    ],
)
def test_no_other_app_armor_annotation_is_copied(annotation: str, spec: Json) -> None:
    assert created({"containers": [container()], **spec}, annotations={APP_ARMOR: annotation})[1] == {}


def test_restart_policy_is_always_unless_it_is_set() -> None:
    assert created({"containers": [container()]})[0]["restartPolicy"] == "Always"
    assert created({"restartPolicy": "Never", "containers": [container()]})[0]["restartPolicy"] == "Never"


@settings(deadline=None)
@given(pods() | pods(wild=False))
def test_pod_that_was_created_stays_the_same_object(generated: Json) -> None:
    try:
        pod = msgspec.convert(generated, Pod)
    except msgspec.ValidationError:
        return
    once = as_created(pod).pod
    again = as_created(once)
    assert again.pod is once
    assert not again.origins


LOGIN = NamespaceObjects(service_accounts={"default": ServiceAccount(None, (LocalObjectReference("login"),))})


@pytest.mark.parametrize(
    ("spec", "secrets"),
    [
        ({}, [{"name": "login"}]),
        ({"imagePullSecrets": []}, [{"name": "login"}]),
        ({"imagePullSecrets": [{"name": "own"}]}, [{"name": "own"}]),
        ({"serviceAccountName": "other"}, None),
    ],
)
def test_pull_secrets_of_the_account_are_added_where_the_pod_has_none(spec: Json, secrets: Json) -> None:
    assert created({"containers": [container()], **spec}, LOGIN)[0]["imagePullSecrets"] == secrets


def test_mirror_pod_gets_no_pull_secrets() -> None:
    mirror = msgspec.convert({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}, Pod)
    assert as_created(mirror, LOGIN).pod.spec.image_pull_secrets is None

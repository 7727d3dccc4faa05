"""Defaults never break a pod: which are applied to it, and which are not."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho import admission
from sekisho.controls import CONTROLS
from sekisho.pods import WAIVED_ANNOTATION
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, PolicyWaiver
from tests.pods import container, restricted_pod
from tests.reviews import review_body
from tests.strategies import SPECS, pods

Json = dict[str, Any]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
CONTEXT_CONTROLS = (
    "runAsNonRoot",
    "runAsUser",
    "runAsGroup",
    "seccompProfile",
    "capabilities",
    "allowPrivilegeEscalation",
)


def policy(name: str = "p", **spec: Any) -> ClusterPodPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)


def waiver(controls: list[str], policies: tuple[str, ...] = ("p",), **spec: Any) -> PolicyWaiver:
    spec = {"expires": "2027-01-31T00:00:00Z", **spec, "policies": policies, "controls": controls, "reason": "r"}
    return msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)


def with_defaults(pod: Json, *objects: ClusterPodPolicy | PodPolicy | PolicyWaiver) -> Json:
    outcome = admission.mutate(admission.decode(review_body(pod)), PolicySet.of(objects), {}, lambda: NOW)
    patch = json.loads(outcome.response)["response"].get("patch")
    changed: Json = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(patch))) if patch else pod
    annotations = changed["metadata"].get("annotations", {})
    if annotations.pop(WAIVED_ANNOTATION, None) and not annotations:  # not about defaults
        del changed["metadata"]["annotations"]
    return changed


def denies(pod: Json, *objects: ClusterPodPolicy | PodPolicy | PolicyWaiver) -> bool:
    review = admission.decode(review_body(pod))
    return admission.validate(review, PolicySet.of(objects), {}, lambda: NOW).decision in ("deny", "error")


def plain_pod(*containers: Json, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    return {
        "metadata": {"name": "pod", "labels": labels or {}},
        "spec": {"containers": list(containers) or [{"name": "a", "image": "vendor.example/x:1"}], **spec},
    }


def contexts(pod: Json) -> list[Json]:
    """The securityContext of the pod, then of each container."""
    return [holder.get("securityContext") or {} for holder in (pod["spec"], *pod["spec"]["containers"])]


RESTRICTED = policy(podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"})
FOUR = ["capabilities", "runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation"]
LEGACY = {"podSelector": {"matchLabels": {"app": "legacy"}}}


def test_waived_controls_get_no_defaults() -> None:
    legacy = plain_pod(labels={"app": "legacy"})
    assert with_defaults(legacy, RESTRICTED, waiver(FOUR, match=LEGACY)) == legacy
    assert not denies(legacy, RESTRICTED, waiver(FOUR, match=LEGACY))
    of_pod, of_container = contexts(with_defaults(plain_pod(), RESTRICTED, waiver(FOUR, match=LEGACY)))
    assert of_pod.keys() | of_container.keys() == set(FOUR)


@pytest.mark.parametrize(
    "other", [{"expires": "2026-11-30T00:00:00Z"}, {"policies": ("other",)}, {"match": {"namespaces": ["other"]}}]
)
def test_waiver_that_does_not_apply_takes_no_defaults_away(other: Json) -> None:
    other = {"match": LEGACY, **other}
    legacy = plain_pod(labels={"app": "legacy"})
    assert with_defaults(legacy, RESTRICTED, waiver(FOUR, **other))["spec"] == with_defaults(legacy, RESTRICTED)["spec"]


def test_only_the_waived_controls_get_no_defaults() -> None:
    of_pod, of_container = contexts(with_defaults(plain_pod(), RESTRICTED, waiver(["capabilities"])))
    assert (set(of_pod), set(of_container)) == ({"runAsNonRoot", "seccompProfile"}, {"allowPrivilegeEscalation"})


def test_waiver_for_an_image_leaves_the_defaults_to_the_other_containers() -> None:
    pod = plain_pod({"name": "a", "image": "vendor.example/x:1"}, {"name": "b", "image": "trusted.io/b:1"})
    waived = waiver(["runAsNonRoot", "capabilities"], match={"images": ["vendor.example"]})
    of_pod, first, second = contexts(with_defaults(pod, RESTRICTED, waived))
    assert "runAsNonRoot" not in of_pod
    assert first.keys() == {"allowPrivilegeEscalation"}
    assert second == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    assert not denies(with_defaults(pod, RESTRICTED, waived), RESTRICTED, waived)


# Policies by name: `needs` denies pods without the fields, `warns` warns about them, `judges` has the controls but
# requires no field, `sets` has only the defaults, `both` has the defaults and denies pods without the fields.
KINDS: dict[str, Json] = {
    "needs": {"podSecurityStandard": {"level": "restricted"}},
    "warns": {"podSecurityStandard": {"level": "restricted"}, "enforcement": "Warn"},
    "judges": {"podSecurityStandard": {"level": "baseline"}},
    "sets": {"defaults": {"profile": "restricted"}},
    "both": {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}},
    "other": {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}},
}


@pytest.mark.parametrize("match", [{}, {"images": ["vendor.example"]}, {"containers": ["a"]}])
@pytest.mark.parametrize(
    ("present", "waived", "fields"),
    [
        (["both"], ["both"], []),
        (["both"], ["sets"], FOUR),
        (["sets"], ["sets"], []),
        (["sets"], ["needs"], FOUR),
        (["needs", "sets"], ["needs"], []),
        (["needs", "sets"], ["sets"], FOUR),
        (["needs", "sets"], ["needs", "sets"], []),
        (["needs", "sets", "judges"], ["needs"], []),
        (["needs", "sets", "judges"], ["judges"], FOUR),
        (["judges", "sets"], ["judges"], ["runAsNonRoot", "allowPrivilegeEscalation"]),
        (["judges", "sets"], ["sets"], []),
        (["warns", "sets"], ["warns"], []),
        (["warns", "sets"], ["sets"], []),
        (["warns", "both"], ["both"], []),
        (["both", "other"], ["both"], FOUR),
        (["both", "other"], ["both", "other"], []),
        (["both", "needs"], ["both"], FOUR),
        (["both", "needs"], ["needs"], FOUR),
        (["both", "needs"], ["both", "needs"], []),
    ],
)
def test_waiver_keeps_defaults_off_unless_an_unwaived_policy_needs_them(
    present: list[str], waived: list[str], fields: list[str], match: Json
) -> None:
    objects = [policy(name, **KINDS[name]) for name in present]
    lifted = waiver(FOUR, tuple(waived), match=match)
    of_pod, of_container = contexts(with_defaults(plain_pod(), *objects, lifted))
    assert of_pod.keys() | of_container.keys() == set(fields)
    assert denies(with_defaults(plain_pod(), *objects, lifted), *objects, lifted) is False


def test_default_goes_to_each_container_for_which_an_unwaived_policy_needs_it() -> None:
    objects = [policy("both", **KINDS["both"]), policy("needs", podSecurityStandard={"level": "restricted"})]
    pod = plain_pod({"name": "a", "image": "vendor.example/x:1"}, {"name": "b", "image": "trusted.io/b:1"})
    one = waiver(["runAsNonRoot"], ("both",), match={"images": ["vendor.example"]})
    assert contexts(with_defaults(pod, *objects, one))[0]["runAsNonRoot"] is True
    two = waiver(["runAsNonRoot"], ("both", "needs"), match={"images": ["vendor.example"]})
    fields = [context.get("runAsNonRoot") for context in contexts(with_defaults(pod, *objects, two))]
    assert fields == [None, None, True]


def test_container_exempt_from_the_first_default_of_a_field_gets_the_next() -> None:
    objects = [
        policy("p", defaults={"pod": {"securityContext": {"runAsUser": 1000}}}),
        policy("q", defaults={"pod": {"securityContext": {"runAsUser": 2000}}}),
    ]
    pod = plain_pod({"name": "a", "image": "vendor.example/x:1"}, {"name": "b", "image": "trusted.io/b:1"})
    lifted = waiver(["runAsUser"], ("p",), match={"images": ["vendor.example"]})
    users = [context.get("runAsUser") for context in contexts(with_defaults(pod, *objects, lifted))]
    assert users == [None, 2000, 1000]


@pytest.mark.parametrize("enforcement", ["Off", "Warn"])
def test_control_that_is_off_gets_no_defaults(enforcement: str) -> None:
    controls = {name: {"enforcement": enforcement} for name in ("capabilities", "runAsNonRoot")}
    soft = policy(podSecurityStandard={"level": "restricted"}, controls=controls, defaults={"profile": "restricted"})
    of_pod, of_container = contexts(with_defaults(plain_pod(), soft))
    assert ("runAsNonRoot" in of_pod) is (enforcement == "Warn")
    assert ("capabilities" in of_container) is (enforcement == "Warn")
    assert "seccompProfile" in of_pod


@pytest.mark.parametrize(
    ("version", "of_pod", "of_container"),
    [
        ("v1.0", {"runAsNonRoot"}, set()),
        ("v1.7", {"runAsNonRoot"}, set()),
        ("v1.8", {"runAsNonRoot"}, {"allowPrivilegeEscalation"}),
        ("v1.18", {"runAsNonRoot"}, {"allowPrivilegeEscalation"}),
        ("v1.19", {"runAsNonRoot", "seccompProfile"}, {"allowPrivilegeEscalation"}),
        ("v1.21", {"runAsNonRoot", "seccompProfile"}, {"allowPrivilegeEscalation"}),
        ("v1.22", {"runAsNonRoot", "seccompProfile"}, {"allowPrivilegeEscalation", "capabilities"}),
        ("latest", {"runAsNonRoot", "seccompProfile"}, {"allowPrivilegeEscalation", "capabilities"}),
    ],
)
def test_restricted_profile_sets_what_its_version_requires(
    version: str, of_pod: set[str], of_container: set[str]
) -> None:
    pinned = policy(podSecurityStandard={"level": "restricted", "version": version}, defaults={"profile": "restricted"})
    pod = with_defaults(plain_pod(), pinned)
    assert [set(context) for context in contexts(pod)] == [of_pod, of_container]
    assert not denies(pod, pinned)


@pytest.mark.parametrize(("version", "sets"), [("v1.34", True), ("v1.35", False)])
def test_pod_in_a_user_namespace_need_not_be_non_root_from_1_35_on(version: str, sets: bool) -> None:
    pinned = policy(podSecurityStandard={"level": "restricted", "version": version}, defaults={"profile": "restricted"})
    pod = with_defaults(plain_pod(hostUsers=False), pinned)
    assert ("runAsNonRoot" in contexts(pod)[0]) is sets
    assert not denies(pod, pinned)


def test_profile_follows_the_version_of_the_namespaces_labels() -> None:
    labelled = policy(podSecurityStandard={"fromNamespaceLabels": True}, defaults={"profile": "restricted"})
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.21"}
    outcome = admission.mutate(admission.decode(review_body(plain_pod())), PolicySet.of([labelled]), labels)
    patch = base64.b64decode(json.loads(outcome.response)["response"]["patch"])
    assert b"seccompProfile" in patch
    assert b"capabilities" not in patch


@pytest.mark.parametrize(
    ("level", "controls", "keys"),
    [
        ("restricted", {}, {"runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation", "capabilities"}),
        ("baseline", {}, {"seccompProfile"}),
        ("privileged", {}, set()),
        ("privileged", {"runAsNonRoot": {}}, {"runAsNonRoot"}),
    ],
)
def test_profile_sets_nothing_that_the_namespaces_level_does_not_restrict(
    level: str, controls: Json, keys: set[str]
) -> None:
    labelled = policy(
        podSecurityStandard={"fromNamespaceLabels": True}, controls=controls, defaults={"profile": "restricted"}
    )
    labels = {"pod-security.kubernetes.io/enforce": level}
    outcome = admission.mutate(admission.decode(review_body(plain_pod())), PolicySet.of([labelled]), labels)
    assert {field.rpartition(".")[2] for _, fields in outcome.filled for field in fields} == keys


DENIED_DEFAULTS: list[tuple[Json, Json]] = [
    ({"runAsUser": {}}, {"pod": {"securityContext": {"runAsUser": 0}}}),
    ({"runAsUser": {"ranges": [{"min": 2000, "max": 3000}]}}, {"pod": {"securityContext": {"runAsUser": 1000}}}),
    ({"runAsGroup": {"ranges": [{"min": 2000, "max": 3000}]}}, {"container": {"securityContext": {"runAsGroup": 1}}}),
    ({"fsGroup": {"ranges": [{"min": 2000, "max": 3000}]}}, {"pod": {"securityContext": {"fsGroup": 1}}}),
    ({"seccompProfile": {"allowedTypes": ["Localhost"], "required": False}}, {"profile": "baseline"}),
    (
        {"seccompProfile": {"localhostProfiles": ["a"], "required": False}},
        {"container": {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "b"}}}},
    ),
]


@pytest.mark.parametrize(("controls", "defaults"), DENIED_DEFAULTS)
@pytest.mark.parametrize("enforcement", ["Deny", "Warn"])
def test_default_that_a_policy_denies_is_not_applied(controls: Json, defaults: Json, enforcement: str) -> None:
    judging, defaulting = policy(controls=controls, enforcement=enforcement), policy("q", defaults=defaults)
    assert not denies(plain_pod(), judging)
    changed = with_defaults(plain_pod(), judging, defaulting)
    assert (changed == plain_pod()) is (enforcement == "Deny")
    assert not denies(changed, judging, defaulting)


def test_root_is_not_a_default_for_a_pod_that_must_not_run_as_root() -> None:
    root = policy(defaults={"pod": {"securityContext": {"runAsUser": 0}}})
    for context, user in (({"runAsNonRoot": True}, None), ({"runAsNonRoot": False}, 0)):
        pod = with_defaults(plain_pod(securityContext=context), root)
        assert contexts(pod)[0].get("runAsUser") == user


@pytest.mark.parametrize(
    "defaults_of_policies",
    [
        [{"profile": "restricted", "pod": {"securityContext": {"runAsUser": 0}}}],
        [{"profile": "restricted", "container": {"securityContext": {"runAsUser": 0}}}],
        [{"pod": {"securityContext": {"runAsUser": 0}}}, {"container": {"securityContext": {"runAsNonRoot": True}}}],
    ],
)
def test_two_defaults_never_say_root_and_not_root(defaults_of_policies: list[Json]) -> None:
    objects = [policy(f"p{index}", defaults=defaults) for index, defaults in enumerate(defaults_of_policies)]
    fields = [context.keys() for context in contexts(with_defaults(plain_pod(), *objects))]
    assert any("runAsNonRoot" in keys for keys in fields)
    assert not any("runAsUser" in keys for keys in fields)


ADMINISTRATOR = {"windowsOptions": {"runAsUserName": "containeradministrator"}}
ORDINARY = {"windowsOptions": {"runAsUserName": "ContainerUser"}}


@pytest.mark.parametrize("os", [{}, {"os": {"name": "windows"}}])
@pytest.mark.parametrize(
    ("of_pod", "of_container", "is_root"),
    [
        (ADMINISTRATOR, {}, True),
        ({}, ADMINISTRATOR, True),
        (ORDINARY, ADMINISTRATOR, True),
        (ADMINISTRATOR, ORDINARY, False),
        (ORDINARY, {}, False),
    ],
)
def test_fix_for_a_windows_administrator_does_not_mention_root(
    os: Json, of_pod: Json, of_container: Json, is_root: bool
) -> None:
    warning = policy(
        enforcement="Warn", podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"}
    )
    one = {"name": "a", "image": "vendor.example/x:1", "securityContext": of_container}
    pod = with_defaults(plain_pod(one, securityContext=of_pod, **os), warning)
    assert any(context.get("runAsNonRoot") for context in contexts(pod)) is not is_root


@pytest.mark.parametrize("added", ["KILL", "CAP_KILL", "kill"])
def test_capability_that_a_container_adds_is_not_dropped(added: str) -> None:
    dropping = policy(defaults={"container": {"securityContext": {"capabilities": {"drop": ["KILL", "MKNOD"]}}}})

    def dropped(capabilities: Json) -> list[str]:
        one = {"name": "a", "image": "x", "securityContext": {"capabilities": capabilities}}
        context = contexts(with_defaults(plain_pod(one), dropping))[1]
        return list(context["capabilities"].get("drop", []))

    assert dropped({"add": [added]}) == ["MKNOD"]
    assert dropped({"add": [added], "drop": ["CHOWN"]}) == ["CHOWN", "MKNOD"]
    assert dropped({"add": ["CHOWN"]}) == ["KILL", "MKNOD"]
    assert dropped({"add": [added, "MKNOD"]}) == []
    assert dropped({"add": ["ALL"]}) == []
    assert dropped({"drop": ["ALL"]}) == ["ALL"]  # which drops the others already


def test_all_is_dropped_beside_what_a_container_adds() -> None:
    one = {"name": "a", "image": "x", "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}
    pod = with_defaults(plain_pod(one), RESTRICTED)
    assert contexts(pod)[1]["capabilities"] == {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}


def test_exempt_container_gets_no_default_for_a_field_that_the_pod_sets() -> None:
    root = policy(defaults={"profile": "restricted", "container": {"securityContext": {"runAsUser": 0}}})
    lifted = waiver(["runAsNonRoot"], match={"containers": ["a"]})
    for written, expected in (({"runAsUser": 5}, [5, None]), ({}, [None, 0])):
        pod = plain_pod(securityContext=written)
        assert [context.get("runAsUser") for context in contexts(with_defaults(pod, root, lifted))] == expected


# The token that the ServiceAccount plugin mounts.

NO_TOKEN = policy(controls={"serviceAccountToken": {}}, defaults={"pod": {"automountServiceAccountToken": False}})
TOKEN = "kube-api-access-x7k2p"
PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
SOURCES = [
    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
]


def token_volume(name: str = TOKEN) -> Json:
    return {"name": name, "projected": {"sources": SOURCES, "defaultMode": 420}}


def mount(name: str = TOKEN, path: str = PATH, **fields: Any) -> Json:
    return {"name": name, "readOnly": True, "mountPath": path, **fields}


def test_token_that_was_mounted_before_is_removed() -> None:
    work = {"name": "work", "emptyDir": {}}
    containers = [
        container("a", volumeMounts=[mount("work", "/work"), mount()]),
        container("b", volumeMounts=[mount()]),
    ]
    pod = plain_pod(
        *containers, initContainers=[container("i", volumeMounts=[mount()])], volumes=[work, token_volume()]
    )
    spec = with_defaults(pod, NO_TOKEN)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["volumes"] == [work]
    assert [container["volumeMounts"] for container in spec["containers"]] == [[mount("work", "/work")], []]
    assert spec["initContainers"][0]["volumeMounts"] == []
    assert not denies({**pod, "spec": spec}, NO_TOKEN)
    again = {**pod, "spec": spec, "metadata": with_defaults(pod, NO_TOKEN)["metadata"]}
    assert with_defaults(again, NO_TOKEN) == again


@pytest.mark.parametrize(
    ("volume", "mounts"),
    [
        (token_volume("kube-api-access-own"), [mount("kube-api-access-own")]),
        (token_volume("vault"), [mount("vault")]),
        ({"name": TOKEN, "emptyDir": {}}, [mount()]),
        (token_volume(), [mount(path="/token")]),
        (token_volume(), [mount(readOnly=False)]),
        (token_volume(), [mount(subPath="token")]),
    ],
)
def test_volume_that_somebody_wrote_stays(volume: Json, mounts: list[Json]) -> None:
    pod = plain_pod(container("a", volumeMounts=mounts), volumes=[volume])
    spec = with_defaults(pod, NO_TOKEN)["spec"]
    assert spec == pod["spec"] | {"automountServiceAccountToken": False}


@pytest.mark.parametrize("explicit", [True, False])
def test_token_of_a_pod_that_says_what_it_wants_stays(explicit: bool) -> None:
    pod = plain_pod(
        container("a", volumeMounts=[mount()]), volumes=[token_volume()], automountServiceAccountToken=explicit
    )
    assert with_defaults(pod, NO_TOKEN) == pod


@pytest.mark.parametrize(("account", "keeps"), [("reader", True), ("default", False), (None, False)])
def test_accounts_that_may_have_a_token_keep_it(account: str | None, keeps: bool) -> None:
    accounts = policy(
        controls={"serviceAccountToken": {"allowedServiceAccounts": ["reader"]}},
        defaults={"pod": {"automountServiceAccountToken": False}},
    )
    containers = [container("a", volumeMounts=[mount()])]
    pod = plain_pod(*containers, volumes=[token_volume()], serviceAccountName=account)
    assert (with_defaults(pod, accounts) == pod) is keeps
    assert not denies(with_defaults(pod, accounts), accounts)


# Laws.


@given(pods() | pods(wild=False), st.lists(SPECS, min_size=1, max_size=3))
def test_defaults_never_turn_an_admitted_pod_into_a_denied_one(pod: Json, specs: list[Json]) -> None:
    objects = [policy(f"p{index}", **spec) for index, spec in enumerate(specs)]
    if not denies(pod, *objects):
        assert not denies(with_defaults(pod, *objects), *objects)


WAIVED = st.lists(st.sampled_from(CONTEXT_CONTROLS), min_size=1, max_size=4, unique=True)
MATCHES = st.sampled_from([{}, {"containers": ["containers-0"]}, {"images": ["registry.example.com"]}])


POLICIES = st.sets(st.sampled_from(["p0", "p1", "p2"]), min_size=1).map(sorted).map(tuple)


@given(pods() | pods(wild=False), st.lists(SPECS, min_size=1, max_size=3), POLICIES, WAIVED, MATCHES)
def test_no_default_is_applied_for_a_control_that_is_waived_or_off(
    pod: Json, specs: list[Json], policies: tuple[str, ...], controls: list[str], match: Json
) -> None:
    objects = [policy(f"p{index}", **spec) for index, spec in enumerate(specs)]
    lifted = waiver(controls, policies, match=match)
    outcome = admission.mutate(admission.decode(review_body(pod)), PolicySet.of([*objects, lifted]), {}, lambda: NOW)
    unwaived = [policy for policy in objects if policy.title not in policies]
    for name, fields in outcome.filled:
        spec = specs[int(name[1:])]
        off = {
            control
            for control, parameters in (spec.get("controls") or {}).items()
            if parameters.get("enforcement") == "Off"
        }
        for field in fields:
            key = field.removesuffix(".drop").rpartition(".")[2]
            assert key not in off
            if key in controls and _covers(match, pod, field):
                assert name not in policies or _denied_controls(pod, unwaived) & {key}, field
                assert unwaived, field


@given(pods() | pods(wild=False), st.lists(SPECS, min_size=1, max_size=3), POLICIES, WAIVED, MATCHES)
def test_waiver_never_turns_an_admitted_pod_into_a_denied_one(
    pod: Json, specs: list[Json], policies: tuple[str, ...], controls: list[str], match: Json
) -> None:
    objects = [policy(f"p{index}", **spec) for index, spec in enumerate(specs)]
    lifted = waiver(controls, policies, match=match)
    if not denies(with_defaults(pod, *objects), *objects):
        assert not denies(with_defaults(pod, *objects, lifted), *objects, lifted)


def _denied_controls(pod: Json, objects: list[ClusterPodPolicy]) -> set[str]:
    outcome = admission.validate(admission.decode(review_body(pod)), PolicySet.of(objects), {}, lambda: NOW)
    return {violation.finding.control for violation in outcome.violations if violation.enforcement == "Deny"}


def _covers(match: Json, pod: Json, field: str) -> bool:
    """Whether the waiver is for the container that the field is set in, or for one that inherits it."""
    if not match:
        return True
    keys = ("initContainers", "containers", "ephemeralContainers")
    for key in keys:
        for index, of_container in enumerate(pod["spec"].get(key) or ()):
            named = of_container.get("name") in match.get("containers", ())
            if (named or ("images" in match and "registry.example.com/" in (of_container.get("image") or ""))) and (
                field.startswith(f"spec.{key}[{index}].") or _inherits(of_container, field)
            ):
                return True
    return False


def _inherits(one: Json, field: str) -> bool:
    own = (one.get("securityContext") or {}).get(field.rpartition(".")[2])
    return field.startswith("spec.securityContext.") and own is None


def test_every_default_belongs_to_a_control() -> None:
    everything = policy(
        defaults={
            "profile": "restricted",
            "pod": {
                "automountServiceAccountToken": False,
                "securityContext": {"fsGroup": 1, "runAsGroup": 1, "runAsUser": 1},
            },
            "container": {"securityContext": {"readOnlyRootFilesystem": True}},
        }
    )
    plan = PolicySet.of([everything]).plan("shop", {}, None)
    assert {default.control for default in plan.all_defaults} <= CONTROLS.keys()
    assert not denies(with_defaults(restricted_pod(), everything), everything)

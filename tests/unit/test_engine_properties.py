"""Laws that hold for every pod, every policy and every body of a request."""

import base64
import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import jsonpatch
import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sekisho import admission
from sekisho.admission.waivers import value_of
from sekisho.controls import CONTROLS
from sekisho.policies import ClusterPodPolicy, Enforcement, PolicySet, PolicyWaiver
from tests.pods import container, restricted_pod, typed
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review, review_body
from tests.secret_pods import ALL_CONTROLS as STRICT
from tests.strategies import (
    CONTROLS as OTHER_CONTROLS,
)
from tests.strategies import (
    NODE_TERMS,
    SPECS,
    STANDARDS,
    Json,
    Pod,
    defaults,
    pods,
    specs_and_one_more,
)


def policies(*specs: Json) -> PolicySet:
    return PolicySet.of(
        msgspec.convert({"metadata": {"name": f"policy-{number}"}, "spec": spec}, ClusterPodPolicy)
        for number, spec in enumerate(specs)
    )


def validated(pod: Pod, policy_set: PolicySet) -> admission.Outcome:
    return admission.validate(admission.decode(review_body(pod)), policy_set, {})


def denies(pod: Pod, policy_set: PolicySet) -> bool:
    return validated(pod, policy_set).decision == "deny"


def filled(pod: Pod, policy_set: PolicySet, **request: Json) -> Pod:
    """The pod after the mutating webhook; the same object where it sends no patch."""
    answer = json.loads(admission.mutate(admission.decode(review_body(pod, **request)), policy_set, {}).response)[
        "response"
    ]
    if "patch" not in answer:
        return pod
    patched: Pod = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(answer["patch"])))
    return patched


# Nothing that is sent makes the engine raise.

ALL_CONTROLS = policies(
    {
        "podSecurityStandard": {"level": "restricted"},
        "templates": "Deny",
        "controls": STRICT
        | {
            "images": {"trustedRegistries": ["registry.example.com"]},
            "labels": {"required": ["team"], "denied": ["a*"], "onWorkloads": True},
            "annotations": {"denied": ["c*"], "onWorkloads": True},
            "secretsInEnv": {"denySecretRefs": True},
            "nodeSelectors": {"allowed": [{"key": "team", "values": ["shop"]}]},
            "resources": {
                "minRequests": [{"resource": "cpu", "quantity": 1}],
                "maxLimitRequestRatios": [{"resource": "memory", "ratio": "2"}],
            },
        },
        "defaults": {
            "profile": "restricted",
            "pod": {
                "automountServiceAccountToken": False,
                "securityContext": {"fsGroup": 2000, "supplementalGroupsPolicy": "Strict"},
                "labels": {"team": "shop"},
                "annotations": {"example.com/owner": "shop"},
            },
            "container": {
                "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
                "imagePullPolicy": "Always",
                "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
            },
            "mirrors": {"docker.io": "registry.example.com/hub"},
        },
    },
    {"podSecurityStandard": {"level": "baseline", "version": "v1.0"}, "enforcement": "Warn"},
    {"podSecurityStandard": {"level": "baseline"}, "match": {"podSelector": {"matchLabels": {"app": "shop"}}}},
)

BUSY_POD = restricted_pod(
    container(
        ports=[{"containerPort": 80, "hostPort": 80}],
        livenessProbe={"httpGet": {"host": "h", "port": 80}},
        readinessProbe={"httpGet": {"host": "h", "port": 80, "httpHeaders": [{"name": "A", "value": "b"}]}},
        startupProbe={"exec": {"command": ["a"]}, "grpc": {"port": 1, "service": ""}, "periodSeconds": 1},
        lifecycle={"preStop": {"tcpSocket": {"host": "h", "port": 80}}},
        env=[
            {"name": "PASSWORD", "value": "a"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        envFrom=[{"secretRef": {"name": "s"}}],
        resources={"requests": {"cpu": "1", "memory": 1}, "limits": {"memory": "1Gi"}},
        stdin=True,
        imagePullPolicy="IfNotPresent",
        securityContext={
            "privileged": True,
            "runAsUser": 0,
            "procMount": "Unmasked",
            "seLinuxOptions": {"user": "root", "type": "t"},
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["KILL"]},
            "windowsOptions": {"hostProcess": True},
        },
    ),
    initContainers=[container("init", restartPolicy="Always")],
    ephemeralContainers=[{"name": "debug", "image": "busybox"}],
    volumes=[{"name": "root", "hostPath": {"path": "/"}}, {"name": "tmp", "emptyDir": {}}],
    securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}], "supplementalGroups": [0]},
    os={"name": "linux"},
    hostNetwork=True,
    hostUsers=False,
    nodeSelector={"team": "bank"},
    affinity={
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": NODE_TERMS},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": NODE_TERMS[0]}],
        }
    },
    tolerations=[{"operator": "Exists"}, {"key": "team", "value": "bank", "effect": "NoSchedule"}],
    priorityClassName="system-node-critical",
    serviceAccountName="app",
    terminationGracePeriodSeconds=86400,
)
BUSY_POD["metadata"] |= {
    "labels": {"app": "shop"},
    "annotations": {"container.apparmor.security.beta.kubernetes.io/app": "unconfined", "sekisho.dev/defaulted": "{}"},
    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}],
}
CRON_JOB = {"group": "batch", "version": "v1", "kind": "CronJob"}
GOOD_REVIEWS = [
    review(BUSY_POD),
    review(BUSY_POD, old=restricted_pod(container())),
    review(BUSY_POD, old=restricted_pod(container()), subResource="ephemeralcontainers"),
    review({"spec": {"template": BUSY_POD}}, kind=DEPLOYMENT, resource=DEPLOYMENTS),
    review(
        {"spec": {"jobTemplate": {"spec": {"template": BUSY_POD}}}}, kind=CRON_JOB, resource={"resource": "cronjobs"}
    ),
    review(None, operation="DELETE", oldObject=BUSY_POD),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TOKENS = st.sampled_from(
    [
        *("null", "true", "{}", "[]", "[null]", '""', '"\\ud800"', '"\\u0000"', '"*"', '"a"', "[{}]", '{"":null}'),
        *("-0", "1e3", "1.0", "NaN", "1e999", "-1", "9" * 20, "9" * 4000, "-" + "9" * 6000, "0.1e-5"),
        *("[" * 1500 + "]" * 1500, '{"a":' * 1500 + "1" + "}" * 1500, "", "{", '"', ",", '{"a":1,"a":2}'),
    ]
)
MARK = "a mark that is in no review"


def paths_of(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths_of(value[key], (*path, key))


PATHS = [(good, path) for good in GOOD_REVIEWS for path in paths_of(good) if path]


@st.composite
def damaged_reviews(draw: st.DrawFn) -> bytes:
    """A good review with something else, JSON or not, where one of its values was; or with bytes changed."""
    good, (*above, last) = draw(st.sampled_from(PATHS))
    body = copy.deepcopy(good)
    parent = body
    for key in above:
        parent = parent[key]
    parent[last] = MARK
    text = json.dumps(body).replace(f'"{MARK}"', draw(TOKENS | JSON.map(json.dumps)), 1).encode()
    if not draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + draw(st.integers(0, 3)) :]
    return text


def answers(body: bytes) -> None:
    """Decode and answer; whatever was sent, the answer is an AdmissionReview that admits or denies."""
    try:
        decoded = admission.decode(body)
    except admission.MalformedReviewError:
        return
    for answer in (admission.validate, admission.mutate):
        outcome = answer(decoded, ALL_CONTROLS, {})
        response = json.loads(outcome.response)["response"]
        assert response["uid"] == decoded.uid
        assert response["allowed"] is (outcome.decision not in ("deny", "error"))
        if decoded.defect is not None and decoded.operation not in ("DELETE", "CONNECT"):
            assert outcome.decision == "error"
        assert "Traceback" not in outcome.message


@given(st.binary() | st.text().map(str.encode))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"request":' * 100_000)
@example(b'\xff\xfe{"kind":"AdmissionReview"}')
def test_bytes_never_make_the_engine_raise(body: bytes) -> None:
    answers(body)


@given(JSON)
def test_json_never_makes_the_engine_raise(value: Json) -> None:
    for body in (value, review(value), review(restricted_pod() | {"spec": value}), review({}, oldObject=value)):
        answers(json.dumps(body).encode())


@given(damaged_reviews())
@example(json.dumps(review(restricted_pod(args=MARK))).replace(f'"{MARK}"', "[" * 5000 + "]" * 5000).encode())
@example(json.dumps(review(restricted_pod(args=MARK))).replace(f'"{MARK}"', "9" * 5000).encode())
@example(json.dumps(review(restricted_pod(hostUsers=MARK))).replace(f'"{MARK}"', "9" * 5000).encode())
def test_damaged_reviews_never_make_the_engine_raise(body: bytes) -> None:
    answers(body)


# Verdicts.


def shuffled(value: Json, random: Random) -> Json:
    if isinstance(value, list):
        return [shuffled(one, random) for one in value]
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return value


@given(pods() | pods(wild=False), SPECS, st.integers())
def test_the_order_of_keys_changes_no_verdict(pod: Pod, spec: Json, seed: int) -> None:
    policy_set = policies(spec)
    before, after = validated(pod, policy_set), validated(shuffled(pod, Random(seed)), policy_set)  # noqa: S311
    assert (before.decision, before.violations) == (after.decision, after.violations)


@given(pods() | pods(wild=False), specs_and_one_more())
def test_a_further_policy_never_turns_a_denial_into_a_pass(pod: Pod, specs: tuple[list[Json], list[Json]]) -> None:
    fewer, more = (validated(pod, policies(*some)) for some in specs)
    assert fewer.decision != "deny" or more.decision == "deny"
    denied = [[v.finding for v in outcome.violations if v.enforcement == Enforcement.DENY] for outcome in (fewer, more)]
    assert [finding for finding in denied[0] if finding not in denied[1]] == []


WAIVER = {
    "policies": ["policy-0"],
    "controls": list(CONTROLS),
    "expires": "2027-01-31T00:00:00Z",
    "reason": "a test",
}


def waived(pod: Pod, policy: Json, narrowing: Json) -> tuple[admission.Waived, ...]:
    """What a waiver for all controls of one policy exempts from, narrowed so."""
    with_waiver = PolicySet.of(
        [
            msgspec.convert({"metadata": {"name": "policy-0"}, "spec": policy}, ClusterPodPolicy),
            msgspec.convert({"metadata": {"name": "w"}, "spec": WAIVER | narrowing}, PolicyWaiver),
        ]
    )
    before = datetime(2027, 1, 1, tzinfo=UTC)
    return admission.validate(admission.decode(review_body(pod)), with_waiver, {}, lambda: before).waived


@given(pods(), SPECS, st.data())
def test_values_and_names_only_narrow_a_waiver(pod: Pod, spec: Json, data: st.DataObject) -> None:
    wide = waived(pod, spec, {})
    shown = sorted({str(exemption.finding.raw_value) for exemption in wide} | {"NET_ADMIN", "unset"})
    values = data.draw(st.lists(st.sampled_from(shown).filter(bool), min_size=1, unique=True))
    narrow = waived(pod, spec, {"values": values})
    assert [exemption for exemption in narrow if msgspec.structs.replace(exemption, value=None) not in wide] == []
    assert all(value_of(exemption.finding, typed(pod)) in values for exemption in narrow)
    names = data.draw(st.sampled_from(["pod", "p*", "other", "pod-*"]))
    assert waived(pod, spec, {"match": {"names": [names]}}) == (wide if names in ("pod", "p*") else ())


OF_POD_ONLY = [name for name, control in CONTROLS.items() if control.of_pod_only]


@given(pods())
def test_a_control_of_the_pod_only_finds_nothing_in_containers(pod: Pod) -> None:
    """A waiver for containers and such a control causes a warning that it exempts nothing."""
    policy_set = policies(
        {"podSecurityStandard": {"level": "restricted"}, "controls": {name: {} for name in OF_POD_ONLY}}
    )
    findings = [violation.finding for violation in validated(pod, policy_set).violations]
    assert [finding for finding in findings if finding.control in OF_POD_ONLY and finding.container is not None] == []


# Defaults.


def kept(pod: Pod) -> dict[str, str]:
    """The values that no default changes: mirrors change images, and the API server sets its own pull policy."""
    return {
        path: value
        for path, value in leaves(pod).items()
        if not path.endswith((".image", ".reference")) and value != '"IfNotPresent"'
    }


@given(pods(), st.lists(SPECS, min_size=1, max_size=3))
def test_applying_defaults_again_changes_nothing(pod: Pod, specs: list[Json]) -> None:
    policy_set = policies(*specs)
    once = filled(pod, policy_set)
    assert filled(once, policy_set) == once


@given(pods(), st.lists(SPECS, min_size=1, max_size=3))
def test_only_new_ephemeral_containers_of_a_running_pod_get_defaults(pod: Pod, specs: list[Json]) -> None:
    policy_set = policies(*specs)
    old = copy.deepcopy(pod)
    old["spec"]["ephemeralContainers"] = old["spec"]["ephemeralContainers"][:1]
    request = {"operation": "UPDATE", "subResource": "ephemeralcontainers", "oldObject": old}
    once = filled(pod, policy_set, **request)
    assert filled(once, policy_set, **request) == once
    before, after = leaves(pod), leaves(once)
    assert kept(pod).items() <= after.items()
    assert all(path.startswith("spec.ephemeralContainers.1.") for path in after.keys() - before.keys())


@given(pods() | pods(wild=False), STANDARDS, defaults(safe=True))
def test_a_pod_that_passes_its_standard_still_passes_with_defaults(pod: Pod, standard: Json, values: Json) -> None:
    policy_set = policies({"podSecurityStandard": standard, "defaults": values})
    assume(not denies(pod, policy_set))
    assert validated(filled(pod, policy_set), policy_set).message == ""


@given(pods() | pods(wild=False), OTHER_CONTROLS, defaults(safe=False))
def test_a_pod_that_passes_single_controls_still_passes_with_defaults(pod: Pod, controls: Json, values: Json) -> None:
    policy_set = policies({"controls": controls, "defaults": values})
    assume(not denies(pod, policy_set))
    assert validated(filled(pod, policy_set), policy_set).message == ""


@given(pods(), st.lists(SPECS, min_size=1, max_size=3))
def test_defaults_keep_every_value_that_is_there_but_images_and_their_default_pull_policy(
    pod: Pod, specs: list[Json]
) -> None:
    assert kept(pod).items() <= leaves(filled(pod, policies(*specs))).items()


@given(pods(), defaults(safe=True))
def test_defaults_add_nothing_that_the_api_server_or_the_kubelet_rejects(pod: Pod, values: Json) -> None:
    after = filled(pod, policies({"defaults": values}))
    added = {path for path in leaves(after).keys() - leaves(pod).keys() if path.startswith("spec.")}
    if (pod["spec"].get("os") or {}).get("name") == "windows":
        of_windows = ("runAsNonRoot", "automountServiceAccountToken", ".imagePullPolicy", ".pullPolicy")
        assert all(path.endswith(of_windows) or ".resources." in path for path in added)
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for number, (was, now) in enumerate(zip(pod["spec"][key], after["spec"][key], strict=True)):
            context = now.get("securityContext") or {}
            if f"spec.{key}.{number}.securityContext.allowPrivilegeEscalation" in added:
                capabilities = (context.get("capabilities") or {}).get("add") or []
                assert not context.get("privileged")
                assert not {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set(capabilities)
            if effective(after, now, "runAsNonRoot") is True and effective(after, now, "runAsUser") == 0:
                assert effective(pod, was, "runAsNonRoot") is True


def leaves(value: Json, path: str = "") -> dict[str, str]:
    """Everything in an object that is not an object, list or null, as JSON by its path."""
    if not isinstance(value, dict | list):
        return {} if value is None else {path: json.dumps(value)}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    below_it = (leaves(below, f"{path}.{key}" if path else str(key)) for key, below in entries)
    return {leaf: text for part in below_it for leaf, text in part.items()}


def effective(pod: Pod, one: Json, key: str) -> Json:
    """What holds for a container: its own value, the pod's where it has none."""
    values = [(holder.get("securityContext") or {}).get(key) for holder in (one, pod["spec"])]
    return next((value for value in values if value is not None), None)

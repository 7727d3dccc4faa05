"""Bounds: reviews that cost too much are denied before they are judged, and the largest that pass cost little."""

import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Decision, MalformedReviewError, Outcome, bounds
from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, UID, review_body

RESTRICTED = msgspec.convert(
    {
        "metadata": {"name": "restricted"},
        "spec": {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}},
    },
    ClusterPodPolicy,
)
MAX_CPU_SECONDS = 1.0


def outcomes(body: bytes, *policies: Any) -> tuple[Outcome, Outcome]:
    """The answers of both webhooks, which must not take more CPU than any review may."""
    policy_set = PolicySet.of(policies or (RESTRICTED,))
    started = time.process_time()
    review = admission.decode(body)
    both = admission.mutate(review, policy_set, {}), admission.validate(review, policy_set, {})
    assert time.process_time() - started < MAX_CPU_SECONDS
    return both


def plain(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": f"c{number}", "image": "x"} | fields for number in range(count)]


def pod(*containers: dict[str, Any], annotations: Any = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "annotations": annotations}, "spec": {"containers": list(containers)} | spec}


def adds(count: int) -> dict[str, Any]:
    return {"name": "a", "image": "x", "securityContext": {"capabilities": {"add": ["X"] * count}}}


def mounts(count: int) -> dict[str, Any]:
    mounted = [{"name": f"v{number}", "mountPath": f"/{number}"} for number in range(count)]
    return {"name": "a", "image": "x", "volumeMounts": mounted}


def volumes(count: int) -> list[dict[str, Any]]:
    return [{"name": f"v{number}", "hostPath": {"path": "/var/log"}} for number in range(count)]


IMAGE = "the pod's spec.containers[0].image"
ANNOTATIONS = "the pod's metadata.annotations"
EXCESSIVE = {
    "containers": (pod(*plain(513)), "the pod has 513 containers, more than 512"),
    "containers of all kinds": (pod(*plain(500), initContainers=plain(13)), "the pod has 513 containers"),
    "12,000 containers": (pod(*plain(12_000)), "the pod has 12,000 containers"),
    "volumes": (pod(*plain(1), volumes=volumes(1025)), "the pod has 1,025 volumes, more than 1,024"),
    "capabilities": (pod(adds(20_000)), "the pod has more than 20,000 entries in its lists and maps"),
    "780,000 capabilities": (pod(adds(780_000)), "the review has more than 100,000 entries"),
    "labels": (
        {"metadata": {"labels": {f"l{number}": "x" for number in range(20_001)}}, "spec": {"containers": plain(1)}},
        "the pod has 20,001 labels, more than 1,024",
    ),
    "ports": (pod(*plain(3, ports=[{"hostPort": 1}] * 7000)), "the pod has more than 20,000 entries"),
    "an image": (pod({"name": "a", "image": "x" * 2_500_000}), f"{IMAGE} has 2,500,000 characters, more than 4,096"),
    "a key": (pod(*plain(1), annotations={"a" * 40_000: "x"}), f"a key in {ANNOTATIONS} has 40,000 characters"),
    "a name in a small body": (pod(*plain(1), nodeName="a" * 4097), "the pod's spec.nodeName has 4,097 characters"),
    "a label": ({"metadata": {"labels": {"x.io/a": "b" * 5000}}}, "the pod's metadata.labels[x.io/a] has 5,000"),
    "the name of a variable": (
        pod({"name": "a", "image": "x", "env": [{"name": "A"}, {"name": "B" * 5000}]}, unknown=""),
        "the pod's spec.containers[0].env[1].name has 5,000 characters",
    ),
    "a name of quotes in a small body": (pod(*plain(1), nodeName='\\"' * 2049), "the pod's spec.nodeName has 4,098"),
    "an annotation of 400,000 entries beside 8,000 containers": (
        pod(*plain(8_000), annotations={"sekisho.dev/defaulted": json.dumps({"restricted": ["a"] * 400_000})}),
        "the review has more than 100,000 entries",
    ),
    "many lists": (pod(*plain(1), unknown=[[[[]]]] * 7_000), "the review has more than 20,000 lists"),
    "8 MiB of empty containers": (pod(*[{}] * 2_500_000), "the review has more than 40,000 objects"),
    "volumes and mounts": (pod(mounts(20_000), volumes=volumes(20_000)), "the review has more than 40,000 objects"),
}


def with_list(name: str, count: int) -> dict[str, Any]:
    """A pod with `count` entries in a list or map that it has itself, or in a map of resources."""
    keys = [f"example.com/k{number}" for number in range(count)]
    named = [{"name": f"n{number}"} for number in range(count)]
    metadata = {
        "labels": dict.fromkeys(keys, "x"),
        "annotations": dict.fromkeys(keys, "x"),
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": key, "uid": key} for key in keys],
    }
    spec = {
        "tolerations": [{"key": key} for key in keys],
        "imagePullSecrets": named,
        "resourceClaims": named,
        "image volumes": [{"name": f"v{number}", "image": {"reference": "x"}} for number in range(count)],
    }
    context = {"sysctls": [{"name": "a", "value": ""}] * count, "supplementalGroups": [7] * count}
    if name in metadata:
        return {"metadata": {"name": "p", name: metadata[name]}, "spec": {"containers": plain(1)}}
    if name in context:
        return pod(*plain(1), securityContext={name: context[name]})
    if name == "resources":
        return pod(*plain(1, resources={"limits": dict.fromkeys(keys, "1")}))
    if name == "pod resources":
        return pod(*plain(1), resources={"requests": dict.fromkeys(keys, "1")})
    return pod(*plain(1), **{"volumes" if name == "image volumes" else name: spec[name]})


@pytest.mark.parametrize(
    ("name", "maximum"),
    [
        ("labels", 1024),
        ("annotations", 1024),
        ("ownerReferences", 256),
        ("sysctls", 256),
        ("supplementalGroups", 256),
        ("tolerations", 256),
        ("imagePullSecrets", 256),
        ("resourceClaims", 256),
        ("resources", 256),
        ("pod resources", 256),
        ("image volumes", 128),
    ],
)
def test_list_of_the_pod_itself_is_bounded(name: str, maximum: int) -> None:
    for outcome in outcomes(review_body(with_list(name, maximum + 1))):
        assert outcome.decision is Decision.ERROR
        assert outcome.message.startswith(f"Sekisho denies what it cannot judge: the pod has {maximum + 1:,} ")
        assert outcome.message.removesuffix(".").endswith(f"more than {maximum:,}")
    assert Decision.ERROR not in [outcome.decision for outcome in outcomes(review_body(with_list(name, maximum)))]


@pytest.mark.parametrize(("obj", "reason"), EXCESSIVE.values(), ids=EXCESSIVE)
def test_excessive_pod_is_denied_by_both_webhooks_before_anything_is_done(obj: dict[str, Any], reason: str) -> None:
    for outcome in outcomes(review_body(obj)):
        answer = json.loads(outcome.response)["response"]
        assert outcome.decision is Decision.ERROR
        assert (answer["uid"], answer["allowed"]) == (UID, False)
        assert outcome.message.startswith(f"Sekisho denies what it cannot judge: {reason}")
        assert len(outcome.response) < 1000


LARGE = {
    "a name in a small body": (pod(*plain(1), nodeName="a" * 4096), "runAsNonRoot"),
    "an annotation in a small body": (pod(*plain(1), annotations={"a": "x" * 20_000}), "runAsNonRoot"),
    "an argument in a small body": (pod({"name": "a", "image": "x", "args": ["x" * 20_000]}), "runAsNonRoot"),
    "containers": (pod(*plain(512)), "512"),
    "capabilities": (pod(adds(9_900)), "capabilities"),
    "volumes": (pod(mounts(1024), volumes=volumes(1024)), "restrictedVolumes"),
    "an annotation of 50,000 entries": (
        pod(*plain(512), annotations={"sekisho.dev/defaulted": json.dumps({"restricted": ["a"] * 50_000})}),
        "runAsNonRoot",
    ),
    "arguments": (pod({"name": "a", "image": "x", "args": ["x" * 100_000, "y" * 100_000]}), "runAsNonRoot"),
}


@pytest.mark.parametrize(("obj", "said"), LARGE.values(), ids=LARGE)
def test_pod_at_the_bounds_is_judged_in_time(obj: dict[str, Any], said: str) -> None:
    mutated, validated = outcomes(review_body(obj))
    assert mutated.decision is Decision.PATCH
    assert validated.decision is Decision.DENY
    assert said in validated.message or said == "512"


def test_large_good_pod_is_admitted() -> None:
    good = restricted_pod(*(container(f"c{number}", args=["x" * 1000]) for number in range(512)))
    assert [outcome.decision for outcome in outcomes(review_body(good))] == [Decision.ALLOW, Decision.ALLOW]


def test_template_is_bounded_like_a_pod() -> None:
    for count, decision in ((513, Decision.ERROR), (512, Decision.WARN)):
        body = review_body(
            {"spec": {"template": pod(*plain(count, securityContext={"privileged": True}))}},
            kind=DEPLOYMENT,
            resource=DEPLOYMENTS,
        )
        assert outcomes(body)[1].decision is decision


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_metadata_of_a_workload_is_bounded(field: str) -> None:
    for count, is_error in ((1025, True), (1024, False)):
        metadata = {"name": "d", field: {f"k{number}": "x" for number in range(count)}}
        workload = {"metadata": metadata, "spec": {"template": restricted_pod()}}
        body = review_body(workload, kind=DEPLOYMENT, resource=DEPLOYMENTS)
        assert (outcomes(body)[1].decision is Decision.ERROR) is is_error
        assert (f"the Deployment has 1,025 {field}, more than 1,024" in outcomes(body)[1].message) is is_error


def test_annotations_are_bounded_together_as_the_api_server_bounds_them() -> None:
    maximum = 256 * 1024
    for length, said in ((maximum, ""), (maximum + 1, "has annotations of 262,145 characters, more than 262,144")):
        metadata = {"name": "p", "annotations": {"a": "x" * 1000, "b": "x" * (length - 1002)}}
        for body, kind in (
            (review_body(restricted_pod() | {"metadata": metadata}), "pod"),
            (
                review_body(
                    {"metadata": metadata, "spec": {"template": restricted_pod()}},
                    kind=DEPLOYMENT,
                    resource=DEPLOYMENTS,
                ),
                "Deployment",
            ),
        ):
            outcome = outcomes(body)[1]
            assert outcome.decision is (Decision.ERROR if said else Decision.ALLOW)
            assert not said or f"the {kind} {said}" in outcome.message


def test_pod_with_too_many_problems_is_denied_even_where_policies_only_warn() -> None:
    spec = {"enforcement": "Warn", "podSecurityStandard": {"level": "restricted"}}
    warns = msgspec.convert({"metadata": {"name": "warns"}, "spec": spec}, ClusterPodPolicy)
    _, many = outcomes(review_body(pod(adds(bounds.MAX_FINDINGS + 1))), warns)
    assert (many.decision, many.message) == (
        Decision.ERROR,
        "Sekisho denies what it cannot judge: the pod has more than 10,000 violations",
    )
    assert outcomes(review_body(pod(adds(9_900))), warns)[1].decision is Decision.WARN


def test_an_update_of_a_pod_with_too_many_problems_is_denied_unless_it_changes_nothing_that_is_judged() -> None:
    spec = {"podSecurityStandard": {"level": "restricted"}}
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    owner = {"apiVersion": "v1", "kind": "x", "name": "x", "uid": "x"}
    for number, change, decision in (
        (bounds.MAX_FINDINGS + 1, {"finalizers": []}, Decision.ALLOW),
        (bounds.MAX_FINDINGS + 1, {"ownerReferences": [owner]}, Decision.ALLOW),
        (bounds.MAX_FINDINGS + 1, {"labels": {"a": "b"}}, Decision.ERROR),
        (bounds.MAX_FINDINGS - 100, {"labels": {"a": "b"}}, Decision.ALLOW),
    ):
        old = pod(adds(number)) | {"metadata": {"name": "p", "finalizers": ["a.example/b"]}}
        new = old | {"metadata": old["metadata"] | change}
        outcome = outcomes(review_body(new, old), policy)[1]
        assert outcome.decision is decision, (number, change)
        assert decision is not Decision.ERROR or "the pod has more than 10,000 violations" in outcome.message


@pytest.mark.parametrize(
    ("is_template", "omitted"), [(False, "8940 more"), (True, "8976 more")], ids=["pod", "template"]
)
def test_findings_that_are_not_shown_are_counted_and_cost_no_text(*, is_template: bool, omitted: str) -> None:
    """Each of 9,000 ports of nodes is a finding; the answer shows few, and says how many there are."""
    ports = [{"containerPort": 80, "hostPort": 1000 + number} for number in range(3_000)]
    bad = pod(*plain(3, ports=ports))
    request: dict[str, Any] = {"kind": DEPLOYMENT, "resource": DEPLOYMENTS} if is_template else {}
    review = admission.decode(review_body({"spec": {"template": bad}} if is_template else bad, **request))
    spec = {"metadata": {"name": "p"}, "spec": {"controls": {"hostPorts": {}}}}
    policy_set = PolicySet.of([msgspec.convert(spec, ClusterPodPolicy)])
    texts: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: object) -> None:
        texts[frame.f_code.co_name] += event == "call"

    sys.setprofile(count)
    try:
        outcome = admission.validate(review, policy_set, {})
    finally:
        sys.setprofile(None)
    assert len(outcome.violations) == 9_000
    assert omitted in outcome.response.decode()
    assert texts["judge"]
    assert texts["render_value"] + texts["render_path"] + texts["subject"] + texts["value_and_origin"] < 1_000


def test_body_over_the_bounds_without_a_uid_at_its_beginning_is_rejected() -> None:
    late = review_body(pod(*[{}] * 50_000)).replace(b'"uid"', b'"oldUid"', 1)
    with pytest.raises(MalformedReviewError, match="too large to be decoded"):
        admission.decode(late)


def test_waivers_cost_no_more_than_findings_and_waivers_together() -> None:
    """10,000 waivers by image, and a pod of 100 bad containers, one of which one waiver exempts."""
    bad = plain(100, securityContext={"privileged": True})
    bad[50]["image"] = "registry-7777.example/team/driver:1"
    spec = {"controls": ["privileged"], "policies": ["p"], "expires": "2099-01-01T00:00:00Z", "reason": "x"}
    waivers = [
        msgspec.convert(
            {
                "metadata": {"name": f"w{number}"},
                "spec": spec | {"match": {"images": [f"registry-{number}.example/team"]}},
            },
            PolicyWaiver,
        )
        for number in range(10_000)
    ]
    p = {"metadata": {"name": "p"}, "spec": {"controls": {"privileged": {}}}}
    policy_set = PolicySet.of([msgspec.convert(p, ClusterPodPolicy), *waivers])
    review = admission.decode(review_body(pod(*bad)))
    started = time.process_time()
    evaluation = admission.evaluate(
        review.pod, admission.Context(policy_set, "shop", {}, clock=lambda: waivers[0].spec.expires.replace(year=2030))
    )
    assert time.process_time() - started < MAX_CPU_SECONDS / 2
    assert [waived.waiver for waived in evaluation.waived] == ["w7777"]
    assert len(evaluation.violations) == 99


@pytest.mark.parametrize("others", [1, 30], ids=["one waiver", "30 waivers with many images"])
def test_waivers_cost_no_more_where_many_policies_have_defaults(others: int) -> None:
    """40 policies with the same defaults, one waiver that exempts half of the containers from some of them."""
    images = {} if others == 1 else {"images": [f"other.example/a/*/q{number}" for number in range(30)]}
    names = [f"p{number}" for number in range(40)]
    spec = {
        "controls": ["runAsNonRoot", "seccompProfile", "capabilities", "allowPrivilegeEscalation"],
        "policies": names,
        "expires": "2099-01-01T00:00:00Z",
        "reason": "x",
    }
    matches = [{"images": ["exempt.example/a"]}] + [images] * (others - 1)
    waivers = [
        msgspec.convert({"metadata": {"name": f"w{number}"}, "spec": spec | {"match": match}}, PolicyWaiver)
        for number, match in enumerate(matches)
    ]
    restricted = {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}}
    applied = [msgspec.convert({"metadata": {"name": name}, "spec": restricted}, ClusterPodPolicy) for name in names]
    policy_set = PolicySet.of([*applied, *waivers])
    containers = [
        {"name": f"c{number}", "image": f"{('exempt', 'other')[number % 2]}.example/a/" + "a/" * 30 + f"x{number}"}
        for number in range(32)
    ]
    review = admission.decode(review_body(pod(*containers)))

    def clock() -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    started = time.process_time()
    mutated = admission.mutate(review, policy_set, {}, clock)
    validated = admission.validate(review, policy_set, {}, clock)
    assert time.process_time() - started < MAX_CPU_SECONDS / 2
    assert {name: len(fields) for name, fields in mutated.filled} == {"p0": 16 * 4}
    assert validated.decision is Decision.DENY
    assert {v.finding.container for v in validated.violations} == {f"c{number}" for number in range(1, 32, 2)}


def test_name_of_a_namespace_is_bounded() -> None:
    """What is computed for a namespace is kept by its name, which a client of the port can make up."""
    for length, decision in ((64, Decision.ERROR), (63, Decision.ALLOW)):
        assert outcomes(review_body(restricted_pod(), namespace="n" * length))[1].decision is decision
    for operation in ("CREATE", "DELETE"):
        assert (
            admission.decode(review_body(restricted_pod(), namespace="n" * 64, operation=operation)).namespace is None
        )


def test_uid_of_a_large_request_that_cannot_be_read_is_searched_in_little_time() -> None:
    body = b'{"request":{"namespace":5,"x":[' + b'"uid"' + b" " * (8 << 20) + b"]}}"
    began = time.thread_time()
    with pytest.raises(MalformedReviewError):
        admission.decode_head(body)
    assert time.thread_time() - began < 0.05


def test_a_waiver_of_many_policies_is_compared_with_a_pod_one_time() -> None:
    spec = {
        "policies": [f"p{number}" for number in range(64)],
        "controls": ["runAsNonRoot"],
        "expires": "2099-01-01T00:00:00Z",
        "reason": "x",
    }
    waivers = [
        msgspec.convert(
            {"metadata": {"name": f"w{n}"}, "spec": spec | {"match": {"names": [f"*{m}*{n}" for m in range(245)]}}},
            PolicyWaiver,
        )
        for n in range(10)
    ]
    policy_set = PolicySet.of([RESTRICTED, *waivers])
    review = admission.decode(review_body(pod(*plain(1))))
    admission.mutate(review, policy_set, {}, lambda: datetime(2030, 1, 1, tzinfo=UTC))
    began = time.thread_time()
    admission.mutate(review, policy_set, {}, lambda: datetime(2030, 1, 1, tzinfo=UTC))
    assert time.thread_time() - began < 0.03


def test_many_groups_of_a_user_are_compared_with_many_policies_in_little_time() -> None:
    excluded = {"match": {"excludeSubjects": {"groups": ["system:masters"]}}, "controls": {"privileged": {}}}
    policy_set = PolicySet.of(
        msgspec.convert({"metadata": {"name": f"p{number}"}, "spec": excluded}, ClusterPodPolicy)
        for number in range(1000)
    )
    user = {"username": "jo", "groups": [f"g{number}" for number in range(8500)]}
    review = admission.decode(review_body(restricted_pod(), userInfo=user))
    assert review.pod is not None
    policy_set.plan("shop", {}, review.pod, review.user_info)
    began = time.thread_time()
    assert policy_set.is_planned("shop", {}, review.pod, review.user_info)
    assert time.thread_time() - began < 0.03


@pytest.mark.parametrize(("name", "mounts", "place"), [("i" * 4097, 2000, "spec.containers[0].image"), ("i", 2000, "")])
def test_the_field_of_a_string_that_is_too_long_is_named_in_little_time(name: str, mounts: int, place: str) -> None:
    empty = {"name": "", "mountPath": ""}
    body = review_body(pod({"name": "a", "image": name, "volumeMounts": [empty] * mounts}))
    admission.decode(body)
    began = time.thread_time()
    review = admission.decode(body)
    assert time.thread_time() - began < 0.05
    assert (review.defect is not None and place in review.defect) is bool(place)


def deployment_review(**spec: Any) -> bytes:
    """The review of a Deployment whose pods have these fields, too."""
    workload = {"metadata": {"name": "w"}, "spec": {"template": pod(*plain(1), **spec)}}
    return review_body(workload, kind=DEPLOYMENT, resource=DEPLOYMENTS)


@pytest.mark.parametrize(
    ("new", "is_denied"),
    [
        ({f"k{number}": True for number in range(19_000)}, False),
        ({f"k{number}": True for number in range(21_000)}, True),
        ({f"k{number}": "" for number in range(11_000)}, True),
        ({f"k{number}": "" for number in range(99_000)}, True),
        ({f"k{number}": "" if number % 1000 else {} for number in range(99_000)}, False),
        ([f"k{number}" for number in range(99_000)], True),
        ([f"k{number}" for number in range(19_000)], False),
        ("a," * 90_000, False),
        ('"' * 90_000, False),
    ],
)
def test_strings_in_a_row_are_bounded_before_duplicate_keys_are_searched(new: Any, *, is_denied: bool) -> None:
    body = deployment_review(new=[new])
    began = time.thread_time()
    review = admission.decode(body)
    assert not is_denied or time.thread_time() - began < 0.05
    excess = "the review has more than 20,000 keys and strings in a row"
    assert review.defect == (excess if is_denied else None)
    assert review.operation == ("" if is_denied else "CREATE")


def test_request_whose_head_cannot_be_read_costs_no_more_for_long_numbers() -> None:
    start = json.dumps({"kind": "AdmissionReview", "request": {"uid": UID, "namespace": 5}}).removesuffix("}}").encode()
    body = start + b', "x": [' + b",".join([b"9" * 4299] * 1900) + b"]}}"
    started = time.thread_time()
    head = admission.decode_head(body)
    assert time.thread_time() - started < 0.1
    assert (head.uid, head.namespace) == (UID, None)
    assert "cannot be read" in str(admission.decode(body).defect)


def test_large_request_without_a_uid_or_without_json_is_malformed() -> None:
    start = json.dumps({"kind": "AdmissionReview", "request": {"namespace": 5}}).encode()
    with pytest.raises(MalformedReviewError):
        admission.decode_head(start)
    with pytest.raises(MalformedReviewError):
        admission.decode(start.replace(b'"namespace"', b'"uid": "u", "namespace"').removesuffix(b"}"))

"""Waivers in answers: what they exempt, what they never exempt, and what says that one was used."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, PolicyWaiver
from tests.pods import container, restricted_pod, with_container_in
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, UID, review_body

EXPIRES = datetime(2027, 1, 31, tzinfo=UTC)
BEFORE = EXPIRES - timedelta(seconds=1)

PRIVILEGED = {"privileged": True, "allowPrivilegeEscalation": None}
RESTRICTED = msgspec.convert(
    {"metadata": {"name": "restricted"}, "spec": {"podSecurityStandard": {"level": "baseline"}}}, ClusterPodPolicy
)


def waiver(name: str = "w", **spec: Any) -> PolicyWaiver:
    fields = {
        "policies": ["restricted"],
        "controls": ["privileged"],
        "expires": "2027-01-31T00:00:00Z",
        "reason": "the driver\n  needs it",
    }
    return msgspec.convert({"metadata": {"name": name}, "spec": fields | spec}, PolicyWaiver)


def at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def answered(
    pod: dict[str, Any],
    *policies: Any,
    old: dict[str, Any] | None = None,
    clock: Callable[[], datetime] | None = lambda: BEFORE,
    **request: Any,
) -> Outcome:
    body = review_body(pod, old, **request)
    return admission.validate(admission.decode(body), PolicySet.of(policies), {}, clock)


def response(outcome: Outcome) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(outcome.response)["response"]
    return answer


def admits(pod: dict[str, Any], *policies: Any, **kwargs: Any) -> bool:
    allowed: bool = response(answered(pod, *policies, **kwargs))["allowed"]
    return allowed


def privileged(name: str = "app", image: str = "quay.io/driver:1") -> dict[str, Any]:
    return container(name, image, securityContext=PRIVILEGED)


def test_exempted_finding_is_admitted_with_a_warning_that_names_waiver_end_and_reason() -> None:
    outcome = answered(restricted_pod(privileged()), RESTRICTED, waiver())
    answer = response(outcome)
    line = (
        'waiver "w" exempts container "app" from privileged of policy "restricted" until 2027-01-31T00:00:00Z: '
        "the driver needs it"
    )
    assert answer["allowed"]
    assert answer["warnings"] == [line]
    assert answer["auditAnnotations"] == {"waivers": line}
    assert outcome.decision == "warn"
    (waived,) = outcome.waived
    assert (waived.waiver, waived.policy, waived.finding.control) == ("w", "restricted", "privileged")
    assert (waived.expires, waived.reason) == (EXPIRES, "the driver needs it")


@pytest.mark.parametrize("kind", ["containers", "initContainers", "sidecar", "ephemeralContainers"])
def test_every_list_of_containers_counts(kind: str) -> None:
    pod = with_container_in(kind, privileged())
    assert admits(pod, RESTRICTED, waiver(match={"containers": ["tested"], "images": ["quay.io/driver"]}))
    assert not admits(pod, RESTRICTED, waiver(match={"containers": ["app"], "images": ["quay.io/driver"]}))


EXPIRED = [(BEFORE, True), (EXPIRES, False), (EXPIRES + timedelta(days=1), False)]


@pytest.mark.parametrize(("moment", "admitted"), EXPIRED)
def test_a_waiver_has_ended_at_the_time_that_it_names(moment: datetime, *, admitted: bool) -> None:
    assert admits(restricted_pod(privileged()), RESTRICTED, waiver(), clock=at(moment)) is admitted


def test_the_end_may_be_in_any_time_zone() -> None:
    east = waiver(expires="2027-01-31T09:00:00+09:00")
    assert admits(restricted_pod(privileged()), RESTRICTED, east, clock=at(BEFORE))
    assert not admits(restricted_pod(privileged()), RESTRICTED, east, clock=at(EXPIRES))


def test_without_a_clock_no_waiver_applies() -> None:
    assert not admits(restricted_pod(privileged()), RESTRICTED, waiver(), clock=None)


NOT_EXEMPTED = [
    {"policies": ["other"]},
    {"policies": ["shop/restricted"]},
    {"controls": ["hostPorts"]},
    {"match": {"namespaces": ["sho"]}},
    {"match": {"namespaces": ["shop2"]}},
    {"match": {"podSelector": {"matchLabels": {"app": "driver"}}}},
    {"match": {"images": ["quay.io/driver2"]}},
    {"match": {"images": ["quay.io/drive"]}},
    {"match": {"containers": ["app2"]}},
]


@pytest.mark.parametrize("spec", NOT_EXEMPTED)
def test_a_waiver_exempts_only_what_it_names(spec: dict[str, Any]) -> None:
    assert not admits(restricted_pod(privileged()), RESTRICTED, waiver(**spec))


def test_a_pod_with_a_finding_that_no_waiver_exempts_is_denied() -> None:
    pod = restricted_pod(privileged(), hostNetwork=True)
    outcome = answered(pod, RESTRICTED, waiver())
    assert not response(outcome)["allowed"]
    assert "privileged" not in outcome.message
    assert outcome.waived == ()
    assert "warnings" not in response(outcome)
    assert admits(pod, RESTRICTED, waiver(controls=["privileged", "hostNamespaces"]))


CAPABILITIES = {"controls": ["capabilities"], "values": ["NET_ADMIN"]}
HOST_PATHS = {"controls": ["hostPathVolumes"], "values": ["/var/log"]}
HOST_PORTS = {"controls": ["hostPorts"], "values": ["9100"]}


def adding(*names: str) -> dict[str, Any]:
    return restricted_pod(container(securityContext={"capabilities": {"add": list(names), "drop": ["ALL"]}}))


def mounting(*paths: str) -> dict[str, Any]:
    return restricted_pod(
        volumes=[{"name": f"v{index}", "hostPath": {"path": path}} for index, path in enumerate(paths)]
    )


def listening(*ports: int) -> dict[str, Any]:
    return restricted_pod(container(ports=[{"containerPort": 80, "hostPort": port} for port in ports]))


@pytest.mark.parametrize(
    ("spec", "exempted", "denied"),
    [
        (CAPABILITIES, adding("NET_ADMIN"), adding("SYS_ADMIN")),
        (CAPABILITIES, adding("NET_ADMIN"), adding("NET_ADMIN", "SYS_ADMIN")),
        (HOST_PATHS, mounting("/var/log"), mounting("/var/log/..")),
        (HOST_PATHS, mounting("/var/log", "/var/log"), mounting("/var/log", "/var")),
        (HOST_PATHS, mounting("/var/log"), mounting("/var/log/pods")),
        (HOST_PORTS, listening(9100), listening(910)),
        (HOST_PORTS, listening(9100), listening(9100, 9101)),
        ({"controls": ["hostPorts"], "values": ["1", "2"]}, listening(1, 2), listening(1, 2, 12)),
    ],
)
def test_a_waiver_with_values_exempts_findings_on_these_values_only(
    spec: dict[str, Any], exempted: dict[str, Any], denied: dict[str, Any]
) -> None:
    assert admits(exempted, RESTRICTED, waiver(**spec))
    assert not admits(denied, RESTRICTED, waiver(**spec))


def test_line_of_a_waiver_with_values_names_those_that_it_exempts_from() -> None:
    ports = waiver(controls=["hostPorts"], values=["1", "2", "3"])
    (line,) = response(answered(listening(1, 2), RESTRICTED, ports))["warnings"]
    assert line.startswith('waiver "w" exempts container "app" from hostPorts ("1", "2") of policy "restricted" until ')
    (line,) = response(answered(listening(1, 2), RESTRICTED, waiver(controls=["hostPorts"])))["warnings"]
    assert line.startswith('waiver "w" exempts container "app" from hostPorts of policy "restricted" until ')


def test_path_of_a_host_path_counts_for_the_control_that_denies_its_kind_of_volume() -> None:
    level = {"podSecurityStandard": {"level": "restricted"}}
    policy = msgspec.convert({"metadata": {"name": "restricted"}, "spec": level}, ClusterPodPolicy)
    logs = waiver(controls=["restrictedVolumes"], values=["/var/log"])
    assert admits(mounting("/var/log"), policy, logs)
    assert not admits(mounting("/var/log2"), policy, logs)
    other_kind = restricted_pod(volumes=[{"name": "v", "nfs": {"server": "/var/log", "path": "/var/log"}}])
    assert not admits(other_kind, policy, logs)


@pytest.mark.parametrize("value", ["unset", "null", "None", "", "[]", '["KILL"]', "a list with ALL"])
def test_no_value_stands_for_a_field_that_is_unset_or_a_list(value: str) -> None:
    level = {"podSecurityStandard": {"level": "restricted"}}
    policy = msgspec.convert({"metadata": {"name": "restricted"}, "spec": level}, ClusterPodPolicy)
    for dropped in (None, [], ["KILL"]):
        pod = restricted_pod(container(securityContext={"capabilities": {"drop": dropped}}))
        assert not admits(pod, policy, waiver(controls=["capabilities"], values=[value or "x"]))


def test_hidden_value_is_not_one_that_a_waiver_can_name() -> None:
    """Nobody can find out by waivers what an environment variable holds."""
    policy = msgspec.convert(
        {"metadata": {"name": "restricted"}, "spec": {"controls": {"secretsInEnv": {}}}}, ClusterPodPolicy
    )
    pod = restricted_pod(container(env=[{"name": "PASSWORD", "value": "hunter2"}]))
    (violation,) = answered(pod, policy).violations
    for value in ("hunter2", violation.finding.value, str(violation.finding.raw_value)):
        assert not admits(pod, policy, waiver(controls=["secretsInEnv"], values=[value]))
    assert admits(pod, policy, waiver(controls=["secretsInEnv"]))


def test_two_waivers_with_values_exempt_from_the_values_of_both() -> None:
    one, two = (waiver(name, controls=["capabilities"], values=[name]) for name in ("NET_ADMIN", "SYS_TIME"))
    pod = adding("NET_ADMIN", "SYS_TIME")
    outcome = answered(pod, RESTRICTED, one, two)
    assert [(exemption.waiver, exemption.finding.raw_value) for exemption in outcome.waived] == [
        ("NET_ADMIN", "NET_ADMIN"),
        ("SYS_TIME", "SYS_TIME"),
    ]
    assert not admits(pod, RESTRICTED, one)


def owned(kind: str, name: str, **labels: str) -> dict[str, Any]:
    pod = restricted_pod(privileged())
    owner = {"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "u", "controller": True}
    pod["metadata"] |= {"name": f"{name}-x7k2p", "ownerReferences": [owner], "labels": labels}
    return pod


def named(name: str) -> dict[str, Any]:
    pod = restricted_pod(privileged())
    pod["metadata"] |= {"name": name}
    return pod


GENERATED = restricted_pod(privileged())
GENERATED["metadata"] = {"generateName": "agent-"}


@pytest.mark.parametrize(
    ("names", "exempted", "denied"),
    [
        (["agent"], named("agent"), named("agent2")),
        (["agent-*"], named("agent-1"), named("agent")),
        (["agent-*"], GENERATED, named("my-agent-1")),
        (["agent"], owned("DaemonSet", "agent"), owned("DaemonSet", "agent-2")),
        (["agent"], owned("StatefulSet", "agent"), named("agent-0")),
        (["agent"], owned("ReplicaSet", "agent-5d4", **{"pod-template-hash": "5d4"}), owned("ReplicaSet", "agent-5d4")),
        (["agent"], owned("Job", "agent-28374650"), owned("Job", "agent-2837465")),
        (["agent-28374650"], owned("Job", "agent-28374650"), owned("Job", "agent")),
        (["agent*"], owned("Deployment", "agents"), owned("Deployment", "agen")),
    ],
)
def test_a_waiver_with_names_exempts_pods_of_objects_with_these_names_only(
    names: list[str], exempted: dict[str, Any], denied: dict[str, Any]
) -> None:
    only = waiver(match={"names": names})
    assert admits(exempted, RESTRICTED, only)
    assert not admits(denied, RESTRICTED, only)


@pytest.mark.parametrize(("name", "is_exempt"), [("agent", True), ("agent-2", False)])
def test_a_template_is_waived_by_the_name_of_its_object_as_its_pods_are(name: str, *, is_exempt: bool) -> None:
    only = waiver(match={"names": ["agent"]})
    deployment = {"metadata": {"name": name}, "spec": {"template": restricted_pod(privileged())}}
    outcome = answered(deployment, RESTRICTED, only, kind=DEPLOYMENT, resource=DEPLOYMENTS)
    assert bool(outcome.waived) is is_exempt
    replicas = owned("ReplicaSet", f"{name}-5d4", **{"pod-template-hash": "5d4"})
    assert admits(replicas, RESTRICTED, only) is is_exempt


@pytest.mark.parametrize(("name", "is_exempt"), [("agent-28374650", True), ("manual", False)])
def test_a_job_of_a_cron_job_is_waived_by_the_name_of_the_cron_job_as_its_pods_are(
    name: str, *, is_exempt: bool
) -> None:
    """The pods of one that was made by hand, by kubectl create job --from, show only its own name."""
    only = waiver(match={"names": ["agent"]})
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "agent", "uid": "u", "controller": True}
    metadata = {"name": name, "ownerReferences": [owner]}
    job = {"metadata": metadata, "spec": {"template": restricted_pod(privileged())}}
    kind = {"group": "batch", "version": "v1", "kind": "Job"}
    outcome = answered(job, RESTRICTED, only, kind=kind, resource={**kind, "resource": "jobs"})
    assert bool(outcome.waived) is is_exempt
    assert admits(owned("Job", name), RESTRICTED, only) is is_exempt


def test_two_waivers_never_combine_the_name_of_one_with_the_value_of_the_other() -> None:
    by_name = waiver("a", controls=["hostPorts"], match={"names": ["agent"]}, values=["1"])
    by_value = waiver("b", **(HOST_PORTS | {"match": {"names": ["other"]}}))
    pod = listening(9100)
    pod["metadata"] |= {"name": "agent"}
    assert not admits(pod, RESTRICTED, by_name, by_value)
    assert admits(pod, RESTRICTED, by_name, by_value, waiver("c", **HOST_PORTS))


def test_two_waivers_never_combine_within_one_finding() -> None:
    """One is for the container, the other for the image: a container of that name with that image needs both."""
    by_container = waiver("a", match={"containers": ["app"], "images": ["ghcr.io/other"]})
    by_image = waiver("b", match={"containers": ["other"], "images": ["quay.io/driver"]})
    pod = restricted_pod(privileged("app", "quay.io/driver"))
    assert not admits(pod, RESTRICTED, by_container, by_image)
    assert admits(pod, RESTRICTED, by_container, by_image, waiver("c", match={"containers": ["app"]}))


def test_two_waivers_never_combine_control_of_one_with_pods_of_the_other() -> None:
    ports_here = waiver("a", controls=["hostPorts"], match={"namespaces": ["shop"]})
    privileged_there = waiver("b", match={"namespaces": ["other"]})
    assert not admits(restricted_pod(privileged()), RESTRICTED, ports_here, privileged_there)


def test_two_waivers_never_combine_policy_of_one_with_control_of_the_other() -> None:
    also = msgspec.structs.replace(RESTRICTED, metadata=msgspec.structs.replace(RESTRICTED.metadata, name="also"))
    one = waiver("a", policies=["also"])
    two = waiver("b", policies=["restricted"], controls=["hostPorts"])
    assert not admits(restricted_pod(privileged()), RESTRICTED, also, one, two)


def test_a_policy_that_the_waiver_does_not_name_still_denies() -> None:
    own = {"metadata": {"name": "own", "namespace": "shop"}, "spec": {"podSecurityStandard": {"level": "baseline"}}}
    namespaced = msgspec.convert(own, PodPolicy)
    outcome = answered(restricted_pod(privileged()), RESTRICTED, namespaced, waiver())
    assert outcome.message.startswith('policy "shop/own" denies container "app"')
    assert admits(restricted_pod(privileged()), RESTRICTED, namespaced, waiver(policies=["restricted", "shop/own"]))


def test_a_waiver_for_containers_exempts_no_finding_of_the_pod() -> None:
    pod = restricted_pod(container(), hostNetwork=True)
    controls = ["hostNamespaces"]
    assert not admits(pod, RESTRICTED, waiver(controls=controls, match={"containers": ["app"]}))
    assert not admits(pod, RESTRICTED, waiver(controls=controls, match={"images": ["trusted.io"]}))
    assert admits(pod, RESTRICTED, waiver(controls=controls, match={"namespaces": ["shop"]}))


def test_containers_that_the_waiver_does_not_name_are_still_denied() -> None:
    pod = restricted_pod(privileged("app"), privileged("other"))
    outcome = answered(pod, RESTRICTED, waiver(match={"containers": ["app"]}))
    assert '"other"' in outcome.message
    assert '"app"' not in outcome.message


@pytest.mark.parametrize(("enforcement", "warned"), [("Warn", True), ("Audit", False)])
def test_warnings_and_audits_are_exempted_too(enforcement: str, *, warned: bool) -> None:
    spec = {"enforcement": enforcement, "podSecurityStandard": {"level": "baseline"}}
    policy = msgspec.convert({"metadata": {"name": "restricted"}, "spec": spec}, ClusterPodPolicy)
    outcome = answered(restricted_pod(privileged()), policy, waiver())
    assert outcome.violations == ()
    assert ("warnings" in response(outcome)) is warned
    assert set(response(outcome)["auditAnnotations"]) == {"waivers"}


def test_pods_of_a_template_are_waived_as_the_pods_will_be() -> None:
    deployment = {"metadata": {"name": "web"}, "spec": {"template": restricted_pod(privileged())}}
    outcome = answered(deployment, RESTRICTED, waiver(), kind=DEPLOYMENT, resource=DEPLOYMENTS)
    (warning,) = response(outcome)["warnings"]
    assert warning.startswith('pods of this Deployment: waiver "w" exempts container "app" from privileged')


def test_a_waiver_for_an_image_does_not_exempt_another_image() -> None:
    old = restricted_pod(privileged(image="quay.io/driver:1"))
    only = waiver(match={"images": ["quay.io/driver"]})
    assert admits(restricted_pod(privileged(image="quay.io/driver:2")), RESTRICTED, only, old=old)
    for moment in (BEFORE, EXPIRES):
        outcome = answered(restricted_pod(privileged(image="evil.io/x")), RESTRICTED, only, old=old, clock=at(moment))
        assert not response(outcome)["allowed"]
        assert "privileged" in outcome.message


def test_a_pod_that_a_waiver_exempted_can_be_edited_after_the_waiver_ended() -> None:
    old = restricted_pod(privileged())
    new = restricted_pod(privileged())
    new["metadata"] = {**new["metadata"], "labels": {"a": "b"}}
    only = waiver(match={"images": ["quay.io/driver"]})
    assert admits(new, RESTRICTED, only, old=old, clock=at(EXPIRES))
    assert admits(new, RESTRICTED, old=old)


def test_a_deleted_waiver_excuses_no_other_image() -> None:
    old, new = restricted_pod(privileged(image="quay.io/driver:1")), restricted_pod(privileged(image="evil.io/x"))
    assert not admits(new, RESTRICTED, old=old)
    assert not admits(new, RESTRICTED, waiver(match={"images": ["ghcr.io/other"]}), old=old)
    assert admits(old, RESTRICTED, old=old)


def test_a_passing_pod_does_not_use_the_clock() -> None:
    def never() -> datetime:
        raise AssertionError("the clock was asked")

    assert response(answered(restricted_pod(), RESTRICTED, waiver(), clock=never)) == {"uid": UID, "allowed": True}


def test_warnings_and_annotations_about_waivers_are_capped() -> None:
    pod = restricted_pod(*(privileged(f"c{i}") for i in range(200)))
    waivers = [waiver(f"w{i}", match={"containers": [f"c{i}"]}, reason="x" * 1000) for i in range(200)]
    answer = response(answered(pod, RESTRICTED, *waivers))
    assert answer["allowed"]
    assert len(answer["warnings"]) == 9
    assert max(map(len, answer["warnings"])) <= 440
    assert len(answer["auditAnnotations"]["waivers"]) <= 8192


def test_line_of_a_policy_from_which_the_pod_is_exempt_is_not_shown() -> None:
    spec: dict[str, Any] = {"controls": {"privileged": {}}}
    strict, other = (
        msgspec.convert({"metadata": {"name": name}, "spec": spec | {"message": f"Ask {name}."}}, ClusterPodPolicy)
        for name in ("restricted", "other")
    )
    status = response(answered(restricted_pod(privileged()), strict, other, waiver()))["status"]
    assert status["message"].endswith("[privileged] Ask other.")

"""The floor's verdicts, by dry runs on a real API server without a webhook, beside the engine's."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sekisho.admission.context import Context
from sekisho.admission.evaluation import evaluate
from sekisho.findings import Finding
from sekisho.floor import Floor, floor_of
from sekisho.floor.shares import FLOOR_CONTROLS
from sekisho.pods import Workload
from sekisho.policies import Enforcement, Policy, PolicySet
from sekisho.policies.crd import RESOURCES
from sekisho.policies.matching import KnownSubject
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until

Json = dict[str, Any]
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
ADMINISTRATOR: Final = KnownSubject("kubernetes-admin", frozenset({"system:masters", "system:authenticated"}))
_WARNING: Final = re.compile(r"with binding '[^']*': (?P<control>\w+) \(policy (?P<policies>[^()]*)\): ")
ANSWER_IN: Final = 60.0
"""Seconds for an answer: the API server compiles hundreds of expressions for a floor."""
_CHECKED_IN: Final = 90.0
_MOST_WARNINGS: Final = 3500
"""Characters of warnings. The API server cuts them at 256 each, and leaves out what comes after 4,096."""
_pods = msgspec.json.Decoder(Workload)

Verdict = frozenset[tuple[str, str]]
"""The policies that deny, each with a control."""


class Difference(msgspec.Struct, frozen=True):
    """A pod on which the floor and the engine differ."""

    namespace: str
    pod: Json
    floor: Verdict
    engine: Verdict


class Comparison(msgspec.Struct, frozen=True):
    """How many pods the API server accepted, the differences, and how often each control of each policy denied.

    cut: the pods with more warnings than the API server returns, for which the floor may say less.
    """

    count: int
    cut: int
    differences: tuple[Difference, ...]
    denials: Counter[tuple[str, str]]


def policies_of(written: Iterable[Mapping[str, Any]]) -> list[Policy]:
    """Policies and waivers from objects without an apiVersion."""
    head = {"apiVersion": "sekisho.dev/v1alpha1"}
    return [msgspec.convert({**head, **one}, RESOURCES[one["kind"]].kind) for one in written]


def install(plane: ControlPlane, floor: Floor, actions: Sequence[str]) -> list[str]:
    """Create the floor's objects, with these validationActions; returns their paths once the types are checked.

    Raises RuntimeError if one is rejected, DeadlineError.
    """
    paths = []
    for one in floor.objects:
        is_binding = one["kind"].endswith("Binding")
        body = {**one, "spec": {**one["spec"], "validationActions": list(actions)}} if is_binding else one
        answer = plane.call("POST", path_of(one).rpartition("/")[0], body, timeout=ANSWER_IN)
        if answer.status != 201:
            raise RuntimeError(f"the API server answers {one['metadata']['name']} with {answer}")
        paths.append(path_of(one))
    return paths


def path_of(one: Mapping[str, Any]) -> str:
    """The path of an object of the floor."""
    collection = f"{one['kind'].lower()}s".replace("policys", "policies")
    return f"{ADMISSION}/{collection}/{one['metadata']['name']}"


def type_problems(plane: ControlPlane, path: str) -> Any:
    """What the API server's check of types says about a policy: an empty object if all is well.

    Raises DeadlineError.
    """

    def checked() -> Json | None:
        stored: Json = json.loads(plane.call("GET", path).body)
        status = stored.get("status", {})
        return status if status.get("observedGeneration") == stored["metadata"]["generation"] else None

    status = wait_until(checked, _CHECKED_IN, "the types are checked")
    return status.get("typeChecking", {})


def floor_verdict(warnings: Iterable[str]) -> Verdict:
    """Who denies by the warnings of an answer. Raises ValueError for an unknown text, such as an error's."""
    return frozenset(_denials(warnings))


def _denials(warnings: Iterable[str]) -> Iterator[tuple[str, str]]:
    for warning in warnings:
        if "ValidatingAdmissionPolicy" not in warning:
            continue
        match = _WARNING.search(warning)
        if match is None:
            raise ValueError(warning)
        yield from ((policy, match["control"]) for policy in match["policies"].split(", "))


def engine_verdict(pod: bytes, policies: PolicySet, namespace: str, labels: Mapping[str, str]) -> Verdict:
    """Who denies a new pod for what it sets, by the engine; only with the controls that the floor has."""
    context = Context(policies, namespace, labels, clock=lambda: datetime.now(UTC))
    evaluation = evaluate(_pods.decode(pod), context, subject=ADMINISTRATOR)
    return frozenset(
        (policy, violation.finding.control)
        for violation in evaluation.violations
        if violation.enforcement is Enforcement.DENY and _is_set(violation.finding)
        for policy in violation.policies
    )


def _is_set(finding: Finding) -> bool:
    """Whether a finding is about something that the pod sets, and of a control that the floor has."""
    if finding.control == "capabilities":
        return "add" in finding.path
    if finding.control == "seccompProfile":
        return finding.raw_value is not None
    return finding.control in FLOOR_CONTROLS


def compare(
    plane: ControlPlane, policies: Sequence[Policy], pods: Iterable[tuple[str, Json]], labels: Mapping[str, str]
) -> Comparison:
    """Compare new pods, each with its namespace; the floor of the policies must be installed, and warn.

    labels: those of every namespace.
    """
    known = PolicySet.of(policies)
    differences, denials, count, cut = [], Counter[tuple[str, str]](), 0, 0
    for namespace, pod in pods:
        answer = plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod, timeout=ANSWER_IN)
        if answer.status == 422:
            continue
        if answer.status != 201:
            raise RuntimeError(f"the API server answers {json.dumps(pod)} with {answer}")
        count += 1
        by_name = {**labels, "kubernetes.io/metadata.name": namespace}
        floor, engine = floor_verdict(answer.warnings), engine_verdict(answer.body, known, namespace, by_name)
        denials.update(engine)
        is_cut = sum(map(len, answer.warnings)) > _MOST_WARNINGS
        cut += is_cut
        if floor - engine if is_cut else floor != engine:
            differences.append(Difference(namespace, pod, floor, engine))
    return Comparison(count, cut, tuple(differences), denials)


def floor_for(policies: Sequence[Policy]) -> Floor:
    """The floor of policies, for a cluster that leaves out kube-system; its name is short, as it is in warnings."""
    return floor_of(policies, ["kube-system"], "f")


Images = Mapping[str, str]
"""Images by the names of their containers."""


def images_denied_by_floor(plane: ControlPlane, namespace: str, images: Images) -> frozenset[tuple[str, str]]:
    """The policies that deny an image, each with the container; the floor must be installed, and warn.

    At most eight short names fit in a warning.
    """
    containers = [{"name": name, "image": image} for name, image in images.items()]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    answer = plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod, timeout=ANSWER_IN)
    if answer.status != 201:
        raise RuntimeError(f"the API server answers {images} with {answer}")
    denied = set()
    for warning in answer.warnings:
        match = _WARNING.search(warning)
        if match is None:
            raise ValueError(warning)
        containers_named = re.findall(r"container (\w+)", warning[match.end() :])
        denied |= {(policy, name) for policy in match["policies"].split(", ") for name in containers_named}
    return frozenset(denied)


def images_denied_by_engine(policies: PolicySet, namespace: str, images: Images) -> frozenset[tuple[str, str]]:
    """The policies that deny an image, each with the container."""
    containers = [{"name": name, "image": image} for name, image in images.items()]
    pod = msgspec.convert({"spec": {"containers": containers}}, Workload)
    violations = evaluate(pod, Context(policies, namespace, {})).violations
    return frozenset(
        (policy, violation.finding.container or "") for violation in violations for policy in violation.policies
    )

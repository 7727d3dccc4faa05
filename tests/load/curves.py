"""The curves of `make growth`: work that grows with the cluster, at any size, in this process and without a network.

A curve makes its input for a size first, and gives the work whose CPU time is measured. What the work returns is what
a process keeps of it in memory, if anything.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from sekisho import admission
from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.cluster.denial_history import DenialHistory
from sekisho.cluster.events import Occurrence, Reason, event_of, statement
from sekisho.cluster.namespace_objects import decode_limit_range, decode_service_account
from sekisho.cluster.owners import ObjectReference, Owners
from sekisho.cluster.recorder import EventRecorder
from sekisho.documents import split_list
from sekisho.manifests import Checker, Namespaces, sources_of
from sekisho.manifests.texts import Source
from sekisho.operator.metrics import Metrics
from sekisho.operator.policy_status import StatusKeeper
from sekisho.policies import ClusterPodPolicy, CompiledPolicy, PodPolicy, PolicySet, PolicyWaiver, compile_policy
from sekisho.policies.loading import from_object
from sekisho.webhook.policies import Kept, keep
from tests.load import population
from tests.load.reviews import pod
from tests.reviews import review

Work = Callable[[], object]
Curve = Callable[[int], Work]

NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
_SELECTING: Final = 40


def policy_objects(count: int) -> list[dict[str, Any]]:
    """`count` ClusterPodPolicies, each for the namespaces of one team."""
    return [_stored(policy, number) for number, policy in enumerate(population.policies(count))]


def pod_policies(count: int) -> list[dict[str, Any]]:
    """PodPolicies with defaults of their own, each in another one of `count` namespaces."""
    return [_stored(_pod_policy(number), number) for number in range(count)]


def replica_policies(count: int) -> Work:
    """A replica starts: policies are decoded and compiled, and a set is built from them."""
    raws = [msgspec.json.encode(policy) for policy in policy_objects(count)]
    return partial(_enforced, raws, ClusterPodPolicy)


def replica_pod_policies(count: int) -> Work:
    """A replica starts with PodPolicies, which it decodes and compiles, and builds a set from."""
    raws = [msgspec.json.encode(policy) for policy in pod_policies(count)]
    return partial(_enforced, raws, PodPolicy)


def replica_statuses(count: int) -> Work:
    """A replica reads every PodPolicy again after its status was written."""
    raws = [msgspec.json.encode(policy) for policy in pod_policies(count)]
    known: dict[str, Kept] = {}
    for number, raw in enumerate(raws):
        known[f"{_namespace(number)}/policy"], _ = keep(raw, PodPolicy, known)

    def read() -> None:
        for raw in raws:
            keep(raw, PodPolicy, known)

    return read


def controller_pod_policies(count: int) -> Work:
    """A controller starts: it reads PodPolicies, compares their defaults, and computes each status."""
    return partial(_statuses, pod_policies(count))


def waivers(count: int) -> Work:
    """A pod of 100 violating containers is judged, with waivers for other images; each waiver is for all policies."""
    policy: ClusterPodPolicy = from_object(
        _document("ClusterPodPolicy", "p", {"controls": {"privileged": {}}}), ClusterPodPolicy
    )
    made = [from_object(_waiver(number), PolicyWaiver) for number in range(count)]
    policies = PolicySet.of([policy, *made])
    containers = [
        {
            "name": f"c-{number}",
            "image": f"registry.example.com/bad/app-{number}",
            "securityContext": {"privileged": True},
        }
        for number in range(100)
    ]
    decoded = admission.decode(
        msgspec.json.encode(review({"metadata": {"name": "pod"}, "spec": {"containers": containers}}))
    )
    admission.validate(decoded, policies, {}, lambda: NOW)  # files the waivers by namespace, once

    def judge() -> None:
        for _ in range(3):
            admission.validate(decoded, policies, {}, lambda: NOW)

    return judge


def namespaces(count: int) -> Work:
    """The first review in each namespace, with a policy for every ten of them."""
    compiled = [compile_policy(from_object(policy, ClusterPodPolicy)) for policy in population.policies(count // 10)]
    labels = [(one["metadata"]["name"], one["metadata"]["labels"]) for one in population.namespaces(count)]

    def select() -> PolicySet:
        policies = PolicySet(compiled)
        for name, of_name in labels:
            policies.plan(name, of_name, None)
        return policies

    return select


def pod_labels(count: int) -> Work:
    """Pods with different labels, in a namespace with 40 policies that select pods by one label each."""
    documents = [
        _document(
            "ClusterPodPolicy",
            f"p-{number:02}",
            {"match": {"podSelector": {"matchLabels": {f"l{number}": "1"}}}, "controls": {"privileged": {}}},
        )
        for number in range(_SELECTING)
    ]
    compiled = [compile_policy(from_object(document, ClusterPodPolicy)) for document in documents]
    pods = [
        admission.decode(
            msgspec.json.encode(review({"metadata": {"name": "p", "labels": _labels(number)}, "spec": {}}))
        )
        for number in range(count)
    ]

    def judge() -> PolicySet:
        policies = PolicySet(compiled)
        for body in pods:
            admission.validate(body, policies, {})
        return policies

    return judge


def owners(count: int) -> Work:
    """Denials of pods of different owners, all in one namespace: each is queued, or gives way to earlier ones."""

    async def record() -> EventRecorder:
        api = ApiClient(ApiConfig(host="http://127.0.0.1:1", authorization=None, tls=False))
        try:
            recorder = EventRecorder(api, Owners(api), "replica")
            for number in range(count):
                recorder.record(_denial(number))
            return recorder
        finally:
            await api.close()

    return lambda: asyncio.run(record())


def watched_denials(count: int) -> Work:
    """`denials --watch`: Events arrive one by one."""
    occurrences = [_denial(number) for number in range(count)]
    events = [event_of(occurrence, occurrence.regarding, "replica") for occurrence in occurrences]

    def follow() -> DenialHistory:
        history = DenialHistory()
        for event in events:
            history.put(event.metadata.name, event)
            history.changes()
        return history

    return follow


def limit_ranges(count: int) -> Work:
    """A replica reads a LimitRange and two ServiceAccounts in each namespace."""
    limit = {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    raws = [
        msgspec.json.encode(
            {"metadata": {"name": "limits", "namespace": _namespace(number)}, "spec": {"limits": [limit]}}
        )
        for number in range(count)
    ]
    account = msgspec.json.encode({"metadata": {"name": "default"}, "automountServiceAccountToken": False})
    return lambda: [
        (decode_limit_range(raw), decode_service_account(account), decode_service_account(account)) for raw in raws
    ]


def checked_list(count: int) -> Work:
    """`sekisho check` of a List of Deployments, on one core."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod()["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    items = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"web-{number}", "namespace": "shop"},
            "spec": spec,
        }
        for number in range(count)
    ]
    text = msgspec.json.format(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items})).decode()
    checker = Checker(PolicySet.of([from_object(population.policies(1)[0], ClusterPodPolicy)]), Namespaces({}))

    def check() -> None:
        [source] = sources_of(text, "list.json")
        items = split_list(source.text)
        assert items is not None
        for line, piece in items.pieces:
            checker.check(Source("list.json", line, piece, items.inherited))

    return check


def _enforced(raws: list[bytes], kind: type[ClusterPodPolicy] | type[PodPolicy]) -> PolicySet:
    kept = [keep(raw, kind, {})[0].compiled for raw in raws]
    return PolicySet([policy for policy in kept if isinstance(policy, CompiledPolicy)])


def _statuses(bodies: list[dict[str, Any]]) -> StatusKeeper:
    async def compute() -> StatusKeeper:
        api = ApiClient(ApiConfig(host="http://127.0.0.1:1", authorization=None, tls=False))
        try:
            keeper = StatusKeeper(api, "sekisho-system", Metrics())
            for body in bodies:
                keeper.changed(body)
            keeper.stale_statuses()
            return keeper
        finally:
            await api.close()

    return asyncio.run(compute())


def _stored(document: dict[str, Any], number: int) -> dict[str, Any]:
    """A document as the API server stores it."""
    identity = {"uid": f"uid-{number}", "generation": 1, "resourceVersion": str(100 + number)}
    return document | {"metadata": document["metadata"] | identity}


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _namespace(number: int) -> str:
    return f"tenant-{number:06}"


def _pod_policy(number: int) -> dict[str, Any]:
    spec = {
        "podSecurityStandard": {"level": "restricted"},
        "defaults": {"pod": {"securityContext": {"runAsUser": 10_000 + number}}},
    }
    document = _document("PodPolicy", "policy", spec)
    return document | {"metadata": {"name": "policy", "namespace": _namespace(number)}}


def _waiver(number: int) -> dict[str, Any]:
    match = (
        {"images": [f"registry.example.com/team-{number}/app"]}
        if number % 2
        else {"podSelector": {"matchLabels": {"app": f"a{number}"}}}
    )
    spec = {"policies": ["p"], "controls": ["privileged"], "match": match, "reason": "r"}
    return _document("PolicyWaiver", f"w-{number}", spec | {"expires": (NOW + timedelta(days=30)).isoformat()})


def _labels(number: int) -> dict[str, str]:
    """Labels that select another subset of the policies for each number."""
    return {f"l{index}": "1" for index in range(_SELECTING) if (number * 2_654_435_761 >> index) & 1}


def _denial(number: int) -> Occurrence:
    note = f'policy "restricted" denies container "app-{number}": privileged is true; must be false. [privileged]'
    owner = ObjectReference("apps/v1", "ReplicaSet", f"web-{number}", "shop", f"uid-{number}")
    return Occurrence(owner, None, statement(Reason.POD_DENIED, note, ["restricted"], ["privileged"], ["fix"]), NOW)

"""The leader's audit: each policy's impact reaches its status, again after changes, and nothing else is written."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sekisho.audit import LINKS, PODS, TEMPLATES, Result
from sekisho.cluster.api import ApiClient
from sekisho.operator import auditor as module
from sekisho.operator.auditor import Audited, Auditor, Impacts
from sekisho.operator.broken_defaults import BrokenDefaultEvents
from sekisho.operator.metrics import Metrics
from sekisho.operator.records import Record, read_record
from sekisho.operator.status import View, wanted_policy_status
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.policies.status import ImpactExample, PolicyImpact
from tests.unit.audit.running import PRIVILEGED, link, pod, workload
from tests.unit.audit.test_broken_defaults import NON_ROOT, ROOT, defaulted, waiting
from tests.unit.cluster_server import ClusterServer, Json
from tests.unit.operator.test_status import NOW, replicas
from tests.unit.waiting import until

BAD = workload("Deployment", "bad", PRIVILEGED)
BAD_SET = link("ReplicaSet", "bad-7f9", BAD)
SHOP = {"metadata": {"name": "shop", "labels": {"team": "a"}, "resourceVersion": "5"}}


def record(name: str, generation: int = 1, kind: str = "ClusterPodPolicy", **spec: Any) -> Record:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": generation, "resourceVersion": str(generation)}
    return read_record({"kind": kind, "metadata": metadata, "spec": spec}, None)


class Site:
    """A cluster, and an auditor for some policies in it."""

    def __init__(self, server: ClusterServer, api: ApiClient) -> None:
        self.server = server
        self.metrics = Metrics()
        self.records = [record("unprivileged", controls={"privileged": {}})]
        self.impacts: list[Impacts] = []
        report = BrokenDefaultEvents(api, "controller-1").write
        self.auditor = Auditor(api, self.metrics, EXEMPT_NAMESPACES, self._rules, self.impacts.append, report)

    async def _rules(self) -> Audited:
        return Audited([one.policy for one in self.records if one.policy is not None], list(self.records))

    @asynccontextmanager
    async def audited(self, passes: int = 1) -> AsyncIterator[None]:
        """Run until a number of `passes` have ended, and on."""
        running = asyncio.create_task(self.auditor.run())
        try:
            await until(lambda: len(self.impacts) >= passes)
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.metrics.render().decode())
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(module, "DEBOUNCE_SECONDS", 0.01)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    server = ClusterServer()
    for kind in (*LINKS, *TEMPLATES, PODS):
        server.put(kind.path(None), ())
    for path in ("/api/v1/limitranges", "/api/v1/serviceaccounts"):
        server.put(path, ())
    server.put("/api/v1/namespaces", [SHOP])
    server.put("/apis/apps/v1/replicasets", [BAD_SET])
    server.put("/apis/apps/v1/deployments", [BAD])
    server.put("/api/v1/pods", [pod(f"bad-{number}", BAD_SET, PRIVILEGED) for number in range(4)])
    server.put("/api/v1/pods", [pod("good"), pod("proxy", spec=PRIVILEGED, namespace="kube-system")])
    async with server.serve(tmp_path) as kubeconfig:
        api = await ApiClient.connect(Path(kubeconfig))
        try:
            yield Site(server, api)
        finally:
            await api.close()


IMPACT = PolicyImpact(
    observed_generation=1,
    pods=5,
    violating=4,
    would_be_denied=4,
    owners=1,
    idle_templates=0,
    examples=(ImpactExample("Deployment shop/bad", 4, ("privileged",)),),
)


async def test_impact_of_each_policy_is_found(site: Site) -> None:
    site.records.append(record("other", 7, "ClusterPodPolicy", controls={"hostNamespaces": {}}))
    async with site.audited():
        assert site.impacts == [{"uid-unprivileged": IMPACT, "uid-other": PolicyImpact(7, 5, 0, 0, 0, 0)}]
    for state, pods in (("judged", 5), ("violating", 4), ("would_be_denied", 4)):
        assert site.metric("sekisho_controller_audited_pods", state=state) == pods
        of_policy = site.metric("sekisho_controller_policy_impact_pods", state=state, policy="unprivileged")
        assert of_policy == pods
    assert site.metric("sekisho_controller_last_audit_timestamp_seconds") > 0


async def test_pods_are_listed_once_for_all_policies(site: Site) -> None:
    site.records += [record(f"p{number}", controls={"privileged": {}}) for number in range(20)]
    async with site.audited():
        assert site.server.requests.count("/api/v1/pods") == 2  # pages


async def test_change_of_a_policy_begins_another_pass(site: Site) -> None:
    async with site.audited():
        site.records[0] = record("unprivileged", 2, controls={"hostNamespaces": {}})
        site.auditor.changed()
        await until(lambda: len(site.impacts) == 2)
        assert site.impacts[1]["uid-unprivileged"] == PolicyImpact(2, 5, 0, 0, 0, 0)


async def test_policy_that_is_changed_while_a_pass_is_under_way_is_audited_again(site: Site) -> None:
    first = [record("unprivileged", controls={"privileged": {}})]

    def changed_before_the_second_page() -> None:
        if site.records == first:
            site.records = [record("unprivileged", 2, controls={"hostNamespaces": {}})]
            site.auditor.changed()

    site.records = first
    site.server.before_second_page = changed_before_the_second_page
    async with site.audited(2):
        assert site.impacts[:2] == [
            {"uid-unprivileged": IMPACT},  # whole, and about the generation that was audited
            {"uid-unprivileged": PolicyImpact(2, 5, 0, 0, 0, 0)},
        ]


async def test_change_of_a_namespaces_labels_begins_another_pass_and_a_new_namespace_does_not(site: Site) -> None:
    selector: Json = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    site.records = [record("of-b", controls={"privileged": {}}, match=selector)]
    async with site.audited():
        assert site.impacts[0]["uid-of-b"].pods == 0
        meta = {"name": "new", "labels": {}, "resourceVersion": "6"}
        site.server.tell("ADDED", {"metadata": meta})
        site.server.tell("MODIFIED", {"metadata": {"name": "shop", "labels": {"team": "b"}, "resourceVersion": "7"}})
        await until(lambda: len(site.impacts) == 2)
        assert site.impacts[1]["uid-of-b"].would_be_denied == 4


async def test_list_that_expires_is_begun_again(site: Site) -> None:
    site.server.expired = 1
    async with site.audited():
        assert site.impacts == [{"uid-unprivileged": IMPACT}]
    assert site.metric("sekisho_controller_reconcile_errors_total", subject="audit") == 1


@pytest.mark.parametrize("status", [403, 500])
async def test_impact_stays_while_the_api_server_does_not_answer(site: Site, status: int) -> None:
    async with site.audited():
        site.server.statuses["/api/v1/pods"] = status
        site.auditor.changed()
        await until(lambda: site.metric("sekisho_controller_reconcile_errors_total", subject="audit"))
        assert len(site.impacts) == 1
        del site.server.statuses["/api/v1/pods"]
        await until(lambda: len(site.impacts) == 2)


async def test_defect_does_not_end_the_leader(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "promotions_of", broken)
    running = asyncio.create_task(site.auditor.run())
    await until(lambda: site.metric("sekisho_controller_reconcile_errors_total", subject="audit"))
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


def add_broken_pod(server: ClusterServer) -> None:
    status = waiting("CreateContainerConfigError", ROOT[0])
    server.put("/api/v1/pods", [defaulted("broken", [NON_ROOT], status, BAD_SET, of="unprivileged")])


async def test_default_that_breaks_pods_is_reported_once_on_their_owner(site: Site) -> None:
    add_broken_pod(site.server)
    async with site.audited():
        await until(lambda: site.server.created)
        site.auditor.changed()
        await until(lambda: len(site.impacts) == 2)
        site.auditor.changed()
        await until(lambda: len(site.impacts) == 3)
        [event] = site.server.created
        assert event["metadata"]["namespace"] == event["regarding"]["namespace"] == "shop"
        regarding = {key: event["regarding"][key] for key in ("apiVersion", "kind", "name", "uid")}
        assert regarding == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bad", "uid": "Deployment bad"}
        assert (event["type"], event["reason"]) == ("Warning", "DefaultBreaksPod")
        assert event["note"] == (
            'container "app" cannot run: container has runAsNonRoot and image will run as root. '
            'The default of policy "unprivileged" set spec.template.spec.securityContext.runAsNonRoot. '
            "Fix: set runAsUser to an id above 0 that the image can run as, or build the image with a numeric USER; "
            "or set spec.template.spec.securityContext.runAsNonRoot in the manifest, as far as policies permit it."
        )
        # Corrected, and broken again.
        broken = site.server.lists["/api/v1/pods"].pop()
        site.auditor.changed()
        await until(lambda: len(site.impacts) == 4)
        site.server.put("/api/v1/pods", [broken])
        site.auditor.changed()
        await until(lambda: len(site.server.created) == 2)


@pytest.mark.parametrize("status", [403, 500])
async def test_event_about_a_default_that_is_not_written_is_tried_again(site: Site, status: int) -> None:
    add_broken_pod(site.server)
    path = "/apis/events.k8s.io/v1/namespaces/shop/events"
    site.server.statuses[path] = status
    async with site.audited():
        assert not site.server.created
        del site.server.statuses[path]
        site.auditor.changed()
        await until(lambda: len(site.server.created) == 1)


async def test_without_policies_no_pods_are_listed(site: Site) -> None:
    site.records = []
    async with site.audited():
        assert site.impacts == [{}]
    assert "/api/v1/pods" not in site.server.requests


def written(one: Record, impacts: Impacts) -> Json:
    """The status that is wanted, as the API server stores it."""
    stored: Json = msgspec.to_builtins(wanted_policy_status(one, (), View(NOW, replicas(1), impacts=impacts)))
    return stored


def with_status(status: Json, generation: int = 1) -> Record:
    metadata = {"name": "p", "uid": "uid-p", "generation": generation, "resourceVersion": "9"}
    spec: Json = {"controls": {"privileged": {}}}
    return read_record({"kind": "ClusterPodPolicy", "metadata": metadata, "spec": spec, "status": status}, None)


def test_unchanged_impact_needs_no_write_and_another_one_does() -> None:
    known = with_status(written(with_status({}), {"uid-p": IMPACT}))
    assert written(known, {"uid-p": IMPACT}) == msgspec.to_builtins(known.status)
    fewer = msgspec.structs.replace(IMPACT, violating=3)
    assert written(known, {"uid-p": fewer})["impact"]["violating"] == 3


def test_leader_that_has_not_audited_yet_keeps_the_impact() -> None:
    known = with_status(written(with_status({}), {"uid-p": IMPACT}), generation=2)
    assert written(known, {})["impact"]["observedGeneration"] == 1


def test_policy_that_is_not_accepted_has_no_impact() -> None:
    metadata = {"name": "p", "uid": "uid-p", "generation": 1, "resourceVersion": "9"}
    broken = {"kind": "ClusterPodPolicy", "metadata": metadata, "spec": {"controls": {"privilegd": {}}}}
    assert written(read_record(broken, None), {"uid-p": IMPACT})["impact"] is None


def test_impacts_are_of_policies_only() -> None:
    records: Iterable[Record] = [record("p", controls={"privileged": {}})]
    waiver: Json = {"policies": ["p"], "controls": ["privileged"], "reason": "r", "expires": "2026-12-01T00:00:00Z"}
    waiver_record = record("w", kind="PolicyWaiver", **waiver, match={"namespaces": ["shop"]})
    assert waiver_record.policy is not None
    impacts = module.impacts_of([*records, waiver_record], Result(0, 0, 0, 0, (), {}))
    assert list(impacts) == ["uid-p"]

"""The leader's audit on the real API server where it is disturbed, and its reports: what exists, and what it may do."""

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from sekisho.admission import Context, evaluate
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.operator.audit_reports import Report, reports_of
from sekisho.operator.records import read_record
from sekisho.operator.report_writer import KINDS, ReportKind, ReportWriter
from sekisho.pods import Workload
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.cluster import quick_controller
from tests.cluster.audit import Audit, credential_of
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, SOON, get, option, token_of
from tests.cluster.test_audit import GOOD, PRIVILEGED, impact_of, pods_of, policy_of, workload
from tests.controlplane.component import Component
from tests.controlplane.installed import RELEASE, Sekisho
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until
from tests.unit.audit.running import audit as audit_of
from tests.unit.audit.running import workload as stored_workload

Json = dict[str, Any]

OPEN, OLDER = KINDS
AUDITED: Final = 180.0
PAGES: Final = 40
OWNERS: Final = 8
PODS: Final = 2 * PAGES
"""Two a page."""
ROLE: Final = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{RELEASE}-controller"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return Audit(tmp_path_factory.mktemp("audit"))


@pytest.fixture(scope="module")
def cluster(new_plane: Callable[..., ControlPlane], audit: Audit) -> Iterator[Cluster]:
    """Sekisho that may write reports, in a plane that reads every page of a list from etcd: compaction ends lists."""
    with new_plane(*audit.options, "--feature-gates=ListFromCacheSnapshot=false") as plane:
        sekisho = Sekisho(plane, ("audit.reports=true",))
        try:
            sekisho.install()
            sekisho.controller.stop()
            yield Cluster(plane, sekisho)
        finally:
            sekisho.stop()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; no controller runs that nobody has started."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    cluster.plane.create_namespace(name)
    yield name
    cluster.plane.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def quick(cluster: Cluster, tmp_path: Path) -> Iterator[Component]:
    """The controller with small pages and an audit every second, not started. Its folder is that of its log."""
    command = cluster.sekisho.controller.command
    arguments = (*command[command.index("controller") + 1 :], "--audit-reports")
    quick = Component(
        "quick-controller",
        (sys.executable, quick_controller.__file__, str(tmp_path), *arguments),
        tmp_path / "quick.log",
        lambda: True,
    )
    yield quick
    quick.stop()


@pytest.fixture
def audited_policy(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A policy that audits the pods of the namespace; both have the same name."""
    policy = policy_of(namespace, enforcement="Audit", defaults={"profile": "restricted"})
    cluster.plane.kubectl.check("apply", "-f", "-", input=yaml.safe_dump(policy))
    yield namespace
    cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def deploy(cluster: Cluster, namespace: str, name: str, spec: Json, replicas: int) -> None:
    body = workload("Deployment", name, spec, replicas=replicas)
    cluster.plane.kubectl.check("apply", "--namespace", namespace, "-f", "-", input=json.dumps(body))


# A pass that is disturbed


@pytest.fixture
def many_pods(cluster: Cluster, audited_policy: str) -> str:
    """As many pods as PAGES pages have in the policy's namespace, half of them privileged."""
    for number in range(OWNERS):
        spec = PRIVILEGED if number % 2 else GOOD
        deploy(cluster, audited_policy, f"d{number}", spec, PODS // OWNERS)
    wait_until(lambda: len(pods_of(cluster, audited_policy)) == PODS, AUDITED, "all pods exist")
    return audited_policy


def judged_one_by_one(cluster: Cluster, namespace: str) -> tuple[int, int]:
    """How many pods of the namespace there are, and how many of them violate its policy as they run."""
    spec = get(cluster, f"{POLICIES}/{namespace}")["spec"]
    policy = msgspec.convert({"metadata": {"name": namespace}, "spec": spec}, ClusterPodPolicy)
    policies = PolicySet.of([policy])
    pods = [msgspec.convert(body, Workload) for body in pods_of(cluster, namespace)]
    return len(pods), sum(bool(evaluate(pod, Context(policies, namespace, None)).violations) for pod in pods)


def wait_exact(cluster: Cluster, namespace: str) -> None:
    """Wait for the status of the policy, and compare it with judging pod by pod."""
    impact = wait_until(lambda: impact_of(cluster, namespace), AUDITED, "the impact is known")
    pods, violating = judged_one_by_one(cluster, namespace)
    assert (impact["pods"], impact["violating"]) == (pods, violating) == (PODS, PODS // 2)
    assert (impact["wouldBeDenied"], impact["owners"]) == (PODS // 2, OWNERS // 2)


def hold(quick: Component) -> Path:
    """Have the next audit wait at its 20th page of pods; gives the file to delete for it to go on."""
    file = quick.log.parent / "hold"
    file.touch()
    return file


def wait_held(quick: Component) -> None:
    held = quick.log.parent / "held"
    wait_until(held.exists, AUDITED, "an audit waits at its 20th page")
    held.unlink()


def test_controller_killed_in_page_20_leaves_no_count_and_the_next_one_is_exact(
    cluster: Cluster, many_pods: str, quick: Component
) -> None:
    going_on = hold(quick)
    quick.start()
    wait_held(quick)
    quick.kill()
    assert impact_of(cluster, many_pods) == {}
    going_on.unlink()
    quick.start()
    wait_exact(cluster, many_pods)


def test_list_that_expires_in_its_middle_is_begun_again(cluster: Cluster, many_pods: str, quick: Component) -> None:
    going_on = hold(quick)
    quick.start()
    wait_held(quick)
    cluster.plane.call("DELETE", f"/api/v1/namespaces/{many_pods}/configmaps/kube-root-ca.crt")  # a newer version
    cluster.plane.compact()
    going_on.unlink()
    wait_until(lambda: "cannot audit what runs" in quick.log.read_text(), AUDITED, "the pass fails")
    assert "(410 Expired)" in quick.log.read_text()
    assert impact_of(cluster, many_pods) == {}
    wait_exact(cluster, many_pods)


# Reports


def definition(kind: ReportKind) -> Json:
    """The CustomResourceDefinition of a kind of reports."""
    body: Json = yaml.safe_load((Path(__file__).with_name("report_kind.yaml")).read_text())
    group, _, version = kind.api_version.partition("/")
    body["metadata"]["name"] = f"{kind.plural}.{group}"
    names = {"kind": kind.kind, "listKind": f"{kind.kind}List", "plural": kind.plural, "singular": kind.kind.lower()}
    body["spec"] |= {"group": group, "names": names}
    body["spec"]["versions"][0]["name"] = version
    return body


def serve(cluster: Cluster, kind: ReportKind) -> None:
    cluster.plane.kubectl.check("apply", "-f", "-", input=json.dumps(definition(kind)))
    wait_until(lambda: cluster.plane.call("GET", kind.path()).status == 200, SOON, f"{kind.kind} is served")


def remove(cluster: Cluster, kind: ReportKind) -> None:
    crd = definition(kind)["metadata"]["name"]
    cluster.plane.kubectl.check("delete", "customresourcedefinition", crd, "--ignore-not-found")


@pytest.fixture
def no_kinds(cluster: Cluster) -> Iterator[None]:
    """Removes all kinds of reports before and after a test."""
    for kind in KINDS:
        remove(cluster, kind)
    yield
    for kind in KINDS:
        remove(cluster, kind)


def reports_in(cluster: Cluster, kind: ReportKind, namespace: str) -> list[Json]:
    answer = cluster.plane.call("GET", kind.path())
    reports: list[Json] = json.loads(answer.body)["items"] if answer.status == 200 else []
    return [report for report in reports if report["metadata"]["namespace"] == namespace]


def rows(report: Json) -> list[tuple[str, str, str]]:
    return [(one["resources"][0]["name"], one["rule"], one["properties"]["pods"]) for one in report["results"]]


def bad(pods: int) -> list[tuple[str, str, str]]:
    """The rows about a Deployment `bad` of privileged pods."""
    return [("bad", control, str(pods)) for control in ("allowPrivilegeEscalation", "privileged")]


def test_reports_are_of_the_kind_that_the_cluster_has_and_change_only_with_what_they_say(
    cluster: Cluster, audited_policy: str, quick: Component, no_kinds: None, audit: Audit
) -> None:
    def wait_for(kind: ReportKind) -> Json:
        (report,) = wait_until(
            lambda: reports_in(cluster, kind, audited_policy), AUDITED, lambda: f"{kind.kind}: {quick.log.read_text()}"
        )
        return report

    def wait_none(kind: ReportKind) -> None:
        wait_until(lambda: not reports_in(cluster, kind, audited_policy), AUDITED, f"no {kind.kind} is left")

    def wait_passes() -> None:
        """Until two more passes have read the reports."""
        credential = credential_of(token_of(quick))

        def lists() -> int:
            return sum(one.verb == "list" and one.resource == OPEN.plural for one in audit.requests(credential))

        before = lists()
        wait_until(lambda: lists() >= before + 3, AUDITED, "two more passes")

    deploy(cluster, audited_policy, "bad", PRIVILEGED, 2)
    deploy(cluster, audited_policy, "good", GOOD, 1)
    wait_until(lambda: len(pods_of(cluster, audited_policy)) == 3, AUDITED, "the pods exist")
    quick.start()
    # Missing: the status has the numbers, and a line in the log says what is missing.
    wait_until(lambda: impact_of(cluster, audited_policy), AUDITED, "the impact is known")
    wait_until(lambda: "has no CustomResourceDefinition" in quick.log.read_text(), AUDITED, "the log says so")

    serve(cluster, OLDER)
    assert rows(wait_for(OLDER)) == bad(2)

    serve(cluster, OPEN)
    report = wait_for(OPEN)
    assert rows(report) == bad(2)
    assert (report["summary"]["fail"], report["summary"]["pass"]) == (2, 0)
    (owner,) = report["metadata"]["ownerReferences"]
    policy = get(cluster, f"{POLICIES}/{audited_policy}")
    assert owner["uid"] == policy["metadata"]["uid"]
    wait_none(OLDER)

    # Unchanged, also where somebody has added to it; then changed, but not the time since when it is so.
    path = OPEN.path(audited_policy, report["metadata"]["name"])
    name = f"reports.openreports.io/{report['metadata']['name']}"
    cluster.plane.kubectl.check("label", name, "seen=yes", "--namespace", audited_policy)
    labelled = get(cluster, path)
    wait_passes()
    assert get(cluster, path)["metadata"]["resourceVersion"] == labelled["metadata"]["resourceVersion"]
    deploy(cluster, audited_policy, "bad", PRIVILEGED, 3)
    wait_until(lambda: rows(get(cluster, path)) == bad(3), AUDITED, "the new count")
    assert get(cluster, path)["results"][0]["timestamp"] == report["results"][0]["timestamp"]

    # Removed while running.
    remove(cluster, OPEN)
    assert rows(wait_for(OLDER)) == bad(3)

    # Empty, and owned by its policy.
    deploy(cluster, audited_policy, "bad", GOOD, 3)
    wait_none(OLDER)
    deploy(cluster, audited_policy, "bad", PRIVILEGED, 3)
    wait_for(OLDER)
    quick.stop()
    cluster.plane.call("DELETE", f"{POLICIES}/{audited_policy}")
    wait_none(OLDER)
    assert "Traceback" not in quick.log.read_text()


def test_each_permission_of_the_audit_is_used(
    cluster: Cluster, audited_policy: str, quick: Component, no_kinds: None, audit: Audit
) -> None:
    serve(cluster, OLDER)
    deploy(cluster, audited_policy, "bad", PRIVILEGED, 1)
    quick.start()
    wait_until(lambda: reports_in(cluster, OLDER, audited_policy), AUDITED, "a report exists")
    serve(cluster, OPEN)
    wait_until(lambda: not reports_in(cluster, OLDER, audited_policy), AUDITED, "it is moved")
    wait_until(lambda: reports_in(cluster, OPEN, audited_policy), AUDITED, "it is written")
    deploy(cluster, audited_policy, "bad", GOOD, 1)
    wait_until(lambda: not reports_in(cluster, OPEN, audited_policy), AUDITED, "the report is gone")
    requests = audit.requests(credential_of(token_of(quick)))
    used = {(one.resource, one.verb) for one in requests if one.status < 300}
    rules = get(cluster, ROLE)["rules"]
    granted = {
        (resource, verb)
        for rule in rules
        if not {"admissionregistration.k8s.io", "events.k8s.io"} & set(rule["apiGroups"])  # other tests are about these
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    # An apply that creates something is a patch, for which both are needed: the next test is about these.
    assert granted - used == {("reports", "create"), ("policyreports", "create")}


@pytest.mark.parametrize("verb", ["list", "create", "patch", "delete"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_reports_need_each_permission(
    cluster: Cluster, audited_policy: str, no_kinds: None, kind: ReportKind, verb: str
) -> None:
    serve(cluster, kind)
    record = read_record(get(cluster, f"{POLICIES}/{audited_policy}") | {"kind": "ClusterPodPolicy"}, None)
    spec = {"containers": [{"name": "app", "image": "a/b", "securityContext": {"privileged": True}}]}
    result = audit_of([record.policy], [stored_workload("Deployment", "bad", spec, audited_policy)])
    reports = reports_of([record], result)
    kubeconfig = Path(option(cluster.sekisho.controller, "--kubeconfig"))

    def written(wanted: Mapping[tuple[str, str], Report]) -> str:
        """`ok` or `forbidden`."""
        return asyncio.run(write(kubeconfig, wanted))

    if verb == "delete":
        assert written(reports) == "ok"
    original = get(cluster, ROLE)
    rules = [
        rule | ({"verbs": [one for one in rule["verbs"] if one != verb]} if kind.plural in rule["resources"] else {})
        for rule in original["rules"]
    ]
    wanted = {} if verb == "delete" else reports
    patch_role(cluster, rules)
    try:
        wait_until(lambda: written(wanted) == "forbidden", SOON, f"it is forbidden without {verb}")
    finally:
        patch_role(cluster, original["rules"])
    wait_until(lambda: written(wanted) == "ok", SOON, "it is permitted again")


async def write(kubeconfig: Path, reports: Mapping[tuple[str, str], Report]) -> str:
    api = await ApiClient.connect(kubeconfig)
    try:
        await ReportWriter(api).write(reports)
    except ApiError as error:
        if error.status != 403:
            raise
        return "forbidden"
    finally:
        await api.close()
    return "ok"


def patch_role(cluster: Cluster, rules: list[Json]) -> None:
    name = ROLE.rpartition("/")[2]
    cluster.plane.kubectl.check("patch", "clusterrole", name, "--type=merge", "--patch", json.dumps({"rules": rules}))

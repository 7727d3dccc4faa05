"""`sekisho audit`: what runs in a cluster, by policies that are applied or not yet, as text and for programs."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import Result

from sekisho.audit import LINKS, PODS, TEMPLATES
from sekisho.cli.reports import audit_text
from tests.pods import container
from tests.unit.audit.running import PRIVILEGED, WEBHOOKS, audit, cluster_of, link, pod, policy, workload
from tests.unit.cli.sekisho_command import policy_file, sekisho
from tests.unit.cluster_server import ClusterServer, Json

POLICIES = "/apis/sekisho.dev/v1alpha1"
WEB = workload("Deployment", "web")
WEB_SET = link("ReplicaSet", "web-5d8", WEB)
BAD = workload("Deployment", "bad", PRIVILEGED)
BAD_SET = link("ReplicaSet", "bad-7f9", BAD)


def namespace(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}


def applied(name: str, **spec: Any) -> Json:
    """A policy as the API server has it."""
    metadata = {"name": name, "generation": 1, "uid": name, "resourceVersion": "1"}
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": metadata, "spec": spec}


@pytest.fixture
def server() -> ClusterServer:
    """A cluster in which `bad` has four privileged pods and `web` one, and in which Sekisho is not installed."""
    pods = [pod(f"bad-{number}", BAD_SET, PRIVILEGED) for number in range(4)]
    pods += [pod("web-1", WEB_SET), pod("proxy", spec=PRIVILEGED, namespace="kube-system")]
    namespaces = map(namespace, ("shop", "kube-system", "quiet"))
    return cluster_of([WEB_SET, BAD_SET, WEB, BAD, *pods], *namespaces)


@pytest.fixture
async def kubeconfig(server: ClusterServer, tmp_path: Path) -> AsyncIterator[str]:
    async with server.serve(tmp_path) as file:
        yield file


async def run(kubeconfig: str, *args: str | Path) -> Result:
    """Run the command in a thread, as the server needs the event loop."""
    return await asyncio.to_thread(sekisho, "audit", "--kubeconfig", kubeconfig, *args)


async def test_policy_is_tried_before_it_is_applied(kubeconfig: str, tmp_path: Path) -> None:
    file = policy_file(tmp_path, "new", controls={"privileged": {}})
    done = await run(kubeconfig, "-p", file)
    assert done.exit_code == 1, done.output
    assert done.stdout == (
        "5 pods run: 4 violate a policy now, 4 pods of 1 owner would be denied when\n"
        "created again.\n"
        "\n"
        "POLICY  ENFORCEMENT  PODS  VIOLATING  DENIED  OWNERS  IDLE\n"
        "new     Deny            5          4       4       1     0\n"
        "\n"
        "Deployment shop/bad: 4 pods would be denied\n"
        '  container "app" for privileged mode:\n'
        "  spec.template.spec.containers[0].securityContext.privileged is true (allowed:\n"
        '  unset or false). Fix: remove it or set it to false. [privileged, policy "new"]\n'
    )


async def test_exit_code_is_0_if_nothing_would_be_denied(kubeconfig: str, tmp_path: Path) -> None:
    done = await run(kubeconfig, "-p", policy_file(tmp_path, "new", controls={"hostNamespaces": {}}))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("5 pods run: 0 violate a policy now, 0 pods of 0 owners would be denied when\n")


async def test_policies_of_the_cluster_are_the_default(server: ClusterServer, kubeconfig: str) -> None:
    server.put(f"{POLICIES}/clusterpodpolicies", [applied("live", enforcement="Audit", controls={"privileged": {}})])
    done = await run(kubeconfig)
    assert done.exit_code == 1, done.output
    assert "Of those, 4 only if the policies" in done.stdout
    assert "live    Audit           5          4       4       1     0\n" in done.stdout


async def test_cluster_without_policies_is_an_error(kubeconfig: str) -> None:
    done = await run(kubeconfig)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: the cluster has no policies: use --policy FILE_OR_DIR or --standard LEVEL[:VERSION]\n"
    )


async def test_file_replaces_the_applied_policy_of_its_name_and_only_it_is_counted(
    server: ClusterServer, kubeconfig: str, tmp_path: Path
) -> None:
    others = [applied("same", controls={"privileged": {}}), applied("other", controls={"privileged": {}})]
    server.put(f"{POLICIES}/clusterpodpolicies", others)
    done = await run(kubeconfig, "-p", policy_file(tmp_path, "same", controls={"hostNamespaces": {}}), "-o", "json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [one["policy"] for one in report["policies"]] == ["same"]
    assert report["summary"]["wouldBeDenied"] == 0


async def test_defaults_and_waivers_of_the_cluster_count(
    server: ClusterServer, kubeconfig: str, tmp_path: Path
) -> None:
    server.put(f"{POLICIES}/clusterpodpolicies", [applied("filler", defaults={"profile": "restricted"})])
    waived = {"policies": ["new"], "controls": ["privileged"], "reason": "an agent", "expires": "2999-01-01T00:00:00Z"}
    waiver = {**applied("w", **waived, match={"namespaces": ["shop"]}), "kind": "PolicyWaiver"}
    file = policy_file(tmp_path, "new", podSecurityStandard={"level": "restricted"})
    before = json.loads((await run(kubeconfig, "-p", file, "-o", "json")).stdout)["summary"]
    server.put(f"{POLICIES}/policywaivers", [waiver])
    after = json.loads((await run(kubeconfig, "-p", file, "-o", "json")).stdout)
    assert (before["violating"], before["wouldBeDenied"]) == (5, 4)
    (bad,) = [one for one in after["owners"] if one["name"] == "bad"]
    assert "privileged" not in [finding["control"] for finding in bad["findings"]]


async def test_pods_of_namespaces_that_the_webhook_is_not_sent_are_left_out(
    server: ClusterServer, kubeconfig: str, tmp_path: Path
) -> None:
    server.put("/api/v1/pods", [pod("q", spec=PRIVILEGED, namespace="quiet")])
    file = policy_file(tmp_path, "new", controls={"privileged": {}})

    async def violating(*args: str) -> int:
        done = await run(kubeconfig, "-p", file, "-o", "json", *args)
        count: int = json.loads(done.stdout)["summary"]["violating"]
        return count

    assert await violating() == 5
    assert await violating("--exclude-namespace", "quiet") == 4
    many = [f"n{number}" for number in range(300)]
    expression = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["quiet", *many]}
    selector = {"matchExpressions": [expression]}
    webhook = {"name": "validate.pods.sekisho.dev", "namespaceSelector": selector}
    other = {"name": "of.another.vendor", "namespaceSelector": {"matchLabels": {"A_b/c": "d"}, "unknown": 1}}
    server.put(WEBHOOKS, [{"metadata": {"name": "sekisho"}, "webhooks": [other, webhook]}])
    assert await violating() == 4
    server.put(WEBHOOKS, [{"metadata": {"name": "second"}, "webhooks": [{"name": "validate.pods.sekisho.dev"}]}])
    assert await violating() == 5


async def test_who_may_not_read_the_configuration_gets_a_note(
    server: ClusterServer, kubeconfig: str, tmp_path: Path
) -> None:
    server.statuses[WEBHOOKS] = 403
    done = await run(kubeconfig, "-p", policy_file(tmp_path, "new", controls={"privileged": {}}))
    assert done.exit_code == 1
    assert done.stderr == "note: the webhook's configuration may not be read: only kube-system is left out\n"


async def test_list_that_expires_is_read_again(server: ClusterServer, kubeconfig: str, tmp_path: Path) -> None:
    file = policy_file(tmp_path, "new", controls={"privileged": {}})
    server.expired = 2
    done = await run(kubeconfig, "-p", file, "-o", "json")
    assert json.loads(done.stdout)["summary"]["violating"] == 4
    server.expired = 3
    done = await run(kubeconfig, "-p", file, "-o", "json")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "Error: answered with 410 (410 Test)\n")


@pytest.mark.parametrize("path", ["/api/v1/pods", "/apis/apps/v1/deployments", "/api/v1/namespaces"])
async def test_who_may_not_list_gets_an_error(
    path: str, server: ClusterServer, kubeconfig: str, tmp_path: Path
) -> None:
    server.statuses[path] = 403
    done = await run(kubeconfig, "-p", policy_file(tmp_path, "new", controls={"privileged": {}}))
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "Error: answered with 403 (403 Test)\n")


async def test_policy_that_cannot_be_used_is_a_note(server: ClusterServer, kubeconfig: str) -> None:
    broken = applied("broken", controls={"privileged": {}})
    broken["spec"] = {"controls": {"unknown": {}}}
    server.put(f"{POLICIES}/clusterpodpolicies", [broken, applied("live", controls={"privileged": {}})])
    done = await run(kubeconfig)
    assert done.exit_code == 1
    assert done.stderr.startswith("note: not in effect: ")
    assert "unknown" in done.stderr


async def test_programs_read_json_and_sarif(kubeconfig: str, tmp_path: Path) -> None:
    file = policy_file(tmp_path, "new", controls={"privileged": {}})
    report = json.loads((await run(kubeconfig, "-p", file, "-o", "json")).stdout)
    assert report["policies"] == [
        {
            "policy": "new",
            "enforcement": "Deny",
            "pods": 5,
            "violating": 4,
            "wouldBeDenied": 4,
            "owners": 1,
            "idleTemplates": 0,
        }
    ]
    (owner,) = report["owners"]
    assert (owner["apiVersion"], owner["kind"], owner["namespace"], owner["name"]) == (
        "apps/v1",
        "Deployment",
        "shop",
        "bad",
    )
    (finding,) = owner["findings"]
    assert finding["field"] == "spec.template.spec.containers[0].securityContext.privileged"
    log = json.loads((await run(kubeconfig, "-p", file, "-o", "sarif")).stdout)
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"], result["properties"]["pods"]) == ("privileged", "error", 4)
    assert result["locations"] == [
        {"logicalLocations": [{"fullyQualifiedName": "Deployment shop/bad", "kind": "resource"}]}
    ]


async def test_one_namespace_is_read_alone(server: ClusterServer, kubeconfig: str, tmp_path: Path) -> None:
    for path in ("/api/v1/namespaces/shop/limitranges", "/api/v1/namespaces/shop/serviceaccounts"):
        server.put(path, ())
    for kind in (*LINKS, *TEMPLATES, PODS):
        server.put(kind.path("shop"), ())
    server.put("/api/v1/namespaces/shop/pods", [pod("p", spec=PRIVILEGED)])
    server.put("/api/v1/namespaces/shop", ())
    done = await run(kubeconfig, "-n", "shop", "-p", policy_file(tmp_path, "new", controls={"privileged": {}}))
    assert done.stdout.startswith("1 pod runs: 1 violates a policy now, 1 pod of 1 owner would be denied when\n")
    assert "/api/v1/pods" not in server.requests


def test_name_of_a_namespace_must_be_valid() -> None:
    done = sekisho("audit", "-n", "../x")
    assert done.exit_code == 2
    assert "--namespace ../x: is not a valid name of a namespace" in done.stderr


def test_cluster_must_be_configured(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = sekisho("audit", "--kubeconfig", missing)
    assert (done.exit_code, done.stderr) == (2, f"Error: kubeconfig {missing}: no such file\n")


def test_owners_beyond_the_maximum_are_counted() -> None:
    strict = policy("strict", controls={"privileged": {}, "hostNamespaces": {}})
    spec = {**PRIVILEGED, "hostNetwork": True}
    owners = [workload("StatefulSet", f"s{number}", spec) for number in range(3)]
    result = audit([strict], [*owners, pod("p", owners[0], spec), pod("q", owners[1], spec)])
    text = unstyle(audit_text.render(result, [strict], 1))
    assert "StatefulSet shop/s0: 1 pod would be denied" in text
    assert "  Also: hostNamespaces" in text
    assert "2 more owners with pods that would be denied: --max-owners or -o json names\nthem." in text
    assert "The pods of 1 owner without any now would be denied too." in text
    assert "StatefulSet shop/s2: has no pods; they would be denied" in unstyle(audit_text.render(result, [strict], 3))


def test_only_a_long_word_makes_a_line_wider_than_a_terminal() -> None:
    strict = policy("a-rather-long-name", podSecurityStandard={"level": "restricted"})
    spec = {
        "containers": [container(f"container-{number}", securityContext={"privileged": True}) for number in range(9)]
    }
    text = unstyle(audit_text.render(audit([strict], [pod("p", spec=spec)]), [strict], 5))
    assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []

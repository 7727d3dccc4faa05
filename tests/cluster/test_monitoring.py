"""The real processes have the metrics that alerts, dashboard, documentation and runbooks name."""

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sekisho.telemetry.families import rendered
from sekisho.webhook.running_images import families
from tests.chart import REPOSITORY, render
from tests.cluster.conftest import Cluster
from tests.controlplane.answers import ask, serves
from tests.controlplane.component import Component
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.ports import start_component
from tests.controlplane.waiting import wait_until
from tests.exposition import families_of, faults, labels_of
from tests.promql import missing
from tests.trustparts.authority import write_server_tls
from tests.unit.images.signing import P256, pem

SOON = 30.0
AUDITED = 120.0
BAD = {"name": "app", "image": "registry.example/app", "securityContext": {"privileged": True}}
GOOD = {"name": "app", "image": "registry.example/app"}


def metrics_of(component: Component) -> str:
    (port,) = (option.partition("=")[2] for option in component.command if option.startswith("--metrics-port="))
    answer = ask(http.client.HTTPConnection("127.0.0.1", int(port), timeout=10), "GET", "/metrics")
    assert answer.status == 200
    return answer.body.decode()


def policy(name: str, namespace: str, enforcement: str) -> dict[str, Any]:
    spec = {"enforcement": enforcement, "match": {"namespaces": [namespace]}, "controls": {"privileged": {}}}
    spec["defaults"] = {"profile": "restricted"}
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def enforced(kubectl: Kubectl, *policies: dict[str, Any]) -> None:
    kubectl.check("apply", "-f", "-", input="\n---\n".join(map(json.dumps, policies)))
    names = [f"clusterpodpolicy/{one['metadata']['name']}" for one in policies]
    kubectl.check("wait", "--for=condition=Enforced", *names, f"--timeout={SOON:g}s")


@pytest.fixture(scope="module")
def verification(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a webhook that verifies images tells about that, which the other one does not do."""
    folder = tmp_path_factory.mktemp("verifying")
    tls = write_server_tls(folder)
    by_key = {"keys": [{"pem": pem(P256), "until": "2040-01-01T00:00:00Z"}]}
    keyless = {"keyless": {"issuer": "https://issuer.acme.example", "identities": ["ci@acme.example"]}}
    (folder / "policies").mkdir()
    for name, spec in (("by-key", by_key), ("keyless", keyless)):
        authority = {"kind": "ImageAuthority", "metadata": {"name": name}, "spec": spec}
        written = json.dumps({"apiVersion": "sekisho.dev/v1alpha1"} | authority)
        (folder / "policies" / f"{name}.json").write_text(written)

    def webhook(ports: dict[str, int]) -> Component:
        command = (
            *(sys.executable, "-m", "sekisho", "webhook", "--verify-images", f"--policy-dir={folder / 'policies'}"),
            *(f"--tls-cert-file={tls.certificate}", f"--tls-private-key-file={tls.key}", "--drain-seconds=0"),
            *("--bind-address=127.0.0.1", f"--port={ports['webhook']}"),
            *("--metrics-bind-address=127.0.0.1", f"--metrics-port={ports['metrics']}"),
        )
        return Component("verifying", command, folder / "log", lambda: serves(ports["metrics"]), ports["metrics"])

    component = start_component(folder / "ports.json", ("webhook", "metrics"), webhook)
    of_running = rendered(families({("signed", "Deny"): 1.0}, 1.0))  # which a webhook without a cluster judges none of
    of_images = [line for line in metrics_of(component).splitlines() if "sekisho_image" in line]
    yield "".join(f"{line}\n" for line in of_images) + of_running.decode()
    component.stop()


@pytest.fixture
def activity(cluster: Cluster, kubectl: Kubectl, namespace: str, verification: str) -> Iterator[str]:
    """What both processes tell after some of everything: denials, warnings, waivers, patches, a catalog."""
    policies = [policy(f"{namespace}-{one.lower()}", namespace, one) for one in ("Deny", "Warn")]
    enforced(kubectl, *policies)
    for name, container in (("bad", BAD), ("good", GOOD)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
        assert kubectl("create", "-f", "-", input=json.dumps(pod)).returncode == (1 if name == "bad" else 0)
    waived = {**BAD, "image": "registry.example/waived"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waived"}, "spec": {"containers": [waived]}}
    kubectl.check("apply", "-f", "-", input=json.dumps(waiver(f"{namespace}-waiver", f"{namespace}-deny")))
    create = ("create", "--dry-run=server", "-f", "-")
    wait_until(lambda: kubectl(*create, input=json.dumps(pod)).returncode == 0, SOON, "the waiver lifts")
    catalog = {"kind": "ImageCatalog", "metadata": {"name": namespace}, "spec": {"owner": "security"}}
    kubectl.check("apply", "-f", "-", input=json.dumps({"apiVersion": "sekisho.dev/v1alpha1"} | catalog))
    counts = "sekisho_controller_catalog_entries{"
    wait_until(lambda: counts in metrics_of(cluster.sekisho.controller), SOON, "the catalog is counted")
    impact = "sekisho_controller_policy_impact_pods{"
    wait_until(lambda: impact in metrics_of(cluster.sekisho.controller), AUDITED, "the pods that run are audited")
    stray_request(cluster)
    wait_until(lambda: "sekisho_events_sent_total 0" not in metrics_of(cluster.sekisho.webhook), SOON, "an Event")
    yield metrics_of(cluster.sekisho.webhook) + metrics_of(cluster.sekisho.controller) + verification
    kubectl("delete", "clusterpodpolicy", *(one["metadata"]["name"] for one in policies), "--wait=false")
    kubectl("delete", "policywaiver", f"{namespace}-waiver", "--wait=false")
    kubectl("delete", "imagecatalog", namespace, "--wait=false")


def waiver(name: str, policy: str) -> dict[str, Any]:
    spec = {
        "policies": [policy],
        "controls": ["privileged"],
        "match": {"images": ["registry.example/waived"]},
        "expires": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        "reason": "a test",
    }
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": "PolicyWaiver", "metadata": {"name": name}, "spec": spec}


def stray_request(cluster: Cluster) -> None:
    """Ask the webhook for a path that it does not have."""
    configuration = cluster.plane.call(
        "GET", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/sekisho"
    )
    url = urlsplit(json.loads(configuration.body)["webhooks"][0]["clientConfig"]["url"])
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    assert ask(http.client.HTTPSConnection(url.netloc, timeout=10, context=trusting), "GET", "/nothing").status == 404


def queries() -> dict[str, str]:
    """Each expression of the alerts and of the dashboard, by where it stands; Grafana's own variables filled in."""
    objects = render("prometheusRule.enabled=true", "dashboard.enabled=true")
    (rule,) = (defined for defined in objects if defined["kind"] == "PrometheusRule")
    defined = {
        f"{alert['alert']} {alert['labels']['severity']}": alert["expr"]
        for group in rule["spec"]["groups"]
        for alert in group["rules"]
    }
    (shown,) = (defined for defined in objects if defined["kind"] == "ConfigMap")
    for panel in json.loads(shown["data"]["sekisho.json"])["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
            defined[f"{panel['title']} {target['refId']}"] = query
    return defined


def test_every_metric_and_label_of_every_query_exists(activity: str) -> None:
    labels = labels_of(activity)
    assert len(queries()) > 30
    for where, query in queries().items():
        assert missing(query, labels) == [], where


def test_the_metrics_of_both_processes_are_well_formed(cluster: Cluster, activity: str) -> None:
    for component in cluster.sekisho.components:
        assert faults(metrics_of(component)) == []


def test_the_documentation_names_every_metric_with_its_labels(activity: str) -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(sekisho_\w+)` \| (.*?) \|", page, re.MULTILINE)
    documented = {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    names = {name for name in families_of(activity) if name.startswith("sekisho_")}
    assert set(documented) == names, "correct the table in docs/monitoring.md"
    present = labels_of(activity)
    for name, labels in documented.items():
        histogram = present.get(f"{name}_count")
        assert labels == (present[name] if histogram is None else histogram), name


def test_a_changed_policy_changes_the_fingerprint_and_a_status_does_not(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    def fingerprint() -> float:
        (sample,) = families_of(metrics_of(cluster.sekisho.webhook))["sekisho_policies_fingerprint"].samples
        return sample.value

    name = f"{namespace}-deny"
    enforced(kubectl, policy(name, namespace, "Deny"))
    before = fingerprint()
    patch = json.dumps({"status": {"enforcedBy": "0/0"}})
    kubectl.check("patch", "clusterpodpolicy", name, "--subresource=status", "--type=merge", "-p", patch)
    kubectl.check("wait", "--for=jsonpath={.status.enforcedBy}=1/1", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    assert fingerprint() == before
    enforced(kubectl, policy(name, namespace, "Warn"))
    wait_until(lambda: fingerprint() != before, SOON, "the fingerprint is another")
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def commands(page: Path) -> list[str]:
    return re.findall(r"^ *\$ (.*)$", page.read_text(), re.MULTILINE)


def shell(cluster: Cluster, command: str) -> subprocess.CompletedProcess[str]:
    path = f"{cluster.plane.binaries.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "KUBECONFIG": str(cluster.plane.kubeconfig), "HOME": str(cluster.plane.folder)}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=cluster.plane.folder,  # one command writes a file
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_deleted_certificate_is_replaced(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    (command,) = (
        command
        for command in commands(REPOSITORY / "docs" / "runbooks" / "SekishoCertificateExpiring.md")
        if command.startswith("kubectl patch secret")
    )

    def certificate() -> str:
        return shell(
            cluster, "kubectl get secret sekisho-webhook-tls -n sekisho-system -o jsonpath='{.data.tls\\.crt}'"
        ).stdout

    before = certificate()
    assert shell(cluster, command).returncode == 0
    wait_until(lambda: certificate() not in ("", before), SOON, "there is another certificate")
    enforced(kubectl, policy(f"{namespace}-deny", namespace, "Deny"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": {"containers": [BAD]}}
    denied = kubectl("create", "-f", "-", input=json.dumps(pod))
    assert "privileged is true" in denied.stderr
    kubectl("delete", "clusterpodpolicy", f"{namespace}-deny", "--wait=false")

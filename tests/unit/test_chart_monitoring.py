"""What the chart gives Prometheus and Grafana: alerts that parse and have their pages, a dashboard, a scaler."""

import json
import re
from typing import Any

import pytest

from tests.chart import IMAGE, OUTSIDE, REPOSITORY, Object, identities, pick, render, template
from tests.promql import asked_by, labels_of_result, missing

pytestmark = pytest.mark.timeout(1800)  # the first of these tests may have to build helm

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
MONITORED = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true")


def alerts(*values: str) -> list[Object]:
    (rule,) = (found for found in render(*MONITORED, *values) if found["kind"] == "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard() -> Any:
    found = pick(render(*MONITORED), "ConfigMap/sekisho-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    return json.loads(found["data"]["sekisho.json"])


def queries() -> list[str]:
    """The dashboard's queries, with Grafana's own variables filled in."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m").replace("$namespace", ".*") for query in found]


def test_every_alert_is_complete_and_its_expression_parses() -> None:
    for alert in alerts():
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert alert["labels"]["severity"] in ("warning", "critical")
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert annotations["summary"].endswith(".")
        assert annotations["description"].endswith(".")
        assert all(asked.metric.startswith("sekisho_") for asked in asked_by(alert["expr"])), alert
        told = set(re.findall(r"\$labels\.(\w+)", json.dumps(annotations)))
        assert told <= labels_of_result(alert["expr"]), alert


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
        page = (RUNBOOKS / f"{alert['alert']}.md").read_text()
        assert page.startswith(f"# {alert['alert']}\n")
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["What it means", "How to look", "What to do"]
        assert "```console\n$ " in page
        for linked in re.findall(r"\]\((.*?)\)", page):
            assert (RUNBOOKS / linked).exists()
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("base", ["https://runbooks.example/sekisho", "https://runbooks.example/sekisho/"])
def test_runbooks_may_be_kept_elsewhere(base: str) -> None:
    urls = {alert["annotations"]["runbook_url"] for alert in alerts(f"prometheusRule.runbookUrl={base}")}
    assert "https://runbooks.example/sekisho/SekishoDenialSurge.md" in urls


def expression(name: str, *values: str) -> str:
    (found,) = (alert["expr"] for alert in alerts(*values) if alert["alert"] == name)
    return str(found)


def test_alerts_follow_the_values_that_they_are_about() -> None:
    assert expression("SekishoWebhookReplicasMissing").endswith("< 3")
    assert expression("SekishoWebhookReplicasMissing", "webhook.replicas=5").endswith("< 5")
    scaled = ("autoscaling.enabled=true", "autoscaling.minReplicas=4")
    assert expression("SekishoWebhookReplicasMissing", *scaled).endswith("< 4")
    assert expression("SekishoReviewsSlow").endswith("> 1.5")
    assert expression("SekishoReviewsSlow", "webhook.timeoutSeconds=10").endswith("> 5")
    outside = {alert["alert"] for alert in alerts(OUTSIDE)}
    assert {alert["alert"] for alert in alerts()} - outside == {"SekishoWebhookReplicasMissing"}
    opened = json.dumps(alerts("webhook.admitPodsUnjudged=true"))
    assert "new pods enter unjudged" in opened
    assert "new pods are denied" not in opened


def test_the_dashboards_queries_parse_and_none_is_about_another_namespace() -> None:
    for query in queries():
        for asked in asked_by(query):
            is_selected = 'namespace=~".*"' in query
            assert is_selected, query
            assert asked.metric.startswith(("sekisho_", "process_")), query


def test_the_dashboards_panels_overlap_nowhere_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")


def test_every_legend_names_labels_that_its_query_has() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
            told = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"pod"}
            assert told <= labels_of_result(query), query


def test_the_service_monitor_names_the_port_that_the_pods_have() -> None:
    objects = render(*MONITORED)
    (endpoint,) = pick(objects, "ServiceMonitor/sekisho")["spec"]["endpoints"]
    service = pick(objects, "Service/sekisho-metrics")
    (port,) = service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    for name in ("webhook", "controller"):
        template = pick(objects, f"Deployment/sekisho-{name}")["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert port["targetPort"] in {each["name"] for each in container["ports"]}
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    labels = pick(objects, "ServiceMonitor/sekisho")["spec"]["selector"]["matchLabels"]
    assert labels.items() <= service["metadata"]["labels"].items()


def test_a_scaler_takes_the_replicas_over() -> None:
    plain = pick(render(), "Deployment/sekisho-webhook")["spec"]
    assert plain["replicas"] == 3
    objects = render("autoscaling.enabled=true")
    scaler = pick(objects, "HorizontalPodAutoscaler/sekisho-webhook")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sekisho-webhook"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    assert "replicas" not in pick(objects, "Deployment/sekisho-webhook")["spec"]
    assert "HorizontalPodAutoscaler/sekisho-webhook" not in identities(render("autoscaling.enabled=true", OUTSIDE))


def test_a_scaler_without_room_is_an_error() -> None:
    finished = template(IMAGE, "autoscaling.enabled=true", "autoscaling.maxReplicas=2")
    assert finished.returncode == 1
    assert "autoscaling.maxReplicas must not be less than autoscaling.minReplicas" in finished.stderr


def test_what_an_expression_asks_in_vain_is_found() -> None:
    known = {"x_total": frozenset({"a"})}
    assert missing('sum by (a, namespace) (rate(x_total{a="1"}[5m])) or vector(0)', known) == []
    assert missing("sum by (b) (rate(x_total[5m]))", known) == ["x_total has no label b"]
    assert missing('y / on (c) x_total{d!="1"}', known) == [
        "there is no metric y",
        "x_total has no label c",
        "x_total has no label d",
    ]
    with pytest.raises(ValueError, match="expected type matrix"):
        missing("rate(x_total)", known)

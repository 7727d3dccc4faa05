"""The chart's alerts, runbooks, dashboard, ServiceMonitor and autoscaler."""

import json
import re
from typing import Any

import pytest

from tests.chart import IMAGE, OUTSIDE, REPOSITORY, Object, identities, pick, render, template
from tests.promql import labels_of_result, missing, selected_by

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
MONITORED = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true")


def alerts(*values: str) -> list[Object]:
    (rule,) = (rendered for rendered in render(*MONITORED, *values) if rendered["kind"] == "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard() -> Any:
    config_map = pick(render(*MONITORED), "ConfigMap/sekisho-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    return json.loads(config_map["data"]["sekisho.json"])


def queries() -> list[str]:
    """The dashboard's queries, with Grafana's own variables filled in."""
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m").replace("$namespace", ".*") for query in expressions]


def test_every_alert_is_complete_and_its_expression_parses() -> None:
    for alert in alerts():
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert alert["labels"]["severity"] in ("warning", "critical")
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert annotations["summary"].endswith(".")
        assert annotations["description"].endswith(".")
        assert all(used.metric.startswith("sekisho_") for used in selected_by(alert["expr"])), alert
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(annotations)))
        assert used <= labels_of_result(alert["expr"]), alert


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
        page = (RUNBOOKS / f"{alert['alert']}.md").read_text()
        assert page.startswith(f"# {alert['alert']}\n")
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["What it means", "How to diagnose", "What to do"]
        assert "```console\n$ " in page
        for linked in re.findall(r"\]\((.*?)\)", page):
            assert (RUNBOOKS / linked.partition("#")[0]).exists()
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("base", ["https://runbooks.example/sekisho", "https://runbooks.example/sekisho/"])
def test_the_url_of_the_runbooks_is_a_value(base: str) -> None:
    urls = {alert["annotations"]["runbook_url"] for alert in alerts(f"prometheusRule.runbookUrl={base}")}
    assert "https://runbooks.example/sekisho/SekishoDenialSurge.md" in urls


def expression(name: str, *values: str) -> str:
    (expr,) = (alert["expr"] for alert in alerts(*values) if alert["alert"] == name)
    return str(expr)


def test_alerts_depend_on_the_values_of_the_chart() -> None:
    assert expression("SekishoWebhookReplicasMissing").endswith("< 3")
    assert expression("SekishoWebhookReplicasMissing", "webhook.replicas=5").endswith("< 5")
    scaled = ("autoscaling.enabled=true", "autoscaling.minReplicas=4")
    assert expression("SekishoWebhookReplicasMissing", *scaled).endswith("< 4")
    assert expression("SekishoReviewsSlow").endswith("> 1.5")
    assert expression("SekishoReviewsSlow", "webhook.timeoutSeconds=10").endswith("> 5")
    outside = {alert["alert"] for alert in alerts(OUTSIDE)}
    assert {alert["alert"] for alert in alerts()} - outside == {"SekishoWebhookReplicasMissing"}
    opened = json.dumps(alerts("webhook.admitPodsUnjudged=true"))
    assert "new pods are admitted without a verdict" in opened
    assert "new pods are denied" not in opened


def test_the_dashboards_queries_parse_and_select_the_variable_namespace() -> None:
    for query in queries():
        for used in selected_by(query):
            is_selected = 'namespace=~".*"' in query
            assert is_selected, query
            assert used.metric.startswith(("sekisho_", "process_")), query


def test_the_dashboards_panels_do_not_overlap_and_have_a_description() -> None:
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


def test_every_legend_uses_only_labels_of_its_query() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"pod"}
            assert used <= labels_of_result(query), query


def test_the_service_monitor_scrapes_a_port_of_the_pods() -> None:
    objects = render(*MONITORED)
    (endpoint,) = pick(objects, "ServiceMonitor/sekisho")["spec"]["endpoints"]
    service = pick(objects, "Service/sekisho-metrics")
    (port,) = service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    for name in ("webhook", "controller"):
        template = pick(objects, f"Deployment/sekisho-{name}")["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert port["targetPort"] in {exposed["name"] for exposed in container["ports"]}
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    labels = pick(objects, "ServiceMonitor/sekisho")["spec"]["selector"]["matchLabels"]
    assert labels.items() <= service["metadata"]["labels"].items()


def test_with_autoscaling_the_deployment_has_no_replicas() -> None:
    plain = pick(render(), "Deployment/sekisho-webhook")["spec"]
    assert plain["replicas"] == 3
    objects = render("autoscaling.enabled=true")
    scaler = pick(objects, "HorizontalPodAutoscaler/sekisho-webhook")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sekisho-webhook"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    assert "replicas" not in pick(objects, "Deployment/sekisho-webhook")["spec"]
    assert "HorizontalPodAutoscaler/sekisho-webhook" not in identities(render("autoscaling.enabled=true", OUTSIDE))


def test_fewer_maximum_than_minimum_replicas_is_an_error() -> None:
    finished = template(IMAGE, "autoscaling.enabled=true", "autoscaling.maxReplicas=2")
    assert finished.returncode == 1
    assert "autoscaling.maxReplicas must not be less than autoscaling.minReplicas" in finished.stderr


def test_missing_metrics_and_labels_of_an_expression_are_reported() -> None:
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

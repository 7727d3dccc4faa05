"""The Grafana dashboard of the chart, from a table of its panels."""

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

WIDTH: Final = 24
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_OURS: Final = 'namespace=~"$namespace"'
_RATE: Final = "[$__rate_interval]"
_OF_SEKISHO: Final = "and on (namespace, pod) sekisho_build_info"
_REVIEWS: Final = f"sekisho_admission_reviews_total{{{_OURS}}}{_RATE}"
_BUCKETS: Final = f"sekisho_admission_duration_seconds_bucket{{{_OURS}}}{_RATE}"


class Panel(Struct, frozen=True):
    """One panel: its queries, each with what the legend says, and the unit by Grafana's name."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    bad_from: float | None = None
    """For a number at a glance: from where on it is red."""
    bad_below: float | None = None
    """The same, for one that is red below."""


def _violations(by: str, enforcement: str) -> str:
    return f"topk(10, sum by ({by}) (rate(sekisho_admission_violations_total{{{_OURS}, {enforcement}}}{_RATE})))"


AT_A_GLANCE: Final = (
    Panel(
        "Replicas ready",
        "Replicas of the webhook that answer reviews. With none, new pods are denied.",
        ((f"sum(sekisho_webhook_ready{{{_OURS}}}) or vector(0)", ""),),
        bad_below=1,
    ),
    Panel("Policies in force", "On the replica that has most.", ((f"max(sekisho_policies{{{_OURS}}})", ""),)),
    Panel(
        "Policies quarantined",
        "Policies whose present version is not usable; an older one stays in force where there was one.",
        ((f"max(sekisho_policies_quarantined{{{_OURS}}})", ""),),
        bad_from=1,
    ),
    Panel(
        "Different sets of policies",
        "How many different sets of policies the replicas enforce: 1 when all agree.",
        ((f'count(count_values("fingerprint", sekisho_policies_fingerprint{{{_OURS}}}))', ""),),
        bad_from=2,
    ),
    Panel(
        "Certificate expires in",
        "The first of the certificates that the replicas serve.",
        ((f"min(sekisho_certificate_expiry_timestamp_seconds{{{_OURS}}}) - time()", ""),),
        unit="s",
        bad_below=14 * 86400,
    ),
    Panel(
        "Denied in the last hour",
        "Reviews that were denied by a policy.",
        ((f'sum(increase(sekisho_admission_reviews_total{{{_OURS}, decision="deny"}}[1h]))', ""),),
    ),
)

ROWS: Final = (
    (
        "Verdicts",
        (
            Panel(
                "Reviews by decision",
                "Reviews answered, a second.",
                ((f"sum by (webhook, decision) (rate({_REVIEWS}))", "{{webhook}} {{decision}}"),),
                "reqps",
            ),
            Panel(
                "Denials by policy",
                "Violations that led to a denial, a second; one pod may have several.",
                ((_violations("policy", 'enforcement="Deny"'), "{{policy}}"),),
                "cps",
            ),
            Panel(
                "Denials by control",
                "The same, by what was violated.",
                ((_violations("control", 'enforcement="Deny"'), "{{control}}"),),
                "cps",
            ),
            Panel(
                "Warnings and audit by policy",
                "Violations that let the pod in: what would be denied if the policy were set to Deny.",
                ((_violations("policy, enforcement", 'enforcement!="Deny"'), "{{policy}} {{enforcement}}"),),
                "cps",
            ),
            Panel(
                "Reviews by kind",
                "What the API server asks about.",
                ((f"sum by (operation, kind) (rate({_REVIEWS}))", "{{operation}} {{kind}}"),),
                "reqps",
            ),
            Panel(
                "Without a verdict",
                "Reviews that were denied because they could not be judged, and requests that were no reviews.",
                (
                    (
                        f'sum by (webhook) (rate(sekisho_admission_reviews_total{{{_OURS}, decision="error"}}{_RATE}))',
                        "{{webhook}}",
                    ),
                    (f"sum by (status) (rate(sekisho_http_errors_total{{{_OURS}}}{_RATE}))", "HTTP {{status}}"),
                ),
                "reqps",
            ),
        ),
    ),
    (
        "Latency and load",
        (
            Panel(
                "Time to a verdict",
                "From a review's arrival to its answer, without the network.",
                tuple(
                    (
                        f"histogram_quantile({quantile}, sum by (webhook, le) (rate({_BUCKETS})))",
                        f"{{{{webhook}}}} p{quantile * 100:g}",
                    )
                    for quantile in (0.5, 0.99)
                ),
                "s",
            ),
            Panel(
                "CPU by pod",
                "Cores in use, by both processes.",
                ((f"rate(process_cpu_seconds_total{{{_OURS}}}{_RATE}) {_OF_SEKISHO}", "{{pod}}"),),
            ),
            Panel(
                "Memory by pod",
                "Resident memory of both processes.",
                ((f"process_resident_memory_bytes{{{_OURS}}} {_OF_SEKISHO}", "{{pod}}"),),
                "bytes",
            ),
        ),
    ),
    (
        "Freshness, Events and the controller",
        (
            Panel(
                "Seconds since the API server was heard",
                "Up to 75 on a healthy watch; above, a replica goes on with what it knew.",
                (
                    (f"max by (pod) (sekisho_policies_stale_seconds{{{_OURS}}})", "policies {{pod}}"),
                    (f"max by (pod) (sekisho_namespaces_stale_seconds{{{_OURS}}})", "namespaces {{pod}}"),
                ),
                "s",
            ),
            Panel(
                "Events",
                "Events written about denials, and denials that led to none.",
                (
                    (f"sum(rate(sekisho_events_sent_total{{{_OURS}}}{_RATE}))", "written"),
                    (f"sum by (reason) (rate(sekisho_events_dropped_total{{{_OURS}}}{_RATE}))", "dropped: {{reason}}"),
                ),
                "cps",
            ),
            Panel(
                "Controller",
                "Leaders, of which there should be one; failed attempts to keep certificates and status; lines left "
                "out of the log.",
                (
                    (f"sum(sekisho_controller_is_leader{{{_OURS}}})", "leaders"),
                    (
                        f"sum by (subject) (increase(sekisho_controller_reconcile_errors_total{{{_OURS}}}{_RATE}))",
                        "failed: {{subject}}",
                    ),
                    (f"sum(rate(sekisho_log_lines_suppressed_total{{{_OURS}}}{_RATE}))", "log lines left out a second"),
                ),
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON."""
    return json.dumps(_DASHBOARD | {"panels": list(_placed())}, indent=2, ensure_ascii=False) + "\n"


def _placed() -> Iterator[dict[str, Any]]:
    """The panels, each at its place: numbers in one line at the top, then rows of three graphs."""
    width, height = WIDTH // len(AT_A_GLANCE), 4
    number, y = 1, 0
    for place, panel in enumerate(AT_A_GLANCE):
        yield _stat(panel) | _at(number, place * width, y, width, height)
        number += 1
    y += height
    for title, panels in ROWS:
        yield {"type": "row", "title": title, "collapsed": False, "panels": []} | _at(number, 0, y, WIDTH, 1)
        number, y = number + 1, y + 1
        width, height = WIDTH // 3, 8
        for place, panel in enumerate(panels):
            yield _graph(panel) | _at(number, place % 3 * width, y + place // 3 * height, width, height)
            number += 1
        y += (len(panels) + 2) // 3 * height


def _at(number: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _stat(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    if panel.bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    defaults = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return {"type": "stat", "options": options} | _common(panel, defaults)


def _graph(panel: Panel) -> dict[str, Any]:
    defaults = {"unit": panel.unit, "min": 0, "custom": {"lineWidth": 1, "fillOpacity": 10}}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"type": "timeseries", "options": options} | _common(panel, defaults)


def _common(panel: Panel, defaults: dict[str, Any]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + place), "datasource": _DATASOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for place, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }


_DASHBOARD: Final[dict[str, Any]] = {
    "uid": "sekisho",
    "title": "Sekisho",
    "description": "Pods that may enter the cluster, and those that may not. Generated; do not edit.",
    "tags": ["kubernetes", "admission", "security"],
    "schemaVersion": 39,
    "editable": True,
    "refresh": "1m",
    "time": {"from": "now-6h", "to": "now"},
    "timezone": "",
    "annotations": {"list": []},
    "templating": {
        "list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            {
                "name": "namespace",
                "label": "Namespace of Sekisho",
                "type": "query",
                "datasource": _DATASOURCE,
                "query": {"query": "label_values(sekisho_build_info, namespace)", "refId": "namespace"},
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            },
        ]
    },
}

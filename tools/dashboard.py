"""Generates the chart's Grafana dashboard from a table of its panels."""

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

WIDTH: Final = 24
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SELECTED: Final = 'namespace=~"$namespace"'
_RATE: Final = "[$__rate_interval]"
_ONLY_SEKISHO: Final = "and on (namespace, pod) sekisho_build_info"
_REVIEWS: Final = f"sekisho_admission_reviews_total{{{_SELECTED}}}{_RATE}"
_ERRORS: Final = f'sekisho_admission_reviews_total{{{_SELECTED}, decision="error"}}{_RATE}'
_BUCKETS: Final = f"sekisho_admission_duration_seconds_bucket{{{_SELECTED}}}{_RATE}"


class Panel(Struct, frozen=True):
    """One panel. `queries` are pairs of a query and its legend; `unit` is Grafana's id of the unit."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    bad_from: float | None = None
    """A single number turns red at or above this value; None for never."""
    bad_below: float | None = None
    """A single number turns red below this value; None for never."""


def _violations(by: str, enforcement: str) -> str:
    return f"topk(10, sum by ({by}) (rate(sekisho_admission_violations_total{{{_SELECTED}, {enforcement}}}{_RATE})))"


AT_A_GLANCE: Final = (
    Panel(
        "Replicas ready",
        "Replicas of the webhook that answer reviews. If there are none, new pods are denied.",
        ((f"sum(sekisho_webhook_ready{{{_SELECTED}}}) or vector(0)", ""),),
        bad_below=1,
    ),
    Panel(
        "Policies in effect", "On the replica with the most policies.", ((f"max(sekisho_policies{{{_SELECTED}}})", ""),)
    ),
    Panel(
        "Policies quarantined",
        "Policies whose current version cannot be used. Replicas keep the last usable version, if they have one.",
        ((f"max(sekisho_policies_quarantined{{{_SELECTED}}})", ""),),
        bad_from=1,
    ),
    Panel(
        "Different sets of policies",
        "How many different sets of policies the replicas enforce. 1 if all replicas agree.",
        ((f'count(count_values("fingerprint", sekisho_policies_fingerprint{{{_SELECTED}}}))', ""),),
        bad_from=2,
    ),
    Panel(
        "Certificate expires in",
        "The certificate that expires first, of all replicas.",
        ((f"min(sekisho_certificate_expiry_timestamp_seconds{{{_SELECTED}}}) - time()", ""),),
        unit="s",
        bad_below=14 * 86400,
    ),
    Panel(
        "Denied in the last hour",
        "Reviews that were denied by a policy.",
        ((f'sum(increase(sekisho_admission_reviews_total{{{_SELECTED}, decision="deny"}}[1h]))', ""),),
    ),
)

ROWS: Final = (
    (
        "Verdicts",
        (
            Panel(
                "Reviews by decision",
                "Answered reviews per second.",
                ((f"sum by (webhook, decision) (rate({_REVIEWS}))", "{{webhook}} {{decision}}"),),
                "reqps",
            ),
            Panel(
                "Denials by policy",
                "Violations per second that caused a denial. A pod can have several.",
                ((_violations("policy", 'enforcement="Deny"'), "{{policy}}"),),
                "cps",
            ),
            Panel(
                "Denials by control",
                "Violations per second that caused a denial, by control.",
                ((_violations("control", 'enforcement="Deny"'), "{{control}}"),),
                "cps",
            ),
            Panel(
                "Warnings and audit by policy",
                "Violations of pods that were admitted. With Deny, these pods would be denied.",
                ((_violations("policy, enforcement", 'enforcement!="Deny"'), "{{policy}} {{enforcement}}"),),
                "cps",
            ),
            Panel(
                "Reviews by kind",
                "Reviews per second, by the operation and the kind of the object.",
                ((f"sum by (operation, kind) (rate({_REVIEWS}))", "{{operation}} {{kind}}"),),
                "reqps",
            ),
            Panel(
                "Without a verdict",
                "Reviews that were denied without a verdict, and requests that were not reviews.",
                (
                    (f"sum by (webhook) (rate({_ERRORS}))", "{{webhook}}"),
                    (f"sum by (status) (rate(sekisho_http_errors_total{{{_SELECTED}}}{_RATE}))", "HTTP {{status}}"),
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
                "From the arrival of a review to its answer, without the network.",
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
                "CPU cores used by each process.",
                ((f"rate(process_cpu_seconds_total{{{_SELECTED}}}{_RATE}) {_ONLY_SEKISHO}", "{{pod}}"),),
            ),
            Panel(
                "Memory by pod",
                "Resident memory of each process.",
                ((f"process_resident_memory_bytes{{{_SELECTED}}} {_ONLY_SEKISHO}", "{{pod}}"),),
                "bytes",
            ),
        ),
    ),
    (
        "State, Events and the controller",
        (
            Panel(
                "Seconds since the last message from the API server",
                "Up to 75 is healthy. A replica with more enforces policies that may be out of date.",
                (
                    (f"max by (pod) (sekisho_policies_stale_seconds{{{_SELECTED}}})", "policies {{pod}}"),
                    (f"max by (pod) (sekisho_namespaces_stale_seconds{{{_SELECTED}}})", "namespaces {{pod}}"),
                ),
                "s",
            ),
            Panel(
                "Events",
                "Events written per second, and denials without an Event.",
                (
                    (f"sum(rate(sekisho_events_sent_total{{{_SELECTED}}}{_RATE}))", "written"),
                    (
                        f"sum by (reason) (rate(sekisho_events_dropped_total{{{_SELECTED}}}{_RATE}))",
                        "dropped: {{reason}}",
                    ),
                ),
                "cps",
            ),
            Panel(
                "Controller",
                "Leaders (there should be one), failed updates of certificates and status, and log lines left out.",
                (
                    (f"sum(sekisho_controller_is_leader{{{_SELECTED}}})", "leaders"),
                    (
                        f"sum by (subject) (increase(sekisho_controller_reconcile_errors_total{{{_SELECTED}}}{_RATE}))",
                        "failed: {{subject}}",
                    ),
                    (
                        f"sum(rate(sekisho_log_lines_suppressed_total{{{_SELECTED}}}{_RATE}))",
                        "log lines left out per second",
                    ),
                ),
            ),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON."""
    return json.dumps(_DASHBOARD | {"panels": list(_positioned())}, indent=2, ensure_ascii=False) + "\n"


def _positioned() -> Iterator[dict[str, Any]]:
    """The panels with their positions: single numbers in one line at the top, then rows of three graphs."""
    width, height = WIDTH // len(AT_A_GLANCE), 4
    number, y = 1, 0
    for index, panel in enumerate(AT_A_GLANCE):
        yield _stat(panel) | _at(number, index * width, y, width, height)
        number += 1
    y += height
    for title, panels in ROWS:
        yield {"type": "row", "title": title, "collapsed": False, "panels": []} | _at(number, 0, y, WIDTH, 1)
        number, y = number + 1, y + 1
        width, height = WIDTH // 3, 8
        for index, panel in enumerate(panels):
            yield _graph(panel) | _at(number, index % 3 * width, y + index // 3 * height, width, height)
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
        {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for index, (query, legend) in enumerate(panel.queries)
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
    "description": "Admitted and denied pods, and the state of Sekisho. Generated; do not edit.",
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

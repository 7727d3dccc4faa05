"""What a PromQL expression asks for: which metrics, and which of their labels."""

from collections.abc import Iterator

import promql_parser as promql
from msgspec import Struct

from tests.exposition import TARGET_LABELS


class Selected(Struct, frozen=True):
    """A metric by the name that the expression gives it, and the labels that it is selected or grouped by."""

    metric: str
    labels: frozenset[str]


def selected_by(expression: str) -> list[Selected]:
    """Everything that an expression reads. Raises ValueError for one that Prometheus would not take."""
    return list(_selected(promql.parse(expression), frozenset()))


def labels_of_result(expression: str) -> frozenset[str]:
    """The labels by which the outermost aggregation groups; topk, which keeps the labels, is none."""
    groupings: list[frozenset[str]] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.AggregateExpr) and str(node.op) != "topk":
            groupings.append(_grouped(node))
        return not groupings

    promql.walk(promql.parse(expression), visit)
    return groupings[0] if groupings else frozenset()


def missing(expression: str, labels: dict[str, frozenset[str]]) -> list[str]:
    """What an expression asks for that is not there, by the labels of each metric that is."""
    problems = []
    for selected in selected_by(expression):
        if selected.metric not in labels:
            problems.append(f"there is no metric {selected.metric}")
        else:
            unknown = selected.labels - labels[selected.metric] - TARGET_LABELS
            problems += [f"{selected.metric} has no label {label}" for label in sorted(unknown)]
    return problems


def _selected(node: promql.Expr, grouped: frozenset[str]) -> Iterator[Selected]:
    match node:
        case promql.VectorSelector():
            selected = frozenset(matcher.name for matcher in node.matchers.matchers)
            yield Selected(node.name or "", selected | grouped)
        case promql.MatrixSelector():
            yield from _selected(node.vector_selector, grouped)
        case promql.AggregateExpr():
            yield from _selected(node.expr, grouped | _grouped(node))
        case promql.Call():
            for argument in node.args:
                yield from _selected(argument, grouped)
        case promql.BinaryExpr():
            matching = node.modifier.matching if node.modifier is not None else None
            matched = frozenset(matching.labels) if matching is not None else frozenset()
            for side in (node.lhs, node.rhs):
                yield from _selected(side, grouped | matched)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _selected(node.expr, grouped)


def _grouped(node: promql.AggregateExpr) -> frozenset[str]:
    return frozenset(node.modifier.labels) if node.modifier is not None else frozenset()

"""What a PromQL expression asks for: which metrics, and which of their labels."""

from collections.abc import Iterator

import promql_parser as promql
from msgspec import Struct

from tests.exposition import TARGET_LABELS


class Asked(Struct, frozen=True):
    """A metric by the name that the expression gives it, and the labels that it is selected or grouped by."""

    metric: str
    labels: frozenset[str]


def asked_by(expression: str) -> list[Asked]:
    """Everything that an expression reads. Raises ValueError for one that Prometheus would not take."""
    return list(_asked(promql.parse(expression), frozenset()))


def labels_of_result(expression: str) -> frozenset[str]:
    """The labels by which the outermost aggregation groups; topk, which keeps the labels, is none."""
    found: list[frozenset[str]] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.AggregateExpr) and str(node.op) != "topk":
            found.append(_grouped(node))
        return not found

    promql.walk(promql.parse(expression), visit)
    return found[0] if found else frozenset()


def missing(expression: str, labels: dict[str, frozenset[str]]) -> list[str]:
    """What an expression asks for that is not there, by the labels of each metric that is."""
    problems = []
    for asked in asked_by(expression):
        if asked.metric not in labels:
            problems.append(f"there is no metric {asked.metric}")
        else:
            unknown = asked.labels - labels[asked.metric] - TARGET_LABELS
            problems += [f"{asked.metric} has no label {label}" for label in sorted(unknown)]
    return problems


def _asked(node: promql.Expr, grouped: frozenset[str]) -> Iterator[Asked]:
    match node:
        case promql.VectorSelector():
            selected = frozenset(matcher.name for matcher in node.matchers.matchers)
            yield Asked(node.name or "", selected | grouped)
        case promql.MatrixSelector():
            yield from _asked(node.vector_selector, grouped)
        case promql.AggregateExpr():
            yield from _asked(node.expr, grouped | _grouped(node))
        case promql.Call():
            for argument in node.args:
                yield from _asked(argument, grouped)
        case promql.BinaryExpr():
            matching = node.modifier.matching if node.modifier is not None else None
            matched = frozenset(matching.labels) if matching is not None else frozenset()
            for side in (node.lhs, node.rhs):
                yield from _asked(side, grouped | matched)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _asked(node.expr, grouped)


def _grouped(node: promql.AggregateExpr) -> frozenset[str]:
    return frozenset(node.modifier.labels) if node.modifier is not None else frozenset()

"""What a PromQL expression gives for expositions that were read, as far as our alerts need it.

There is no Prometheus in the tests. Every operator and function that is not here is an error.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import promql_parser as promql
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_AGGREGATIONS: Final[dict[str, Callable[[Iterable[float]], float]]] = {"sum": sum, "max": max, "min": min}
_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right if right else float("nan"),
}
_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class Scrape(Struct, frozen=True):
    """What was read at one time, in seconds since 1970."""

    text: str
    at: float


def result(expression: str, scrapes: Sequence[Scrape]) -> Vector:
    """The series that an expression gives at the last of the scrapes; an alert fires for each of them.

    scrapes: the oldest first. Rates are those between the first and the last, whatever their range.

    Raises NotImplementedError for what no alert of ours has needed so far.
    """
    value = _value(promql.parse(expression), scrapes)
    return value if isinstance(value, dict) else {frozenset(): value}


def _value(node: promql.Expr, scrapes: Sequence[Scrape]) -> Vector | float:
    match node:
        case promql.NumberLiteral():
            return node.val
        case promql.ParenExpr():
            return _value(node.expr, scrapes)
        case promql.VectorSelector():
            return _selected(node, scrapes[-1])
        case promql.Call(func=function) if function.name == "time":
            return scrapes[-1].at
        case promql.Call(func=function) if function.name in ("rate", "increase"):
            return _growth(node.args[0].vector_selector, scrapes, is_rate=function.name == "rate")
        case promql.AggregateExpr():
            return _aggregated(node, _vector(node.expr, scrapes))
        case promql.BinaryExpr():
            return _combined(str(node.op), _value(node.lhs, scrapes), _value(node.rhs, scrapes))
    raise NotImplementedError(str(node))


def _vector(node: promql.Expr, scrapes: Sequence[Scrape]) -> Vector:
    value = _value(node, scrapes)
    assert isinstance(value, dict), node
    return value


def _selected(node: promql.VectorSelector, scrape: Scrape) -> Vector:
    wanted = {(matcher.name, matcher.value) for matcher in node.matchers.matchers}
    if any(matcher.op is not promql.MatchOp.Equal for matcher in node.matchers.matchers):
        raise NotImplementedError(str(node))
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(scrape.text)
        for sample in family.samples
        if sample.name == node.name and wanted <= sample.labels.items()
    }


def _growth(node: promql.VectorSelector, scrapes: Sequence[Scrape], *, is_rate: bool) -> Vector:
    before, after = _selected(node, scrapes[0]), _selected(node, scrapes[-1])
    seconds = scrapes[-1].at - scrapes[0].at if is_rate else 1.0
    return {labels: (value - before.get(labels, 0.0)) / seconds for labels, value in after.items()}


def _aggregated(node: promql.AggregateExpr, vector: Vector) -> Vector:
    if node.modifier is None or str(node.op) not in _AGGREGATIONS:
        raise NotImplementedError(str(node))
    groups: defaultdict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector.items():
        groups[frozenset(one for one in labels if one[0] in node.modifier.labels)].append(value)
    return {labels: _AGGREGATIONS[str(node.op)](values) for labels, values in groups.items()}


def _combined(name: str, left: Vector | float, right: Vector | float) -> Vector | float:
    """Series of both sides match by all their labels, as where there is no `on`."""
    if isinstance(left, float) and isinstance(right, float):
        return _ARITHMETIC[name](left, right)
    if isinstance(left, float):
        raise NotImplementedError(f"{left} {name} …")
    others = right if isinstance(right, dict) else dict.fromkeys(left, right)
    pairs = {labels: (value, others[labels]) for labels, value in left.items() if labels in others}
    if name in _COMPARISONS:
        return {labels: pair[0] for labels, pair in pairs.items() if _COMPARISONS[name](*pair)}
    return {labels: _ARITHMETIC[name](*pair) for labels, pair in pairs.items()}

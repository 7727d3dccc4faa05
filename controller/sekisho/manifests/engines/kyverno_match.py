"""Which pods a Kyverno rule is about, and the `match` of ours that is about the same.

Source: https://kyverno.io/docs/policy-types/cluster-policy/match-exclude/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.documents import Path

WORKLOADS: Final = frozenset(
    ("CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet")
)
_IGNORED: Final = frozenset(("kinds", "operations"))


class Problem(Struct, frozen=True):
    """Why a part of match or exclude cannot be translated, and where it is below the rule."""

    reason: str
    path: Path


class Exclusion(Struct, frozen=True):
    """Pods that a rule excludes and that `match` cannot: for a waiver, as its `match` has them."""

    match: Mapping[str, Any]
    path: Path


class Scope(Struct, frozen=True):
    """The pods that a rule is about: those in any of the matches.

    kinds: the kinds that it names; of pods, or of workloads with a template.
    """

    matches: tuple[dict[str, Any], ...] = ()
    kinds: frozenset[str] = frozenset()
    exclusions: tuple[Exclusion, ...] = ()
    problems: tuple[Problem, ...] = ()
    narrowing: tuple[Problem, ...] = ()


def scope_of(rule: Mapping[str, Any]) -> Scope:
    """What a rule is about. `narrowing` has the parts without which it would be about more pods."""
    filters = list(filters_of(rule.get("match") or {}, "match"))
    kinds = frozenset(_kind(kind) for one, _ in filters for kind in (one.get("resources") or {}).get("kinds") or ())
    matches, narrowing = [], []
    for one, path in filters:
        match, problems = _match(one, path)
        narrowing += problems
        if match not in matches:
            matches.append(match)
    excluded: dict[str, Any] = {}
    exclusions, problems = [], []
    for one, path in filters_of(rule.get("exclude") or {}, "exclude"):
        if not _exclude(one, excluded):
            waived = waivable(one) if is_about_pods(one) else None
            if not waived:
                problems.append(Problem("what it excludes cannot be said in match or a waiver", path))
            else:
                exclusions.append(Exclusion(waived, path))
    return Scope(
        tuple(_with_exclusions(match, excluded) for match in matches),
        kinds,
        tuple(exclusions),
        tuple(problems),
        tuple(narrowing),
    )


def filters_of(block: Mapping[str, Any], name: str) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The filters of match or exclude; several of `all` become one, which is about what all are about."""
    if "any" in block:
        yield from ((one, (name, "any", index)) for index, one in enumerate(block["any"]))
    elif "all" in block and len(block["all"]) == 1:
        yield block["all"][0], (name, "all", 0)
    elif "all" in block:
        yield _together(block["all"]), (name, "all")
    elif block:
        yield block, (name,)


def _together(filters: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    combined: dict[str, Any] = {}
    for one in filters:
        for key, value in one.items():
            if key == "resources":
                own = combined.setdefault("resources", {})
                clash = [name for name in value if name in own and own[name] != value[name]]
                own.update(value | ({"several filters": clash} if clash else {}))
            else:
                combined["several filters" if key in combined else key] = value
    return combined


def _kind(written: str) -> str:
    """The kind of `group/version/Kind/subresource`; all of it for a subresource that has no pod, such as Pod/exec."""
    parts = written.replace(".", "/").split("/")
    kinds = [index for index, part in enumerate(parts) if part[:1].isupper() or part == "*"]
    if not kinds:
        return written
    below = "/".join(parts[kinds[-1] + 1 :]).lower()
    return parts[kinds[-1]] if below in ("", "ephemeralcontainers", "resize") else written


def _match(one: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The match of a filter, and what it is about that ours cannot name."""
    match: dict[str, Any] = {}
    problems = []
    for name, value in one.items():
        if name != "resources":
            problems.append(Problem(f"match by {name} is about who makes the request", (*path, name)))
            continue
        for key, selected in value.items():
            if key == "operations" and selected and "CREATE" not in selected:
                problems.append(Problem("it is about other operations than creating pods", (*path, "resources", key)))
            if key in _IGNORED:
                continue
            if key == "namespaces" and selected and not any("?" in str(item) for item in selected):
                match["namespaces"] = [str(item) for item in selected]
            elif key in ("selector", "namespaceSelector") and _is_selector(selected):
                match["podSelector" if key == "selector" else key] = selected
            elif selected:
                problems.append(Problem(f"match by {key} cannot be said in ours", (*path, "resources", key)))
    return match, problems


def _is_selector(selector: Any) -> bool:
    """Whether keys and values of labels have no wildcards, which ours do not know."""
    return isinstance(selector, dict) and "*" not in str(selector) and "?" not in str(selector)


def is_about_pods(one: Mapping[str, Any]) -> bool:
    """Whether a filter names pods, or no kind."""
    kinds = {_kind(kind) for kind in (one.get("resources") or {}).get("kinds") or ()}
    return not kinds or bool(kinds & {"Pod", "*"})


def _exclude(one: Mapping[str, Any], excluded: dict[str, Any]) -> bool:
    """Add what a filter of exclude is about to `excluded`; False if `match` cannot say it."""
    if not is_about_pods(one):
        return False
    resources = {key: value for key, value in (one.get("resources") or {}).items() if key not in _IGNORED and value}
    others = {key: value for key, value in one.items() if key != "resources" and value}
    if set(resources) == {"namespaces"} and not others and "?" not in str(resources["namespaces"]):
        excluded.setdefault("excludeNamespaces", []).extend(map(str, resources["namespaces"]))
        return True
    if len(resources) == 1 and not others:
        [(key, selector)] = resources.items()
        negated = _negated(selector) if key in ("selector", "namespaceSelector") else None
        name = "podSelector" if key == "selector" else "namespaceSelector"
        if negated is not None:
            excluded.setdefault(name, []).append(negated)
        return negated is not None
    if set(others) == {"subjects"} and not resources:
        subjects = _subjects(others["subjects"])
        if subjects is not None:
            for name, values in subjects.items():
                excluded.setdefault("excludeSubjects", {}).setdefault(name, []).extend(values)
        return subjects is not None
    return False


def _negated(selector: Any) -> dict[str, Any] | None:
    """The condition on labels that a selector with one condition is the opposite of."""
    if not _is_selector(selector):
        return None
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if len(labels) == 1 and not expressions:
        [(key, value)] = labels.items()
        return {"key": key, "operator": "NotIn", "values": [str(value)]}
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    if len(expressions) == 1 and not labels and expressions[0].get("operator") in opposite:
        # Not in the values also means unset; its opposite must be set, as In requires.
        return {**expressions[0], "operator": opposite[expressions[0]["operator"]]}
    return None


def _subjects(subjects: Sequence[Mapping[str, Any]]) -> dict[str, list[str]] | None:
    result: dict[str, list[str]] = {}
    for one in subjects:
        name, kind = str(one.get("name")), one.get("kind")
        if "*" in name or "?" in name or kind not in ("User", "Group", "ServiceAccount"):
            return None
        full = f"{one.get('namespace')}/{name}" if kind == "ServiceAccount" else name
        key = {"User": "users", "Group": "groups", "ServiceAccount": "serviceAccounts"}[kind]
        result.setdefault(key, []).append(full)
    return result


def waivable(one: Mapping[str, Any]) -> dict[str, Any] | None:
    """The match of a waiver for what a filter is about, empty for all pods; None if no waiver can say it."""
    resources = {key: value for key, value in (one.get("resources") or {}).items() if key not in _IGNORED and value}
    if any(value for key, value in one.items() if key != "resources"):
        return None
    names = resources.pop("names", None) or ([resources.pop("name")] if "name" in resources else None)
    match: dict[str, Any] = {} if names is None else {"names": list(map(str, names))}
    if "namespaces" in resources:
        match["namespaces"] = list(map(str, resources.pop("namespaces")))
    if "selector" in resources and _is_selector(resources["selector"]):
        match["podSelector"] = resources.pop("selector")
    return None if resources or "?" in str(match) else match


def _with_exclusions(match: Mapping[str, Any], excluded: Mapping[str, Any]) -> dict[str, Any]:
    combined = dict(match)
    for key, value in excluded.items():
        if key in ("podSelector", "namespaceSelector"):
            own = dict(combined.get(key) or {})
            own["matchExpressions"] = [*(own.get("matchExpressions") or ()), *value]
            combined[key] = own
        else:
            combined[key] = value
    return combined

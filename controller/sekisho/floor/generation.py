"""ValidatingAdmissionPolicies and their bindings, from policies and waivers.

Everything is constant in the expressions. A policy that reads parameters from custom resources can deny everything
that it matches after a restart of the API server, until these are served again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.controls import CONTROLS
from sekisho.floor import cel
from sekisho.floor.image_breaches import image_variables
from sekisho.floor.scopes import OWNER_VARIABLES, applies, unsayable_waiver, waiver_applies, waiver_covers
from sekisho.floor.shares import share_of
from sekisho.floor.terms import CREATED, Breach
from sekisho.policies import ClusterPodPolicy, CompiledPolicy, Enforcement, Policy, PolicyWaiver, compile_policy
from sekisho.policies.compilation import Rule
from sekisho.standards import LATEST, parse_version

NAME: Final = "sekisho-floor"
MAX_VALIDATIONS: Final = 100
"""In one object. Each object costs every creation of a pod about half a millisecond, and has a budget of its own."""
_VARIABLE: Final = re.compile(r"\bvariables\.(\w+)")
_MAX_NAMES: Final = 200
"""Characters of policies' names in a message."""
_CONTAINERS: Final = tuple(
    f"object.spec.{key}" for key in ("containers", "?initContainers.orValue([])", "?ephemeralContainers.orValue([])")
)
_ALL: Final = " + ".join(_CONTAINERS)
_OLD: Final = f"({CREATED} ? [] : {_ALL.replace('object.', 'oldObject.')})"
_IMAGE_VOLUMES: Final = (
    f"({CREATED} ? object.spec.?volumes.orValue([]).filter(v, has(v.image))"
    '.map(v, {"label": "volume " + string(v.name), "container": "", '
    '"image": string(v.image.?reference.orValue(""))}) : [])'
)
_CHANGED_IMAGES: Final = (
    'variables.all_containers.filter(c, !((c.name + " " + c.?image.orValue("")) in variables.old_images))'
    '.map(c, {"label": "container " + string(c.name), "container": string(c.name), '
    '"image": string(c.?image.orValue(""))})'
)


class Missing(Struct, frozen=True):
    """A control of a policy, or a part of it, that the floor lacks, and why."""

    policy: str
    control: str
    reason: str


class Floor(Struct, frozen=True):
    """The objects, each ValidatingAdmissionPolicy followed by its binding.

    controls: by the name of a policy, the controls of which the floor has at least a part; policies without any are
        left out.
    missing: what the policies require and the floor lacks.
    """

    objects: tuple[Mapping[str, Any], ...]
    controls: Mapping[str, tuple[str, ...]]
    missing: tuple[Missing, ...]


class _Term(Struct, frozen=True):
    """A breach that policies deny, unless one of the same waivers exempts the pod."""

    control: str
    breach: Breach
    waivers: tuple[str, ...]


def floor_of(policies: Iterable[Policy], exempt: Iterable[str], name: str = NAME) -> Floor:
    """The floor of the ClusterPodPolicies among some policies, with the waivers among them.

    exempt: the namespaces whose pods the webhook is not called for.
    name: of the first object; those after it have a number in addition.

    Raises PolicyError for a policy that cannot be compiled.
    """
    every = sorted(policies, key=lambda policy: policy.title)
    waivers = {waiver.title: waiver for waiver in every if isinstance(waiver, PolicyWaiver)}
    missing: list[Missing] = []
    terms: dict[_Term, list[ClusterPodPolicy]] = {}
    for policy in every:
        if isinstance(policy, ClusterPodPolicy):
            for term in _terms(policy, waivers.values(), missing):
                terms.setdefault(term, []).append(policy)
    order = list(CONTROLS)
    ordered = sorted(terms.items(), key=lambda item: order.index(item[0].control))
    namespaces = sorted(set(exempt))
    objects: list[Mapping[str, Any]] = []
    for number, start in enumerate(range(0, len(ordered), MAX_VALIDATIONS)):
        numbered = f"{name}-{number + 1}" if number else name
        spec = _spec(dict(ordered[start : start + MAX_VALIDATIONS]), waivers, namespaces)
        objects += _objects(numbered, spec)
    controls: dict[str, tuple[str, ...]] = {}
    for term, requiring in ordered:
        for policy in requiring:
            controls[policy.title] = tuple(dict.fromkeys((*controls.get(policy.title, ()), term.control)))
    return Floor(tuple(objects), controls, tuple(missing))


def _terms(policy: ClusterPodPolicy, waivers: Iterable[PolicyWaiver], missing: list[Missing]) -> Iterator[_Term]:
    """What the floor denies for a policy; adds to `missing` what it lacks."""
    standard = policy.spec.pod_security_standard
    minor = parse_version((standard.version if standard is not None else None) or LATEST)
    if standard is not None and standard.from_namespace_labels:
        missing.append(Missing(policy.title, "", "levels from the namespace's labels are for the webhook alone"))
    for rule in _denying(compile_policy(policy)):
        own = [
            waiver
            for waiver in waivers
            if policy.title in waiver.spec.policies and rule.control in waiver.spec.controls
        ]
        unsayable = next((waiver.title for waiver in own if unsayable_waiver(waiver)), None)
        if unsayable is not None:
            reason = f"an image of waiver {unsayable} may name an IPv6 address, which has several spellings"
            missing.append(Missing(policy.title, rule.control, reason))
            continue
        share = share_of(rule.control, rule.parameters, minor)
        missing += [Missing(policy.title, rule.control, reason) for reason in share.missing]
        titles = tuple(waiver.title for waiver in own)
        yield from (_Term(rule.control, breach, titles) for breach in share.breaches)


def _denying(policy: CompiledPolicy) -> Iterator[Rule]:
    return (rule for rule in policy.rules if rule.enforcement is Enforcement.DENY)


def _spec(
    terms: Mapping[_Term, Sequence[ClusterPodPolicy]], waivers: Mapping[str, PolicyWaiver], exempt: Sequence[str]
) -> dict[str, Any]:
    variables = dict(_shared_variables())
    titles = sorted({title for term in terms for title in term.waivers})
    applying = {title: f"waiver_{number}" for number, title in enumerate(titles)}
    variables |= {variable: waiver_applies(waivers[title]) for title, variable in applying.items()}
    scopes: dict[str, str] = {}
    for policy in sorted({policy.title: policy for some in terms.values() for policy in some}.items()):
        scope = applies(policy[1].spec.match)
        if scope != cel.TRUE:
            variable = f"policy_{len(scopes)}"
            variables[variable] = scope
            scope = f"variables.{variable}"
        scopes[policy[0]] = scope
    validations = []
    for number, (term, policies) in enumerate(terms.items()):
        variable = f"{term.control}_{number}"
        variables[variable] = _violations(term, [(waivers[title], applying[title]) for title in term.waivers])
        validations.append(_validation(term, variable, {policy.title: scopes[policy.title] for policy in policies}))
    return {
        "failurePolicy": "Fail",
        "matchConstraints": _constraints(exempt),
        "variables": [{"name": key, "expression": variables[key]} for key in _used(variables, validations)],
        "validations": validations,
    }


def _used(variables: Mapping[str, str], validations: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of the variables that the validations need, in their order; a variable may need those before it."""
    needed = _named(" ".join(validation["expression"] for validation in validations))
    for name in reversed(list(variables)):
        if name in needed:
            needed |= _named(variables[name])
    return [name for name in variables if name in needed]


def _named(expressions: str) -> set[str]:
    return set(_VARIABLE.findall(expressions))


def _constraints(exempt: Sequence[str]) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "scope": "Namespaced"}
    by_name = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(exempt)}
    return {
        "matchPolicy": "Equivalent",
        "objectSelector": {},
        "namespaceSelector": {"matchExpressions": [by_name]} if exempt else {},
        "resourceRules": [
            rule | {"operations": ["CREATE", "UPDATE"], "resources": ["pods"]},
            rule | {"operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
        ],
    }


def _shared_variables() -> Iterator[tuple[str, str]]:
    """The variables that do not depend on policies."""
    yield "all_containers", _ALL
    yield "old_names", f"{_OLD}.map(c, c.name)"
    yield "old_images", f'{_OLD}.map(c, c.name + " " + c.?image.orValue(""))'
    yield "containers", "variables.all_containers.filter(c, !(c.name in variables.old_names))"
    yield "annotations", "object.metadata.?annotations.orValue({})"
    yield from OWNER_VARIABLES.items()
    yield from image_variables(f"({_CHANGED_IMAGES} + {_IMAGE_VOLUMES})").items()


def _violations(term: _Term, waivers: Sequence[tuple[PolicyWaiver, str]]) -> str:
    """The labels of the entries that breach a control and that no waiver exempts."""
    breach = term.breach
    exempt = cel.any_of(
        cel.all_of((f"variables.{variable}", waiver_covers(waiver, breach.judged, breach.value, term.control)))
        for waiver, variable in waivers
    )
    test = cel.all_of((breach.test, cel.negated(exempt)))
    if breach.nested:
        test = f"{breach.nested}.exists({breach.nested_variable}, {test})"
    return f"{breach.entries}.filter({breach.variable}, {test}).map({breach.variable}, {breach.label})"


def _validation(term: _Term, variable: str, scopes: Mapping[str, str]) -> dict[str, Any]:
    """scopes: whether the policies that deny the breach apply, by their names."""
    scope = cel.any_of(scopes.values())
    names = " + ".join(
        f"[{cel.text(name)}]" if own == cel.TRUE else f"({own} ? [{cel.text(name)}] : [])"
        for name, own in scopes.items()
    )
    control, requires, listed = term.control, term.breach.requires, ", ".join(scopes)
    shown = listed if len(listed) <= _MAX_NAMES else f"{listed[:_MAX_NAMES]}…"
    parts = (
        cel.text(f"{control} (policy "),
        f'({names}).join(", ")',
        cel.text("): "),
        f'variables.{variable}.join(", ")',
        cel.text(f": {requires}"),
    )
    return {
        "expression": cel.any_of((cel.negated(scope), f"size(variables.{variable}) == 0")),
        "message": f"{control} (policy {shown}): {requires}",
        "messageExpression": " + ".join(parts),
        "reason": "Forbidden",
    }


def _objects(name: str, spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    head = {"apiVersion": "admissionregistration.k8s.io/v1"}
    metadata = {"name": name, "labels": {"app.kubernetes.io/name": "sekisho", "app.kubernetes.io/component": "floor"}}
    yield head | {"kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    yield head | {"kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": binding}

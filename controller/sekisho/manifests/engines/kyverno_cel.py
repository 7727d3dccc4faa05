"""Kyverno's ValidatingPolicies as ours: `policies.kyverno.io`.

Source: https://kyverno.io/docs/policy-types/validating-policy/
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import structs

from sekisho.manifests.engines.cel_requirements import cel_requirements
from sekisho.manifests.engines.policies import Drafted, Pieces, write_policies
from sekisho.manifests.engines.requirements import Requirement, Unreadable
from sekisho.manifests.engines.results import Difference, Place, Translation

_KNOWN: Final = frozenset(
    ("autogen", "evaluation", "failurePolicy", "matchConstraints", "validationActions", "validations", "variables")
)
_SELECTORS: Final = {"objectSelector": "podSelector", "namespaceSelector": "namespaceSelector"}


def translate_validating_policy(place: Place, policy: Mapping[str, Any], until: str | None) -> Translation:
    """Translate one ValidatingPolicy or NamespacedValidatingPolicy."""
    spec = policy["spec"]
    reasons = list(_reasons(spec))
    if reasons:
        notes = tuple(place.note(Difference.NOT_TRANSLATED, text, "spec", field) for field, text in reasons)
        return Translation(1, (), notes)
    constraints = spec.get("matchConstraints") or {}
    match = {ours: constraints[key] for key, ours in _SELECTORS.items() if constraints.get(key)}
    read = list(cel_requirements(spec, "validations", (*place.path, "spec")))
    unreadable = [one for one in read if isinstance(one, Unreadable)]
    notes = tuple(place.note(Difference.NOT_TRANSLATED, one.reason, *one.path[len(place.path) :]) for one in unreadable)
    pieces = Pieces(requirements=tuple(one for one in read if isinstance(one, Requirement)), notes=notes)
    actions = set(spec.get("validationActions") or ("Deny",))
    enforcement = next((one for one in ("Deny", "Warn", "Audit") if one in actions), "Deny")
    namespace = ""
    if policy["kind"].startswith("Namespaced"):
        namespace = str(policy["metadata"].get("namespace") or "default")
    templates = "Deny" if enforcement == "Deny" else None
    drafts = [] if pieces.is_empty else [Drafted(match, enforcement, templates, pieces, (), place)]
    written = write_policies(place, str(policy["metadata"]["name"]), namespace, drafts, until)
    return structs.replace(written, notes=tuple(dict.fromkeys((*notes, *written.notes))))


def _reasons(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Why a policy is not translated, by the field of its spec that is the reason."""
    for field in sorted(set(spec) - _KNOWN):
        yield field, f"its field {field} may change which pods are judged, and how"
    constraints = spec.get("matchConstraints") or {}
    rules = constraints.get("resourceRules") or ()
    resources = {str(one).split("/")[0] for rule in rules for one in rule.get("resources") or ()}
    operations = {str(one) for rule in rules for one in rule.get("operations") or ("*",)}
    if not resources & {"pods", "*"}:
        yield ("matchConstraints", f"it is about {', '.join(sorted(resources)) or 'nothing'}, and Sekisho judges pods")
    if not operations & {"CREATE", "*"}:
        yield "matchConstraints", "it is about other operations than creating pods"
    further = sorted(set(constraints) - {"resourceRules", "matchPolicy", *_SELECTORS})
    if further or any(rule.get("resourceNames") for rule in rules):
        yield ("matchConstraints", f"match by {', '.join(further) or 'resourceNames'} cannot be said in ours")

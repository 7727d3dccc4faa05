"""Kyverno's policies as ours: `kyverno.io/v1` ClusterPolicy and Policy.

A policy becomes one of ours for each group of rules that are about the same pods and do the same about violations.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from sekisho.documents import Path
from sekisho.globs import glob_matches
from sekisho.manifests.engines.alternatives import either
from sekisho.manifests.engines.cel_requirements import cel_requirements
from sekisho.manifests.engines.kyverno_conditions import deny_requirements, foreach_requirements
from sekisho.manifests.engines.kyverno_match import WORKLOADS, Exclusion, Scope, scope_of
from sekisho.manifests.engines.kyverno_patterns import Flattened, pattern_requirements
from sekisho.manifests.engines.kyverno_pod_security import PodSecurity, pod_security
from sekisho.manifests.engines.policies import Drafted, Pieces, write_policies
from sekisho.manifests.engines.requirements import Requirement, Unreadable
from sekisho.manifests.engines.results import Difference, Note, Place, Translation
from sekisho.manifests.engines.waivers import BY_NAME, Waived

_ENFORCEMENTS: Final = {"enforce": "Deny", "audit": "Audit"}
_AUTOGEN: Final = "pod-policies.kyverno.io/autogen-controllers"
_OTHERS: Final = {
    "mutate": "it changes objects; defaults set what is unset, and are not translated",
    "generate": "it creates objects, and Sekisho creates none",
}
_HARMLESS: Final = frozenset(("request.operation", "request.operation||'BACKGROUND'"))
_KNOWN_OF_SPEC: Final = frozenset(
    [
        "rules",
        "background",
        "validationFailureAction",
        "validationFailureActionOverrides",
        "failurePolicy",
        "emitWarning",
        "webhookTimeoutSeconds",
        "webhookConfiguration",
        "schemaValidation",
        "generateExisting",
        "mutateExistingOnPolicyUpdate",
        "useServerSideApply",
    ]
)
_DENIED_TOO: Final = " (ours judges these pods too)"
_KNOWN: Final = frozenset(
    ("name", "match", "exclude", "validate", "preconditions", "skipBackgroundRequests", "verifyImages", "context")
)


def translate_policy(place: Place, policy: Mapping[str, Any], until: str | None) -> Translation:
    """Translate one ClusterPolicy or Policy. `until`: the end of waivers; None to write none."""
    further = [*_further_fields(policy["spec"])]
    if further or not policy["spec"].get("rules"):
        reason = f"its field {further[0]} is not known here" if further else "it has no rules"
        return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, reason, "spec", *further[:1]),))
    notes: list[Note] = []
    drafts: list[Drafted] = []
    for index, rule in enumerate(policy["spec"].get("rules") or ()):
        about = Place(
            place.document, (*place.path, "spec", "rules", index), rule_of(place.about, str(rule.get("name")))
        )
        drafts += _rule(about, rule, policy, notes)
    namespace = str(policy["metadata"].get("namespace") or "default") if policy["kind"] == "Policy" else ""
    written = write_policies(place, str(policy["metadata"]["name"]), namespace, drafts, until)
    return structs.replace(written, notes=(*notes, *written.notes))


def rule_of(about: str, name: str) -> str:
    """A rule of a policy in words."""
    return f"{about}, rule {name}"


def _further_fields(spec: Mapping[str, Any]) -> Iterator[str]:
    """Fields that may change which pods are judged, and how."""
    yield from sorted(set(spec) - _KNOWN_OF_SPEC)
    if set(spec.get("webhookConfiguration") or ()) - {"failurePolicy", "timeoutSeconds"}:
        yield "webhookConfiguration"


def _rule(place: Place, rule: Mapping[str, Any], policy: Mapping[str, Any], notes: list[Note]) -> Iterator[Drafted]:
    """The drafts of one rule; notes on what it has that cannot be translated are added to `notes`."""
    scope = scope_of(rule)
    reason = _not_about_pods(scope) or _other_kind(rule)
    if reason:
        notes.append(place.note(Difference.NOT_TRANSLATED, reason))
        return
    blocked = [
        *_preconditions(rule),
        *_unclear_overrides(rule, policy, scope),
        *((one.reason, one.path) for one in scope.narrowing),
    ]
    notes += [place.note(Difference.NOT_TRANSLATED, text, *path) for text, path in blocked]
    if blocked:
        return
    notes += [place.note(Difference.NOT_TRANSLATED, f"{one.reason}{_DENIED_TOO}", *one.path) for one in scope.problems]
    pieces = _pieces(place, rule, scope)
    if pieces.is_empty:
        notes += pieces.notes or (place.note(Difference.NOT_TRANSLATED, "it requires nothing of pods", "validate"),)
        return
    for enforcement, narrowed in _enforcements(rule, policy):
        for match in scope.matches:
            combined = _combined(match, narrowed)
            if combined is not None:
                templates = "Deny" if enforcement == "Deny" and _is_on_workloads(scope, policy) else None
                yield Drafted(combined, enforcement, templates, pieces, _waived(scope.exclusions), place)


def _not_about_pods(scope: Scope) -> str | None:
    if scope.kinds & {"Pod", "*"} or (scope.kinds and scope.kinds <= WORKLOADS):
        return None
    kinds = ", ".join(sorted(scope.kinds)) or "nothing"
    return f"it is about {kinds}, and Sekisho judges pods and what makes them"


def _other_kind(rule: Mapping[str, Any]) -> str | None:
    for key, reason in _OTHERS.items():
        if key in rule:
            return reason
    further = sorted(set(rule) - _KNOWN)
    if further:
        return f"its field {further[0]} is not known here"
    return None if "validate" in rule else "it validates nothing"


def _preconditions(rule: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Preconditions but those on the operation: pods are judged when they are created or changed, and never deleted."""
    written = rule.get("preconditions") or {}
    groups = {"all": written} if isinstance(written, list) else written
    for group, conditions in groups.items():
        if group == "any" and len(conditions or ()) > 1:
            yield "several preconditions of which one is enough", ("preconditions",)
            continue
        for index, condition in enumerate(conditions or ()):
            key = str(condition.get("key")).replace(" ", "").strip("{}")
            if key not in _HARMLESS:
                yield "the precondition is about something else than the operation", ("preconditions", group, index)


def _is_on_workloads(scope: Scope, policy: Mapping[str, Any]) -> bool:
    autogen = (policy["metadata"].get("annotations") or {}).get(_AUTOGEN)
    return autogen != "none" or bool(scope.kinds & WORKLOADS)


def _enforcements(rule: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each enforcement of a rule, and the match that it is limited to: its own, and those of overrides."""
    spec = policy["spec"]
    written = rule["validate"].get("failureAction") or spec.get("validationFailureAction") or "Audit"
    overrides = _overrides(rule, policy)
    warns = bool(spec.get("emitWarning"))
    elsewhere: dict[str, Any] = {}
    for override in overrides:
        namespaces = list(override["namespaces"])
        yield _enforcement(override.get("action"), warns), {"namespaces": namespaces}
        elsewhere.setdefault("excludeNamespaces", []).extend(namespaces)
    yield _enforcement(written, warns), elsewhere


def _overrides(rule: Mapping[str, Any], policy: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    own, of_policy = (
        rule["validate"].get("failureActionOverrides"),
        policy["spec"].get("validationFailureActionOverrides"),
    )
    return list(own or of_policy or ())


def _unclear_overrides(rule: Mapping[str, Any], policy: Mapping[str, Any], scope: Scope) -> Iterator[tuple[str, Path]]:
    """Overrides of namespaces that cannot be told from those that the rule is about."""
    for override in _overrides(rule, policy):
        namespaces = override.get("namespaces") or ()
        if not namespaces or override.get("namespaceSelector"):
            yield "an override for namespaces by their labels", ("validate",)
        for match in scope.matches:
            own = match.get("namespaces") or ()
            if "*" in str(own) and "*" in str(namespaces) and list(own) != list(namespaces):
                yield "an override for namespaces by patterns, of a rule that has patterns too", ("validate",)


def _enforcement(action: Any, warns: bool) -> str:
    enforcement = _ENFORCEMENTS.get(str(action).lower(), "Deny")
    return "Warn" if warns and enforcement == "Audit" else enforcement


def _combined(match: Mapping[str, Any], narrowed: Mapping[str, Any]) -> dict[str, Any] | None:
    """A match limited to namespaces, or without some; None if nothing is left."""
    combined = dict(match)
    for key, value in narrowed.items():
        if key == "excludeNamespaces":
            combined[key] = [*combined.get(key, ()), *value]
        elif key == "namespaces" and key in combined:
            both = [name for name in value if any(glob_matches(pattern, name) for pattern in combined[key])]
            both += [name for name in combined[key] if any(glob_matches(pattern, name) for pattern in value)]
            both = list(dict.fromkeys(both))
            if not both:
                return None
            combined[key] = both
        else:
            combined[key] = value
    return combined


def _waived(exclusions: Iterable[Exclusion]) -> tuple[Waived, ...]:
    return tuple(
        Waived((), one.match, "excluded in Kyverno", (), (BY_NAME,) if "names" in one.match else ())
        for one in exclusions
    )


def _pieces(place: Place, rule: Mapping[str, Any], scope: Scope) -> Pieces:
    """What a rule requires, as controls or a standard, with notes on what it requires beyond."""
    validate = rule["validate"]
    if "podSecurity" in validate:
        return _standard_pieces(place, pod_security(validate["podSecurity"], ("validate", "podSecurity")))
    of_pods = bool(scope.kinds & {"Pod", "*"})
    requirements = [_checked(one, of_pods=of_pods) for one in _requirements(validate, of_pods=of_pods)]
    unreadable = [one for one in requirements if isinstance(one, Unreadable)]
    readable = (
        []
        if any(one.is_condition for one in unreadable)
        else [
            structs.replace(one, path=(*place.path, *one.path)) for one in requirements if isinstance(one, Requirement)
        ]
    )
    notes = [place.note(Difference.NOT_TRANSLATED, one.reason, *one.path) for one in unreadable]
    if readable and not of_pods and any(not one.field.startswith("metadata.") for one in readable):
        notes.append(
            place.note(Difference.STRICTER, "pods of every kind of workload are judged, and those without one")
        )
    return Pieces(requirements=tuple(readable), notes=tuple(notes))


def _checked(one: Flattened, *, of_pods: bool) -> Flattened:
    """A requirement, unless it is about the metadata of a workload: only its namespace is its pods' too."""
    is_own = isinstance(one, Requirement) and one.field.startswith("metadata.") and one.field != "metadata.namespace"
    if not of_pods and is_own:
        return Unreadable("it is about the workload's own metadata", one.path)
    return one


def _requirements(validate: Mapping[str, Any], *, of_pods: bool) -> Iterator[Flattened]:
    if "pattern" in validate:
        pattern, path = validate["pattern"], ("validate", "pattern")
        yield from pattern_requirements(*((pattern, path) if of_pods else _template_pattern(pattern, path)))
    elif "anyPattern" in validate:
        path = ("validate", "anyPattern")
        patterns = enumerate(validate["anyPattern"])
        yield either([pattern_requirements(one, (*path, index)) for index, one in patterns], path)
    elif "cel" in validate:
        yield from cel_requirements(validate["cel"], "expressions", ("validate", "cel"))
    elif "deny" in validate:
        yield from deny_requirements((validate["deny"] or {}).get("conditions"), ("validate", "deny", "conditions"))
    elif "foreach" in validate:
        yield from foreach_requirements(validate["foreach"], ("validate", "foreach"))
    else:
        yield Unreadable(
            f"{', '.join(sorted(set(validate) - {'message'}))} of validate is not known here", ("validate",)
        )


def _template_pattern(pattern: Any, path: Path) -> tuple[Any, Path]:
    """The pattern of a workload's pods, if the pattern of the workload is about nothing else."""
    spec = pattern.get("spec") if isinstance(pattern, dict) and set(pattern) == {"spec"} else None
    for name in ("jobTemplate", "template"):
        if isinstance(spec, dict) and set(spec) == {name}:
            below = (*path, "spec", name)
            return _template_pattern(spec[name], below) if name == "jobTemplate" else (spec[name], below)
    return pattern, path


def _standard_pieces(place: Place, security: PodSecurity) -> Pieces:
    notes = [place.note(Difference.NOT_TRANSLATED, f"{one.reason}{_DENIED_TOO}", *one.path) for one in security.unknown]
    return Pieces(security.standard, security.off, security.waived, notes=tuple(notes))

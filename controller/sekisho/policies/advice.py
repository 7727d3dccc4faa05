"""Warnings for the user who applies a policy: what is valid and seldom intended."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Final

from sekisho.controls import CONTROLS, Level, no_longer_allowed
from sekisho.controls.capabilities import CONTROL as CAPABILITIES
from sekisho.controls.capabilities import KNOWN
from sekisho.controls.capabilities import unknown as unknown_capability
from sekisho.controls.image_attestations import KNOWN_PREDICATES
from sekisho.controls.image_rules import ImageRule
from sekisho.controls.images import CONTROL as IMAGES
from sekisho.controls.images import Images, image_rules
from sekisho.findings import words
from sekisho.images.reference import canonical_registry
from sekisho.policies.authorities import ImageAuthority
from sekisho.policies.catalogs import ImageCatalog
from sekisho.policies.compilation import compile_policy
from sekisho.policies.idle import (
    EXEMPT_NAMESPACES,
    NAME_LABEL,
    REQUIRES_NOTHING,
    empty_controls,
    why_no_exempted_pods,
    why_no_pods,
    why_no_requirements,
)
from sekisho.policies.loading import Policy
from sekisho.policies.selectors import LabelSelector, Match, PodMatch, Subjects
from sekisho.policies.sets import PolicySet
from sekisho.policies.types import ClusterPodPolicy, PodPolicy, PodPolicySpec
from sekisho.policies.waivers import PolicyWaiver
from sekisho.spelling import Suggestions
from sekisho.standards import LATEST, parse_version

_POD_CREATORS = {
    f"kube-system/{name}-controller": f"every {kind}"
    for name, kind in (
        ("replicaset", "ReplicaSet and Deployment"),
        ("statefulset", "StatefulSet"),
        ("daemon-set", "DaemonSet"),
        ("job", "Job and CronJob"),
        ("replication", "ReplicationController"),
    )
}
_NEARLY_EVERY_USER = ("system:authenticated", "system:serviceaccounts", "system:serviceaccounts:kube-system")

_NOT_VERIFIED: Final = "this installation does not verify images until imageVerification.enabled is set in the chart"
MAX_HINTS: Final = 2
"""Suggestions for the unknown names in one object; each compares a name with those of many others."""


def advice(
    policy: Policy,
    policies: PolicySet,
    exempt: Collection[str] = EXEMPT_NAMESPACES,
    *,
    verifies_images: bool = True,
) -> list[str]:
    """Warnings about a valid policy or waiver, each with its field's path.

    policies: those in effect.
    exempt: the namespaces whose pods the API server does not send to the webhook.
    verifies_images: whether the installation verifies images; else it does not know the authorities.
    """
    match policy:
        case PolicyWaiver():
            return list(_waiver_warnings(policy, policies, exempt))
        case ImageAuthority():
            return [] if verifies_images else [f"spec: {_NOT_VERIFIED}, so signatures do not count"]
        case ImageCatalog():
            return list(_entry_warnings(policy, policies, verifies_images=verifies_images))
    warnings = [*_policy_warnings(policy, exempt), *_unknown_catalog_warnings(policy.spec, policies)]
    if verifies_images:
        warnings += _unknown_authority_warnings(policy.spec, policies)
    else:
        warnings += _unverified_rule_warnings(policy.spec)
    warnings += [*_selected_label_warnings(policy, policies), *_mirror_warnings(policy.spec)]
    if isinstance(policy, PodPolicy):
        warnings += [*_registry_warnings(policy.spec, policies), *_predicate_warnings(policy.spec, policies)]
    return warnings


def _selected_label_warnings(policy: ClusterPodPolicy | PodPolicy, policies: PolicySet) -> Iterator[str]:
    """A warning for each default label that policies or waivers select pods by."""
    labels = policy.spec.defaults.pod.labels if policy.spec.defaults.pod is not None else None
    selector = policy.spec.match.pod_selector
    for key in labels or ():
        if key in policies.label_keys or (selector is not None and key in selector.keys):
            yield (
                f"spec.defaults.pod.labels[{key}]: the podSelector of a policy or waiver names this label, so it is "
                "not added to pods"
            )


def _mirror_warnings(spec: PodPolicySpec) -> Iterator[str]:
    """A warning for each mirror of a registry whose images the policy's own rules name."""
    registries = {registry for rule in _image_rules(spec) for registry in rule.registries}
    for registry in spec.defaults.mirrors or ():
        if canonical_registry(registry) in registries:
            yield (
                f"spec.defaults.mirrors[{registry}]: images that spec.controls.images.signatures or attestations name "
                "there are not moved; name the mirror in these rules instead"
            )


def _unknown_authority_warnings(spec: PodPolicySpec, policies: PolicySet) -> Iterator[str]:
    """A warning for each authority that a rule on images names and that does not exist."""
    suggestions = Suggestions(MAX_HINTS)
    for rule in _image_rules(spec):
        for name in (*rule.names, *rule.others):
            if name not in policies.authorities:
                by = f"{rule.field}.by" if name in rule.names else f"{rule.field}.vulnerabilities.vex.by"
                yield (
                    f"spec.controls.images.{by}: there is no ImageAuthority {name}"
                    f"{suggestions.did_you_mean(name, policies.authorities)}; its signatures do not count until it is "
                    "created"
                )


def _unverified_rule_warnings(spec: PodPolicySpec) -> Iterator[str]:
    """A warning if there are rules on images that are not verified."""
    rule = next(iter(_image_rules(spec)), None)
    if rule is not None:
        yield f"spec.controls.images.{rule.kind}: {_NOT_VERIFIED}, so images that a rule applies to are denied"


def _unknown_catalog_warnings(spec: PodPolicySpec, policies: PolicySet) -> Iterator[str]:
    """A warning for each catalog that the policy names and that does not exist."""
    images: Images | None = getattr(spec.controls, IMAGES.name)
    suggestions = Suggestions(MAX_HINTS)
    for name in images.catalogs.names if images is not None and images.catalogs is not None else ():
        if name not in policies.catalogs:
            yield (
                f"spec.controls.images.catalogs: there is no ImageCatalog {name}"
                f"{suggestions.did_you_mean(name, policies.catalogs)}; every image is denied until it is created"
            )


def _entry_warnings(catalog: ImageCatalog, policies: PolicySet, *, verifies_images: bool) -> Iterator[str]:
    """A warning for each authority that an entry names and that does not exist."""
    suggestions = Suggestions(MAX_HINTS)
    for index, entry in enumerate(catalog.spec.entries):
        if entry.by is not None and not verifies_images:
            yield f"spec.entries[{index}].by: {_NOT_VERIFIED}, so this entry certifies nothing"
            continue
        for name in entry.by.names if entry.by is not None else ():
            if name not in policies.authorities:
                yield (
                    f"spec.entries[{index}].by: there is no ImageAuthority {name}"
                    f"{suggestions.did_you_mean(name, policies.authorities)}; its signatures do not count until it is "
                    "created"
                )


def _registry_warnings(spec: PodPolicySpec, policies: PolicySet) -> Iterator[str]:
    """A warning for each registry that a PodPolicy's rules on images name, and no ClusterPodPolicy's."""
    by_registry = {(registry, rule.kind) for rule in _image_rules(spec) for registry in rule.registries}
    for registry, kind in sorted(by_registry):
        if registry not in policies.registries:
            yield (
                f"spec.controls.images.{kind}: no ClusterPodPolicy names registry {registry} in a rule on "
                f"{kind}, so Sekisho does not connect to it, and its images are denied"
            )


def _predicate_warnings(spec: PodPolicySpec, policies: PolicySet) -> Iterator[str]:
    """A warning for each type of attestations that a PodPolicy requires, and that is not looked for."""
    for rule in _image_rules(spec):
        for predicate in rule.predicates:
            if predicate not in policies.predicates and predicate not in KNOWN_PREDICATES:
                yield (
                    f"spec.controls.images.{rule.field}.predicateType: no ClusterPodPolicy requires {predicate}, so "
                    "Sekisho does not look for it, and the images are denied"
                )


def past_allowances(policy: Policy, now: datetime) -> list[str]:
    """A warning for each vulnerability that a policy allows until a time that is past."""
    if not isinstance(policy, ClusterPodPolicy | PodPolicy):
        return []
    images: Images | None = getattr(policy.spec.controls, IMAGES.name)
    rules = "spec.controls.images.attestations"
    return [
        f"{rules}[{index}].vulnerabilities.allowed[{at}].until: is past, so {allowed.id} counts"
        for index, rule in enumerate(images.attestations or () if images is not None else ())
        for at, allowed in enumerate(rule.vulnerabilities.allowed or () if rule.vulnerabilities is not None else ())
        if allowed.until <= now
    ]


def _image_rules(spec: PodPolicySpec) -> list[ImageRule]:
    images: Images | None = getattr(spec.controls, IMAGES.name)
    return [] if images is None else image_rules(images)


def _policy_warnings(policy: ClusterPodPolicy | PodPolicy, exempt: Collection[str]) -> Iterator[str]:
    spec = policy.spec
    yield from _replaced_list_warnings(spec)
    control_warnings = list(empty_controls(spec))
    if not control_warnings and why_no_requirements(policy, compile_policy(policy)) is not None:
        yield REQUIRES_NOTHING
    yield from control_warnings
    clause = why_no_pods(policy, exempt)
    if clause is not None:
        yield clause
    yield from _selection_warnings(spec.match)
    subjects = spec.match.exclude_subjects
    for index, account in enumerate(subjects.service_accounts or () if subjects is not None else ()):
        if account in _POD_CREATORS:
            where = f"spec.match.excludeSubjects.serviceAccounts[{index}]"
            pods = f"the pods of {_POD_CREATORS[account]}"
            yield f"{where}: {account} creates {pods}; the policy will not apply to them"
    for index, group in enumerate(subjects.groups or () if subjects is not None else ()):
        if group in _NEARLY_EVERY_USER:
            where = f"spec.match.excludeSubjects.groups[{index}]"
            yield f"{where}: {group} includes the controllers that create nearly all pods; the policy will apply to few"


def _selection_warnings(match: PodMatch) -> Iterator[str]:
    """Fields of `match` by which users can take their own pods out of a policy."""
    if match.pod_selector is not None and match.pod_selector != LabelSelector():
        yield "spec.match.podSelector: users choose the labels of their pods, and so whether the policy applies"
    if match.exclude_runtime_classes:
        yield (
            "spec.match.excludeRuntimeClasses: users choose the runtimeClassName of their pods, and so whether the "
            "policy applies"
        )
    if isinstance(match, Match) and match.namespace_selector is not None:
        keys = {*(match.namespace_selector.match_labels or {})}
        keys |= {requirement.key for requirement in match.namespace_selector.match_expressions or ()}
        if keys - {NAME_LABEL}:
            yield "spec.match.namespaceSelector: everyone who may label a namespace chooses whether the policy applies"
    subjects = match.exclude_subjects or Subjects()
    accounts = [account for account in subjects.service_accounts or () if not account.startswith("kube-system/")]
    users = [user for user in subjects.users or () if user.startswith("system:serviceaccount:")]
    groups = [group for group in subjects.groups or () if group.startswith("system:serviceaccounts:")]
    if accounts or [name for name in (*users, *groups) if name.split(":")[2] != "kube-system"]:
        yield (
            "spec.match.excludeSubjects: everyone who may create pods or tokens in the namespace of a service account "
            "can act as that account"
        )


def _replaced_list_warnings(spec: PodPolicySpec) -> Iterator[str]:
    standard = spec.pod_security_standard
    level: Level = (standard.level if standard is not None else None) or Level.PRIVILEGED
    minor = parse_version((standard.version if standard is not None else None) or LATEST)
    for name, control in CONTROLS.items():
        parameters = getattr(spec.controls, name)
        if parameters is None:
            continue
        for parameter, additional, lost in no_longer_allowed(control, parameters, level, minor):
            where = f"spec.controls.{name}.{parameter}"
            yield f"{where}: replaces a list that also allows {words(lost, 'and')}; use {additional} to add to it"


def _unknown_policy_warnings(names: Iterable[str], policies: PolicySet) -> Iterator[str]:
    """A warning for each policy that a waiver names and that does not exist."""
    suggestions = Suggestions(MAX_HINTS)
    for index, name in enumerate(names):
        if name not in policies.names:
            hint = suggestions.did_you_mean(name, policies.names)
            yield f"spec.policies[{index}]: no policy {name!r} is in effect{hint}"


def _waiver_warnings(waiver: PolicyWaiver, policies: PolicySet, exempt: Collection[str]) -> Iterator[str]:
    spec, match = waiver.spec, waiver.spec.match
    clause = why_no_exempted_pods(match, exempt)
    if clause is not None:
        yield clause
    if match.namespaces is None and not match.images:
        yield "spec.match: sets neither namespaces nor images, so everyone who may create pods anywhere can use it"
    if spec.controls == (CAPABILITIES.name,):
        for index, value in enumerate(spec.values or ()):
            if value not in KNOWN:
                yield f"spec.values[{index}]: {unknown_capability(value)}"
    known = [policy for policy in spec.policies if policy in policies.names]
    yield from _unknown_policy_warnings(spec.policies, policies)
    in_effect = [policies.controls_of(policy) for policy in known]
    for index, control in enumerate(spec.controls):
        if in_effect and all(controls is not None and control not in controls for controls in in_effect):
            yield f"spec.controls[{index}]: none of these policies has {control} in effect: {', '.join(known)}"
        if (match.images or match.containers) and CONTROLS[control].of_pod_only:
            yield (
                f"spec.controls[{index}]: {control} checks the pod as a whole, and a waiver with images or "
                "containers does not apply to that; select the pods by podSelector instead"
            )

"""Warnings for the user who applies a policy: what is valid and seldom intended."""

from collections.abc import Iterator
from typing import Final

from sekisho.controls import CONTROLS, Level, no_longer_allowed
from sekisho.findings import words
from sekisho.policies.loading import Policy
from sekisho.policies.sets import PolicySet
from sekisho.policies.types import ClusterPodPolicy, PodPolicy, PodPolicySpec
from sekisho.policies.waivers import PolicyWaiver
from sekisho.spelling import did_you_mean
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

MAX_HINTS: Final = 4
"""Suggestions for unknown policies in one waiver; each compares the name with those of many policies."""


def advice(policy: Policy, policies: PolicySet) -> list[str]:
    """Warnings about a valid policy or waiver, each with its field's path; `policies` are those in effect."""
    return list(_of_waiver(policy, policies) if isinstance(policy, PolicyWaiver) else _of_policy(policy))


def _of_policy(policy: ClusterPodPolicy | PodPolicy) -> Iterator[str]:
    spec = policy.spec
    named = any(getattr(spec.controls, name) is not None for name in CONTROLS)
    if spec.pod_security_standard is None and not named and spec.defaults == type(spec.defaults)():
        yield "spec: requires nothing of pods and applies no defaults: set podSecurityStandard, controls or defaults"
    yield from _of_lists(spec)
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


def _of_lists(spec: PodPolicySpec) -> Iterator[str]:
    standard = spec.pod_security_standard
    level: Level = (standard.level if standard is not None else None) or "privileged"
    minor = parse_version((standard.version if standard is not None else None) or LATEST)
    for name, control in CONTROLS.items():
        given = getattr(spec.controls, name)
        for parameter, additional, lost in no_longer_allowed(control, given, level, minor) if given is not None else ():
            where = f"spec.controls.{name}.{parameter}"
            yield f"{where}: replaces a list that also allows {words(lost, 'and')}; use {additional} to add to it"


def _of_waiver(waiver: PolicyWaiver, policies: PolicySet) -> Iterator[str]:
    spec, match = waiver.spec, waiver.spec.match
    if match.namespaces is None and not match.images:
        yield "spec.match: sets neither namespaces nor images, so everyone who may create pods anywhere can use it"
    known = [policy for policy in spec.policies if policy in policies.names]
    unknown = ((index, policy) for index, policy in enumerate(spec.policies) if policy not in policies.names)
    for number, (index, policy) in enumerate(unknown):
        hint = did_you_mean(policy, policies.names) if number < MAX_HINTS else ""
        yield f"spec.policies[{index}]: no policy {policy!r} is in effect{hint}"
    in_effect = [policies.controls_of(policy) for policy in known]
    for index, control in enumerate(spec.controls):
        if in_effect and all(controls is not None and control not in controls for controls in in_effect):
            yield f"spec.controls[{index}]: none of these policies has {control} in effect: {', '.join(known)}"
        if (match.images or match.containers) and CONTROLS[control].of_pod_only:
            yield (
                f"spec.controls[{index}]: {control} checks the pod as a whole, and a waiver with images or "
                "containers does not apply to that; select the pods by podSelector instead"
            )

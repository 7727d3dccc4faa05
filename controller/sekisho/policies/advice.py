"""What is allowed and still seldom meant: told to whoever applies a policy, as a warning."""

from collections.abc import Iterator

from sekisho.controls import CONTROLS
from sekisho.policies.loading import Policy
from sekisho.policies.sets import PolicySet
from sekisho.policies.types import ClusterPodPolicy, PodPolicy
from sekisho.policies.waivers import PolicyWaiver
from sekisho.spelling import did_you_mean

_MAKERS = {
    f"kube-system/{name}-controller": f"every {kind}"
    for name, kind in (
        ("replicaset", "ReplicaSet and Deployment"),
        ("statefulset", "StatefulSet"),
        ("daemon-set", "DaemonSet"),
        ("job", "Job and CronJob"),
        ("replication", "ReplicationController"),
    )
}
_NEARLY_EVERYBODY = ("system:authenticated", "system:serviceaccounts", "system:serviceaccounts:kube-system")


def advice(policy: Policy, policies: PolicySet) -> list[str]:
    """Warnings about a valid policy or waiver, each with its field's path; `policies` are those in force."""
    return list(_of_waiver(policy, policies) if isinstance(policy, PolicyWaiver) else _of_policy(policy))


def _of_policy(policy: ClusterPodPolicy | PodPolicy) -> Iterator[str]:
    spec = policy.spec
    named = any(getattr(spec.controls, name) is not None for name in CONTROLS)
    if spec.pod_security_standard is None and not named and spec.defaults == type(spec.defaults)():
        yield "spec: asks nothing of pods and fills nothing in: give a podSecurityStandard, controls or defaults"
    subjects = spec.match.exclude_subjects
    for index, account in enumerate(subjects.service_accounts or () if subjects is not None else ()):
        if account in _MAKERS:
            where = f"spec.match.excludeSubjects.serviceAccounts[{index}]"
            yield f"{where}: {account} creates the pods of {_MAKERS[account]}; the policy will hold none of them"
    for index, group in enumerate(subjects.groups or () if subjects is not None else ()):
        if group in _NEARLY_EVERYBODY:
            where = f"spec.match.excludeSubjects.groups[{index}]"
            yield f"{where}: {group} has the controllers in it that create nearly all pods; the policy will hold few"


def _of_waiver(waiver: PolicyWaiver, policies: PolicySet) -> Iterator[str]:
    spec, match = waiver.spec, waiver.spec.match
    if match.namespaces is None and not match.images:
        yield "spec.match: has neither namespaces nor images, so whoever may create pods in any namespace can use it"
    known = [policy for policy in spec.policies if policy in policies.names]
    for index, policy in enumerate(spec.policies):
        if policy not in known:
            hint = did_you_mean(policy, policies.names)
            yield f"spec.policies[{index}]: no policy {policy!r} is in force{hint}"
    in_effect = [policies.controls_of(policy) for policy in known]
    for index, control in enumerate(spec.controls):
        if in_effect and all(controls is not None and control not in controls for controls in in_effect):
            yield f"spec.controls[{index}]: {control} is in effect in none of {', '.join(known)}"
        if (match.images or match.containers) and CONTROLS[control].of_pod_only:
            yield (
                f"spec.controls[{index}]: {control} is about the pod as a whole, which a waiver with images or "
                "containers never lifts; select its pods by podSelector instead"
            )

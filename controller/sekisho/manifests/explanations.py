"""Why a policy is about a pod or not, and what each of its controls says of it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import Evaluation, Form, Violation, Waived, evaluate
from sekisho.findings import render_path
from sekisho.manifests.checks import finding_in_manifest, in_manifest
from sekisho.manifests.namespaces import Namespaces
from sekisho.manifests.objects import JudgedObject
from sekisho.pods import Pod
from sekisho.policies import (
    ClusterPodPolicy,
    CompiledPolicy,
    Enforcement,
    PodPolicy,
    Policy,
    PolicySet,
    PolicyWaiver,
    compile_policy,
)
from sekisho.policies.matching import Labels, mismatch, pod_mismatch

_SUBJECT_UNKNOWN: Final = "match.excludeSubjects was not looked at: a manifest does not tell who will create the pod"


class ControlSays(Struct, frozen=True):
    """One control of a policy: what it does to a pod that fails it, and the violations, with the manifest's paths.

    waived: what waivers exempt, with the manifest's paths too.
    """

    control: str
    enforcement: Enforcement
    violations: tuple[Violation, ...]
    waived: tuple[Waived, ...] = ()


class Explanation(Struct, frozen=True):
    """What one policy has to do with a pod.

    mismatch: the condition that failed, None where the policy is about the pod; the rest is empty otherwise.
    needs_labels: whether the policy looks at the namespace's labels, and these are not known.
    fills: the fields that it fills in, with the manifest's paths.
    """

    policy: str
    mismatch: str | None
    needs_labels: bool = False
    fills: tuple[str, ...] = ()
    controls: tuple[ControlSays, ...] = ()
    notes: tuple[str, ...] = ()


def explain(
    found: JudgedObject, policies: Sequence[Policy], namespaces: Namespaces, now: datetime
) -> Iterator[Explanation]:
    """What each policy, in the order of their names, has to do with the pods of an object.

    Controls are shown on the pod with all policies' defaults filled in, as they judge it.
    """
    pod = found.pod or Pod()
    labels = namespaces.labels(found.namespace)
    evaluation = evaluate(pod, PolicySet.of(policies), found.namespace, labels, form=Form.MANIFEST, clock=lambda: now)
    above = f"{render_path(found.pod_path)}." if found.pod_path else ""
    fields = {policy: tuple(above + field for field in filled) for policy, filled in evaluation.filled.fields}
    for policy in sorted(policies, key=lambda policy: policy.title):
        if isinstance(policy, PolicyWaiver):
            continue
        name = policy.title
        compiled = compile_policy(policy)
        asks = compiled.selects_labels is not None or compiled.for_labels is not None
        unknown = asks and found.namespace not in namespaces
        reason = _mismatch(policy, found.namespace, labels, pod)
        if reason is not None:
            yield Explanation(name, reason, unknown)
            continue
        if compiled.for_labels is not None:
            compiled = compiled.for_labels(labels)
        notes = compiled.notes + ((_SUBJECT_UNKNOWN,) if policy.spec.match.exclude_subjects is not None else ())
        controls = tuple(_controls(compiled, evaluation, found))
        yield Explanation(name, None, unknown, fields.get(name, ()), controls, notes)


def _mismatch(policy: ClusterPodPolicy | PodPolicy, namespace: str, labels: Labels, pod: Pod) -> str | None:
    if isinstance(policy, ClusterPodPolicy):
        return mismatch(policy.spec.match, namespace, labels, pod)
    if policy.metadata.namespace != namespace:
        return f"it is about the pods of {policy.metadata.namespace}, and the namespace is {namespace}"
    return pod_mismatch(policy.spec.match, pod)


def _controls(policy: CompiledPolicy, evaluation: Evaluation, found: JudgedObject) -> Iterator[ControlSays]:
    for rule in policy.rules:
        yield ControlSays(
            rule.control,
            rule.enforcement,
            tuple(
                replace(in_manifest(violation, found.pod_path), policies=(policy.name,))
                for violation in evaluation.violations
                if policy.name in violation.policies
                and (violation.finding.control, violation.enforcement) == (rule.control, rule.enforcement)
            ),
            tuple(
                replace(waived, finding=finding_in_manifest(waived.finding, found.pod_path))
                for waived in evaluation.waived
                if waived.policy == policy.name
                and (waived.finding.control, waived.enforcement) == (rule.control, rule.enforcement)
            ),
        )

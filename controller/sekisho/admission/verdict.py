"""The verdict on a pod: every violation of every policy that applies to it."""

from collections.abc import Sequence

from msgspec import Struct

from sekisho.findings import Finding
from sekisho.pods import Pod, container_refs
from sekisho.policies import Enforcement, Step


class Violation(Struct, frozen=True, gc=False):
    """A finding, and the policies that it violates.

    policies: their names, sorted.
    enforcement: what they do about it.
    on_pods: what they do to a pod with this finding, which differs from `enforcement` for some templates.
    """

    policies: tuple[str, ...]
    enforcement: Enforcement
    finding: Finding
    on_pods: Enforcement


def judge(pod: Pod, steps: Sequence[Step], old: Pod | None = None) -> list[Violation]:
    """The violations of a pod, in the order of the controls; an empty list when there are none.

    old: the pod before an update, whose violations are left out, so that a pod that was admitted under older policies
        can still be edited and finalized; None when a pod is created.
    """
    containers = container_refs(pod.spec)
    violations: list[Violation] = []
    for step in steps:
        findings = step.check(pod, containers)
        if findings:
            if old is not None:
                known = {finding.identity for finding in step.check(old, container_refs(old.spec))}
                findings = [finding for finding in findings if finding.identity not in known]
            violations += [
                Violation(by.policies, by.enforcement, finding, by.on_pods)
                for finding in findings
                for by in step.required_by
            ]
    return violations


def with_enforcement(violations: Sequence[Violation], enforcement: Enforcement) -> list[Violation]:
    """The violations that policies deny, warn about or audit, whichever is asked for."""
    return [violation for violation in violations if violation.enforcement == enforcement]

"""The verdict on a pod: every violation of every policy that applies to it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.context import Context
from sekisho.admission.time_checks import CheckTime, UnjudgedError, timed, with_time_checks
from sekisho.controls.control import ImageFinding
from sekisho.findings import FieldPath, Finding, ManyFindingsError, begin_findings, end_findings
from sekisho.images.trust import Lookup
from sekisho.pods import ContainerRef, ObjectMeta, Pod, WorkloadMeta, container_refs
from sekisho.policies import Enforcement, Step
from sekisho.policies.plans import Requirement

_DENY: Final = Enforcement.DENY  # to look a member up by its name is slow in Python 3.11
_OF_METADATA: Final = tuple(name for name in ObjectMeta.__struct_fields__ if name != "owner_references")
"""What checks may read of metadata. Owners decide only what waivers exempt a pod from."""
MAX_OWN_LINES: Final = 3
"""The most lines of policies of their own that are shown with a finding."""


class Violation(Struct, frozen=True, gc=False):
    """A finding, and the policies that it violates.

    policies: their names, sorted.
    enforcement: what they do about it.
    on_pods: what they do to a pod with this finding, which differs from `enforcement` for some templates.
    lookup: the image of the finding, if a look-up may show that nothing is wrong with it; else None.
    is_pending: whether that look-up goes on.
    messages: lines of policies of their own, by name; those of policies that are not in `policies` do not count.
    needs_trust: whether it only says that this installation does not verify images.
    """

    policies: tuple[str, ...]
    enforcement: Enforcement
    finding: Finding
    on_pods: Enforcement
    lookup: Lookup | None = None
    is_pending: bool = False
    messages: tuple[tuple[str, str], ...] = ()
    needs_trust: bool = False

    @property
    def own_lines(self) -> str:
        """The policies' own lines, each once and after a space; empty where they have none."""
        if not self.messages:
            return ""
        policies = frozenset(self.policies)
        lines = dict.fromkeys(message for policy, message in self.messages if policy in policies)
        return "".join(f" {line}" for line in list(lines)[:MAX_OWN_LINES])


def judge(
    pod: Pod,
    steps: Sequence[Step],
    old: Pod | None = None,
    check_time: CheckTime | None = None,
    max_findings: int = MAX_FINDINGS,
) -> list[Violation]:
    """The violations of a pod, in the order of the controls; an empty list when there are none.

    old: a pod whose violations are left out; None to judge the pod whole.
    check_time: called now and then; None where judging is quick.
    max_findings: as many findings and violations as the caller wants to wait for, with those left out; MAX_FINDINGS if
        it waits for all. Each step may then leave out as many again.

    Raises ManyFindingsError for more than a smaller `max_findings`, UnjudgedError for more than MAX_FINDINGS, and what
    `check_time` raises.
    """
    if old is not None and _is_judged_alike(old, pod):
        return []
    now = with_time_checks(pod, check_time), timed(container_refs(pod.spec), check_time)
    before: _PodAndContainers | None = None
    if old is not None:
        before = with_time_checks(old, check_time), timed(container_refs(old.spec), check_time)
    violations: list[Violation] = []
    max_of_step = MAX_FINDINGS if before is not None and max_findings >= MAX_FINDINGS else None
    begin_findings(max_findings, check_time)
    try:
        for step in steps:
            if check_time is not None:
                check_time()
            findings = step.check(*now) if before is None else _not_excused(step, now, before, max_of_step, check_time)
            if findings:
                if len(violations) + len(findings) * len(step.required_by) > max_findings:
                    raise ManyFindingsError("they are too many")
                violations += _violations_of(step, findings)
    except ManyFindingsError:
        if max_findings < MAX_FINDINGS:  # the caller judges the pod elsewhere
            raise
        raise _too_many("pod") from None
    finally:
        end_findings()
    return violations


def _violations_of(step: Step, findings: Sequence[Finding]) -> list[Violation]:
    return [
        Violation(by.policies, by.enforcement, finding, by.on_pods, messages=by.messages)
        for finding in findings
        for by in step.required_by
    ]


_PodAndContainers = tuple[Pod, Sequence[ContainerRef]]


def _not_excused(
    step: Step,
    now: _PodAndContainers,
    before: _PodAndContainers,
    max_findings: int | None,
    check_time: CheckTime | None,
) -> Sequence[Finding]:
    """The findings of a step on a pod that it did not have before an update.

    max_findings: how many there may be now, and as many before; None where the caller of `begin_findings` counts.

    Raises ManyFindingsError.
    """
    if max_findings is not None:
        begin_findings(max_findings, check_time)
    findings = step.check(*now)
    if not findings:
        return findings
    if max_findings is not None:
        begin_findings(max_findings, check_time)
    known = {finding.identity for finding in step.check(*before)}
    return [finding for finding in findings if finding.identity not in known]


def _is_judged_alike(old: Pod, pod: Pod) -> bool:
    """Whether a pod has the violations that it had before an update, because no check reads what has changed."""
    before, after = old.metadata, pod.metadata
    return old.spec == pod.spec and all(getattr(before, name) == getattr(after, name) for name in _OF_METADATA)


def _too_many(kind: str) -> UnjudgedError:
    return UnjudgedError(f"the {kind} has more than {MAX_FINDINGS:,} violations")


def judge_workload(
    workload: WorkloadMeta, old: WorkloadMeta | None, steps: Sequence[Step], check_time: CheckTime | None = None
) -> list[Violation]:
    """The violations of an object with a pod template itself, besides those of its pods.

    old: the object before an update, whose violations are left out; None for a new one.
    steps: those for templates; what happens to the object is what happens to templates.

    Raises UnjudgedError as `check_time` does, and for more than MAX_FINDINGS violations.
    """
    violations: list[Violation] = []
    for step in steps:
        if step.workload_check is None:
            continue
        if check_time is not None:
            check_time()
        known = set() if old is None else {finding.identity for finding in step.workload_check(old)}
        findings = [finding for finding in step.workload_check(workload) if finding.identity not in known]
        if len(violations) + len(findings) * len(step.required_by) > MAX_FINDINGS:
            raise _too_many(workload.kind)
        violations += [
            Violation(by.policies, by.enforcement, finding, by.enforcement, messages=by.messages)
            for finding in findings
            for by in step.required_by
        ]
    return violations


def judge_evidence(
    pod: Pod, steps: Sequence[Step], old: Pod | None, violations: Sequence[Violation], context: Context
) -> list[Violation]:
    """The violations that are judged from evidence about images, and from catalogs.

    old: a pod whose images are left out, where they are in the same container or volume; None to judge all.
    violations: the others; an image that is denied already is not judged.

    Raises UnjudgedError and ManyFindingsError as `judge` does. A long scan counts as findings, as it takes as long.
    """
    containers = timed(container_refs(pod.spec), context.check_time)
    left_out = {violation.finding.path for violation in violations if violation.on_pods == _DENY}
    if old is not None:
        known = {(name, image) for _, name, image in _images(old)}
        left_out |= {path for path, name, image in _images(pod) if (name, image) in known}
    pod = with_time_checks(pod, context.check_time)
    catalogs = context.policies.catalogs_at(context.clock)
    by_evidence: list[Violation] = []
    # A caller that waits for all has its time checks instead, and what long scans count for does not end judging.
    begin_findings(context.max_findings if context.max_findings < MAX_FINDINGS else None, context.check_time)
    try:
        for step in steps:
            if step.evidence_check is None:
                continue
            if context.check_time is not None:
                context.check_time()
            faults = step.evidence_check(pod, containers, left_out, context.trust, catalogs)
            if len(violations) + len(by_evidence) + len(faults) * len(step.required_by) > MAX_FINDINGS:
                raise _too_many("pod")
            by_evidence += [_by_evidence(fault, by) for fault in faults for by in step.required_by]
    finally:
        end_findings()
    return by_evidence


def _by_evidence(fault: ImageFinding, by: Requirement) -> Violation:
    return Violation(
        by.policies,
        by.enforcement,
        fault.finding,
        by.on_pods,
        lookup=fault.lookup,
        is_pending=fault.is_pending,
        messages=by.messages,
        needs_trust=fault.needs_trust,
    )


def _images(pod: Pod) -> Iterator[tuple[FieldPath, str, str | None]]:
    """The path of each image, the name of its container or volume, and the image."""
    for ref in container_refs(pod.spec):
        yield (*ref.path, "image"), f"container {ref.container.name}", ref.container.image
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None:
            yield ("spec", "volumes", index, "image", "reference"), f"volume {volume.name}", volume.image.reference


def policies_of(violations: Iterable[Violation]) -> list[str]:
    """The names of the policies that are violated, each once, in the order of the violations."""
    # Violations of the same requirement have the same tuple; a pod may have thousands.
    distinct = {id(violation.policies): violation.policies for violation in violations}
    if len(distinct) == 1:  # the usual case, and a tuple names each policy once
        (policies,) = distinct.values()
        return list(policies)
    return list(dict.fromkeys(name for policies in distinct.values() for name in policies))


class HasEnforcement(Protocol):
    """Something that policies do something about, such as a violation."""

    @property
    def enforcement(self) -> Enforcement:
        """What they do about it."""


E = TypeVar("E", bound=HasEnforcement)


def denying(violations: Iterable[E]) -> list[E]:
    """The violations that deny the pod. All code that says that a pod is denied calls this."""
    return [violation for violation in violations if violation.enforcement == _DENY]


def with_enforcement(violations: Iterable[Violation], enforcement: Enforcement) -> list[Violation]:
    """The violations that policies deny, warn about or audit, as `enforcement` says."""
    return [violation for violation in violations if violation.enforcement == enforcement]

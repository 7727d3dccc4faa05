"""One pass over a cluster: first the ReplicaSets and Jobs between pods and their owners, then templates, then pods."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from sekisho.admission import (
    NOT_VERIFIED,
    CheckTime,
    Context,
    Evaluation,
    Form,
    ManyFindingsError,
    NamespaceObjects,
    UnjudgedError,
    Violation,
    evaluate,
)
from sekisho.admission.bounds import needs_counting, pod_excess
from sekisho.admission.template_paths import violations_in_object
from sekisho.audit.broken_defaults import MAX_BROKEN, BrokenDefault, broken_defaults
from sekisho.audit.counts import OwnerAudit, Result, count, impacts
from sekisho.audit.objects import (
    Creator,
    Kind,
    Owner,
    StoredPod,
    creator_of,
    decode_link,
    decode_pod,
    decode_workload,
    namespace_of,
)
from sekisho.audit.promotion import Promotions
from sekisho.pods import POD_TEMPLATES, OwnerReference, Pod, pod_template, stored_controller_of
from sekisho.policies import Enforcement, Plan, PolicySet

MAX_LINKS: Final = 4
"""Objects between a pod and its owner."""
_MAX_QUICK_PRODUCT: Final = 1_500_000
"""Bytes of an object times the cost of its policies, of a pod that is judged at once; about 10 ns each, 30 at worst."""
_MAX_QUICK_FINDINGS: Final = 1000
"""Of such a pod; with more it is judged again, with time checks."""
MAX_PLANS: Final = 4096
"""Plans of which it is remembered which policies they have."""


class Surroundings(Struct, frozen=True, eq=False):
    """What else pods are judged by.

    now: the time for waivers and catalogs.
    exempt: the namespaces whose pods the API server does not send to the webhook; they do not count.
    labels_of: the labels of a namespace; None for one that is not known, whose pods do not count where policies read
        labels.
    objects_of: what is known of a pod's namespace that changes the pods of a template.
    time_limit_of: makes a context in which one object of a namespace is decoded, judged and counted, with what is
        called now and then, and raises UnjudgedError once that takes too long. Raises it too where the namespace has
        no time left. None for no limit.
    """

    now: datetime
    exempt: Container[str]
    labels_of: Callable[[str], Mapping[str, str] | None]
    objects_of: Callable[[str, Pod], NamespaceObjects]
    time_limit_of: Callable[[str], AbstractContextManager[CheckTime]] | None = None


class _Denial(Struct, frozen=True):
    """Why a pod would be denied if it were created again: the policies, whether they deny it today, the violations.

    Without policies it would be admitted.
    """

    denied_by: tuple[str, ...]
    is_now: bool
    violations: tuple[Violation, ...]


class Audit:
    """One pass: call `add_links`, then `add_templates`, then `add_pods`, each as often as needed, then `result`.

    policies: the set to judge by, without evidence about images.
    promotions: which violations would deny a pod if every policy denied.
    max_violations: how many violations of each owner are kept.

    Objects that cannot be read or judged are counted as not judged. No method raises.
    """

    def __init__(
        self, policies: PolicySet, promotions: Promotions, around: Surroundings, max_violations: int = 64
    ) -> None:
        self._policies = policies
        self._promotions = promotions
        self._around = around
        self._max_violations = max_violations
        self._links: dict[str, OwnerReference] = {}
        self._with_template: dict[str, OwnerAudit] = {}
        """By uid, the owners with a template."""
        self._without_template: dict[Owner, OwnerAudit] = {}
        self._pods_by_policies: dict[tuple[str, ...], int] = {}
        """How many pods have the policies of these titles."""
        self._titles: dict[Plan, tuple[str, ...]] = {}
        self._broken: dict[tuple[Owner, str, str, str], BrokenDefault] = {}
        """By owner, policy, field and container."""
        self._broken_in: Counter[str] = Counter()
        """How many of them are in a namespace."""
        self._pods = self._violating = self._unjudged = 0
        self._has_unverified = False
        self._is_ended = False
        self.defect: Exception | None = None
        """The first error that no pod should cause."""

    def add_links(self, items: Iterable[Raw]) -> None:
        """Add objects of one of LINKS, or their metadata, as JSON."""
        self._add_all(items, self._add_link)

    def add_templates(self, kind: Kind, items: Iterable[Raw]) -> None:
        """Add objects of one of TEMPLATES, as JSON."""
        self._add_all(items, self._in_time(partial(self._add_template, kind)))

    def add_pods(self, items: Iterable[Raw]) -> None:
        """Add pods, as JSON."""
        self._add_all(items, self._in_time(self._add_pod))

    def end(self) -> None:
        """Judge nothing more: a thread cannot be cancelled."""
        self._is_ended = True

    def result(self) -> Result:
        """The counts. Call it once."""
        for audited in self._with_template.values():
            audited.count_denied(audited.template_denied_by or (), audited.pods, is_now=audited.is_template_denied_now)
        owners = [*self._with_template.values(), *self._without_template.values()]
        applied: dict[str, int] = {}
        for titles, pods in self._pods_by_policies.items():
            count(applied, titles, pods)
        shown = [audited for audited in owners if audited.violating or audited.would_be_denied]
        return Result(
            pods=self._pods,
            violating=self._violating,
            denied=sum(audited.denied for audited in shown),
            denied_now=sum(audited.denied_now for audited in shown),
            owners=tuple(sorted(shown, key=_order)),
            policies=impacts(applied, shown),
            broken=tuple(self._broken.values()),
            unjudged=self._unjudged,
            has_unverified=self._has_unverified,
        )

    def _add_all(self, items: Iterable[Raw], add: Callable[[Raw], None]) -> None:
        for raw in items:
            if self._is_ended:
                return
            try:
                add(raw)
            except (UnjudgedError, msgspec.DecodeError, RecursionError):
                self._unjudged += 1
            except Exception as error:  # the others are judged
                self._unjudged += 1
                self.defect = self.defect or error

    def _in_time(self, add: Callable[[Raw, CheckTime | None], None]) -> Callable[[Raw], None]:
        """What adds an object in the time that its namespace has, if that counts at all. It raises UnjudgedError."""
        around = self._around

        def added(raw: Raw) -> None:
            namespace = namespace_of(raw)
            if namespace not in around.exempt:
                with around.time_limit_of(namespace) if around.time_limit_of is not None else nullcontext() as check:
                    add(raw, check)

        return added

    def _add_link(self, raw: Raw) -> None:
        meta = decode_link(raw).metadata
        above = stored_controller_of(meta.owner_references)
        if above is not None:
            self._links[meta.uid] = above

    def _add_template(self, kind: Kind, raw: Raw, check_time: CheckTime | None) -> None:
        workload = decode_workload(raw)
        meta = workload.metadata
        namespace = meta.namespace or ""
        if meta.deletion_timestamp is not None:
            return
        template = pod_template(workload, kind.group, kind.name)
        if template is None:
            return
        _check_size(template, raw)
        owner = Owner(namespace, kind.name, meta.name or "", kind.api_version)
        creator = creator_of(kind.api_version, kind.name)
        denial = self._created_again(template, namespace, creator, len(raw), check_time, meta.annotations)
        if denial is None:
            return
        path = POD_TEMPLATES[kind.group, kind.name]
        self._with_template[meta.uid] = OwnerAudit(
            owner,
            template_denied_by=denial.denied_by,
            is_template_denied_now=denial.is_now,
            violations=violations_in_object(denial.violations, path),
        )

    def _add_pod(self, raw: Raw, check_time: CheckTime | None) -> None:
        pod = decode_pod(raw)
        namespace = pod.metadata.namespace or ""
        if not pod.runs:
            return
        _check_size(pod, raw)
        audited, owner, uid = self._owner_of(pod, namespace)
        self._add_broken(pod, owner, uid)
        controller = stored_controller_of(pod.metadata.owner_references)
        creator = creator_of(controller.api_version, controller.kind) if controller is not None else None
        running = _as_requested(pod)
        evaluation = self._evaluate(running, namespace, creator, Form.POD, len(raw), check_time)
        if evaluation is None:
            return
        # What a pod of a template would get when it is created again is counted once, by the template.
        denial = self._created_again(running, namespace, creator, len(raw), check_time) if audited is None else None
        self._pods += 1
        titles = self._titles_of(evaluation.plan)
        self._pods_by_policies[titles] = self._pods_by_policies.get(titles, 0) + 1
        violations = _without_unverified(evaluation)
        violated = set(self._promotions.selected(_titles(violation.policies for violation in violations)))
        if audited is None and (violated or (denial is not None and denial.denied_by)):
            audited = self._without_template.setdefault(owner, OwnerAudit(owner))
        if audited is None:
            return
        audited.pods += 1
        if violated:
            self._violating += 1
            audited.violating += 1
            count(audited.violating_by, violated)
        if denial is not None:
            audited.count_denied(denial.denied_by, is_now=denial.is_now)
            audited.violations = _first_of_control((*audited.violations, *denial.violations))[: self._max_violations]

    def _add_broken(self, pod: StoredPod, owner: Owner, uid: str) -> None:
        """Keep the defaults that keep the pod's containers from running."""
        above = POD_TEMPLATES.get((owner.api_version.rpartition("/")[0], owner.kind), ())
        for broken in broken_defaults(pod, owner, uid, above, self._policies.names):
            key = owner, broken.policy, broken.field, broken.container
            if key not in self._broken and self._broken_in[owner.namespace] < MAX_BROKEN - len(self._broken):
                self._broken_in[owner.namespace] += 1
                self._broken[key] = broken

    def _owner_of(self, pod: StoredPod, namespace: str) -> tuple[OwnerAudit | None, Owner, str]:
        """The counts of the pod's owner, None if its template is not known; the owner, and its uid."""
        reference = stored_controller_of(pod.metadata.owner_references)
        if reference is None:
            return None, Owner(namespace, "Pod", pod.metadata.name or ""), pod.metadata.uid
        for _ in range(MAX_LINKS):
            audited = self._with_template.get(reference.uid)
            if audited is not None and audited.owner.namespace == namespace:
                return audited, audited.owner, reference.uid
            above = self._links.get(reference.uid)
            if above is None:
                break
            reference = above
        return None, Owner(namespace, reference.kind, reference.name, reference.api_version), reference.uid

    def _created_again(
        self,
        pod: Pod,
        namespace: str,
        creator: Creator | None,
        size: int,
        check_time: CheckTime | None,
        annotations: Mapping[str, str] | None = None,
    ) -> _Denial | None:
        """Why a pod would be denied that is created as this one was written; None in a namespace that is not known."""
        if pod.spec.ephemeral_containers:
            pod = replace(pod, spec=replace(pod.spec, ephemeral_containers=None))
        # As a manifest: the API server and the defaults of policies fill in a new pod what this one does not set.
        evaluation = self._evaluate(pod, namespace, creator, Form.MANIFEST, size, check_time, annotations)
        if evaluation is None:
            return None
        self._has_unverified |= NOT_VERIFIED in evaluation.notes
        # All violations of a control by the same policies are denied by the same of these.
        first = _first_of_control(_without_unverified(evaluation))
        denying = [(violation, self._promotions.denying(violation)) for violation in first]
        return _Denial(
            tuple(sorted(_titles(titles for _, titles in denying))),
            any(titles and violation.enforcement == Enforcement.DENY for violation, titles in denying),
            _kept([violation for violation, titles in denying if titles][: self._max_violations]),
        )

    def _evaluate(
        self,
        pod: Pod,
        namespace: str,
        creator: Creator | None,
        form: Form,
        size: int,
        check_time: CheckTime | None,
        annotations: Mapping[str, str] | None = None,
    ) -> Evaluation | None:
        """Judge a pod; None in a namespace that is not known. Raises UnjudgedError.

        size: of the object that it is from. The time is not checked while a small one is judged, which takes as long.
        """
        around = self._around
        labels = around.labels_of(namespace) if self._policies.needs_labels else None
        if labels is None and self._policies.needs_labels:
            return None
        context = Context(
            self._policies,
            namespace,
            labels,
            clock=lambda: around.now,
            objects=around.objects_of(namespace, pod),
            check_time=check_time,
        )
        plan = self._policies.plan(namespace, labels, pod, creator)
        if size * plan.cost <= _MAX_QUICK_PRODUCT and not self._policies.waivers_in(namespace):
            with suppress(ManyFindingsError):
                quick = replace(context, check_time=None, max_findings=_MAX_QUICK_FINDINGS)
                return evaluate(pod, quick, form=form, subject=creator, annotations=annotations)
        return evaluate(pod, context, form=form, subject=creator, annotations=annotations)

    def _titles_of(self, plan: Plan) -> tuple[str, ...]:
        """The titles of the policies with controls in a plan."""
        titles = self._titles.get(plan)
        if titles is None:
            if len(self._titles) >= MAX_PLANS:
                self._titles.clear()
            names = {title for step in plan.steps for required in step.required_by for title in required.policies}
            titles = self._titles[plan] = tuple(sorted(self._promotions.selected(names)))
        return titles


def _order(audited: OwnerAudit) -> tuple[int, bool, int, Owner]:
    """Those with most pods that would be denied first, and idle ones before those that only violate policies."""
    return -audited.denied, not audited.is_idle, -audited.violating, audited.owner


def _check_size(pod: Pod, raw: Raw) -> None:
    """Raise UnjudgedError for a pod that the webhook denies without judging it. raw: the object that it is from."""
    excess = pod_excess(pod, is_counted=needs_counting(bytes(raw)))
    if excess:
        raise UnjudgedError(excess)


def _as_requested(pod: Pod) -> Pod:
    """The pod without the node that the scheduler chose: most policies on nodeName are about users who set it."""
    return replace(pod, spec=replace(pod.spec, node_name=None)) if pod.spec.node_name else pod


def _first_of_control(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """The first violation of each control by the same policies with the same enforcement."""
    # Thousands of violations may share the names of thousands of policies, which take long to compare.
    of_shared: dict[tuple[str, Enforcement, int], Violation] = {}
    for violation in violations:
        of_shared.setdefault((violation.finding.control, violation.enforcement, id(violation.policies)), violation)
    first: dict[tuple[str, Enforcement, tuple[str, ...]], Violation] = {}
    for violation in of_shared.values():
        first.setdefault((violation.finding.control, violation.enforcement, violation.policies), violation)
    return tuple(first.values())


def _titles(of_violations: Iterable[tuple[str, ...]]) -> set[str]:
    """All titles of policies; thousands of violations may share the same ones."""
    shared = {id(titles): titles for titles in of_violations}
    return {title for titles in shared.values() for title in titles}


def _kept(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """The violations without long values: those of all owners are kept until the pass ends."""
    return tuple(replace(violation, finding=violation.finding.with_short_value) for violation in violations)


def _without_unverified(evaluation: Evaluation) -> list[Violation]:
    """The violations, without those that only say that this installation does not verify images."""
    return [violation for violation in evaluation.violations if not violation.needs_trust]

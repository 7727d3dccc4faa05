"""The pods of objects of custom kinds: typed, and in reviews."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from sekisho.admission import wire
from sekisho.admission.bounds import pod_excess, unknown_containers
from sekisho.admission.context import Context
from sekisho.admission.evaluation import Evaluation, Form, evaluate
from sekisho.admission.nulls import with_volume_sources, without_nulls
from sekisho.admission.review import NO_JSON, Review
from sekisho.admission.template_paths import finding_in_parts
from sekisho.admission.time_checks import UnjudgedError
from sekisho.admission.verdict import Violation
from sekisho.custom_kinds import MadePod, Part, PartError, pods_made_by
from sekisho.documents import parse_path, problem_of
from sekisho.errors import SekishoError
from sekisho.findings import FieldPath, render_path
from sekisho.pods import ObjectMeta, Pod, made_by

MAX_PODS: Final = 256
"""The most pods of an object that is reviewed."""


class UnreadablePodError(SekishoError):
    """A pod of an object cannot be read; the message is a clause that names the field.

    path: of the field, from the object's root.
    """

    def __init__(self, path: FieldPath, message: str) -> None:
        """The error about one field."""
        super().__init__(message)
        self.path = path


def typed_pod(made: MadePod, kind: str, meta: ObjectMeta) -> Pod:
    """A pod that an object makes. Raises UnreadablePodError.

    kind, meta: the object's.

    A template without a spec is an error: it would be judged as an empty pod.
    """
    value, place = made.pod.value, made.pod.place
    if not isinstance(value, dict) or not isinstance(value.get("spec"), dict):
        raise UnreadablePodError(place, f"{render_path(place)} is not a template: it has no spec")
    try:
        pod = _typed(value)
    except (msgspec.ValidationError, RecursionError) as error:
        problem = problem_of(error)
        path = made.pod.place_of(parse_path(problem.where))
        raise UnreadablePodError(path, f"{render_path(path)}: {problem.message}") from None
    return made_by(pod, kind, meta)


def _typed(value: dict[str, Any]) -> Pod:
    value = with_volume_sources(value, ("spec",))
    try:
        return msgspec.convert(value, Pod)
    except msgspec.ValidationError:
        return msgspec.convert(without_nulls(value), Pod)


def unknown_containers_of(pod: Part) -> str:
    """Why the pod is denied that may have containers in a list that nothing here knows; empty where it has none."""
    spec = (pod.value or {}).get("spec") or {}
    for key, value in spec.items():
        entries = value if key not in wire.POD_SPEC_KEYS and isinstance(value, list) else []
        if any(isinstance(entry, dict) and "image" in entry for entry in entries):
            return unknown_containers(render_path(pod.place_of(("spec", key))))
    return ""


def evaluate_custom(review: Review, context: Callable[[Pod], Context]) -> Evaluation | None:
    """The evaluation of all pods of an object, with paths from its root; None for one without pods.

    context: what a pod is evaluated by.

    Raises UnjudgedError for an object that cannot be read, and as `evaluate` does.
    """
    old_pods = {made.pod.place: pod for made, pod in _old_pods(review)}
    evaluations = []
    for made, pod in _pods(review, review.custom):
        evaluation = evaluate(
            pod,
            replace(context(pod), values_later=made.values_later),
            form=Form.TEMPLATE,
            old=old_pods.get(made.pod.place),
            annotations=review.metadata.annotations,
        )
        violations = tuple(_in_object(violation, made.pod) for violation in evaluation.violations)
        evaluations.append(replace(evaluation, violations=violations, notes=(*evaluation.notes, *made.left_out)))
    return _joined(evaluations) if evaluations else None


def _pods(review: Review, written: Raw) -> Iterator[tuple[MadePod, Pod]]:
    """The pods of a review's object, or of the one before the update. Raises UnjudgedError."""
    try:
        value = msgspec.json.decode(written)
        made_pods = pods_made_by(value, review.kind.group, review.kind.kind) or []
        if len(made_pods) > MAX_PODS:
            raise UnjudgedError(f"it makes {len(made_pods):,} pods, more than {MAX_PODS:,}")
        for made in made_pods:
            pod = typed_pod(made, review.kind.kind, review.metadata)
            if excess := pod_excess(pod) or unknown_containers_of(made.pod):
                raise UnjudgedError(excess)
            yield made, pod
    except PartError as error:
        raise UnjudgedError(f"the object cannot be read: {render_path(error.path)}: {error}") from None
    except UnreadablePodError as error:
        raise UnjudgedError(f"the object cannot be read: {error}") from None
    except RecursionError:
        raise UnjudgedError("the object cannot be read: it is nested too deeply") from None


def _old_pods(review: Review) -> list[tuple[MadePod, Pod]]:
    """The pods of the object before an update; none if it cannot be read, and then it excuses nothing."""
    if review.operation != "UPDATE" or review.old_custom is NO_JSON:
        return []
    try:
        return list(_pods(review, review.old_custom))
    except UnjudgedError:
        return []


def _in_object(violation: Violation, pod: Part) -> Violation:
    """The violation with its whole path: an object may have several containers of the same name."""
    return replace(violation, finding=replace(finding_in_parts(violation.finding, pod), container=None))


def _joined(evaluations: list[Evaluation]) -> Evaluation:
    violations: dict[tuple[object, ...], Violation] = {}
    for violation in (violation for evaluation in evaluations for violation in evaluation.violations):
        key = violation.finding.control, violation.finding.path, violation.policies, violation.enforcement
        violations.setdefault(key, violation)
    return replace(
        evaluations[0],
        violations=tuple(violations.values()),
        waived=tuple(waived for evaluation in evaluations for waived in evaluation.waived),
        notes=tuple(dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes)),
        lookups=tuple(dict.fromkeys(lookup for evaluation in evaluations for lookup in evaluation.lookups)),
    )

"""Tags of images that a policy replaces by digests, so that the image that was verified is the one that runs."""

from collections.abc import Sequence

from sekisho.admission.changed_images import ChangedImage, images_of
from sekisho.admission.context import Context
from sekisho.admission.verdict import Violation, judge, judge_evidence
from sekisho.admission.waivers import apply_waivers
from sekisho.controls.images import CONTROL, NEEDS_DIGEST
from sekisho.findings import FieldPath
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import Pod
from sekisho.policies import Plan


def resolve_tags(
    pod: Pod,
    plan: Plan,
    context: Context,
    trust: Trust,
    only: frozenset[str] | None = None,
    old: Pod | None = None,
) -> tuple[list[ChangedImage], tuple[Lookup, ...]]:
    """The images whose tags are resolved, and those whose digests must be looked up.

    An image that a cheaper rule denies, or that a waiver exempts, is left as it is. A rule that
    only requires a digest is met by the resolved one.

    trust: that of the context, which has the digests.
    only: the names of the containers that may still be changed; None for a new pod.
    old: a pod whose images are left as they are, where they are in the same container or volume; None for none.

    Raises UnjudgedError as `context.check_time` does, and for a pod with too many violations. Raises ManyFindingsError
    for more than `context.max_findings`.
    """
    if all("@" in placed.image for placed in images_of(pod)):
        return [], ()  # the usual case where images are verified: nothing to resolve
    resolved: dict[FieldPath, ChangedImage] = {}
    lookups: dict[Lookup, None] = {}
    for violation in _undecided(pod, plan, context, old):
        if violation.lookup is None or violation.lookup.reference.digest is not None:
            continue
        if only is not None and violation.finding.container not in only:
            continue
        path, digest = violation.finding.path, trust.digests.get(violation.lookup.reference)
        if digest is None:
            lookups[violation.lookup] = None
        else:
            image = f"{_image_at(pod, path)}@{digest}"
            before = resolved.get(path)
            names = violation.policies if before is None else tuple({*before.policies, *violation.policies})
            resolved[path] = ChangedImage(path, image, names)
    return list(resolved.values()), tuple(lookups)


def _undecided(pod: Pod, plan: Plan, context: Context, old: Pod | None) -> Sequence[Violation]:
    """The violations of rules on images that evidence decides, for images that no other rule denies."""
    steps = [step for step in plan.steps if step.control == CONTROL.name]
    violations = [
        violation
        for violation in judge(pod, steps, None, context.check_time, context.max_findings)
        if violation.finding.allowed != NEEDS_DIGEST
    ]
    denied, _ = apply_waivers(violations, pod, context)
    undecided, _ = apply_waivers(judge_evidence(pod, steps, old, denied, context), pod, context)
    return undecided


def _image_at(pod: Pod, path: FieldPath) -> str:
    """The image at the path of a finding about one."""
    _, kind, index, *_ = path
    if kind == "volumes":
        volumes = pod.spec.volumes or ()
        image = volumes[int(index)].image
        return (image.reference if image is not None else None) or ""
    lists = {
        "containers": pod.spec.containers,
        "initContainers": pod.spec.init_containers,
        "ephemeralContainers": pod.spec.ephemeral_containers,
    }
    return (lists[str(kind)] or ())[int(index)].image or ""

"""Tags of images that a policy replaces by digests, so that the image that was verified is the one that runs."""

from collections.abc import Sequence

from sekisho.admission.changed_images import ChangedImage
from sekisho.admission.time_checks import CheckTime
from sekisho.admission.verdict import Violation, judge, judge_evidence
from sekisho.admission.waivers import Clock, apply_waivers
from sekisho.controls.images import CONTROL, NEEDS_DIGEST
from sekisho.findings import FieldPath
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import Pod
from sekisho.policies import Plan, PolicySet


def resolve_tags(
    pod: Pod,
    plan: Plan,
    policies: PolicySet,
    namespace: str,
    clock: Clock | None,
    trust: Trust,
    only: frozenset[str] | None = None,
    old: Pod | None = None,
    check_time: CheckTime | None = None,
) -> tuple[list[ChangedImage], tuple[Lookup, ...]]:
    """The images whose tags are resolved, and those whose digests must be looked up.

    An image that a cheaper rule denies, or that a waiver exempts, is left as it is. A rule that only lacks the digest
    is met by it.

    clock: gives the time for waivers; with None no waiver applies.
    only: the names of the containers that may still be changed; None for a new pod.
    old: a pod whose images are left as they are, where they are in the same container or volume; None for none.
    check_time: None where this is quick.

    Raises UnjudgedError as `check_time` does, and for a pod with too many violations.
    """
    steps = [step for step in plan.steps if step.control == CONTROL.name]
    violations = [
        violation for violation in judge(pod, steps, None, check_time) if violation.finding.allowed != NEEDS_DIGEST
    ]
    catalogs = policies.catalogs_at(clock)
    unsigned: Sequence[Violation] = judge_evidence(pod, steps, old, trust, violations, check_time, catalogs)
    if unsigned and clock is not None and policies.has_waivers:
        unsigned, _ = apply_waivers(list(unsigned), pod, namespace, policies, clock(), check_time)
    resolved: dict[FieldPath, ChangedImage] = {}
    lookups: dict[Lookup, None] = {}
    for violation in unsigned:
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

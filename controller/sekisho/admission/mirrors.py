"""Mirrors: images of a registry that policies have pulled from another one."""

from collections.abc import Mapping, Sequence

from sekisho.admission.changed_images import ChangedImage, images_of
from sekisho.admission.waivers import Clock, exemptions, keeps_off
from sekisho.images.reference import ImageError, Reference, parse
from sekisho.images.registries import RegistryPattern, parse_pattern
from sekisho.pods import Pod
from sekisho.policies import Default, Plan, PolicySet
from sekisho.policies.defaults import DefaultLevel
from sekisho.policies.safe_defaults import first_per_field


def mirror_images(
    pod: Pod,
    plan: Plan,
    policies: PolicySet,
    namespace: str,
    clock: Clock | None,
    only: frozenset[str] | None = None,
) -> list[ChangedImage]:
    """The images that are pulled from a mirror of their registry.

    An image that a mirror of the plan serves already stays, so that no image is changed again. So does one that waivers
    exempt from the control `images`, and one that is not a valid reference.

    clock: gives the time for waivers, called only where there is something to change; with None no waiver applies.
    only: the names of the containers that may still be changed; None for a new pod.
    """
    of_plan = _mirrors(plan.defaults)
    if not of_plan:
        return []
    served = [parse_pattern(default.value) for default in plan.all_defaults if default.level is DefaultLevel.MIRRORS]
    is_off = None
    changed = []
    for placed in images_of(pod, only):
        reference = _movable(placed.image, of_plan, served)
        if reference is None:
            continue
        if is_off is None and clock is not None and policies.has_waivers:
            is_off = keeps_off(plan, exemptions(pod, namespace, policies, clock()))
        mirrors = of_plan
        if is_off is not None:
            allowed = [default for default in plan.all_defaults if not is_off(default, placed.container)]
            mirrors = _mirrors(first_per_field(allowed))
        mirror = mirrors.get(reference.registry)
        image = None if mirror is None else _at(mirror.value, reference)
        if mirror is not None and image is not None:
            changed.append(ChangedImage(placed.path, image, (mirror.policy,)))
    return changed


def _mirrors(defaults: Sequence[Default]) -> dict[str, Default]:
    """The mirrors among defaults, by registry."""
    return {default.key: default for default in defaults if default.level is DefaultLevel.MIRRORS}


def _movable(image: str, mirrors: Mapping[str, Default], served: Sequence[RegistryPattern]) -> Reference | None:
    """The reference of an image whose registry has a mirror, and that no mirror serves already."""
    try:
        reference = parse(image)
    except ImageError:
        return None
    if reference.registry not in mirrors or any(pattern.covers(reference) for pattern in served):
        return None
    return reference


def _at(mirror: str, reference: Reference) -> str | None:
    """The image at a mirror; None if it would be too long."""
    tag = "" if reference.tag is None else f":{reference.tag}"
    digest = "" if reference.digest is None else f"@{reference.digest}"
    image = f"{mirror}/{reference.repository}{tag}{digest}"
    try:
        parse(image)
    except ImageError:
        return None
    return image

"""Mirrors: images of a registry that policies have pulled from another one."""

from collections.abc import Container
from typing import Final

from sekisho.admission.changed_images import ChangedImage, images_of
from sekisho.admission.context import Context
from sekisho.admission.waivers import IsDefaultExempt, exemptions, is_default_exempt
from sekisho.images.reference import ImageError, Reference, parse
from sekisho.images.registries import parse_pattern
from sekisho.pods import Pod
from sekisho.policies import Default, Plan
from sekisho.policies.compiled_defaults import DefaultLevel

_MIRRORS: Final = DefaultLevel.MIRRORS


def mirror_images(pod: Pod, plan: Plan, context: Context, only: frozenset[str] | None = None) -> list[ChangedImage]:
    """The images that are pulled from a mirror of their registry.

    An image that a mirror of the plan serves already stays, so that no image is changed again. So does one that waivers
    exempt from the control `images`, one that is not a valid reference, and one that a policy names: by a rule that is
    judged from evidence, or as a repository that it denies. At the mirror, these would not apply to it.

    only: the names of the containers that may still be changed; None for a new pod.

    Raises UnjudgedError as `context.check_time` does.
    """
    if not plan.has_mirrors:
        return []
    mirrors = _by_registry(plan)
    served = {tuple(parse_pattern(default.value).segments) for defaults in mirrors.values() for default in defaults}
    is_exempt: IsDefaultExempt | None = None
    changed = []
    for placed in images_of(pod, only):
        if context.check_time is not None:
            context.check_time()
        reference = _movable(placed.image, mirrors, served)
        if reference is None or any(names(reference) for names in plan.names_image):
            continue
        if is_exempt is None and context.clock is not None and context.policies.has_waivers:
            is_exempt = is_default_exempt(plan, exemptions(pod, context, context.clock()))
        for default in mirrors[reference.registry]:
            if is_exempt is None or not is_exempt(default, placed.container):
                image = _at(default.value, reference)
                if image is not None:
                    changed.append(ChangedImage(placed.path, image, (default.policy,)))
                break
    return changed


def _by_registry(plan: Plan) -> dict[str, list[Default]]:
    """The mirrors of each registry, in the order of precedence."""
    mirrors: dict[str, list[Default]] = {}
    for default in plan.all_defaults:
        if default.level is _MIRRORS:
            mirrors.setdefault(default.key, []).append(default)
    return mirrors


def _movable(image: str, mirrors: Container[str], served: Container[tuple[str, ...]]) -> Reference | None:
    """The reference of an image whose registry has a mirror, and that no mirror serves already."""
    try:
        reference = parse(image)
    except ImageError:
        return None
    if reference.registry not in mirrors:
        return None
    segments = (reference.registry, *reference.repository.split("/"))
    is_served = any(segments[:length] in served for length in range(1, len(segments) + 1))
    return None if is_served else reference


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

"""The digests of images that run by a tag: container runtimes write them into the status of pods."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from sekisho.admission.changed_images import ChangedImage, images_of, with_images
from sekisho.admission.context import Context
from sekisho.admission.resolution import resolve_tags
from sekisho.images import ImageError, parse
from sekisho.images.reference import is_digest
from sekisho.images.trust import Trust
from sekisho.pods import Pod
from sekisho.policies import Plan


class _Container(Struct, frozen=True, gc=False):
    name: str
    image_id: str = msgspec.field(name="imageID", default="")


class _Status(Struct, frozen=True, rename="camel"):
    container_statuses: tuple[_Container, ...] | None = None
    init_container_statuses: tuple[_Container, ...] | None = None
    ephemeral_container_statuses: tuple[_Container, ...] | None = None


class _Running(Struct, frozen=True):
    status: _Status = _Status()


_decoder: Final = msgspec.json.Decoder(_Running)


def running_digests(pod: Raw) -> Mapping[str, str]:
    """The digests that the containers of a pod run, by the containers' names, which are unique in a pod.

    An image that was not pulled by a digest has none: the runtime only writes an id of its own.
    """
    status = _decoder.decode(pod).status
    lists = (status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses)
    images = {status.name: status.image_id.rpartition("@") for listed in lists for status in listed or ()}
    return {name: digest for name, (repository, _, digest) in images.items() if repository and is_digest(digest)}


def with_running_digests(pod: Pod, digests: Mapping[str, str], plan: Plan, context: Context, trust: Trust) -> Pod:
    """The pod with the digests that its containers run, where a policy would have the tags of a new pod resolved.

    Other tags stay: a rule that wants digests denies them also where the image is trusted.

    digests: by the containers' names.
    trust: that of the context.

    Raises UnjudgedError as `resolve_tags` does.
    """
    by_path, references = {}, {}
    for placed in images_of(pod):
        digest = digests.get(placed.container.name) if placed.container is not None else None
        if digest is None:
            continue
        try:
            reference = parse(placed.image)
        except ImageError:
            continue
        if reference.digest is None:
            by_path[placed.path] = references[reference] = digest
    if not references:
        return pod
    known = replace(trust, digests=references)
    resolved, _ = resolve_tags(pod, plan, replace(context, trust=known), known)
    images = {placed.path: placed.image for placed in images_of(pod)}
    return with_images(
        pod,
        [
            ChangedImage(one.path, f"{images[one.path]}@{by_path[one.path]}", one.policies)
            for one in resolved
            if one.path in by_path
        ],
    )

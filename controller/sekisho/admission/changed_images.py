"""Images that the mutating webhook changes: mirrors of their registries, and digests of their tags."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sekisho.findings import FieldPath
from sekisho.pods import Container, ImageVolume, Pod, Volume, container_refs


class ChangedImage(Struct, frozen=True):
    """An image as it is written into the pod.

    path: of the image, from the pod's root.
    policies: those that have it changed.
    """

    path: FieldPath
    image: str
    policies: tuple[str, ...]


class PlacedImage(Struct, frozen=True):
    """An image of a pod with its path; `container` is None for the image of a volume."""

    path: FieldPath
    image: str
    container: Container | None


def images_of(pod: Pod, only: frozenset[str] | None = None) -> Iterator[PlacedImage]:
    """The images of a pod's containers and volumes.

    only: the names of the containers that may still be changed; None for a new pod, with its volumes.
    """
    for ref in container_refs(pod.spec):
        container = ref.container
        if container.image and (only is None or container.name in only):
            yield PlacedImage((*ref.path, "image"), container.image, container)
    if only is not None:
        return
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None and volume.image.reference:
            yield PlacedImage(("spec", "volumes", index, "image", "reference"), volume.image.reference, None)


def with_images(pod: Pod, changed: Sequence[ChangedImage]) -> Pod:
    """The pod with its images changed; the same object where none is."""
    if not changed:
        return pod
    images = {image.path[1:3]: image.image for image in changed}

    def containers(field: str, of_pod: list[Container] | None) -> list[Container] | None:
        if of_pod is None:
            return None
        return [
            replace(container, image=images.get((field, index), container.image))
            for index, container in enumerate(of_pod)
        ]

    def volume(index: int, of_pod: Volume) -> Volume:
        image = images.get(("volumes", index))
        return (
            of_pod if image is None else replace(of_pod, image=replace(of_pod.image or ImageVolume(), reference=image))
        )

    spec = pod.spec
    spec = replace(
        spec,
        init_containers=containers("initContainers", spec.init_containers),
        containers=containers("containers", spec.containers),
        ephemeral_containers=containers("ephemeralContainers", spec.ephemeral_containers),
        volumes=spec.volumes and [volume(index, of_pod) for index, of_pod in enumerate(spec.volumes)],
    )
    return replace(pod, spec=spec)

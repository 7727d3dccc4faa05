"""imagePullPolicy: the kubelet must ask the registry before it starts an image that its node has already.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].imagePullPolicy,
    spec.volumes[*].image.pullPolicy
Allowed values: those in `allowed`; Always where the policy lists none
The API server sets an unset field to Always for the tag latest and for an image with neither tag nor digest, and to
IfNotPresent for all others. An unset field is judged so.
Level: none; the control applies only where a policy names it
Source: k8s.io/kubernetes pkg/apis/core/v1/defaults.go (SetDefaults_Container, SetDefaults_Volume), Kubernetes 1.37
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import FieldPath, Finding, set_to, words
from sekisho.images.reference import default_pull_policy
from sekisho.pods import ContainerRef, Pod, Volume


class PullPolicy(StrEnum):
    """When the kubelet asks the registry for an image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ImagePullPolicy(Parameters, frozen=True):
    """Which pull policies images may have."""

    allowed: (
        Annotated[
            tuple[PullPolicy, ...], Meta(description="Pull policies that are allowed.", min_length=1, max_length=3)
        ]
        | None
    ) = None


def _check(parameters: ImagePullPolicy, _minor: int) -> Check:
    policies = tuple(map(str, parameters.allowed or (PullPolicy.ALWAYS,)))
    allowed = words(policies)

    def finding(path: FieldPath, policy: str | None, about: ContainerRef | Volume) -> Finding:
        fix, change = f"set it to {policies[0]}", set_to(path, policies[0])
        return Finding.of("imagePullPolicy", path, policy, allowed=allowed, fix=fix, change=change, about=about)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            finding(path, policy, about)
            for path, image, policy, about in _images(pod, containers)
            if (policy or default_pull_policy(image or "")) not in policies
        ]

    return judge


def _images(
    pod: Pod, containers: Sequence[ContainerRef]
) -> Iterator[tuple[FieldPath, str | None, str | None, ContainerRef | Volume]]:
    """The path of each pull policy, the image, the policy, and the container or volume that has it."""
    for ref in containers:
        yield (*ref.path, "imagePullPolicy"), ref.container.image, ref.container.image_pull_policy, ref
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None:
            path = ("spec", "volumes", index, "image", "pullPolicy")
            yield path, volume.image.reference, volume.image.pull_policy, volume


CONTROL = Control(
    name="imagePullPolicy",
    reason="its pull policy",
    summary="The kubelet must ask the registry before it starts an image that its node has already.",
    why="Without Always, a pod may start an image that another pod pulled to the node with credentials that this one "
    "does not have, or an old image whose tag has moved.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  imagePullPolicy: IfNotPresent
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  imagePullPolicy: Always
""",
    ),
    parameters=ImagePullPolicy,
    standard=opt_in,
    check=_check,
    unset={"allowed": '`["Always"]`'},
)

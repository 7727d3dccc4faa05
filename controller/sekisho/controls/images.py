"""images: containers run images of trusted registries only.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].image
Allowed values: a reference that lies in one of `trustedRegistries`; what does not parse is refused with the reason
Level: none, a policy names it
Source: the reference grammar of github.com/distribution/reference, with Docker Hub's implicit names resolved first
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, ParameterError, Parameters, of_container
from sekisho.findings import Finding, words
from sekisho.images import ImageError, RegistryPattern, parse, parse_pattern
from sekisho.images.registries import LONGEST_PATTERN
from sekisho.pods import Placed, Pod

_FIELD = ("image",)


class Images(Parameters, frozen=True):
    """Where containers' images may come from."""

    trusted_registries: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=LONGEST_PATTERN)], ...],
            Meta(
                description="Registries and repositories that images may come from, such as registry.example.com or "
                "ghcr.io/acme/*. Matched segment by segment from the left; * stands for any characters within one.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None


def _standard(_level: Level, _minor: int) -> Images | None:
    return None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, Images)  # noqa: S101
    written = parameters.trusted_registries or ()
    patterns = list(_patterns(written))
    allowed = f"an image from {words(written)}" if written else "any image with a valid reference"

    @lru_cache(maxsize=4096)
    def fault(image: str) -> str | None:
        try:
            reference = parse(image)
        except ImageError as error:
            return f"write a valid image reference: {error}"
        if written and not any(pattern.covers(reference) for pattern in patterns):
            return f"use an image from a trusted registry, {reference.registry}/{reference.repository} is not in one"
        return None

    def judge(_pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
        findings = []
        for placed in containers:
            image = placed.container.image or ""
            fix = fault(image)
            if fix is not None:
                findings.append(of_container("images", placed, _FIELD, image or None, allowed, fix))
        return findings

    return judge


def _patterns(written: Sequence[str]) -> Iterator[RegistryPattern]:
    for index, pattern in enumerate(written):
        try:
            yield parse_pattern(pattern)
        except ValueError as error:
            raise ParameterError(f"trustedRegistries[{index}]", f"{pattern!r} {error}") from None


CONTROL = Control(
    "images", "an untrusted image", "Containers may run images of trusted registries only.", Images, _standard, _check
)

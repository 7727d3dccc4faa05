"""images: where containers' images may come from, and how they must be named.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].image
Allowed values: a valid reference that lies in one of `trustedRegistries` and in none of `deniedRegistries`, with a tag
    or digest where `requireTag` says so, a digest where `requireDigest` says so, and no tag of `deniedTags`
A reference without tag and digest runs the tag latest; where a digest is given it decides what runs, and no tag counts.
Level: none, a policy names it
Source: the reference grammar of github.com/distribution/reference, with Docker Hub's implicit names resolved first
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, ParameterError, Parameters, of_container, opt_in
from sekisho.findings import Finding, words
from sekisho.images import ImageError, Reference, RegistryPattern, parse, parse_pattern
from sekisho.images.registries import MAX_PATTERN_LENGTH
from sekisho.pods import ContainerRef, Pod

_FIELD = ("image",)

Registry = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_LENGTH)]
Tag = Annotated[str, Meta(pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)]
Fault = tuple[str, str]
"""What is allowed instead, and the fix."""


class Images(Parameters, frozen=True):
    """Where containers' images may come from, and how they must be named."""

    trusted_registries: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories that images may come from, such as registry.example.com or "
                "ghcr.io/acme/*. Matched segment by segment from the left; * stands for any characters within one.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None
    denied_registries: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories that images may not come from, in the same form; they "
                "outweigh trustedRegistries.",
                max_length=256,
            ),
        ]
        | None
    ) = None
    require_digest: Annotated[bool, Meta(description="Whether images must be pinned by digest.")] | None = None
    require_tag: Annotated[bool, Meta(description="Whether images must have a tag or a digest.")] | None = None
    denied_tags: (
        Annotated[
            tuple[Tag, ...],
            Meta(
                description="Tags that images may not have, such as latest, which an image without tag and digest has.",
                max_length=64,
            ),
        ]
        | None
    ) = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, Images)  # noqa: S101
    trusted = tuple(_patterns("trustedRegistries", parameters.trusted_registries or ()))
    denied = tuple(_patterns("deniedRegistries", parameters.denied_registries or ()))

    @lru_cache(maxsize=4096)
    def faults(image: str) -> tuple[Fault, ...]:
        try:
            reference = parse(image)
        except ImageError as error:
            return (("a valid image reference", f"write a valid image reference: {error}"),)
        found = (
            _registry_fault(reference, parameters, trusted, denied),
            _tag_fault(reference, parameters),
        )
        return tuple(fault for fault in found if fault is not None)

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for placed in containers:
            image = placed.container.image or ""
            for allowed, fix in faults(image):
                findings.append(of_container("images", placed, _FIELD, _shown(image), allowed, fix))
        return findings

    return judge


def _shown(image: str) -> str | None:
    """The image as a finding shows it. Who writes a user before the host may have written a password as well."""
    before, at, name = image.rpartition("@")
    return (f"…@{name}" if at and before and "/" in name else image) or None


def _registry_fault(
    reference: Reference,
    parameters: Images,
    trusted: Sequence[RegistryPattern],
    denied: Sequence[RegistryPattern],
) -> Fault | None:
    name = f"{reference.registry}/{reference.repository}"
    written = parameters.trusted_registries or ()
    if trusted and not any(pattern.covers(reference) for pattern in trusted):
        fix = f"use an image from a trusted registry, {name} is not in one"
        return f"an image from {words(written)}", fix
    for pattern, text in zip(denied, parameters.denied_registries or (), strict=True):
        if pattern.covers(reference):
            return f"no image from {text}", f"use an image from another registry, {name} is in {text}"
    return None


def _tag_fault(reference: Reference, parameters: Images) -> Fault | None:
    if reference.digest is not None:
        return None
    if parameters.require_digest:
        return "an image with a digest", "append @sha256: and the image's digest"
    if parameters.require_tag and reference.tag is None:
        return "an image with a tag", "append a tag such as :1.2.3"
    tag = reference.tag or "latest"
    if tag in (parameters.denied_tags or ()):
        return f"a tag other than {words(parameters.denied_tags or ())}", "name the version to run, as :1.2.3"
    return None


def _patterns(parameter: str, written: Sequence[str]) -> Iterator[RegistryPattern]:
    for index, pattern in enumerate(written):
        try:
            yield parse_pattern(pattern)
        except ValueError as error:
            raise ParameterError(f"{parameter}[{index}]", f"{pattern!r} {error}") from None


def _verify(given: Parameters) -> None:
    assert isinstance(given, Images)  # noqa: S101
    denied = [(text, parse_pattern(text)) for text in given.denied_registries or () if _is_pattern(text)]
    for index, text in enumerate(given.trusted_registries or ()):
        if _is_pattern(text):
            for other, pattern in denied:
                if pattern.contains(parse_pattern(text)):
                    message = f"{text!r} lies in {other!r} of deniedRegistries, which outweighs it"
                    raise ParameterError(f"trustedRegistries[{index}]", message)


def _is_pattern(text: str) -> bool:
    """Compiling says what is wrong with one that is none."""
    try:
        parse_pattern(text)
    except ValueError:
        return False
    return True


CONTROL = Control(
    "images",
    "its image",
    "Containers may run images of trusted registries only, named as the policy says.",
    Images,
    opt_in,
    _check,
    verify=_verify,
)

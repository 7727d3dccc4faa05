"""Patterns of images, as other engines compare them with a container's image, and rules of ours that do the same."""

from collections.abc import Iterator, Sequence
from typing import Final

from sekisho.images.reference import names_registry
from sekisho.images.registries import parse_pattern
from sekisho.manifests.engines.parts import Part, Translated, Unknown, target_remarks
from sekisho.manifests.engines.requirements import ALL_CONTAINERS, Requirement, Test
from sekisho.manifests.engines.results import Remark, looser, stricter

_TAGGED: Final = "*:*"
_DIGESTS: Final = frozenset(("*@*", "*@sha256*", "*@sha256:*"))
_MAX_SEGMENTS: Final = 4
_DOCKER_HUB: Final = ("docker.io", "index.docker.io")

CANONICAL: Final = looser("an image of Docker Hub passes also if it is written without docker.io")


def translate_images(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    """The parameters of the control images that do what is required of the text of images."""
    tags = [one for one in requirements if one.test is Test.IN and one.values == (_TAGGED,)]
    for one in requirements:
        remarks = list(target_remarks(one, ALL_CONTAINERS))
        if one in tags:
            remarks.append(stricter("the port of a registry does not count as a tag"))
            yield Part("images", {"requireTag": True}, tuple(remarks), one.path)
        elif one.test is Test.IN and set(one.values) <= _DIGESTS:
            yield Part("images", {"requireDigest": True}, tuple(remarks), one.path)
        elif one.test is Test.IN:
            yield _registries(one, "trustedRegistries", remarks)
        elif one.test is Test.NOT_IN and all(_tag(value) for value in one.values):
            if not tags and "*:latest" in one.values:
                remarks.append(stricter("an image without tag has the tag latest"))
            denied = [_tag(value) for value in one.values]
            yield Part("images", {"deniedTags": denied}, tuple(remarks), one.path)
        elif one.test is Test.NOT_IN and all(value.strip("*").isalnum() for value in one.values):
            yield _words_in_names(one, remarks)
        elif one.test is Test.NOT_IN:
            yield _registries(one, "deniedRegistries", remarks)
        else:
            yield Unknown(f"no control has image {one.test} {', '.join(one.values)}", one.path)


def _tag(value: str) -> str:
    """The tag of `*:tag`; empty for any other pattern."""
    begin, _, tag = value.rpartition(":")
    return tag if begin == "*" and "*" not in tag and "/" not in tag else ""


def _words_in_names(one: Requirement, remarks: list[Remark]) -> Translated:
    """Images with a word anywhere in their names, by the segments of the repository."""
    names = [value.strip("*").lower() for value in one.values]
    if not all(value == f"*{value.strip('*')}*" for value in one.values):
        return Unknown(f"no control has image {one.test} {', '.join(one.values)}", one.path)
    denied = [f"{'*/' * count}*{name}*" for name in names for count in range(1, _MAX_SEGMENTS)]
    remarks += [
        looser(f"{', '.join(names)} in the registry, in the tag or below the third segment of the repository passes")
    ]
    return Part("images", {"deniedRegistries": denied}, tuple(remarks), one.path)


def _registries(one: Requirement, parameter: str, remarks: list[Remark]) -> Translated:
    try:
        patterns = [registry_of(value) for value in one.values]
    except ValueError as error:
        return Unknown(str(error), one.path)
    for value in one.values:
        remarks += registry_remarks(value, is_denied=parameter == "deniedRegistries")
    return Part("images", {parameter: patterns}, tuple(dict.fromkeys(remarks)), one.path)


def registry_of(value: str) -> str:
    """The registry or repository of a pattern like `ghcr.io/acme/*`, which is compared with the whole image.

    Raises ValueError if ours would mean something else.
    """
    pattern = value.removesuffix("/*")
    if pattern != "*" and not names_registry(pattern.split("/")[0]) and "*" not in pattern.split("/")[0]:
        raise ValueError(f"{value!r} has no registry")
    # ghcr.io/acme* has all that begins with the text, and so has ours; ghcr.io* would be other hosts too.
    if pattern == value and ("/" not in value or not value.endswith("*")):
        raise ValueError(
            f"{value!r} is one image or begins other registries; ours are whole registries and repositories"
        )
    _require_pattern(pattern, value)
    return pattern


def exempt_images(value: str) -> tuple[list[str], list[Remark]]:
    """The images of a waiver for a pattern of another engine, which is compared with the text of the whole image.

    Raises ValueError if no waiver is about these images.
    """
    host, *rest = value.split("/")
    if value in ("*", "*:*"):
        return ["*"], []
    if not (names_registry(host) or (rest and "*" in host)):
        # An image without registry is of Docker Hub, and without any / of its folder library.
        names = [f"docker.io/{value}"] if rest else [f"docker.io/library/{value}"]
        if not rest and value.endswith("*"):
            names.append(f"docker.io/{value}")
        patterns = [name.removesuffix("/*") for name in names]
        written = looser(f"an image that {value} matches is exempt also if it is written with docker.io")
        whole = [] if value.endswith("*") else [looser(f"all tags of {value} are exempt")]
        for pattern in patterns:
            _require_pattern(pattern, value)
        return patterns, [written, *whole]
    if "*" not in value and ":" not in value.rpartition("/")[2] and "@" not in value:
        _require_pattern(value, value)
        return [value], [looser(f"all tags of {value} are exempt, and all repositories below it")]
    pattern = registry_of(value)
    inner = [stricter(f"* in {value} matches within a segment only, not across /")] if "*" in pattern[:-1] else []
    return [pattern], inner


def _require_pattern(pattern: str, value: str) -> None:
    try:
        parse_pattern(pattern)
    except ValueError as error:
        raise ValueError(f"{value!r} {error}") from None


def registry_remarks(value: str, *, is_denied: bool) -> Iterator[Remark]:
    """What differs between a pattern of another engine, which is compared with the text, and ours."""
    host, *rest = value.split("/")
    if host in _DOCKER_HUB and not is_denied:
        yield CANONICAL
    elif host in _DOCKER_HUB:
        yield stricter("an image of Docker Hub is denied also if it is written without docker.io")
    if "*" in host or any("*" in segment for segment in rest[:-1]):
        text = f"* in {value} matches within a segment only, not across /"
        yield looser(text) if is_denied else stricter(text)

"""Image references, as container runtimes read them.

Grammar: the `reference` package of the distribution project (github.com/distribution/reference, v0.6.0), with Docker
Hub's implicit names resolved: `nginx` is `docker.io/library/nginx`. The first segment names a registry only if it
contains `.`, `:` or an upper-case letter, or is `localhost`; anything else is a repository on Docker Hub.
"""

import re
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from sekisho.errors import SekishoError
from sekisho.remembered import Remembered

DOCKER_HUB = "docker.io"
DOCKER_HUB_ALIASES = frozenset(("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"))
"""Other names of Docker Hub's registry."""
_DEFAULT_PORT = 443
MAX_REPOSITORY_LENGTH = 255
MAX_REFERENCE_LENGTH = 1024
_MAX_REMEMBERED_LENGTH = 256

_HOST_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = re.compile(rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_SEGMENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_PLAIN_LABEL = "[a-z0-9]++(?:-++[a-z0-9]++)*+"
_PLAIN_SEGMENT = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+"
_PLAIN = re.compile(
    rf"({_PLAIN_LABEL}(?:\.{_PLAIN_LABEL})++)/({_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*+)(?::({_TAG.pattern}))?"
)
"""The usual form: a host in lower case without a port, a path, and perhaps a tag. Possessive, so that it is linear."""


class ImageError(SekishoError, ValueError):
    """An image that is not a valid reference; the message says why, in a clause without a full stop."""


class Reference(Struct, frozen=True, gc=False):
    """A parsed reference; where it has both a tag and a digest, the digest decides what runs.

    registry: host and port as `canonical_registry` has them, such as docker.io.
    repository: without the registry, such as library/nginx.
    tag, digest: None where the reference has none.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None


def parse(image: str) -> Reference:
    """Parse an image as it is written in a pod. Raises ImageError."""
    return _REFERENCES.get(image, _parse) if len(image) <= _MAX_REMEMBERED_LENGTH else _parse(image)


def _parse(image: str) -> Reference:
    if len(image) <= MAX_REPOSITORY_LENGTH and (plain := _PLAIN.fullmatch(image)):
        registry, repository, tag = plain.groups()
        if registry != DOCKER_HUB and registry not in DOCKER_HUB_ALIASES:
            return Reference(registry, repository, tag, None)
    return _parse_any(image)


def _parse_any(image: str) -> Reference:
    """Parse a reference of any form, step by step: it takes four times as long, and says what is wrong."""
    if not image:
        raise ImageError("it is empty")
    if len(image) > MAX_REFERENCE_LENGTH:
        raise ImageError(f"it is longer than {MAX_REFERENCE_LENGTH} characters")
    if _IDENTIFIER.fullmatch(image):
        raise ImageError("it is a bare image id, not a name")
    name, digest = _split_digest(image)
    name, tag = _split_tag(name)
    registry, repository = split_registry(name)
    if not _REGISTRY.fullmatch(registry):
        raise ImageError(f"{registry!r} is not a registry host")
    if len(repository) > MAX_REPOSITORY_LENGTH:
        raise ImageError(f"its repository is longer than {MAX_REPOSITORY_LENGTH} characters")
    for segment in repository.split("/"):
        if not _SEGMENT.fullmatch(segment):
            raise ImageError(_why_segment(segment))
    return Reference(canonical_registry(registry), repository, tag, digest)


_REFERENCES: Final[Remembered[str, Reference]] = Remembered(1 << 20, lambda image, _: 500 + 2 * len(image))


def split_registry(name: str) -> tuple[str, str]:
    """Split a name without tag and digest into registry and repository, by Docker Hub's rules."""
    first, slash, rest = name.partition("/")
    if not slash or not names_registry(first):
        registry, repository = DOCKER_HUB, name
    else:
        registry, repository = first, rest
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def canonical_registry(registry: str) -> str:
    """The one name of a registry that has several.

    It is in lower case, without the port 443 and zeros before a port, docker.io for Docker Hub, and an IPv6 address is
    in its short form.
    """
    host, colon, port = registry.lower().rpartition(":")
    if not colon or not port.isdecimal():  # the last colon may be one of an IPv6 address
        host, port = registry.lower(), ""
    if host in DOCKER_HUB_ALIASES:
        host = DOCKER_HUB
    elif host.startswith("["):
        with suppress(ValueError):
            host = f"[{IPv6Address(host[1:-1])}]"
    return f"{host}:{int(port)}" if port and int(port) != _DEFAULT_PORT else host


def names_registry(segment: str) -> bool:
    """Whether the first segment of a reference names a registry, and not a user of Docker Hub."""
    return "." in segment or ":" in segment or segment == "localhost" or segment.lower() != segment


_DIGEST_LIKE = re.compile(r"@(?:sha256|sha384|sha512):[^@/]*\Z")


def without_credentials(image: str) -> str:
    """The image as it may be shown: `…` replaces what stands before a host, which may be a user with a password.

    No valid reference has such a part; people write it by mistake, and it must not appear in denials, Events or logs.
    """
    match = _DIGEST_LIKE.search(image)
    name, digest = (image[: match.start()], match[0]) if match else (image, "")
    before, at, host = name.rpartition("@")
    return f"…@{host}{digest}" if at and before else image


def default_pull_policy(image: str) -> str:
    """The pull policy that the API server sets for an image without one."""
    try:
        reference = parse(image)
    except ImageError:
        return "IfNotPresent"
    is_latest = reference.tag == "latest" or (reference.tag is None and reference.digest is None)
    return "Always" if is_latest else "IfNotPresent"


def is_digest(text: str) -> bool:
    """Whether a text is a digest such as sha256: and 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def _split_digest(image: str) -> tuple[str, str | None]:
    name, at, digest = image.partition("@")
    if not at:
        return name, None
    if not _DIGEST.fullmatch(digest):
        raise ImageError("what follows the @ is not a digest such as sha256:<64 lower-case hex digits>")
    return name, digest


def _split_tag(name: str) -> tuple[str, str | None]:
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    if colon < 0:
        return name, None
    tag = name[colon + 1 :]
    if not _TAG.fullmatch(tag):
        raise ImageError("what follows the last colon is not a tag")
    return name[:colon], tag


def _why_segment(segment: str) -> str:
    if not segment:
        return "it has an empty path segment"
    if segment != segment.lower():
        return f"a repository must be lower case, {segment[:60]!r} is not"
    return f"{segment[:60]!r} is not a repository path segment"

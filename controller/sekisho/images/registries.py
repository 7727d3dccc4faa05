"""Patterns for registries and repositories, such as `ghcr.io/acme/*`.

A pattern is matched segment by segment from the left, so `trusted.io` covers `trusted.io/x` and never
`trusted.io.evil.com/x`; `*` matches any characters within one segment and never a `/`.
"""

import re
from collections.abc import Sequence
from itertools import product, takewhile

from msgspec import Struct, structs

from sekisho.globs import glob_matches
from sekisho.images.reference import DOCKER_HUB, Reference, canonical_registry, names_registry

_PATTERN_SEGMENT = re.compile(r"[a-z0-9*]+(?:(?:\.|_|__|-+)[a-z0-9*]+)*")
_PATTERN_HOST = re.compile(r"[a-z0-9*.-]+(?::[0-9]+)?|\[[a-f0-9:]+\](?::[0-9]+)?")
_OFFICIAL = "library/"
MAX_PATTERN_LENGTH = 512


class RegistryPattern(Struct, frozen=True, gc=False):
    """A parsed pattern: `segments[0]` is the registry, by its one name, and the others lead the repository."""

    segments: tuple[str, ...]

    @property
    def literal(self) -> tuple[str, ...]:
        """The segments up to the first with a wildcard."""
        return tuple(takewhile(lambda segment: "*" not in segment, self.segments))

    def covers(self, reference: Reference) -> bool:
        """Whether the reference is in the registry or repository that the pattern names."""
        segments = self.segments
        if not glob_matches(segments[0], reference.registry):
            return False
        if len(segments) == 1:
            return True
        path = reference.repository.split("/")
        return len(path) >= len(segments) - 1 and all(map(glob_matches, segments[1:], path))

    def covers_any_name_of(self, reference: Reference) -> bool:
        """Whether the pattern covers the reference under any of the names of the image.

        For what is denied, or must be signed. A pattern without a port covers every port, as the same host on another
        port is rarely another registry. Of Docker Hub, docker.io/nginx also covers library/nginx.
        """
        if self.covers(reference):
            return True
        host, names = _without_port(reference.registry), _names(reference.registry, reference.repository)
        if host == reference.registry and len(names) == 1:
            return False
        ways = product((reference.registry, host), names)
        return any(self.covers(structs.replace(reference, registry=one, repository=name)) for one, name in ways)

    def covers_all_names_of(self, other: "RegistryPattern") -> bool:
        """Whether `covers_any_name_of` is true of every reference that the other pattern covers."""
        registry, *path = other.segments
        hosts = (registry, _without_port(registry))
        paths = (name.split("/") for name in _names(registry, "/".join(path))) if path[:1] == ["library"] else (path,)
        return any(glob_matches(self.segments[0], host) for host in hosts) and any(
            # Where the other one has *, only a * here matches it.
            len(self.segments) <= len(segments) + 1 and all(map(glob_matches, self.segments[1:], segments))
            for segments in paths
        )


def _names(registry: str, repository: str) -> tuple[str, ...]:
    """How a repository may be written: nginx and library/nginx are one image of Docker Hub."""
    name = repository.removeprefix(_OFFICIAL)
    return (name, _OFFICIAL + name) if registry == DOCKER_HUB and name and "/" not in name else (repository,)


def _without_port(registry: str) -> str:
    host, colon, port = registry.rpartition(":")
    return host if colon and port.isdecimal() else registry  # the last colon may be one of an IPv6 address


class PatternIndex:
    """Finds a pattern that contains another one, without comparing it with each pattern.

    Each pattern has a bit. For each position in a path there is the set of patterns that have a given segment there.
    """

    def __init__(self, patterns: Sequence[RegistryPattern]) -> None:
        self._literal: dict[tuple[int, str], int] = {}
        self._wildcard: dict[int, int] = {}
        self._ending: dict[int, int] = {}
        for number, pattern in enumerate(patterns):
            bit = 1 << number
            for index, segment in enumerate(pattern.segments):
                if segment == "*":
                    self._wildcard[index] = self._wildcard.get(index, 0) | bit
                else:
                    self._literal[index, segment] = self._literal.get((index, segment), 0) | bit
            self._ending[len(pattern.segments)] = self._ending.get(len(pattern.segments), 0) | bit

    def containing(self, other: RegistryPattern) -> int | None:
        """The index of the first pattern that covers all that the other one covers; None if there is none.

        Each segment must be equal or `*`: with other wildcards, a pattern that contains the other one may be missed.
        """
        alive, containing = -1, 0
        for index, segment in enumerate(other.segments):
            alive &= self._literal.get((index, segment), 0) | self._wildcard.get(index, 0)
            containing |= alive & self._ending.get(index + 1, 0)
        return (containing & -containing).bit_length() - 1 if containing else None


def parse_pattern(pattern: str) -> RegistryPattern:
    """Parse a pattern. Raises ValueError; its message lacks a subject: callers put the pattern first."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise ValueError(f"is longer than {MAX_PATTERN_LENGTH} characters")
    host, *rest = pattern.split("/")
    host = host.lower()
    if not names_registry(host) and host != "*":
        name = f"library/{pattern}" if not rest else pattern
        raise ValueError(f"begins with {host!r}, which is not a registry host; for Docker Hub write 'docker.io/{name}'")
    if not _PATTERN_HOST.fullmatch(host):
        raise ValueError(
            f"begins with {host!r}, which is not a registry host such as 'registry.example.com' or 'localhost:5000'"
        )
    for segment in rest:
        if not _PATTERN_SEGMENT.fullmatch(segment):
            raise ValueError(
                f"has the path segment {segment!r}; a segment is lower-case letters, digits, separators and '*', "
                "without a tag"
            )
    return RegistryPattern((canonical_registry(host), *rest))

"""Breaches of `images`: registries that are not trusted, or denied, and names without a tag or digest.

The expressions follow `sekisho.images.reference` step by step: first each image gets its one name, such as
docker.io/library/nginx/ for nginx, and then patterns are compared with that name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sekisho.controls.images import Images
from sekisho.findings import words
from sekisho.floor import cel
from sekisho.floor.terms import IMAGES, Breach, Judged, Share
from sekisho.globs import glob_matches
from sekisho.images import RegistryPattern, parse_pattern
from sekisho.images.reference import DOCKER_HUB, DOCKER_HUB_ALIASES, MAX_REFERENCE_LENGTH, MAX_REPOSITORY_LENGTH

_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY: Final = rf"^(?:(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?)?$"
_SEGMENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = f"^{_SEGMENT}(?:/{_SEGMENT})*$"
_AFTER_NAME: Final = (
    "^(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?$"
)
_OFFICIAL: Final = "library"
_MAX_LISTED: Final = 200
"""Characters of a list in a message; the API server cuts none, and long ones hide the rest."""


def image_variables(sources: str) -> Mapping[str, str]:
    """The variables that lead to `variables.images`, by name, in their order.

    sources: a list of maps with the keys label, container and image; container is empty for the image of a volume.

    Each variable has a budget of its own, so that hundreds of long images stay within it.
    """
    as_before = {key: f"i.{key}" for key in ("label", "container", "image")}
    first = 'i.image.find(r"^[^/@]*/")'
    registry = f'({first}.matches(r"[.:A-Z]|^localhost/$") ? i.image.find(r"^[^/@]*") : "")'
    after_registry = '(i.registry == "" ? i.image : i.image.substring(size(i.registry) + 1))'
    after_name = 'i.image.substring(size(i.registry) + (i.registry == "" ? 0 : 1) + size(i.path))'
    library = f'(i.registry in ["", "{DOCKER_HUB}", "index.{DOCKER_HUB}"] && !i.path.contains("/") ? "library/" : "")'
    is_name = f"i.registry.matches({cel.regex(_REGISTRY)}) && i.path.matches({cel.regex(_REPOSITORY)})"
    is_reference = (
        f'{is_name} && {after_name}.matches({cel.regex(_AFTER_NAME)}) && !i.image.matches("^[a-f0-9]{{64}}$")'
    )
    fits = f"size(i.image) <= {MAX_REFERENCE_LENGTH} && size(i.path) + size(i.library) <= {MAX_REPOSITORY_LENGTH}"
    host = r'i.registry.lowerAscii().find(r"^(?:\[[^\]]*\]|[^:]*)")'
    zeros = 'i.registry.find(":[0-9]+$").find("[1-9][0-9]*$")'
    port = f'(i.registry.matches(":0+$") ? ":0" : {zeros} in ["", "443"] ? "" : ":" + {zeros})'
    hub = cel.texts(("", *sorted(DOCKER_HUB_ALIASES)))
    name = f'((i.host in {hub} ? "{DOCKER_HUB}" : i.host) + i.port + "/" + i.library + i.path + "/")'
    parts = {"registry": "i.registry", "path": "i.path", "library": "i.library"}
    return {
        "image_registries": cel.mapped(sources, "i", as_before | {"registry": registry}),
        "image_paths": cel.mapped(
            "variables.image_registries",
            "i",
            as_before | {"registry": "i.registry", "path": f'{after_registry}.find(r"^[^:@]*")'},
        ),
        "image_repositories": cel.mapped("variables.image_paths", "i", as_before | parts | {"library": library}),
        "image_hosts": cel.mapped(
            "variables.image_repositories", "i", as_before | parts | {"host": host, "port": port}
        ),
        "images": cel.mapped(
            "variables.image_hosts", "i", as_before | {"name": f'{is_reference} && {fits} ? {name} : ""'}
        ),
    }


def covers(name: str, patterns: Sequence[RegistryPattern]) -> str:
    """Whether one of the patterns covers the image with a name, as `RegistryPattern.covers` says it."""
    literal = [f"{'/'.join(pattern.segments)}/" for pattern in patterns if not _has_wildcard(pattern)]
    wild = [_pattern(pattern.segments) for pattern in patterns if _has_wildcard(pattern)]
    return cel.any_of(
        (
            f"{cel.texts(literal)}.exists(t, {name}.startsWith(t))" if literal else cel.FALSE,
            cel.begins_with(name, wild),
        )
    )


def unsayable(patterns: Sequence[RegistryPattern]) -> bool:
    """Whether a pattern may name an IPv6 address, which has several spellings that the expressions do not compare."""
    return any(_may_be_in_ipv6(pattern.segments[0]) for pattern in patterns)


def _may_be_in_ipv6(host: str) -> bool:
    return host.startswith("[") or (host.startswith("*") and any(host.split("*")[1:-1]))


def _has_wildcard(pattern: RegistryPattern) -> bool:
    return any("*" in segment for segment in pattern.segments)


def _pattern(segments: Sequence[str], after_host: str = "") -> str:
    host, *path = (cel.glob_pattern(segment, "[^/]*") for segment in segments)
    return "/".join((host + after_host, *path, ""))


def _covers_any_name(name: str, patterns: Sequence[RegistryPattern]) -> str:
    """Whether one of the patterns covers an image, as `RegistryPattern.covers_any_name_of` says it."""
    written: list[str] = []
    for pattern in patterns:
        written.append(_pattern(pattern.segments, "(?::[0-9]+)?"))
        written += _other_names_on_docker_hub(pattern)
    return cel.begins_with(name, written)


def _other_names_on_docker_hub(pattern: RegistryPattern) -> list[str]:
    """Patterns for images of Docker Hub that it covers by their other name: nginx, or library/nginx."""
    host, *path = pattern.segments
    if not path or not glob_matches(host, DOCKER_HUB):
        return []
    hub, official = cel.glob_pattern(DOCKER_HUB), glob_matches(path[0], _OFFICIAL)
    if len(path) == 1:
        single = cel.glob_pattern(path[0], "[^/]*")
        return [f"{hub}/{_OFFICIAL}/{single}/$", *([f"{hub}/[^/]+/$"] if official else ())]
    return [f"{hub}/{cel.glob_pattern(path[1], '[^/]*')}/$"] if len(path) == 2 and official else []


def images_share(parameters: Images, _minor: int) -> Share:
    """What the floor has of `images`: registries, tags and digests as they are written."""
    trusted = tuple(map(parse_pattern, parameters.trusted_registries or ()))
    denied = tuple(map(parse_pattern, parameters.denied_registries or ()))
    if unsayable((*trusted, *denied)):
        return Share((), ("a pattern may name an IPv6 address, which has several spellings",))
    tests, requires = ['i.name == ""'], ["a valid reference"]
    if trusted:
        tests.append(cel.negated(covers("i.name", trusted)))
        requires.append(f"from {_short(parameters.trusted_registries or (), 'a trusted registry')}")
    if denied:
        tests.append(_covers_any_name("i.name", denied))
        requires.append(f"not from {_short(parameters.denied_registries or (), 'a denied registry')}")
    resolves = bool(parameters.resolve_tags)
    for test, required in _tag_tests(parameters, resolves=resolves):
        tests.append(test)
        requires.append(required)
    missing = []
    if parameters.signatures or parameters.attestations or parameters.catalogs is not None:
        missing.append("signatures, attestations and catalogs need look-ups")
    if resolves and parameters.require_digest:
        missing.append("requireDigest, because the webhook appends digests to tags")
    breach = Breach(
        judged=Judged.IMAGE,
        entries=IMAGES,
        variable="i",
        test=cel.any_of(tests),
        value="i.image",
        label="i.label",
        requires=f"its image must be {words(requires, 'and')}",
    )
    return Share((breach,), tuple(missing))


def _tag_tests(parameters: Images, *, resolves: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with the tag or digest of a valid reference, each with what is required instead."""
    has_digest, has_either = 'i.image.contains("@")', 'i.image.matches(":[^/]*$")'
    if parameters.require_digest and not resolves:
        yield cel.negated(has_digest), "with a digest"
    if parameters.require_tag:
        yield cel.negated(has_either), "with a tag or digest"
    if parameters.denied_tags:
        tags = "|".join(map(cel.glob_pattern, parameters.denied_tags))
        is_denied = f"i.image.matches({cel.regex(f':(?:{tags})$')})"
        if "latest" in parameters.denied_tags:
            is_denied = cel.any_of((is_denied, cel.negated(has_either)))
        yield (
            cel.all_of((cel.negated(has_digest), is_denied)),
            f"with a tag other than {_short(parameters.denied_tags, 'those denied')}",
        )


def _short(values: Sequence[str], instead: str) -> str:
    listed = words(values)
    return listed if len(listed) <= _MAX_LISTED else instead

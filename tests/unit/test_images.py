"""Image references against an independent parser, and trusted registries at segment boundaries."""

import pytest
from docker_image import reference as oracle
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho.images import ImageError, Reference, parse, parse_pattern

SHA = "sha256:" + "0123456789abcdef" * 4

PARSED = [
    ("nginx", Reference("docker.io", "library/nginx", None, None)),
    ("library/nginx", Reference("docker.io", "library/nginx", None, None)),
    ("docker.io/nginx", Reference("docker.io", "library/nginx", None, None)),
    ("index.docker.io/library/nginx:1.27", Reference("docker.io", "library/nginx", "1.27", None)),
    ("acme/web", Reference("docker.io", "acme/web", None, None)),
    ("localhost/web", Reference("localhost", "web", None, None)),
    ("registry:5000/web", Reference("registry:5000", "web", None, None)),
    ("ghcr.io/acme/web:v1@" + SHA, Reference("ghcr.io", "acme/web", "v1", SHA)),
    ("Registry.Example.com/web", Reference("registry.example.com", "web", None, None)),
    ("FOO/bar", Reference("foo", "bar", None, None)),
    ("[2001:db8::1]:5000/web", Reference("[2001:db8::1]:5000", "web", None, None)),
    ("a__b/c-d.e/f", Reference("docker.io", "a__b/c-d.e/f", None, None)),
]


@pytest.mark.parametrize(("image", "expected"), PARSED)
def test_reference_is_parsed_as_runtimes_do(image: str, expected: Reference) -> None:
    assert parse(image) == expected


@pytest.mark.parametrize(
    "image",
    [
        "",
        " nginx",
        "nginx ",
        "nginx\n",
        "user@host/x",
        "/nginx",
        "nginx/",
        "a//b",
        "Nginx",
        "acme/Web",
        "acme/web:",
        "acme/web:-x",
        "acme/web@sha256:abc",
        "acme/web@" + SHA.upper(),
        "exämple.com/web",
        "registry.example.com:port/web",
        "registry.example.com:/web",
        "-registry.example.com/web",
        "0123456789abcdef" * 4,
        "https://ghcr.io/acme/web",
        "a/" + "b" * 256,
        "x" * 2000,
        "acme/web:" + "t" * 129,
    ],
)
def test_what_is_no_reference_is_refused_with_a_reason(image: str) -> None:
    with pytest.raises(ImageError, match=r"\w+"):
        parse(image)


COVERED = [
    ("trusted.io", "trusted.io/x", True),
    ("trusted.io", "trusted.io/a/b/c:1", True),
    ("trusted.io", "trusted.io.evil.com/x", False),
    ("trusted.io", "nottrusted.io/x", False),
    ("trusted.io", "trusted.io:5000/x", False),
    ("trusted.io:5000", "trusted.io:5000/x", True),
    ("TRUSTED.io", "Trusted.io/x", True),
    ("ghcr.io/acme", "ghcr.io/acme/web", True),
    ("ghcr.io/acme", "ghcr.io/acme", True),
    ("ghcr.io/acme", "ghcr.io/acmeevil/web", False),
    ("ghcr.io/acme/*", "ghcr.io/acme/web", True),
    ("ghcr.io/acme/*", "ghcr.io/acme/web/api", True),
    ("ghcr.io/acme/*", "ghcr.io/acme", False),
    ("ghcr.io/team-*/x", "ghcr.io/team-a/x", True),
    ("ghcr.io/team-*/x", "ghcr.io/team-a/b/x", False),
    ("*.corp.io", "build.corp.io/x", True),
    ("*.corp.io", "corp.io/x", False),
    ("*.corp.io", "evil.com/x.corp.io/y", False),
    ("*.corp.io/*", "evil.com/build.corp.io/y", False),
    ("docker.io/library", "nginx", True),
    ("docker.io/library/nginx", "index.docker.io/library/nginx", True),
    ("index.docker.io/library/*", "nginx:latest", True),
    ("docker.io/acme", "acme/web", True),
    ("docker.io/acme", "mycoacme/web", False),
    ("localhost:5000", "localhost:5000/web", True),
]


@pytest.mark.parametrize(("pattern", "image", "covered"), COVERED)
def test_pattern_covers_at_segment_boundaries(pattern: str, image: str, *, covered: bool) -> None:
    assert parse_pattern(pattern).covers(parse(image)) is covered


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("acme", "docker.io/acme"),
        ("acme/*", "docker.io/acme/"),
        ("ghcr.io/Acme", "lower-case"),
        ("ghcr.io/acme:1", "without a tag"),
        ("ghcr.io//x", "segment"),
        ("ghcr.io/acme/", "segment"),
        ("https://ghcr.io", "registry host"),
        ("g hcr.io", "registry host"),
        ("", "registry host"),
        ("x" * 600 + ".io", "longer"),
    ],
)
def test_pattern_that_means_nothing_is_refused_with_advice(pattern: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_pattern(pattern)


def test_many_wildcards_match_in_linear_time() -> None:
    pattern = parse_pattern("ghcr.io/" + "a*" * 200 + "b")
    assert not pattern.covers(Reference("ghcr.io", "a" * 250, None, None))
    assert pattern.covers(Reference("ghcr.io", "a" * 250 + "b", None, None))


_PART = st.text("abcxyzABZ019._-/:@ é[]", max_size=20)


@given(st.lists(_PART, min_size=1, max_size=5).map("".join))
@example("a.b/c:d@sha256:" + "0" * 64)
@example("localhost/A")
def test_parser_agrees_with_an_independent_one(image: str) -> None:
    """docker-image-py follows the same grammar; it does not resolve upper-case registries, so those are left out."""
    try:
        ours: Reference | None = parse(image)
    except ImageError:
        ours = None
    try:
        theirs = oracle.Reference.parse_normalized_named(image)
    except (oracle.InvalidReference, ValueError, AttributeError):
        theirs = None
    first, slash, _ = image.partition("/")
    if slash and first != first.lower():
        return
    if theirs is None or image.startswith("["):
        return
    hostname, path = theirs.split_hostname()
    if ours is not None:
        assert (ours.registry, ours.repository, ours.tag) == (hostname, path, theirs["tag"])

"""Image references against an independent parser, and trusted registries at segment boundaries."""

import pytest
from docker_image import reference as oracle
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho.images import ImageError, Reference, parse, parse_pattern, without_credentials
from sekisho.images.reference import canonical_registry

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
    ("[2001:DB8:0:0::1]:443/web", Reference("[2001:db8::1]", "web", None, None)),
    ("ghcr.io:443/acme/web", Reference("ghcr.io", "acme/web", None, None)),
    ("ghcr.io:00443/acme/web", Reference("ghcr.io", "acme/web", None, None)),
    ("ghcr.io:0080/acme/web", Reference("ghcr.io:80", "acme/web", None, None)),
    ("registry-1.docker.io/library/nginx", Reference("docker.io", "library/nginx", None, None)),
    ("registry.hub.docker.com:443/library/nginx", Reference("docker.io", "library/nginx", None, None)),
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
def test_text_that_is_not_a_reference_is_an_error_with_a_reason(image: str) -> None:
    with pytest.raises(ImageError, match=r"\w+"):
        parse(image)


COVERED = [
    ("trusted.io", "trusted.io/x", True),
    ("trusted.io", "trusted.io/a/b/c:1", True),
    ("trusted.io", "trusted.io.evil.com/x", False),
    ("trusted.io", "nottrusted.io/x", False),
    ("trusted.io", "trusted.io:5000/x", False),
    ("trusted.io:5000", "trusted.io:5000/x", True),
    ("trusted.io", "trusted.io:443/x", True),
    ("trusted.io:443", "trusted.io/x", True),
    ("*.trusted.io:443", "a.trusted.io/x", True),
    ("trusted.io:05000", "trusted.io:5000/x", True),
    ("registry-1.docker.io/library", "nginx", True),
    ("[::1]", "[0:0:0:0:0:0:0:1]/x", True),
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
    ("pattern", "other", "reached"),
    [
        ("evil.io", "evil.io/x", True),
        ("evil.io/x", "evil.io", False),
        ("evil.io/x", "evil.io/x/*", True),
        ("evil.io/x", "evil.io:8443/x", True),
        ("evil.io:8443/x", "evil.io/x", False),
        ("evil.io:8443/x", "evil.io:443/x", False),
        ("evil.io/*/x", "evil.io/a/x", True),
        ("evil.io/*/x", "evil.io/a/y", False),
        ("evil.io/a-*", "evil.io/a-b*", True),
        ("evil.io/a-b*", "evil.io/a-*", False),
        ("evil.io/a-b", "evil.io/a-*", False),
        ("[::1]/x", "[::1]:5000/x", True),
        ("[::1]/x", "[::2]:5000/x", False),
        ("docker.io", "index.docker.io:443/library/*", True),
        ("docker.io/nginx", "docker.io/library/nginx", True),
        ("docker.io/nginx", "docker.io/library/httpd", False),
        ("docker.io/library/nginx", "docker.io/nginx", False),
        ("ghcr.io/nginx", "ghcr.io/library/nginx", False),
    ],
)
def test_pattern_reaches_all_of_another_one(pattern: str, other: str, *, reached: bool) -> None:
    assert parse_pattern(pattern).covers_all_names_of(parse_pattern(other)) is reached


@pytest.mark.parametrize(
    ("pattern", "image", "denied"),
    [
        ("evil.io", "evil.io/x", True),
        ("evil.io", "evil.io:443/x", True),
        ("evil.io", "evil.io:8443/x", True),
        ("evil.io:8443", "evil.io:8443/x", True),
        ("evil.io:8443", "evil.io/x", False),
        ("*.evil.io/x", "a.evil.io:80/x/y", True),
        ("evil.io", "evil.io.example.com:443/x", False),
        ("[::1]", "[::1]:5000/x", True),
        ("docker.io", "registry-1.docker.io/library/nginx", True),
        ("docker.io", "registry-2.docker.io/library/nginx", False),
        ("docker.io/nginx", "nginx", True),
        ("docker.io/nginx", "httpd", False),
        ("docker.io/nginx", "nginx/unit", True),
        ("index.docker.io/ngin*", "docker.io/library/nginx:1", True),
        ("docker.io/library/nginx", "DOCKER.IO/nginx", True),
        ("docker.io/library/*", "docker.io:443/nginx", True),
        ("docker.io/library/*", "acme/nginx", False),
        ("ghcr.io/nginx", "ghcr.io/library/nginx", False),
    ],
)
def test_denied_registry_is_denied_on_every_port_and_by_every_name(pattern: str, image: str, *, denied: bool) -> None:
    assert parse_pattern(pattern).covers_any_name_of(parse(image)) is denied


_HOSTS = st.sampled_from(
    ["evil.io", "EVIL.io", "docker.io", "index.docker.io", "registry-1.docker.io", "[::1]", "[0::1]"]
)


@given(_HOSTS, st.sampled_from(["", ":443", ":0443", ":5000", ":80"]))
def test_registry_has_one_name(host: str, port: str) -> None:
    name = canonical_registry(host + port)
    assert canonical_registry(name) == name == canonical_registry(name.upper())
    assert parse_pattern(host + port).covers(parse(f"{name}/a/b"))
    assert parse_pattern(name).covers(parse(f"{host}{port}/a/b"))


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ("robot:s3cret@host.io/x", "…@host.io/x"),
        ("robot:s3cret@host.io", "…@host.io"),
        ("robot:s3cret@host.io/x@" + SHA, "…@host.io/x@" + SHA),
        ("https://robot:s3@cret@host.io:5000/x:1", "…@host.io:5000/x:1"),
        ("host.io/x@" + SHA, "host.io/x@" + SHA),
        ("host.io/x@sha256:short", "host.io/x@sha256:short"),
        ("host.io/x:1", "host.io/x:1"),
        ("@host.io/x", "@host.io/x"),
        ("", ""),
    ],
)
def test_credentials_are_not_shown(image: str, shown: str) -> None:
    assert without_credentials(image) == shown


@given(
    st.from_regex(r"[a-z]{1,9}(:[^/@\n]{1,9})?", fullmatch=True),
    _HOSTS,
    st.sampled_from(["", "/x", "/x:1", "/x@" + SHA]),
)
def test_no_user_and_password_are_shown(user: str, host: str, rest: str) -> None:
    assert without_credentials(f"{user}@{host}{rest}") == f"…@{host}{rest}"


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("acme", "docker.io/library/acme"),
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
def test_pattern_that_means_nothing_is_denied_with_advice(pattern: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_pattern(pattern)


def test_many_wildcards_match_in_linear_time() -> None:
    pattern = parse_pattern("ghcr.io/" + "a*" * 200 + "b")
    assert not pattern.covers(Reference("ghcr.io", "a" * 250, None, None))
    assert pattern.covers(Reference("ghcr.io", "a" * 250 + "b", None, None))


_NAMES = st.from_regex(r"[a-zA-Z0-9._:\-]{0,12}(/[a-z0-9._\-]{0,8}){0,3}", fullmatch=True)
_TAGS = st.sampled_from(["", ":", ":1", ":latest", ":1.2.3_x", ":-a", ":" + "t" * 129])
_DIGESTS = st.sampled_from(["", "@", "@" + SHA, "@sha256:abc", "@" + SHA.upper(), "@md5:" + "0" * 32])
_ANYTHING = st.text("abcxyzABZ019._-/:@ é[]\n", max_size=40)


@given(st.one_of(st.builds("{}{}{}".format, _NAMES, _TAGS, _DIGESTS), _ANYTHING))
@example("a.b/c:d@sha256:" + "0" * 64)
@example("localhost/A")
@example("localhost:5000/a/b")
def test_parser_agrees_with_an_independent_one(image: str) -> None:
    """docker-image-py follows an older version of the same grammar; where the two differ, the difference is named."""
    try:
        ours: Reference | None = parse(image)
    except ImageError:
        ours = None
    try:
        theirs = oracle.Reference.parse_normalized_named(image)
    except Exception:  # it has no common base for its errors
        theirs = None
    if _is_read_differently(image):
        return
    assert (ours is None) is (theirs is None), image
    if ours is not None and theirs is not None:
        hostname, path = theirs.split_hostname()
        assert (ours.registry, ours.repository, ours.tag, ours.digest) == (
            canonical_registry(hostname),
            path,
            theirs["tag"],
            theirs["digest"],
        )


def _is_read_differently(image: str) -> bool:
    first, slash, _ = image.partition("/")
    digest = image.partition("@")[2]
    return (
        (bool(slash) and first != first.lower())  # an upper-case letter makes a registry since grammar v0.5
        or image.startswith("[")  # IPv6 registries came later too
        or image != image.rstrip("\n")  # `$` lets a trailing newline pass there
        or (bool(digest) and digest != SHA and not digest.startswith("sha256:0"))  # digests are checked less there
    )

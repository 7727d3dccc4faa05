"""References of images: all ways to write one, and texts that are none."""

from collections.abc import Iterator
from itertools import product
from typing import Final

DIGEST: Final = "sha256:" + "0123456789abcdef" * 4
_HOSTS: Final = (
    *("", "docker.io/", "index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/", "DOCKER.io/"),
    *(
        "docker.io:443/",
        "docker.io:5000/",
        "index.docker.io:0443/",
        "Index.docker.io/",
        "localhost/",
        "localhost:5000/",
    ),
    *("ghcr.io/", "GHCR.io:00443/", "ghcr.io:5000/", "ghcr.io:0/", "ghcr.io:000/", "ghcr.io.evil.com/", "evil.io/"),
    *(
        "a.evil.io:8443/",
        "[::1]/",
        "[::1]:5000/",
        "[ABCD]/",
        "[abcd]/",
        "FOO/",
        "foo/",
        "foo-/",
        "-foo.io/",
        "foo..io/",
    ),
    *("a_b.io/", "ghcr.io:/", "ghcr.io:port/", "user@ghcr.io/", "/", "//", "ex\u00e4mple.com/"),
)
_PATHS: Final = (
    *(
        "nginx",
        "acme/nginx",
        "library/nginx",
        "acme/web",
        "acme/tools/web",
        "acmeevil/web",
        "library/library",
        "team-a/x",
        "a__b/c-d.e",
    ),
    *("Acme/web", "library/nginx/x", "acme//web", "acme/web/", "a___b", "a-.b", ""),
)
_ENDS: Final = ("", ":latest", f":1.2@{DIGEST}", f"@{DIGEST}")
_OTHERS: Final = (
    *("nginx:5000", "nginx:", "nginx:-x", f"nginx:{'t' * 128}", f"nginx:{'t' * 129}", "0123456789abcdef" * 4),
    *(f"nginx@{DIGEST.upper()}", "nginx@sha256:abc", f"nginx@{DIGEST}@{DIGEST}", f"nginx@sha512:{'0' * 128}"),
    *(f"nginx@sha384:{'f' * 96}", "a" * 247, "a" * 248, f"ghcr.io/{'a' * 255}", f"ghcr.io/{'a' * 256}"),
    *(f"{'h' * 60}.io/{'a/' * 100}b", f"{'h.' * 400}io/{'a' * 200}", f"{'h.' * 450}io/{'a' * 200}", "a b", "ngi\tnx"),
    *(
        "nginx:1:2",
        "ghcr.io/nginx:1/2",
        "https://ghcr.io/acme/web",
        "localhost",
        "ghcr.io",
        "ghcr.io:5000",
        "\u95a2\u6240",
    ),
    *("a.b_c/x", "a.b_c", "host.io/a:b/c:d", "library/library/nginx", "docker.io/library", "x/y:latest"),
)


def image_references() -> Iterator[str]:
    """References of all kinds, each once."""
    written = ("".join(parts) for parts in product(_HOSTS, _PATHS, _ENDS))
    yield from dict.fromkeys(image for image in (*written, *_OTHERS) if image and image == image.strip())

"""An endless stream of reviews to one process, over a few connections that stay open; every answer is checked."""

import asyncio
import itertools
import random
import re
import ssl
from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from tests.drills.direct import hang_up
from tests.drills.traffic import DrillError
from tests.load import reviews

CONNECTIONS = 8
_VARYING = ("705ab4f5-6393-11e8-b7cc-42010a800002", '"shop"', "replicaset-controller")
"""The uid, the namespace and the user in the review that all requests are made from."""
_NAMESPACES = 5000


class Request(Struct, frozen=True):
    """A request as bytes, and a part that the body of its response must have."""

    kind: str
    content: bytes
    expected: bytes


class Template:
    """A kind of request. Each has a uid, namespace and user of its own, and all have the same length and head."""

    def __init__(self, kind: str, path: str, body: str, expected: bytes, weight: int) -> None:
        self.kind = kind
        self.weight = weight
        self._expected = expected
        self._pieces = re.split(f"({'|'.join(_VARYING)})", body)
        length = len(self._body(0))
        head = f"POST {path}?timeout=3s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        self._head = f"{head}Content-Length: {length}\r\n\r\n".encode()

    def request(self, number: int) -> Request:
        """The request with this number."""
        return Request(self.kind, self._head + self._body(number), self._expected)

    def _body(self, number: int) -> bytes:
        values = (f"{number:036}", f'"ns-{number % _NAMESPACES:04}"', f"user-{number:09}")
        fill = dict(zip(_VARYING, values, strict=True))
        return "".join([fill.get(piece, piece) for piece in self._pieces]).encode()


def requests(seed: int) -> Iterator[Request]:
    """Endless requests, the same for the same seed."""
    passing, violating = (reviews.review(reviews.pod(violates=violates)).decode() for violates in (False, True))
    templates = (
        Template("validate, passes", "/validate", passing, b'"allowed":true', 50),
        Template("validate, violates", "/validate", violating, b'"allowed":false', 15),
        Template("mutate", "/mutate", passing, b'"patch":', 25),
        Template("delete", "/validate", passing.replace('"CREATE"', '"DELETE"'), b'"allowed":true', 8),
        Template("malformed", "/validate", passing[:-9], b'{"error":', 1),
        Template("unknown path", "/unknown", passing, b'{"error":', 1),
    )
    generator = random.Random(seed)  # noqa: S311 - not a secret
    weights = [template.weight for template in templates]
    for number in itertools.count():
        (template,) = generator.choices(templates, weights)
        yield template.request(number)


async def send(address: str, port: int, stream: Iterator[Request], count: int) -> Counter[str]:
    """Send the next `count` requests, and count them by kind. Raises DrillError at the first bad answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    remaining = itertools.islice(stream, count)
    sent = Counter[str]()

    async def send_remaining() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for request in remaining:
            connection = connection or await asyncio.open_connection(address, port, ssl=context)
            reader, writer = connection
            writer.write(request.content)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
            if request.expected not in answer:
                raise DrillError(f"{request.kind}: answered with {head!r} {answer[:300]!r}")
            sent[request.kind] += 1
            if b"connection: close" in head:
                await hang_up([writer])
                connection = None
        if connection is not None:
            await hang_up([connection[1]])

    await asyncio.gather(*(send_remaining() for _ in range(CONNECTIONS)))
    return sent


def policies(generation: int) -> Iterator[tuple[str, bytes]]:
    """Names and JSON of 30 policies that judge and apply defaults; some of the names change with the generation."""
    match = {"namespaces": ["ns-*"]}
    specs = {
        "restricted": {"match": match, "podSecurityStandard": {"level": "restricted"}},
        "defaults": {
            "match": match,
            "defaults": {"profile": "restricted", "pod": {"automountServiceAccountToken": False}},
        },
        "images": {"match": match, "controls": {"images": {"trustedRegistries": ["registry.example.com/platform/*"]}}},
    }
    for number in range(27):
        selector = {"podSelector": {"matchLabels": {"team": f"team-{number}"}}}
        specs[f"team-{number}-{generation % 5}"] = {
            "match": match | selector,
            "controls": {"readOnlyRootFilesystem": {}},
        }
    for name, spec in specs.items():
        kind = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": name}}
        yield name, msgspec.json.encode(kind | {"spec": spec})

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
"""The uid, the namespace and the user of the one review that all are made of."""
_NAMESPACES = 5000


class Question(Struct, frozen=True):
    """A request, and a part of the only good answer to it."""

    kind: str
    request: bytes
    answer: bytes


class Template:
    """A kind of question whose uid, namespace and user differ each time; its length does not, nor does its head."""

    def __init__(self, kind: str, path: str, body: str, answer: bytes, weight: int) -> None:
        self.kind = kind
        self.weight = weight
        self._answer = answer
        self._pieces = re.split(f"({'|'.join(_VARYING)})", body)
        length = len(self._filled(0))
        head = f"POST {path}?timeout=3s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        self._head = f"{head}Content-Length: {length}\r\n\r\n".encode()

    def question(self, number: int) -> Question:
        """The question of this number."""
        return Question(self.kind, self._head + self._filled(number), self._answer)

    def _filled(self, number: int) -> bytes:
        values = (f"{number:036}", f'"ns-{number % _NAMESPACES:04}"', f"user-{number:09}")
        fill = dict(zip(_VARYING, values, strict=True))
        return "".join([fill.get(piece, piece) for piece in self._pieces]).encode()


def questions(seed: int) -> Iterator[Question]:
    """Endless, and the same for the same seed."""
    passing, violating = (reviews.review(reviews.pod(violates=violates)).decode() for violates in (False, True))
    templates = (
        Template("validate, passes", "/validate", passing, b'"allowed":true', 50),
        Template("validate, violates", "/validate", violating, b'"allowed":false', 15),
        Template("mutate", "/mutate", passing, b'"patch":', 25),
        Template("delete", "/validate", passing.replace('"CREATE"', '"DELETE"'), b'"allowed":true', 8),
        Template("malformed", "/validate", passing[:-9], b'{"error":', 1),
        Template("unknown path", "/unknown", passing, b'{"error":', 1),
    )
    chance = random.Random(seed)  # noqa: S311 - not a secret
    weights = [template.weight for template in templates]
    for number in itertools.count():
        (template,) = chance.choices(templates, weights)
        yield template.question(number)


async def send(address: str, port: int, reviews: Iterator[Question], count: int) -> Counter[str]:
    """Send the next `count` questions; how many of each kind there were. Raises DrillError at the first bad answer."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    left = itertools.islice(reviews, count)
    sent = Counter[str]()

    async def converse() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for question in left:
            connection = connection or await asyncio.open_connection(address, port, ssl=context)
            reader, writer = connection
            writer.write(question.request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
            if question.answer not in answer:
                raise DrillError(f"{question.kind}: answered with {head!r} {answer[:300]!r}")
            sent[question.kind] += 1
            if b"connection: close" in head:
                await hang_up([writer])
                connection = None
        if connection is not None:
            await hang_up([connection[1]])

    await asyncio.gather(*(converse() for _ in range(CONNECTIONS)))
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

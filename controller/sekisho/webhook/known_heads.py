"""Heads of requests that aiohttp has parsed once: the same head needs no parser again.

An API server writes the same head for each review, apart from the body's length. Only the head of a request that
aiohttp has read completely, and that was answered, is remembered. So all bytes are read as aiohttp reads them.
"""

from typing import Final

from aiohttp import web
from msgspec import Struct

MAX_HEAD_BYTES: Final = 2048
"""Longer heads are not remembered."""
MAX_HEADS: Final = 64
"""The most heads that are remembered. When another one comes, all are forgotten."""
MAX_BODY_BYTES: Final = 64 * 1024
"""Larger bodies are received by aiohttp, with the bounds for what arrives slowly."""
_POST: Final = b"POST "
_LENGTH: Final = b"\r\nContent-Length: "
_END: Final = b"\r\n\r\n"
_NEVER: Final = frozenset({"Transfer-Encoding", "Upgrade", "Expect"})
"""Headers of requests that may not end where their length says, or that need another answer first."""


class Arriving(Struct):
    """A request with a known head. `missing` are the bytes of its body that did not arrive yet."""

    target: str
    started: float
    missing: int
    start: int
    parts: list[bytes]

    def add(self, data: bytes) -> None:
        """Add what arrived after the first part."""
        self.parts.append(data)
        self.missing -= len(data)

    def data(self) -> bytes:
        """All that arrived, with the head."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class KnownHeads:
    """The heads of requests that aiohttp has parsed, without the length of the body."""

    def __init__(self) -> None:
        self._targets: dict[bytes, str] = {}

    def learn(self, head: bytes, request: web.BaseRequest) -> None:
        """Remember the head of a request, if another one with the same head differs in its body alone."""
        parts = _without_length(head)
        if parts is not None and _NEVER.isdisjoint(request.headers):
            if len(self._targets) >= MAX_HEADS:
                self._targets.clear()
            self._targets[parts[0]] = request.raw_path

    def recognize(self, data: bytes, now: float) -> Arriving | None:
        """The request that begins with these bytes; None where its head is not known, or its body is large."""
        parts = _without_length(data)
        if parts is None:
            return None
        key, length, start = parts
        target = self._targets.get(key)
        if target is None or length > MAX_BODY_BYTES:
            return None
        return Arriving(target, now, start + length - len(data), start, [data])


def target_of(data: bytes) -> str:
    """The target of the POST that data begins with; empty where there is none in the first bytes."""
    end = data.find(b" ", len(_POST), MAX_HEAD_BYTES)
    return data[len(_POST) : end].decode("latin-1") if end >= 0 and data.startswith(_POST) else ""


def _without_length(data: bytes) -> tuple[bytes, int, int] | None:
    """The head that data begins with, apart from the body's length; that length; and where the body begins.

    None where there is no whole head, or no such length. The rest of the head is not checked.
    """
    end = data.find(_END, 0, MAX_HEAD_BYTES)
    at = data.find(_LENGTH, 0, end) + len(_LENGTH)
    if end < 0 or at < len(_LENGTH):
        return None
    stop = data.find(b"\r\n", at)
    digits = data[at:stop]
    if not digits.isdigit() or len(digits) > len("8388608"):
        return None
    return data[:at] + data[stop:end], int(digits), end + len(_END)

"""The WWW-Authenticate header: how a registry wants its clients to authenticate.

Sources: RFC 9110, section 11.6.1, and https://distribution.github.io/distribution/spec/auth/token/
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

MAX_HEADER_LENGTH: Final = 8192
_SCHEME: Final = re.compile(r"[,\s]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?=\s+[^\s=,]+\s*=|\s*(?:,|$))")
_PARAMETER: Final = re.compile(r'[,\s]*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Challenge(Struct, frozen=True):
    """One scheme that a registry accepts.

    scheme: in lower case, bearer or basic or another one.
    parameters: their names in lower case.
    """

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """The challenges in the values of a header, in order; what cannot be read ends the value that it is in."""
    return tuple(challenge for header in headers for challenge in _challenges(header[:MAX_HEADER_LENGTH]))


def _challenges(header: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, bare = parameter.groups()
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare)
            position = parameter.end()
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges

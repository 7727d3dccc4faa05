"""Duplicate keys in JSON: of two values one would be judged, and another reader may take the other.

RFC 8259 (section 4) leaves open which of two members of the same name counts; so an object that has them says nothing.
"""

import json
from typing import Any, Final

from sekisho.errors import SekishoError

MAX_KEY_LENGTH: Final = 60


class DuplicateKeyError(SekishoError, ValueError):
    """An object has a key twice; the message is a clause that names the key."""


def deny_duplicates(text: bytes) -> None:
    """Raise DuplicateKeyError when an object in a JSON text has a key twice.

    Raises UnicodeDecodeError for what is not UTF-8, RecursionError for what is nested too deeply, and ValueError for
    what is no JSON.
    """
    json.loads(text.decode(), object_pairs_hook=_deny, parse_int=_skip, parse_float=_skip)


def _deny(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    seen: set[str] = set()
    for key, _ in members:
        if key in seen:
            shown = json.dumps(key if len(key) <= MAX_KEY_LENGTH else key[: MAX_KEY_LENGTH - 1] + "…")
            raise DuplicateKeyError(f"an object in it has the key {shown} twice")
        seen.add(key)


def _skip(_number: str) -> None:
    """Numbers are of no interest, and making one of a thousand digits costs."""

"""Duplicate keys in JSON: Sekisho would check one of the two values while another parser uses the other.

RFC 8259 (section 4) leaves open which of two members of the same name counts.
"""

import json
from typing import Any, Final

from sekisho.errors import SekishoError

MAX_KEY_LENGTH: Final = 60


class DuplicateKeyError(SekishoError, ValueError):
    """An object has a duplicate key; the message is a clause that names the key."""


def deny_duplicates(text: bytes) -> None:
    """Raise DuplicateKeyError when an object in a JSON text has a duplicate key.

    Raises UnicodeDecodeError for what is not UTF-8, RecursionError for what is nested too deeply, and ValueError for
    what is not JSON.
    """
    json.loads(text.decode(), object_pairs_hook=_deny, parse_int=_skip, parse_float=_skip)


def _deny(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    seen: set[str] = set()
    for key, _ in members:
        if key in seen:
            shown = json.dumps(key if len(key) <= MAX_KEY_LENGTH else key[: MAX_KEY_LENGTH - 1] + "…")
            raise DuplicateKeyError(f"an object in it has the duplicate key {shown}")
        seen.add(key)


def _skip(_number: str) -> None:
    """Numbers are not needed, and parsing one of a thousand digits is slow."""

"""Duplicate keys in JSON: Sekisho would check one of the two values while another parser uses the other.

RFC 8259 (section 4) leaves open which of two members of the same name counts. Go's parser also takes a key for a name
that differs only in case, and uses the last of them.
"""

import json
from collections.abc import Container, Iterable
from typing import Any, Final

from sekisho.errors import SekishoError

MAX_KEY_LENGTH: Final = 60


class DuplicateKeyError(SekishoError, ValueError):
    """An object has a key that some readers take for another; the message is a clause that names the key."""


def deny_duplicates(text: bytes) -> None:
    """Raise DuplicateKeyError when an object in a JSON text has a duplicate key.

    Raises UnicodeDecodeError for what is not UTF-8, RecursionError for what is nested too deeply, and ValueError for
    what is not JSON.
    """
    json.loads(text.decode(), object_pairs_hook=_deny, parse_int=_skip, parse_float=_skip)


def deny_look_alikes(value: Any, names: Iterable[str], exact: Container[str]) -> None:
    """Raise DuplicateKeyError when an object has a key that differs only in case from another one, or from a name.

    value: a JSON text, decoded.
    names: those that are read, in any object.
    exact: keys whose values are not checked, because every reader keeps case apart there.

    Source: https://pkg.go.dev/encoding/json#Unmarshal. Go also folds U+017F to s and U+212A to k; casefold folds more.
    """
    by_folded = {name.casefold(): name for name in names}
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, list):
            values += value
        elif isinstance(value, dict):
            seen: dict[str, str] = {}
            for key, member in value.items():
                folded = key.casefold()
                other = by_folded.get(folded) or seen.setdefault(folded, key)
                if other != key:
                    raise DuplicateKeyError(
                        f"an object in it has the key {_shown(key)}, which some readers take for {_shown(other)}"
                    )
                if key not in exact:
                    values.append(member)


def _deny(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    seen: set[str] = set()
    for key, _ in members:
        if key in seen:
            raise DuplicateKeyError(f"an object in it has the duplicate key {_shown(key)}")
        seen.add(key)


def _shown(key: str) -> str:
    return json.dumps(key if len(key) <= MAX_KEY_LENGTH else key[: MAX_KEY_LENGTH - 1] + "…")


def _skip(_number: str) -> None:
    """Numbers are not needed, and parsing one of a thousand digits is slow."""

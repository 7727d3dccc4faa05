"""The values of Kyverno's patterns, such as `"RuntimeDefault | Localhost"`, `"!*:latest"`, `">0"` and `"<=1Gi"`.

Source: https://kyverno.io/docs/policy-types/cluster-policy/validate/#operators
"""

import re
from typing import Any, Final

from sekisho.manifests.engines.requirements import Requirement, Test, Unreadable

MAX_ID: Final = 4294967295
_RANGE: Final = re.compile(r"(\d+)-(\d+)")
_QUANTITY: Final = re.compile(r"(<=|>=|<|>)\s*([0-9.]+[A-Za-z]*)")
_NOT_A_TEXT: Final = re.compile(r"[<>]|!-|\{\{|\?")


def value_test(value: Any) -> Requirement | Unreadable:
    """What a pattern's value requires, as a requirement without field; or why it cannot be read."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value).strip()
    if text == "?*":
        return Requirement("", Test.SET)
    if text == "null":
        return Requirement("", Test.UNSET)
    if "&" in text:
        return _all_of([part.strip() for part in text.split("&")])
    return _any_of([part.strip() for part in text.split("|")])


def _all_of(parts: list[str]) -> Requirement | Unreadable:
    if all(_is_negated(part) for part in parts):
        return Requirement("", Test.NOT_IN, tuple(part[1:].strip() for part in parts))
    numbers = [_QUANTITY.fullmatch(part) for part in parts]
    if len(parts) == 2 and all(number and number[2].isdecimal() for number in numbers):
        bounds = dict(_bound(part) for part in parts)
        if set(bounds) == {"least", "most"}:
            return Requirement("", Test.RANGES, ranges=((bounds["least"], bounds["most"]),))
    return Unreadable(f"the value {' & '.join(parts)!r} has an operator that is not known here")


def _any_of(parts: list[str]) -> Requirement | Unreadable:
    if len(parts) == 1 and _is_negated(parts[0]):
        return Requirement("", Test.NOT_IN, (parts[0][1:].strip(),))
    if all(_RANGE.fullmatch(part) for part in parts):
        return Requirement("", Test.RANGES, ranges=tuple(_range(part) for part in parts))
    quantity = _QUANTITY.fullmatch(parts[0]) if len(parts) == 1 else None
    if quantity is not None and quantity[1] in ("<=", ">=") and not quantity[2].isdecimal():
        return Requirement("", Test.AT_MOST if quantity[1] == "<=" else Test.AT_LEAST, (quantity[2],))
    if quantity is not None and quantity[2].isdecimal():
        kind, bound = _bound(parts[0])
        return Requirement("", Test.RANGES, ranges=((bound, MAX_ID) if kind == "least" else (0, bound),))
    if any(_is_negated(part) or _NOT_A_TEXT.search(part) for part in parts):
        return Unreadable(f"the value {' | '.join(parts)!r} has an operator that is not known here")
    return Requirement("", Test.IN, tuple(parts))


def _is_negated(part: str) -> bool:
    return part.startswith("!") and not _NOT_A_TEXT.search(part[1:])


def _range(part: str) -> tuple[int, int]:
    first, last = part.split("-")
    return int(first), int(last)


def _bound(part: str) -> tuple[str, int]:
    """Whether the number is the least or the most that is allowed, and the number, which is allowed itself."""
    operator, number = part.rstrip("0123456789").strip(), int(part.lstrip("<>= "))
    if operator.startswith(">"):
        return "least", number if operator == ">=" else number + 1
    return "most", number if operator == "<=" else number - 1

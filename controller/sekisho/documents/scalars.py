"""Plain scalars of YAML as Kubernetes reads them: which unquoted texts are booleans, numbers or null.

Source: go.yaml.in/yaml/v2, resolve.go, through sigs.k8s.io/yaml, with which every Kubernetes client reads manifests.
Timestamps are strings there, as JSON has none. `y` and `n` are booleans there and strings here: where the API expects a
boolean, that is an error, which denies and never admits.
"""

import re
from functools import lru_cache
from typing import Final

Scalar = str | bool | int | float | None

_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_FIRST_OF_NUMBERS: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|0[xX](?P<x>[0-9a-fA-F]+)|0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASES: Final = {"b": 2, "o": 8, "x": 16}
_MAX_WHOLE: Final = 1e21
"""From here on JSON writes a float with an exponent, and the API server does not read it as an integer."""


@lru_cache(maxsize=65536)
def resolve(text: str) -> Scalar:
    """The value of an unquoted text. Raises ValueError for a number with thousands of digits."""
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _FIRST_OF_NUMBERS else text


def _number(text: str) -> Scalar:
    digits = text.replace("_", "") if text[0] != "." else text
    integer = _INTEGER.fullmatch(digits)
    if integer is not None:
        base = integer.lastgroup
        if base is None:
            return int(digits)
        return int(integer[base], _BASES[base]) * (-1 if digits[0] == "-" else 1)
    if _FLOAT.fullmatch(digits) is None:
        return text
    number = float(digits)
    return int(number) if number.is_integer() and abs(number) < _MAX_WHOLE else number

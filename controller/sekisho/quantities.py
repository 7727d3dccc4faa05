"""Quantities such as `250m`, `1.5Gi` or `2e3`, as exact numbers.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from fractions import Fraction
from typing import Final

from sekisho.errors import SekishoError
from sekisho.remembered import Remembered

PATTERN = r"^[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
_QUANTITY = re.compile(r"([+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}))(.*)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SUFFIXES = {suffix: Fraction(10) ** power for suffix, power in _DECIMAL.items()} | {
    suffix: Fraction(2) ** power for suffix, power in _BINARY.items()
}
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]{1,2})")


class QuantityError(SekishoError, ValueError):
    """A text that is not a quantity."""


_VALUES: Final[Remembered[str, Fraction]] = Remembered(1 << 20, lambda text, _: 350 + len(text))


def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity. Raises QuantityError."""
    known = _VALUES.known.get(text)
    return _VALUES.get(text, _parse) if known is None else known


def _parse(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if match is not None:
        number, suffix = Fraction(match[1]), match[2]
        if suffix in _SUFFIXES:
            return number * _SUFFIXES[suffix]
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is not None:
            return number * Fraction(10) ** int(exponent[1])
    raise QuantityError(f"{text[:40]!r} is not a quantity such as 250m, 2 or 1.5Gi")

"""Quantities are exact."""

from fractions import Fraction

import pytest

from sekisho.quantities import QuantityError, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1", 1),
        ("1000m", 1),
        ("250m", Fraction(1, 4)),
        ("1.5", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1Ki", 1024),
        ("1.5Gi", 3 * 2**29),
        ("1k", 1000),
        ("2E", 2 * 10**18),
        ("2e3", 2000),
        ("2E3", 2000),
        ("1e-3", Fraction(1, 1000)),
        ("-1", -1),
        ("+1n", Fraction(1, 10**9)),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_quantity_is_exact(text: str, number: int | Fraction) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize(
    "text", ["", "m", "1 Gi", "1gi", "1KI", "1e", "1e1000", "0x10", "1_000", "NaN", "inf", "1\n", "9" * 100]
)
def test_invalid_quantity_is_denied(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)

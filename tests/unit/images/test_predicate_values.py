"""Values at paths of what an attestation says."""

import json
import re
from typing import Any

import pytest

from sekisho.images.predicate_values import (
    MAX_READ_BYTES,
    MAX_VALUE_LENGTH,
    PATH_PATTERN,
    as_json,
    needed_path,
    paths_of,
    read_values,
)
from sekisho.images.statements import NotASignatureError
from tests.unit.images.scan_data import scan_statement

PREDICATE = {
    "passed": True,
    "count": 3,
    "level": "high",
    "ratio": 1.5,
    "none": None,
    "tests": [{"name": "unit"}, {"name": "load", "passed": False}],
    "acme.example/owner": "pay",
    "0": "a name",
    "nested": {"passed": "yes"},
}


def values(*paths: str, predicate: Any = PREDICATE) -> dict[str, str]:
    return dict(read_values(scan_statement(predicate), paths))


def test_values_are_read_with_their_types() -> None:
    read = values(".passed", ".count", ".level", ".tests[1].name", "['acme.example/owner']", "['0']")
    assert read == {
        ".passed": "true",
        ".count": "3",
        ".level": '"high"',
        ".tests[1].name": '"load"',
        "['acme.example/owner']": '"pay"',
        "['0']": '"a name"',
    }
    assert as_json(1) != as_json("1") != as_json(True)


@pytest.mark.parametrize("path", [".missing", ".ratio", ".none", ".tests", ".nested", ".tests[2]", ".passed.x", "[0]"])
def test_only_short_texts_integers_and_booleans_are_kept(path: str) -> None:
    assert values(path, ".passed") == {".passed": "true"}


def test_a_path_may_begin_another() -> None:
    both = {"a": {"b": 1}}
    assert values(".a", ".a.b", predicate=both) == {".a.b": "1"}


def test_two_spellings_of_a_path_have_the_same_value() -> None:
    assert values(".passed", "['passed']") == {".passed": "true", "['passed']": "true"}


def test_long_value_is_left_out() -> None:
    assert values(".a", predicate={"a": "x" * (MAX_VALUE_LENGTH - 2)})
    assert not values(".a", predicate={"a": "x" * (MAX_VALUE_LENGTH - 1)})


def test_integer_is_exact() -> None:
    assert values(".a", predicate={"a": 2**53 + 1}) == {".a": "9007199254740993"}


def test_large_statement_is_not_read() -> None:
    large = {"a": 1, "b": "x" * MAX_READ_BYTES}
    assert values(predicate=large) == {}
    with pytest.raises(NotASignatureError, match=r"one whose values policies compare has at most 1,048,576"):
        values(".a", predicate=large)


def test_values_have_a_size_together() -> None:
    many = {f"a{number}": "x" * 120 for number in range(100)}
    assert len(values(*(f".a{number}" for number in range(60)), predicate=many)) == 60
    with pytest.raises(NotASignatureError, match=r"the values that policies compare in it have 12,590 bytes"):
        values(*(f".a{number}" for number in range(100)), predicate=many)


def test_paths_of_a_type() -> None:
    needed = ["https://a", needed_path("https://a", ".x"), needed_path("https://ab", ".y")]
    assert paths_of("https://a", needed) == [".x"]


@pytest.mark.parametrize("path", [".a", ".a_b-c[0]", "['x.y/z'].a", "[12][3]"])
def test_path_in_the_right_form(path: str) -> None:
    assert re.fullmatch(PATH_PATTERN, path)


@pytest.mark.parametrize("path", ["", "a", "$.a", ".a.", ".a[*]", ".a[-1]", "['']", ".a[01]", "..a", ".a['b"])
def test_path_in_another_form(path: str) -> None:
    assert not re.fullmatch(PATH_PATTERN, path)


def test_long_list_is_read() -> None:
    long = json.dumps(list(range(100_000)))
    assert len(long) < MAX_READ_BYTES
    assert values("[99999]", "[0]", predicate=json.loads(long)) == {"[99999]": "99999", "[0]": "0"}

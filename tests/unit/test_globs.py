"""Wildcards: the search for a part gives what `str.find` gives, and long parts do not make it slow."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.globs import Globs, find, glob_matches

SLOW_PARTS = ["a" * 49 + "b" + "a" * 48, "a" * 120 + "b" + "a" * 120]


@pytest.mark.parametrize("part", SLOW_PARTS)
@pytest.mark.parametrize("at", [None, 0, 7, 1500, 1999])
@pytest.mark.parametrize(("position", "end"), [(0, None), (5, None), (0, 1800), (7, 1950)])
def test_a_long_part_is_found_where_str_finds_it(part: str, at: int | None, position: int, end: int | None) -> None:
    text = "a" * 2000 if at is None else ("a" * at + part + "a" * 2000)[: 2000 + len(part) // 2]
    assert find(part, text, position, end) == text.find(part, position, end)


def test_what_the_search_adds_to_a_text_never_matches() -> None:
    text = "a" * 2400
    assert find("a" * 50 + "\0" * 50, text) == -1
    assert not glob_matches("*" + "a" * 50 + "\0" * 50 + "*", text)
    assert glob_matches("*" + "a" * 50 + "\0" * 50 + "*", text + "\0" * 50)


@pytest.mark.parametrize("part", SLOW_PARTS)
def test_a_long_part_takes_as_long_as_a_short_one_to_be_missed(part: str) -> None:
    text = "a" * 29_000
    assert cpu_seconds(lambda: glob_matches(f"*{part}*", text)) < 10 * cpu_seconds(lambda: text.find("aaab"))


def cpu_seconds(call: Callable[[], object]) -> float:
    """The CPU time of 20 calls, the shortest of several measurements."""
    seconds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(20):
            call()
        seconds.append(time.process_time() - started)
    return min(seconds)


@given(st.lists(st.text("ab*", max_size=6), max_size=5), st.text("ab", max_size=8))
def test_compiled_patterns_match_what_one_of_them_matches(patterns: list[str], text: str) -> None:
    assert Globs.of(patterns).match(text) is any(glob_matches(pattern, text) for pattern in patterns)

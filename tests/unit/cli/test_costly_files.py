"""Files that a stranger made: reading them takes time and memory in step with their size."""

import json
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from sekisho.documents.lists import split_list
from sekisho.documents.streams import split_stream
from sekisho.manifests.ignore_comments import ignore_comments
from sekisho.manifests.texts import Source

MAX_SECONDS: Final = 1.0
"""Of CPU, several times as much as any of these takes on a busy machine; some took minutes."""
HEAD: Final = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
COMMENT: Final = "# sekisho: ignore[hostPorts] why"


def cpu_of(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def commented(text: str) -> Source:
    return Source("f.yaml", 0, HEAD + text, None, True)


def test_a_list_of_very_many_items_on_one_line_is_cut_in_little_time() -> None:
    pod = {"kind": "Pod", "spec": {"containers": [{"image": "x" * 2000}]}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod] * 4000})
    assert cpu_of(lambda: split_list(text)) < MAX_SECONDS


def test_a_stream_of_very_many_values_on_one_line_is_cut_in_little_time_and_memory() -> None:
    pieces: list[tuple[int, str]] = []
    assert cpu_of(lambda: pieces.extend(split_stream('{"a":1}' * 30_000))) < MAX_SECONDS
    assert len(pieces) == 30_000
    assert sum(len(piece) for _, piece in pieces) < 20 << 20


def test_a_value_keeps_its_place_in_a_stream() -> None:
    text = '{"a":1}{"b":2}\n  {"c":3} {"d":\n4}{"e":5}\n'
    lines = text.split("\n")
    for line, piece in split_stream(text):
        key = next(letter for letter in "abcde" if f'"{letter}"' in piece)
        at = piece.index(f'"{key}"')
        below = piece.count("\n", 0, at)
        column = at - (piece.rfind("\n", 0, at) + 1)
        assert lines[line + below][column : column + 3] == f'"{key}"'


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param(f"{COMMENT}\n" * 4000 + "a: b\n", 4000, id="comments below each other"),
        pytest.param("# sekisho: ignore[\n" * 8000, 0, id="open brackets"),
        pytest.param(f"{COMMENT} {' ' * 200_000}y\n", 1, id="spaces in a reason"),
        pytest.param("l:\n" + f'- "a" {COMMENT}\n' * 4000, 4000, id="comments beside quoted texts"),
    ],
)
def test_very_many_comments_are_read_in_little_time(text: str, count: int) -> None:
    source = commented(text)
    list_of_comments: list[int] = []
    assert cpu_of(lambda: list_of_comments.append(len(ignore_comments(source)[0]))) < 4 * MAX_SECONDS
    assert list_of_comments == [count]


def test_a_comment_is_about_the_next_line_with_a_value_and_quoted_texts_have_none() -> None:
    source = commented(f'{COMMENT}\n\n# another\na: 1\nb: "  {COMMENT}"\nc: 2  {COMMENT} \t\n{COMMENT}\n')
    comments, problems = ignore_comments(source)
    assert not problems
    assert [(comment.location, comment.line, comment.reason) for comment in comments] == [
        ("f.yaml:4:1", 7, "why"),
        ("f.yaml:9:7", 9, "why"),
        ("f.yaml:10:1", 10, "why"),
    ]


def test_a_key_below_a_comment_is_not_part_of_it() -> None:
    assert ignore_comments(commented("#\nsekisho: ignore[hostPorts] x\n")) == ([], [])

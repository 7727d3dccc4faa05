"""Changing values in the text of documents: what changes, and that everything else keeps its bytes."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.documents import Edited, read_documents, with_values, write_document

Change = Callable[[Any], object]


def changed(text: str, *changes: Change) -> Edited:
    """The text after the changes of its documents' values."""
    documents = list(read_documents(text, "f"))
    expected = [deepcopy(document.value) for document in documents]
    for change, value in zip(changes, expected, strict=True):
        change(value)
    return with_values(text, documents, expected)


def put(**fields: Any) -> Change:
    return lambda value: value.update(fields)


def without(*names: str) -> Change:
    return lambda value: [value.pop(name) for name in names]


def below(name: str | int, change: Change) -> Change:
    return lambda value: change(value[name])


CASES: list[tuple[str, Change, str]] = [
    ("a: 1 # one\nb: 'x'  # two\n# end\n", put(a=2), "a: 2 # one\nb: 'x'  # two\n# end\n"),
    ("a: 1 # one\n# end\n", put(b="x: y"), "a: 1 # one\nb: 'x: y'\n# end\n"),
    ("a: 1 # one", put(b=[1]), "a: 1 # one\nb:\n- 1"),
    ("a:\n  - 1\n", put(b=[{"c": [2], "d": {}}]), "a:\n  - 1\nb:\n  - c:\n      - 2\n    d: {}\n"),
    ("a:\r\n- 1 # x\r\n", put(b={"c": 1}), "a:\r\n- 1 # x\r\nb:\r\n  c: 1\r\n"),
    ("a: # why\n  b: 1 # x\n  c: 2\n", below("a", without("b")), "a: # why\n  c: 2\n"),
    ("a: # why\n  b: 1\nc: 2\n", below("a", without("b")), "a: {} # why\nc: 2\n"),
    ("a:\n  b: 1 # x\n  # kept\nc: 2\n", put(a={"d": {"e": 1}}), "a:\n  d:\n    e: 1\n  # kept\nc: 2\n"),
    ("a:\n- b: 1\n  # kept\n  c: 2\n", below("a", below(0, without("b"))), "a:\n- # kept\n  c: 2\n"),
    ("a:\n- b: 1\n", below("a", below(0, without("b"))), "a:\n- {}\n"),
    ("a:\n- 1 # x\n- 2 # y\n", below("a", lambda a: a.pop(0)), "a:\n- 2 # y\n"),
    ("a:\n- 1\n- 2 # y\n", below("a", lambda a: a.append("3")), "a:\n- 1\n- 2 # y\n- '3'\n"),
    ("a:\n- 1\n", below("a", lambda a: a.pop()), "a: []\n"),
    ("a: {} # x\nb: []\n", put(a={"c": 1}, b=[1]), "a:\n  c: 1 # x\nb:\n- 1\n"),
    ("a:\nb: # x\n", put(a={"c": 1}, b=2), "a:\n  c: 1\nb: 2 # x\n"),
    ("a: ~ # x\n", put(a={"c": 1}), "a:\n  c: 1 # x\n"),
    ("a: |\n  x\n\nb: >-\n  y\n", put(a="z", c=1), "a: z\nb: >-\n  y\nc: 1\n"),
    (
        "a:\n  - b:\n      c: |\n        x\n\n  - d\n",
        below("a", below(0, below("b", put(e=1)))),
        "a:\n  - b:\n      c: |\n        x\n\n      e: 1\n  - d\n",
    ),
    ("a: # x\n- |\n  b", put(c=1), "a: # x\n- |-\n  b\nc: 1"),
    ("a:\n  b: |\n    c", lambda v: (v.update(e=2), v["a"].update(d=1)), "a:\n  b: |-\n    c\n  d: 1\ne: 2"),
    ("a: []", put(b=1), "a: []\nb: 1"),
    ("a: # x\n- >-\n  b", put(c=1), "a: # x\n- >-\n  b\nc: 1"),
    ("{a: 1, b: [2, 3], c: 4}\n", without("a"), "{b: [2, 3], c: 4}\n"),
    ("{a: 1, b: [2, 3], c: 4}\n", without("b", "c"), "{a: 1}\n"),
    ("a: {b: 1}\n", below("a", put(c={"d": [1]})), "a: {b: 1, c: {d: [1]}}\n"),
    (
        "a: [1, # one\n    2, # two\n   ]\n",
        below("a", lambda a: a.append(3)),
        "a: [1, # one\n    2,\n    3, # two\n   ]\n",
    ),
    ('{\n  "a": 1,\n  "b": []\n}\n', put(c={"d": "é"}), '{\n  "a": 1,\n  "b": [],\n  "c": {"d": "é"}\n}\n'),
    ('{"a": {}, "b": []}', put(a={"c": 1}, b=[True]), '{"a": {"c": 1}, "b": [true]}'),
    ("a: true\n", put(a=1), "a: 1\n"),
    ("a: &x {b: 1}\nc: *x\n", lambda v: [one.update(b=2) for one in v.values()], "a: &x {b: 2}\nc: *x\n"),
    ("a: &x {b: 1}\nc:\n  <<: *x\n", below("c", put(b=2)), "a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\n"),
    (
        "a:\n- name: x\n  b: 1\n- name: y # y\n",
        lambda v: v.update(a=[{"name": "y", "c": 2}]),
        "a:\n- name: y # y\n  c: 2\n",
    ),
]


@pytest.mark.parametrize(("text", "change", "after"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_only_what_changes_is_written(text: str, change: Change, after: str) -> None:
    assert changed(text, change) == Edited(after)


def test_an_alias_of_which_one_use_changes_is_written_out() -> None:
    assert changed("a: &x {b: 1}\nc: *x # x\n", below("c", put(b=2))) == Edited("a:\n  b: 1\nc:\n  b: 2\n", True)
    assert changed('{"a": &x [1], "c": *x}', put(c=[2])).text == '{\n  "a": [\n    1\n  ],\n  "c": [\n    2\n  ]\n}\n'


def test_documents_with_directives_are_changed_in_one_text() -> None:
    text = "%YAML 1.1\n--- # one\na: 1\n...\n%YAML 1.1\n---\nb: 2 # two\n"
    assert changed(text, put(a=3), put(b=4)).text == text.replace("a: 1", "a: 3").replace("b: 2", "b: 4")


TEXTS = st.sampled_from(
    ["", "a", "- b", "a: b", "x\ny\n", "x\n\n", " x", "'", '"', "#", " #", "yes", "1", "~", "&a", "é", "{"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdefgh"), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcdefgh"), VALUES, min_size=1, max_size=5)
FORMS: tuple[Callable[[Any], str], ...] = (write_document, json.dumps, lambda value: json.dumps(value, indent=2))


@given(OBJECTS, OBJECTS, st.sampled_from(FORMS))
def test_any_value_becomes_any_other(before: Any, after: Any, form: Callable[[Any], str]) -> None:
    text = form(before)
    edited = changed(text, lambda value: (value.clear(), value.update(after)))
    assert [document.value for document in read_documents(edited.text, "f")] == [after]
    again = list(read_documents(edited.text, "f"))
    assert with_values(edited.text, again, [after]) == Edited(edited.text)


@given(OBJECTS, st.sampled_from("abcdefgh"), VALUES)
def test_comments_stay_when_one_field_changes(before: Any, name: str, value: Any) -> None:
    kept = [f"# {key}" for key in before]
    fields = [write_document({key: one}) for key, one in before.items()]
    text = "".join(f"{comment}\n{field}" for comment, field in zip(kept, fields, strict=True))
    edited = changed(text, put(**{name: value}))
    assert not edited.is_rewritten
    assert [line for line in edited.text.splitlines() if line.startswith("# ")] == kept

"""Large lists, as `kubectl get -A -o yaml` writes them: their items are read one by one, with the same results."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sekisho.documents import reading, split_list, write_document
from sekisho.manifests import Source, fixes, sources
from sekisho.manifests.objects import Manifest, read_manifests
from tests.unit.cli.sekisho_command import sekisho

ITEM = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
BAD = ITEM | {"spec": {"hostPID": True}}
TAIL = 'metadata:\n  resourceVersion: ""\n'


def read(text: str, *, split: bool) -> list[Any]:
    whole = Source("f", 0, text)
    texts_of_items = split_list(text) if split else None
    texts = (
        [Source("f", line, piece, texts_of_items.inherited) for line, piece in texts_of_items.pieces]
        if texts_of_items
        else [whole]
    )
    return [
        (item.value, item.group, item.kind, item.document.location(item.at))
        if isinstance(item, Manifest)
        else str(item)
        for item in read_manifests(texts)
    ]


def listed(items: list[dict[str, Any]], kind: str = "List", indent: int = 0) -> str:
    blocks = "".join(yaml.safe_dump([item], default_flow_style=False) for item in items)
    indented = "".join(" " * indent + line for line in blocks.splitlines(keepends=True))
    return f"apiVersion: v1\nitems:\n{indented}kind: {kind}\n{TAIL}"


TEXTS = st.sampled_from(["a", "- b", "x\n- y\nitems:\n- z\n", "'", '"', "kind: List", "#", "&a", "*a", "---", "é", ""])
ITEMS = st.lists(
    st.fixed_dictionaries({"data": st.dictionaries(TEXTS, TEXTS, max_size=3)}, optional={"kind": st.just("Pod")}),
    min_size=1,
    max_size=4,
)


@given(ITEMS, st.sampled_from(["List", "PodList"]), st.integers(0, 3))
def test_items_are_those_of_the_whole_list(items: list[dict[str, Any]], kind: str, indent: int) -> None:
    text = listed(items, kind, indent)
    assert read(text, split=True) == read(text, split=False)


@given(ITEMS, st.sampled_from(["List", "PodList"]), st.sampled_from([None, 1, 4]))
def test_items_of_json_are_those_of_the_whole_list(items: list[dict[str, Any]], kind: str, indent: int | None) -> None:
    document = {"apiVersion": "v1", "items": items, "kind": kind, "metadata": {"resourceVersion": ""}}
    text = json.dumps(document, indent=indent)
    split = read(text, split=True)
    whole = read(text, split=False)
    if indent is None:  # a long line has no places that anybody reads
        split, whole = ([item[:3] for item in documents] for documents in (split, whole))
    assert split == whole
    assert split_list(text) is not None


def test_text_that_looks_like_an_anchor_does_not_keep_a_list_whole() -> None:
    script = "exec app &>/dev/null || kill &pid; ls *.txt"
    text = listed([ITEM | {"spec": {"containers": [{"name": "a", "args": [script, f"set -e\n{script}\n"]}]}}] * 2)
    assert split_list(text) is not None
    assert read(text, split=True) == read(text, split=False)


def test_a_list_of_sekishos_own_writing_is_split() -> None:
    text = write_document({"apiVersion": "v1", "kind": "List", "items": [ITEM, BAD]})
    items = split_list(text)
    assert items is not None
    assert len(items.pieces) == 2
    assert read(text, split=True) == read(text, split=False)


WHOLE = [
    "apiVersion: v1\nkind: List\nitems: []\n",
    "apiVersion: v1\nkind: ConfigMap\nitems:\n- a\n",
    "kind: List\nitems:\n- a\n",
    "apiVersion: v1\nkind: List\nitems:\n- a\nitems:\n- b\n",
    "apiVersion: v1\nkind: List\nitems:\n- &a {b: c}\n- *a\n",
    'apiVersion: v1\nkind: List\nx: "\nitems:\n- a\n',
    'apiVersion: v1\nkind: List\nitems:\n- a: "\nb"\n',
    "apiVersion: v1\nkind: List\nitems:\n  a: b\n",
    "apiVersion: v1\nkind: List\nitems:\n- a\nitems: []\n",
    '{"apiVersion": "v1", "kind": "List", "items": []}',
    '{"apiVersion": "v1", "kind": "ConfigMap", "items": ["a"]}',
    '{"apiVersion": "v1", "kind": "List", "items": ["a"], "items": ["b"]}',
    '{"apiVersion": "v1", "kind": "List", "items": [], "items": ["b"]}',
    '{"apiVersion": "v1", "kind": "List", "kind": "List", "items": ["b"]}',
    '{"apiVersion": "v1", "kind": "List", "metadata": ["b"], "items": ["b"]}',
    '{"apiVersion": "v1", "kind": "List", "items": ["b"',
]


@pytest.mark.parametrize("text", WHOLE)
def test_other_documents_are_read_as_a_whole(text: str) -> None:
    assert split_list(text) is None


def test_a_quoted_text_across_items_cannot_be_read() -> None:
    text = 'apiVersion: v1\nkind: List\nitems:\n- a: "\n- b"\n'
    assert any(isinstance(item, str) for item in read(text, split=True))


@pytest.mark.parametrize("indent", [0, 2])
def test_fix_changes_only_the_items_of_a_large_list_that_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int
) -> None:
    monkeypatch.setattr(fixes, "LARGE_LIST", 1000)
    worse = BAD | {"metadata": {"name": "worse", "annotations": {"script": "a\n\n  b: |\n- c\n"}}}
    written = listed([*[ITEM] * 50, BAD, worse, *[ITEM] * 50], indent=indent).replace("name: p", "name:  p")
    (tmp_path / "list.yaml").write_text(written)
    monkeypatch.setattr(reading, "MAX_VALUES", 500)
    result = sekisho("fix", "--all", "--standard", "baseline", tmp_path / "list.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    [fixed] = yaml.safe_load_all(result.output)
    good = {"hostPID": False}
    assert fixed["items"] == [*[ITEM] * 50, BAD | {"spec": good}, worse | {"spec": good}, *[ITEM] * 50]
    assert result.output.count("name:  p") == 101
    assert result.output.endswith(f"kind: List\n{TAIL}")


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("first", ["apiVersion", "items"])
def test_fix_reads_a_list_in_json_with_more_values_than_a_document_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, first: str
) -> None:
    monkeypatch.setattr(fixes, "LARGE_LIST", 1000)
    document = {"apiVersion": "v1", "items": [*[ITEM] * 50, BAD, ITEM], "kind": "List", "metadata": {"x": "1"}}
    document = {first: document[first]} | document
    (tmp_path / "list.json").write_text(json.dumps(document, indent=indent))
    small = sekisho("fix", "--all", "--standard", "baseline", tmp_path / "list.json")
    monkeypatch.setattr(reading, "MAX_VALUES", 500)
    result = sekisho("fix", "--all", "--standard", "baseline", tmp_path / "list.json")
    assert (result.exit_code, result.stderr) == (0, "")
    fixed = json.loads(result.output)
    assert fixed == document | {"items": [*[ITEM] * 50, BAD | {"spec": {"hostPID": False}}, ITEM]}
    assert [*fixed] == [*document]
    assert result.output == small.output


def test_fix_leaves_a_list_in_json_as_it_is_where_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixes, "LARGE_LIST", 1000)
    text = json.dumps({"apiVersion": "v1", "items": [ITEM] * 50, "kind": "List"}, indent=4) + "\n"
    (tmp_path / "list.json").write_text(text)
    assert sekisho("fix", "--all", "--standard", "baseline", tmp_path / "list.json").output == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (listed([*[ITEM] * 100, BAD]), f"{2 + 100 * 7 + 6}:5"),
        (
            json.dumps({"apiVersion": "v1", "items": [*[ITEM] * 100, BAD], "kind": "List"}, indent=4),
            f"{3 + 100 * 14 + 8}:17",
        ),
    ],
    ids=["yaml", "json"],
)
def test_check_reads_a_list_with_more_values_than_a_document_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str
) -> None:
    monkeypatch.setattr(reading, "MAX_VALUES", 500)
    monkeypatch.setattr(sources, "LARGE_LIST", 1000)
    (tmp_path / "list.yaml").write_text(text)
    result = sekisho("check", "--standard", "baseline", tmp_path / "list.yaml")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "101 checked: 100 pass, 1 denied" in result.output
    assert f"{tmp_path / 'list.yaml'}:{place}: denied" in result.output

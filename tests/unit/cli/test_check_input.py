"""What `sekisho check` reads, and its errors for what it cannot read."""

import itertools
import os
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sekisho.documents import DocumentError, read_documents, reading, split_documents, write_document
from sekisho.manifests import Checker, Namespaces, fix_source, read_sources, sources, sources_of
from sekisho.manifests.policy_loading import policy_of_standard
from sekisho.policies import PolicySet
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, POD, sekisho

BAD_INPUT = [
    (POD % "" + "  containers: []\n", "<stdin>:6:3: duplicate key 'containers'"),
    ("kind: Pod\n", "<stdin>:1:1: is not a Kubernetes object: it needs apiVersion and kind"),
    ("- a\n", "<stdin>:1:1: is not a Kubernetes object"),
    ("apiVersion: v1\nkind: [Pod]\n", "<stdin>:1:1: is not a Kubernetes object"),
    ("apiVersion: v1\nkind: List\nitems: [5]\n", "<stdin>:3:9: is not a Kubernetes object"),
    ("a: b: c\n", "<stdin>:1:5: mapping values are not allowed"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {}\nspec:\n\thostPID: true\n", "<stdin>:5:1: a tab cannot indent YAML"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {}\nspec:\n  hostPID: maybe\n", "<stdin>:5:3: spec.hostPID: Expected"),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{image: 5}]}\n",
        "<stdin>:4:22: spec.containers[0].image: Expected",
    ),
    ("a: &a [1]\nb: *c\n", "<stdin>:2:4: found undefined alias"),
    ("a: !secret x\n", "<stdin>:1:4: has the tag !secret, for which JSON has no type"),
    ("a: !!set {b}\n", "<stdin>:1:4: has the tag !!set"),
    ("a: !!int x\n", "<stdin>:1:4: cannot be read as !!int"),
    ("? [a]\n: b\n", "<stdin>:1:3: a key must be a string"),
    ("~: b\n", "<stdin>:1:1: a key must be a string"),
    (f"a: {'9' * 5000}\n", "<stdin>:1:4: is a number with too many digits"),
    (f"? {'9' * 5000}\n: a\n", "<stdin>:1:3: is a number with too many digits"),
    ("a: {<<: 5}\n", "<stdin>:1:9: << requires a mapping"),
    ("# é\na: \x00\n", "<stdin>:2:4: has a character that YAML does not allow"),
    ("", "<stdin>: is empty"),
    (b"a: \xff\n", "<stdin>:1: is not UTF-8 text"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_INPUT)
def test_bad_manifest_is_reported_with_its_place(text: str | bytes, expected: str) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert result.exit_code == 2
    assert expected in result.output


GOOD_INPUT = [
    POD % "",
    "# nothing but a comment\n",
    "\ufeff" + GOOD_POD,
    "%YAML 1.1\n---\n" + GOOD_POD + "...\n%YAML 1.1\n---\n" + GOOD_POD,
    '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostPID": false}}',
    "apiVersion: v1\nkind: Pod\nmetadata: {name: !!str 5}\nspec: {hostPID: off}\n",
    "x: &x {hostPID: false}\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {<<: *x, hostIPC: false}\n",
    "apiVersion: v1\nkind: List\nitems: []\n",
]


@pytest.mark.parametrize("text", GOOD_INPUT)
def test_good_near_twin_of_a_bad_manifest_is_read(text: str) -> None:
    assert sekisho("check", "--standard", "baseline", "-", text=text).exit_code == 0


def test_a_document_that_cannot_be_read_does_not_hide_the_others() -> None:
    text = f"{BAD_POD}---\na: b: c\n--- # another\n{BAD_POD}--- {{a: [}}\n---\n{GOOD_POD}"
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert result.exit_code == 2
    for location in (
        "<stdin>:1:1: Pod default/bad",
        "<stdin>:6:5: mapping",
        "<stdin>:8:1: Pod",
        "<stdin>:12:10: did not",
    ):
        assert location in result.output
    assert "3 checked: 1 pass, 2 denied; 2 unreadable" in result.output


def test_a_separator_in_a_block_of_text_does_not_end_a_document() -> None:
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  f: |\n    a\n    ---\n    b\n---\n{BAD_POD}"
    )
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, "<stdin>:13:8: denied" in result.output) == (1, True)


@given(st.lists(st.sampled_from([GOOD_POD, "---\n", "--- x\n", "a: |\n  ---\n", "...\n", "# c\n", "b: 'x\n  y'\n"])))
def test_split_documents_are_the_documents(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        whole = [(document.value, document.position(())) for document in read_documents(text, "f")]
    except DocumentError:
        return
    split = [
        (document.value, document.position(()))
        for line, piece in split_documents(text)
        for document in read_documents(piece, "f", line)
    ]
    assert split == whole


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghij")
)
LAUGHS = "x: &x {y: &y {a: 1}}\nz: {<<: [*x, *y], b: *x}\n"


@pytest.mark.parametrize("head", ["", "apiVersion: v1\nkind: Pod\n"])
def test_aliases_that_multiply_are_rejected(head: str) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=head + BOMB)
    assert result.exit_code == 2
    assert "becomes too large by its aliases" in result.output
    recursive = sekisho("check", "--standard", "baseline", "-", text=head + "a: &a [*a]\n")
    assert (recursive.exit_code, "nested too deeply" in recursive.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "aliases", "is_too_large"),
    [('&a "%s"', 50, True), ('&a {? "%s" : 1}', 50, True), ('&a "%s"', 10, False), ('&a {? "%s" : 1}', 10, False)],
)
def test_aliases_of_a_long_text_are_bounded_by_its_length(text: str, aliases: int, *, is_too_large: bool) -> None:
    written = f"a: {text % ('x' * 200_000)}\nb: [{', '.join(['*a'] * aliases)}]\n"
    with pytest.raises(DocumentError, match="too large by its aliases") if is_too_large else nullcontext():
        (document,) = read_documents(written, "f")
        assert document.value["b"] == [document.value["a"]] * aliases


def test_some_aliases_are_accepted() -> None:
    (document,) = read_documents(LAUGHS, "f")
    assert document.value["z"] == {"y": {"a": 1}, "a": 1, "b": {"y": {"a": 1}}}
    assert (
        sekisho("check", "--standard", "baseline", "-", text="apiVersion: v1\nkind: ConfigMap\n" + LAUGHS).exit_code
        == 0
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "a:\n "])
@pytest.mark.parametrize("times", [401, 100_000])
def test_too_deep_nesting_is_rejected(opening: str, times: int) -> None:
    text = opening * times if opening != "a:\n " else "\n".join(" " * n + "a:" for n in range(min(times, 2000)))
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, "is nested too deeply" in result.output) == (2, True)


def test_too_many_values_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_VALUES", 100)
    for count, code in ((93, 0), (94, 2)):
        text = f"apiVersion: v1\nkind: ConfigMap\nx: [{', '.join('a' * count)}]\n"
        result = sekisho("check", "--standard", "baseline", "-", text=f"{text}---\n{text}")
        assert result.exit_code == code
    assert "<stdin>:3:4: has more than 100 values; split it into several documents" in result.stderr


# No text makes it fail.

LINES = st.sampled_from(
    [
        *(
            "apiVersion: v1",
            "kind: Pod",
            "kind: List",
            "kind: Deployment",
            "apiVersion: apps/v1",
            "spec:",
            "---",
            "...",
        ),
        *(
            "  containers: [{name: a, image: b}]",
            "  template: {spec: {hostPID: true}}",
            "items:",
            "- a",
            "- {kind: Pod}",
        ),
        *("metadata: null", "metadata: {name: [a]}", "<<: {a: b}", "<<: [1]", "? {a: b}", "&a x: *a", "a: &a {b: *a}"),
        *("  x: |", "\t", "%YAML 1.2", "!!binary a: b", "\x85", "{", "]", "spec: 5", "items: {a: b}", "kind: {a: b}"),
    ]
)


@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_no_text_makes_it_fail(text: str) -> None:
    checker = Checker(PolicySet.of([policy_of_standard("restricted")]), Namespaces())
    for source in sources_of(text, "f"):
        checks = checker.check(source)
        assert all(problem.where.startswith("f") for problem in checks.problems)
        fix_source(source, checker, apply_changes=True)


def test_some_nesting_is_accepted() -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\ndata: {'[' * 300}{']' * 300}\n"
    assert sekisho("check", "--standard", "baseline", "-", text=text).exit_code == 0


def test_a_file_that_is_too_large_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(sources, "MAX_INPUT_BYTES", 3 << 20)
    for name, size in (("a.yaml", 1 << 20), ("b.yaml", (1 << 20) + 1), ("c.yaml", 1 << 20)):
        (tmp_path / name).write_text(f"apiVersion: v1\nkind: ConfigMap\n{'#' * (size - 32)}\n")
    result = sekisho("check", "--standard", "baseline", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / 'b.yaml'}: is larger than 1 MiB" in result.output
    assert result.output.count("Error: ") == 1
    result = sekisho("check", "--standard", "baseline", "-", text="#" * ((1 << 20) + 1))
    assert (result.exit_code, "<stdin>: is larger than 1 MiB" in result.output) == (2, True)
    result = sekisho("check", "--standard", "baseline", *[tmp_path / "a.yaml"] * 4)
    assert (result.exit_code, "the input is larger than 3 MiB" in result.output) == (2, True)
    assert sekisho("check", "--standard", "baseline", *[tmp_path / "a.yaml"] * 3).exit_code == 0


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(BAD_POD,))
    writer.start()
    sources = read_sources([pipe])
    writer.join()
    assert [source.text for source in sources.texts] == [BAD_POD]


def test_a_folder_without_manifests_says_so(tmp_path: Path) -> None:
    result = sekisho("check", "--standard", "baseline", tmp_path)
    assert (result.exit_code, "holds no .yaml, .yml or .json file" in result.output) == (2, True)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    result = sekisho("check", "--standard", "baseline", tmp_path / "gone.yaml")
    assert (result.exit_code, "cannot be read: No such file" in result.output) == (2, True)


# Scalars, as go.yaml.in/yaml/v2 resolves them; each was run through sigs.k8s.io/yaml.

SCALARS = {
    **dict.fromkeys(("yes", "On", "TRUE", "true"), True),
    **dict.fromkeys(("no", "Off", "FALSE", "false"), False),
    **dict.fromkeys(("", "~", "null", "Null")),
    "0x1F": 31,
    "-0x1F": -31,
    "0o17": 15,
    "017": 15,
    "0b11": 3,
    "1_000": 1000,
    "+5": 5,
    "08": 8,
    "1.": 1,
    "1e3": 1000,
    "0.0": 0,
    ".5": 0.5,
    "1.5e1": 15,
    "-1.25": -1.25,
    "1e30": 1e30,
    ".inf": float("inf"),
    **{text: text for text in ("=", "1:30", "2001-01-01", "0x", "1e", ".", "+", "0b2", "1.2.3", "yEs", "nulL", "v1")},
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_plain_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    (document,) = read_documents(f"a: {text}\n", "f")
    scalar = document.value["a"]
    assert (type(scalar), scalar) == (type(value), value)
    (document,) = read_documents(f"a: '{text}'\n", "f")
    assert document.value["a"] == text


# Writing.

PRINTABLE = st.text(st.characters(blacklist_categories=["Cs", "Cc"]) | st.sampled_from("\t\n"), max_size=30)
TEXTS = PRINTABLE | st.sampled_from(
    [*SCALARS, "y", "N", "<<", "- a", "a: b", "#", "&a", "*a", "!x", "%", "@", "`", "|", ">"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def as_json(value: object) -> object:
    """A whole number is the same in JSON with and without its point."""
    if isinstance(value, dict):
        return {key: as_json(below) for key, below in value.items()}
    if isinstance(value, list):
        return [as_json(below) for below in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_written_values_are_read_back_equal(value: dict[str, object]) -> None:
    text = write_document(value)
    (document,) = read_documents(text, "f")
    assert document.value == as_json(value)
    assert not any(reading._DOCUMENT_START.finditer(text))  # noqa: SLF001


@given(TEXTS)
def test_other_parsers_read_a_written_string_as_a_string(text: str) -> None:
    assert yaml.safe_load(write_document({"a": text})) == {"a": text}


def test_a_string_of_several_lines_is_written_as_a_block() -> None:
    assert write_document({"a": "b\nc\n", "d": {}}) == "a: |\n  b\n  c\nd: {}\n"

"""The check for plain English finds each word of its table, in prose and in string literals, and reports its place."""

import re
from pathlib import Path

import pytest

from tools.plain_english import ROOT, WORDS, Word, bad_names, check, findings


def words(text: str) -> list[str]:
    return [finding.word for finding in findings(text)]


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("the pod is refused", "the pod is denied"),
        ("Refusing it, a refusal", "connection refused by the server"),
        ("it tells of a denial", "it tells you about a denial"),
        ("nobody is told", "the total is reported"),
        ("made anew", "made new"),
        ("pods that are made again", "pods that are created again"),
        ("it counts all the same", "it counts anyway"),
        ("a status is to be written", "a status is written"),
        ("the policy is in force", "the policy is in effect"),
        ("the catalogue certifies it", "the catalog certifies it"),
        ("pods are dressed", "the address is set"),
        ("whoever made it", "the user who made it"),
        ("listed twice", "a duplicate item"),
        ("it lends a name", "it sends a name"),
        ("a waiver lifts it", "a waiver exempts it"),
        ("a pod enters", "press Enter to stop"),
        ("the pods that entered", "the pods that were admitted"),
        ("it lets in all pods", "it lets all pods pass"),
        ("it lets pods in", "it lets pods into the queue"),
        ("mend the fields", "amend the commit, and a recommended field"),
        ("it is refused", "a refused\nconnection"),
        ("what is over is cut", "it waited for over five minutes"),
        ("compared to the letter", "written to the letterbox"),
        ("it shall be set", "it must be set, says Marshall"),
        ("it waits in vain", "an inventory, in vanilla form"),
        ("left unsaid", "left unset"),
        ("it speaks of pods", "it speaks off hand"),
        ("a policy asks for it", "a policy requires it"),
        ("it has to be set", "it must be set"),
        ("it outweighs the other", "it takes precedence"),
        ("it waits for ever", "it waits forever, without endpoints"),
        ("hence it fails", "hyphenated words such as thencefoo"),
        ("at most so many bytes", "at most `max_bytes`, or so many that it waits"),
        ("The same for templates.", "The defaults of templates, at the same paths."),
        ("requests that are no review", "there are no reviews, and they are no longer needed"),
        ("the line is no review", "there is no review, and it is no longer needed"),
    ],
)
def test_a_word_to_avoid_is_reported_and_a_similar_text_is_not(bad: str, good: str) -> None:
    assert len(words(bad)) >= 1
    assert words(good) == []


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("found = 1", "findings = 1"),
        ("for each in pods: pass", "for pod in pods: pass"),
        ("def judge(given: int) -> None: pass", "def judge(seconds: int) -> None: pass"),
        ("self._looks = 1", "self._polls = 1"),
        ("def of_pod(): pass", "def of(): pass"),
        ("class told: pass", "@given(st.text())\ndef test(): pass"),
        ("(most, x) = 1, 2", "call(most=1)"),
    ],
)
def test_a_name_that_does_not_say_what_the_thing_is_is_reported(bad: str, good: str) -> None:
    assert len(list(bad_names(bad))) == 1
    assert list(bad_names(good)) == []


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.pattern)
def test_no_suggestion_contains_a_word_to_avoid(word: Word) -> None:
    assert words(word.instead) == []


def test_the_line_is_reported_also_if_the_words_are_on_two_lines() -> None:
    text = "All is well.\nA policy\nasks for it.\nIt was made anew."
    assert [(finding.line, re.sub(r"\s", " ", finding.word)) for finding in findings(text)] == [
        (2, "policy asks"),
        (4, "anew"),
    ]


def test_string_literals_are_checked_and_names_of_variables_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "controller/sekisho"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text(
        '"""Docstring.\n\nMade anew.\n"""\n\nrefused = 1\nmessage = f"{refused} is told"\n'
    )
    assert list(check(tmp_path)) == [
        "controller/sekisho/example.py:3: 'anew': write: again; new",
        "controller/sekisho/example.py:7: 'is told': write: is reported; sees",
    ]


def test_comments_docstrings_and_names_of_functions_are_checked_in_all_code(tmp_path: Path) -> None:
    folder = tmp_path / "tests/unit"
    folder.mkdir(parents=True)
    (folder / "test_example.py").write_text(
        '"""Made\nanew."""\n\nSAID = "refused"  # it is told\n\n\ndef test_pods_are_refused() -> None:\n    "Twice."\n'
    )
    assert list(check(tmp_path)) == [
        "tests/unit/test_example.py:2: 'anew': write: again; new",
        "tests/unit/test_example.py:4: 'is told': write: is reported; sees",
        "tests/unit/test_example.py:7: 'refused': write: denies a pod; rejects an invalid object",
        "tests/unit/test_example.py:8: 'Twice': write: duplicate; two times",
    ]


def test_the_documentation_and_the_chart_are_checked(tmp_path: Path) -> None:
    for name in ("README.md", "docs/a/b.md", "charts/sekisho/values.yaml", "charts/sekisho/templates/NOTES.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Pods are dressed.\n")
    assert len(list(check(tmp_path))) == 4


def test_this_repository_passes() -> None:
    assert list(check(ROOT)) == []


def test_the_glossary_has_at_most_15_terms() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Glossary\n")[2].partition("\n## ")[0]
    terms = re.findall(r"^\| \*\*([\w-]+)\*\* \|", section, re.MULTILINE)
    assert len(set(terms)) == len(terms)
    assert 0 < len(terms) <= 15

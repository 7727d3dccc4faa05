"""The tables of benchmarks and other engines' policies name policies and controls that exist, or say why none does."""

import re
from pathlib import Path
from typing import Any

import pytest

from sekisho.controls import CONTROLS
from tests.peers.__main__ import policies_of, trials
from tests.policy_library import LIBRARY
from tools.peer_tables import controls_in, peer_rows

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/coverage/*.md"))
PEER_ROWS = [row for table in ("kyverno", "gatekeeper", "kubewarden") for row in peer_rows(table)]
COVERED = ("](", "`defaults.", "securityContext`", "Not Sekisho's, because", "cannot be expressed, because")


def rows(page: str) -> list[str]:
    return [
        line
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith(("| item", "| policy", "| mut"))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_row_names_what_covers_it_or_says_why_nothing_does(page: Path) -> None:
    text = page.read_text()
    assert rows(text)
    assert [row for row in rows(text) if not any(sign in row for sign in COVERED)] == []
    named = re.findall(r"\]\(\.\./controls/(\w+)\.md\)", text)
    assert set(named) <= set(CONTROLS)
    folders = re.findall(r"\]\(\.\./\.\./policies/([\w-]+)/README\.md\)", text)
    assert [name for name in folders if not (LIBRARY / name / "policy.yaml").exists()] == []


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs/coverage.md").read_text()
    assert [page.name for page in PAGES if f"](coverage/{page.name})" not in index] == []


@pytest.mark.parametrize("row", PEER_ROWS, ids=lambda row: f"{row['name']} {row.get('sample', '')}")
def test_every_row_of_another_engine_was_tried_or_says_why_not(row: dict[str, Any]) -> None:
    if "because" in row:
        assert "spec" not in row
        return
    for trial in trials(row):
        policies_of(trial)  # raises PolicyError for a control or a parameter that does not exist
    assert set(controls_in(row["spec"])) <= set(CONTROLS)
    assert (LIBRARY / row.get("policy", "restricted") / "policy.yaml").exists()
    if "untried" in row:
        assert "agree" not in row
        return
    agree, total = map(int, re.fullmatch(r"(\d+) of (\d+)", row["agree"]).groups())  # type: ignore[union-attr]
    assert 0 < agree <= total
    assert agree == total or row["note"]

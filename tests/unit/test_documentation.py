"""The links of the documentation lead to files and headings that exist."""

import re
from pathlib import Path

import pytest

from sekisho.controls import CONTROLS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("policies/**/*.md")])


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_number_of_controls_is_right(page: Path) -> None:
    if page.name != "CHANGELOG.md":
        numbers = re.findall(r"\b(\d+) controls\b", page.read_text())
        assert [number for number in numbers if int(number) != len(CONTROLS)] == []


def test_missing_files_and_headings_are_broken_links(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# At 3 a.m.\n[a](#at-3-am) [b](#at-4-am) [c](page.md#at-3-am) [d](other.md) [e](https://x.example)\n"
    )
    assert broken_links(page) == ["#at-4-am", "other.md"]


def test_the_navigation_of_the_site_has_every_page() -> None:
    navigation = re.findall(r"[\w./*-]+\.md\b", (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2])
    listed = {page for entry in navigation for page in ROOT.glob(entry)}
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in listed] == []


def test_every_entry_of_the_navigation_stands_for_a_page() -> None:
    navigation = re.findall(r"[\w./*-]+\.md\b", (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2])
    assert [entry for entry in navigation if not list(ROOT.glob(entry))] == []

"""The commands in the documentation that need no cluster do what the pages show; the objects on the pages are valid."""

import re
import textwrap
from pathlib import Path

import pytest

from sekisho.manifests import parse_policies
from tests.documented import PAGES, ROOT, blocks, pages_with, run_page

OWN = "apiVersion: sekisho.dev/"


@pytest.mark.parametrize("page", pages_with("offline"), ids=lambda page: page.stem)
def test_offline_commands_do_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    run_page(page, "offline", tmp_path, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_policies_and_waivers_on_the_page_are_valid(page: Path) -> None:
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if (text := textwrap.dedent(block)).startswith(OWN):
            assert parse_policies(text, str(page))


def test_a_marked_block_is_found_with_its_commands() -> None:
    start = ROOT / "docs/start.md"
    assert [block.name for block in blocks(start) if block.kind == "file"][:2] == ["first.yaml", "privileged.yaml"]


def test_a_command_that_does_something_else_is_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- test: offline -->\n```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match=r"missing: \['two'\]"):
        run_page(page, "offline", tmp_path, {})

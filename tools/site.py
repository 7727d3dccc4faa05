"""Builds the documentation's site into site/, and fails for a broken link or a page that the navigation does not list.

`python -m tools.site --check` builds it into a folder that is removed again.
"""

import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("*.md", "docs/**/*.md", "docs/images/*", "policies/**/README.md")
FILES: Final = ("docs/site.css", "charts/sekisho/files/dashboards/sekisho.json", "LICENSE")


def copied(folder: Path) -> None:
    """Copy the pages into a folder, each at its place in the repository: MkDocs takes pages from one folder only."""
    for pattern in (*PAGES, *FILES):
        for source in ROOT.glob(pattern):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def expanded(entries: list[Any]) -> Iterator[Any]:
    """The entries of the navigation with the pages that each pattern stands for, in order of their names."""
    for entry in entries:
        if isinstance(entry, dict):
            yield {title: list(expanded(below)) if isinstance(below, list) else below for title, below in entry.items()}
        elif "*" in entry:
            yield from sorted(str(page.relative_to(ROOT)) for page in ROOT.glob(entry))
        else:
            yield entry


def on_page_content(html: str, **_: object) -> str:
    """Let names in tables wrap where their parts meet: `match.` `pod` `Selector`. MkDocs calls it for each page."""
    return re.sub(r"<td>.*?</td>", lambda cell: re.sub(r"(?<=<code>)[^<]+(?=</code>)", _wrapping, cell[0]), html)


def _wrapping(name: re.Match[str]) -> str:
    """A name in which a browser may wrap the line after dots, slashes and commas, and before a word's capital."""
    return re.sub(r"(?<=[.,/=])(?=\S)|(?<=[a-z0-9])(?=[A-Z][a-z])", "<wbr>", name[0])


def build_site(target: Path) -> None:
    """Build the site into a folder. Raises Abort if a link is broken."""
    with tempfile.TemporaryDirectory(prefix="sekisho-site-") as folder:
        copied(Path(folder))
        config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=folder, site_dir=str(target), strict=True)
        config.nav = list(expanded(config.nav or []))
        build(config)


@click.command()
@click.option("--check", is_flag=True, help="Build it into a folder that is removed again.")
def main(*, check: bool) -> None:
    """Build the documentation's site into site/; exit with 1 for a broken link or an unlisted page."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if check:
            with tempfile.TemporaryDirectory() as folder:
                build_site(Path(folder))
        else:
            build_site(ROOT / "site")
            print("written: site/index.html")
    except Abort:
        print("the site has the faults above")
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Reports of `sekisho check`: a module for each format, with `render`, which returns the report as a string."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sekisho.cli.reports import github, gitlab, json_document, junit, markdown, sarif, text
from sekisho.manifests import Checks

REPORTS: Final[Mapping[str, Callable[[Checks], str]]] = MappingProxyType(
    {
        "text": text.render,
        "json": json_document.render,
        "sarif": sarif.render,
        "junit": junit.render,
        "github": github.render,
        "gitlab": gitlab.render,
        "markdown": markdown.render,
    }
)
"""The formats by their names for `--output`."""

__all__ = ["REPORTS"]

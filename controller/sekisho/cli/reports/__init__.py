"""Reports of `sekisho check`: a module for each format, with `render`, which returns the report as a string."""

import importlib
from types import MappingProxyType
from typing import Final

from sekisho.manifests import Checks

_MODULES: Final = MappingProxyType(
    {
        "text": "text",
        "json": "json_document",
        "sarif": "sarif",
        "junit": "junit",
        "github": "github",
        "gitlab": "gitlab",
        "markdown": "markdown",
    }
)
FORMATS: Final = tuple(_MODULES)
"""The formats by their names for `--output`."""


def render(form: str, checks: Checks) -> str:
    """The report in a format. Its module is imported here, so that `check` does not load those of all formats."""
    report: str = importlib.import_module(f"{__name__}.{_MODULES[form]}").render(checks)
    return report


__all__ = ["FORMATS", "render"]

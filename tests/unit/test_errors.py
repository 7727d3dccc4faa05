"""Errors: each public one can be caught by their one base."""

import importlib
import pkgutil
from collections.abc import Iterator

import sekisho
from sekisho.errors import SekishoError


def error_types() -> Iterator[type[Exception]]:
    """The public exception types that the package defines."""
    for info in pkgutil.walk_packages(sekisho.__path__, "sekisho."):
        if info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            is_error = isinstance(value, type) and issubclass(value, Exception) and value.__module__ == info.name
            if is_error and not name.startswith("_"):
                yield value


def test_every_public_error_is_a_sekisho_error() -> None:
    errors = set(error_types())
    assert len(errors) > 15
    assert [error.__qualname__ for error in errors if not issubclass(error, SekishoError)] == []


def test_the_library_names_the_base() -> None:
    assert sekisho.SekishoError is SekishoError
    assert issubclass(sekisho.PolicyError, SekishoError)
    assert issubclass(sekisho.ManifestError, SekishoError)

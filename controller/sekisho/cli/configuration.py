"""The configuration file of the commands that judge manifests: `.sekisho.yaml`, or `[tool.sekisho]` in pyproject.toml.

Its values take the place of the options' defaults: the command line and environment variables override them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from sekisho.documents import DocumentError, Problem, parse_path, problem_of, read_documents
from sekisho.policies import PolicyError
from sekisho.spelling import did_you_mean

NAME: Final = ".sekisho.yaml"
_PYPROJECT: Final = "pyproject.toml"
_TABLE: Final = "tool.sekisho"


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """What may be configured: the keys of the file. Paths are relative to the file's folder; None is unset."""

    policies: tuple[str, ...] | None = None
    standard: str | None = None
    paths: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    exclude_namespaces: tuple[str, ...] | None = None
    namespace: str | None = None
    namespace_labels: str | None = None
    context_dir: str | None = None
    output: str | None = None
    pod_templates: tuple[str, ...] | None = None
    fail_on_unknown: bool | None = None
    render: str | None = None
    fail_on: str | None = None
    baseline: str | None = None
    no_ignore_comments: bool | None = None


_PARAMETERS: Final = {
    "policies": "policy_paths",
    "baseline": "baseline_file",
    "namespace_labels": "labels_file",
    "exclude_namespaces": "exempt",
}
"""The names of the options' parameters, where they are not those of the fields."""
_FILES: Final = frozenset({"policies", "paths", "namespace_labels", "context_dir", "baseline"})
_ONLY_CHECK: Final = frozenset({"paths", "output", "fail_on_unknown", "render", "fail_on", "baseline"})
"""The fields that other commands do not read: `fix` writes to what it is called with."""


def default_map(file: Path | None, command: str) -> dict[str, dict[str, Any]]:
    """The values of a configuration as defaults of a command's options, by the names of both.

    file: the one to read; None for the nearest in the current folder or above it, if there is one.

    Raises PolicyError for a file that cannot be used.
    """
    file = file or _nearest()
    if file is None:
        return {}
    configuration = read_configuration(file)
    values: dict[str, Any] = {}
    for field in fields(Configuration):
        value = getattr(configuration, field.name)
        if value is not None:
            values[field.name] = _from_here(file.parent, value) if field.name in _FILES else value
    applied = values if command == "check" else {name: values[name] for name in values if name not in _ONLY_CHECK}
    return {command: {_PARAMETERS.get(name, name): value for name, value in applied.items()}}


def read_configuration(file: Path) -> Configuration:
    """The configuration in a file, that of pyproject.toml from its table. Raises PolicyError with the location."""
    value, location = _toml(file) if file.suffix == ".toml" else _yaml(file)
    try:
        return msgspec.convert(value, Configuration)
    except msgspec.ValidationError as error:
        unknown = [key for key in value if key not in _keys()] if isinstance(value, Mapping) else []
        if unknown:
            message = f"there is no {unknown[0]}{did_you_mean(unknown[0], _keys())}"
            raise PolicyError(Problem(location((unknown[0],)), message)) from None
        problem = problem_of(error)
        raise PolicyError(Problem(location(parse_path(problem.where)), str(problem))) from None


def _keys() -> list[str]:
    return [field.encode_name for field in fields(Configuration)]


def _nearest() -> Path | None:
    """The configuration of the current folder, or of the first above it that has one, up to the repository's root."""
    for folder in _folders():
        if (folder / NAME).is_file():
            return folder / NAME
        pyproject = folder / _PYPROJECT
        if pyproject.is_file() and _TABLE in pyproject.read_text(errors="replace"):
            return pyproject
    return None


def _folders() -> Iterator[Path]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder
        if (folder / ".git").exists():
            return


def _yaml(file: Path) -> tuple[Any, Any]:
    try:
        documents = list(read_documents(_text(file), str(file)))
    except DocumentError as error:
        raise PolicyError(error.problem) from None
    if len(documents) > 1:
        raise PolicyError(Problem(str(file), f"must hold one document, found {len(documents)}"))
    return (documents[0].value, documents[0].location) if documents else ({}, lambda _path: str(file))


def _toml(file: Path) -> tuple[Any, Any]:
    import tomllib  # here, because few repositories have this file

    try:
        tool = tomllib.loads(_text(file)).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(Problem(str(file), str(error))) from None
    return tool.get("sekisho", {}), lambda _path: f"{file} [{_TABLE}]"


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise PolicyError(Problem(str(file), f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError:
        raise PolicyError(Problem(str(file), "is not UTF-8 text")) from None


def _from_here(folder: Path, value: Any) -> Any:
    """Paths in the configuration as paths from the current folder, where that is shorter."""
    if isinstance(value, tuple):
        return tuple(_from_here(folder, part) for part in value)
    return os.path.relpath(folder / value) if not Path(value).is_absolute() else value

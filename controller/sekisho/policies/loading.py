"""Policies from the API and from files, strictly: what is misspelt or misplaced is an error with its place."""

import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import jsonschema
import msgspec
from jsonschema.protocols import Validator

from sekisho.policies.compilation import compile_policy
from sekisho.policies.crd import cluster_pod_policy_crd
from sekisho.policies.documents import Document, DocumentError, parse_path, read_documents
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.types import GROUP, VERSION, ClusterPodPolicy

_KIND = "ClusterPodPolicy"
_SUFFIXES = (".yaml", ".yml", ".json")
LARGEST_FILE = 8 * 1024 * 1024
"""Bytes of a policy file; the API server takes no object of more than about 1.5 MiB."""


def decode_policy(raw: bytes) -> ClusterPodPolicy:
    """A policy from the JSON that the API server answers. Raises PolicyError with the field's path."""
    try:
        return msgspec.json.decode(raw, type=ClusterPodPolicy)
    except msgspec.DecodeError as error:
        raise PolicyError(_problem_of(error)) from None


def read_policies(path: Path) -> list[ClusterPodPolicy]:
    """The policies of a file, or of the YAML and JSON files of a folder, in the order of their names.

    Objects of other API groups are passed over. Raises PolicyError with file:line:column for whatever is wrong, and
    when there is no policy at all.
    """
    if not path.exists():
        raise PolicyError(Problem(str(path), "there is no such file or folder"))
    policies: list[ClusterPodPolicy] = []
    problems: list[Problem] = []
    for file in _files(path):
        try:
            policies += parse_policies(_read(file), str(file))
        except PolicyError as error:
            problems += error.problems
    if not policies and not problems:
        problems.append(Problem(str(path), f"holds no {_KIND} of {GROUP}/{VERSION}"))
    problems += _twice(policies)
    if problems:
        raise PolicyError(*problems)
    return policies


def parse_policies(text: str, file: str) -> list[ClusterPodPolicy]:
    """The policies in a text, `file` being what errors name it. Raises PolicyError."""
    policies: list[ClusterPodPolicy] = []
    problems: list[Problem] = []
    try:
        for document in read_documents(text, file):
            if _is_ours(document.value):
                found = list(_problems(document))
                problems += found
                if not found:
                    policies.append(_compiling(document, msgspec.convert(document.value, ClusterPodPolicy), problems))
    except DocumentError as error:
        problems.append(error.problem)
    if problems:
        raise PolicyError(*problems)
    return policies


def _compiling(document: Document, policy: ClusterPodPolicy, problems: list[Problem]) -> ClusterPodPolicy:
    """The policy, with what the schema cannot say about it added to the problems."""
    try:
        compile_policy(policy)
    except PolicyError as error:
        problems += [
            Problem(document.place(parse_path(problem.where)), f"{problem.where}: {problem.message}")
            for problem in error.problems
        ]
    return policy


def _files(path: Path) -> list[Path]:
    """The files to read. Names that begin with a dot are left out: a mounted ConfigMap holds its files twice, so."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise PolicyError(Problem(str(file), f"is larger than {LARGEST_FILE} bytes"))
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(Problem(str(file), "is not UTF-8 text")) from None
    except OSError as error:
        raise PolicyError(Problem(str(file), f"cannot be read: {error.strerror}")) from None


def _twice(policies: Iterable[ClusterPodPolicy]) -> Iterator[Problem]:
    seen: set[str] = set()
    for policy in policies:
        if policy.metadata.name in seen:
            yield Problem(policy.metadata.name, "two policies have this name")
        seen.add(policy.metadata.name)


def _is_ours(value: Any) -> bool:
    return not isinstance(value, dict) or str(value.get("apiVersion", "")).partition("/")[0] in (GROUP, "")


def _problems(document: Document) -> Iterator[Problem]:
    if not isinstance(document.value, dict):
        yield Problem(document.place(()), "is not an object with apiVersion, kind, metadata and spec")
        return
    for error in _validator().iter_errors(document.value):
        path = tuple(error.absolute_path)
        for below, message in _explain(error):
            field = _render(path + below)
            yield Problem(document.place(path + below), f"{field}: {message}" if field else message)


@cache
def _validator() -> Validator:
    (version,) = cluster_pod_policy_crd()["spec"]["versions"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    schema["properties"] |= {
        "apiVersion": {"enum": [f"{GROUP}/{VERSION}"]},
        "kind": {"enum": [_KIND]},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1}},
        },
        "status": {},
    }
    return jsonschema.Draft202012Validator(schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused, as the API server refuses them for `kubectl apply`."""
    closed = {key: below for key, below in schema.items() if key != "type" or "enum" not in schema}
    if "properties" in schema:
        closed["properties"] = {name: _closed(below) for name, below in schema["properties"].items()}
        closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed


_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _explain(error: jsonschema.ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """What a schema violation means, for people, and the path below the error's own that it is about."""
    asked: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = cast("dict[str, Any]", error.schema)["properties"]
            return [((name,), f"unknown field{_did_you_mean(name, known)}") for name in instance if name not in known]
        case "required":
            missing = [name for name in asked if name not in instance]
            return [((), f"needs the field {name!r}") for name in missing if f"'{name}'" in error.message]
        case "type":
            return [((), f"must be {_TYPES[asked]}, found {_found(instance)}")]
        case "enum":
            allowed = [value if isinstance(value, str) else str(value).lower() for value in asked]
            hint = _did_you_mean(instance, allowed)
            return [((), f"must be {' or '.join(allowed)}, found {_found(instance)}{hint}")]
        case "pattern":
            return [((), f"must match {asked}, found {_found(instance)}")]
        case "minItems" | "minLength":
            return [((), "must not be empty")]
        case "maxItems" | "maxLength":
            return [((), f"must not be longer than {asked}")]
        case "minimum" | "maximum":
            side = "least" if error.validator == "minimum" else "most"
            return [((), f"must be at {side} {asked}, found {_found(instance)}")]
    return [((), error.message)]


def _did_you_mean(name: object, known: Iterable[str]) -> str:
    if not isinstance(name, str):
        return ""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _found(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"


def _render(path: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _problem_of(error: msgspec.DecodeError) -> Problem:
    """msgspec says `what - at `$.path``; the path goes in front."""
    text, at, path = str(error).rpartition(" - at `$")
    return Problem(path.rstrip("`").lstrip("."), text.replace("`", "'")) if at else Problem("", str(error))

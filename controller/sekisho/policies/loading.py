"""Policies from the API and from files, strictly: what is misspelt or misplaced is an error with its place."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sekisho.findings import render_path
from sekisho.policies.compilation import compile_policy
from sekisho.policies.crd import RESOURCES
from sekisho.policies.documents import Document, DocumentError, parse_path, read_documents
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.schemas import kinds, violations
from sekisho.policies.types import GROUP, VERSION, ClusterPodPolicy, PodPolicy
from sekisho.policies.waivers import PolicyWaiver, compile_waiver

Policy = ClusterPodPolicy | PodPolicy | PolicyWaiver
"""What a file of policies holds."""
K = TypeVar("K", bound=Policy)

_SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 8 * 1024 * 1024
"""Bytes of a policy file; the API server takes no object of more than about 1.5 MiB."""


def decode_policy(raw: bytes) -> ClusterPodPolicy:
    """A ClusterPodPolicy from the JSON that the API server answers. Raises PolicyError with the field's path."""
    return decode(raw, ClusterPodPolicy)


def decode(raw: bytes, kind: type[K]) -> K:
    """A policy or a waiver from the JSON that the API server answers. Raises PolicyError with the field's path."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise PolicyError(_problem_of(error)) from None


def verify(policy: Policy) -> None:
    """Raise PolicyError for a policy or a waiver that the schema allows and that still makes no sense."""
    if isinstance(policy, PolicyWaiver):
        compile_waiver(policy)
    else:
        compile_policy(policy)


def read_policies(path: Path) -> list[Policy]:
    """The policies and waivers of a file, or of the YAML and JSON files of a folder, in the order of their names.

    Objects of other API groups are passed over. Raises PolicyError with file:line:column for whatever is wrong, and
    when there is no policy at all.
    """
    if not path.exists():
        raise PolicyError(Problem(str(path), "there is no such file or folder"))
    policies: list[Policy] = []
    problems: list[Problem] = []
    for file in _files(path):
        try:
            policies += parse_policies(_read(file), str(file))
        except PolicyError as error:
            problems += error.problems
    if not policies and not problems:
        problems.append(Problem(str(path), f"holds no {kinds()} of {GROUP}/{VERSION}"))
    problems += duplicate_names(policies)
    if problems:
        raise PolicyError(*problems)
    return policies


def parse_policies(text: str, file: str) -> list[Policy]:
    """The policies and waivers in a text, `file` being what errors name it. Raises PolicyError."""
    policies: list[Policy] = []
    problems: list[Problem] = []
    try:
        for document in read_documents(text, file):
            if _is_ours(document.value):
                found = list(_problems(document))
                problems += found
                if not found:
                    policy = msgspec.convert(document.value, RESOURCES[document.value["kind"]].kind)
                    policies.append(_compiling(document, policy, problems))
    except DocumentError as error:
        problems.append(error.problem)
    if problems:
        raise PolicyError(*problems)
    return policies


def _compiling(document: Document, policy: Policy, problems: list[Problem]) -> Policy:
    """The policy, with what the schema cannot say about it added to the problems."""
    try:
        verify(policy)
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
        if file.stat().st_size > MAX_FILE_BYTES:
            raise PolicyError(Problem(str(file), f"is larger than {MAX_FILE_BYTES} bytes"))
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(Problem(str(file), "is not UTF-8 text")) from None
    except OSError as error:
        raise PolicyError(Problem(str(file), f"cannot be read: {error.strerror}")) from None


def duplicate_names(policies: Iterable[Policy]) -> Iterator[Problem]:
    """A problem for each name that two policies, or two waivers, have."""
    seen: set[tuple[str, bool]] = set()
    for policy in policies:
        is_waiver = isinstance(policy, PolicyWaiver)
        if (policy.title, is_waiver) in seen:
            yield Problem(policy.title, f"two {'waivers' if is_waiver else 'policies'} have this name")
        seen.add((policy.title, is_waiver))


def _is_ours(value: Any) -> bool:
    return not isinstance(value, dict) or str(value.get("apiVersion", "")).partition("/")[0] in (GROUP, "")


def _problems(document: Document) -> Iterator[Problem]:
    for path, message in violations(document.value):
        field = render_path(path)
        yield Problem(document.place(path), f"{field}: {message}" if field else message)


def _problem_of(error: msgspec.DecodeError) -> Problem:
    """msgspec says `what - at `$.path``; the path goes in front."""
    text, at, path = str(error).rpartition(" - at `$")
    return Problem(path.rstrip("`").lstrip("."), text.replace("`", "'")) if at else Problem("", str(error))

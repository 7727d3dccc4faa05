"""The policies of a run: from files and folders, and from a level of the Pod Security Standards."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from sekisho.controls import LEVELS, Level
from sekisho.documents import Problem, parse_path
from sekisho.findings import render_path
from sekisho.manifests.folders import files_below
from sekisho.manifests.objects import Manifest, read_manifests
from sekisho.manifests.sources import STDIN, content_of, sources_of, text_of
from sekisho.manifests.texts import Source
from sekisho.policies import ClusterPodPolicy, Policy, PolicyError
from sekisho.policies.crd import RESOURCES
from sekisho.policies.loading import duplicate_names, verify
from sekisho.policies.schemas import kinds, violations
from sekisho.policies.types import GROUP, VERSION, ClusterPodPolicySpec, PodSecurityStandard, PolicyMeta
from sekisho.standards import LATEST, parse_version

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Bytes of a policy file; the API server accepts objects of at most about 1.5 MiB."""


def load_policies(
    paths: Iterable[Path],
    standard: str | None = None,
    context: Path | None = None,
    sources: Iterable[Source] = (),
    stdin: BinaryIO | None = None,
) -> list[Policy]:
    """The policies of files and folders.

    standard: adds one more policy, for a level such as `restricted` or `baseline:v1.30`; None adds none.
    context: a folder of a cluster's objects whose policies are added, if it has any; None adds none.
    sources: manifests whose policies are added unless one of the same kind and name was read already.
    stdin: what is read for the path `-`; None if `-` is the name of a file.

    Raises PolicyError for files that cannot be used, and ValueError for an unknown standard.
    """
    policies = [policy for path in paths for policy in read_policies(path, stdin)]
    if context is not None:
        policies += read_policies(context, required=False)
    if standard is not None:
        policies.append(policy_of_standard(standard))
    present = {(policy.kind, policy.title) for policy in policies}
    policies += [policy for policy in policies_in(sources) if (policy.kind, policy.title) not in present]
    problems = tuple(dict.fromkeys(duplicate_names(policies)))
    if problems:
        raise PolicyError(*problems)
    return policies


def policy_of_standard(standard: str) -> ClusterPodPolicy:
    """A policy that requires a level of the Pod Security Standards, and is named after it. Raises ValueError."""
    level, _, version = standard.partition(":")
    if level not in LEVELS:
        raise ValueError(f"the level must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    parse_version(version or LATEST)
    required = PodSecurityStandard(level=Level(level), version=version or LATEST)
    return ClusterPodPolicy(PolicyMeta(standard), ClusterPodPolicySpec(pod_security_standard=required))


def read_policies(path: Path, stdin: BinaryIO | None = None, *, required: bool = True) -> list[Policy]:
    """The policies and waivers of a file, or of the YAML and JSON files of a folder in the order of their names.

    stdin: see `load_policies`.

    required: whether there must be at least one.

    Objects of other API groups are ignored. Raises PolicyError with the file:line:column of every problem.
    """
    if str(path) == "-" and stdin is not None:
        return _policies_of(stdin)
    if not path.exists():
        raise PolicyError(Problem(str(path), "there is no such file or folder"))
    policies: list[Policy] = []
    problems: list[Problem] = []
    for file in policy_files(path):
        try:
            policies += parse_policies(read_policy_file(file), str(file))
        except PolicyError as error:
            problems += error.problems
    if required and not policies and not problems:
        problems.append(Problem(str(path), f"holds no {kinds()} of {GROUP}/{VERSION}"))
    problems += duplicate_names(policies)
    if problems:
        raise PolicyError(*problems)
    return policies


def _policies_of(stdin: BinaryIO) -> list[Policy]:
    text = _text(stdin.read(MAX_FILE_BYTES + 1), STDIN)
    policies = parse_policies(text, STDIN)
    if not policies:
        raise PolicyError(Problem(STDIN, f"holds no {kinds()} of {GROUP}/{VERSION}"))
    return policies


def parse_policies(text: str, file: str) -> list[Policy]:
    """The policies and waivers in a text, those of a List included; `file` is its name in errors.

    Raises PolicyError.
    """
    policies: list[Policy] = []
    problems: list[Problem] = []
    for manifest in read_manifests(sources_of(text, file)):
        if isinstance(manifest, Problem):
            problems.append(manifest)
        elif isinstance(manifest, Manifest):
            problems += _add_policy(manifest, policies)
    if problems:
        raise PolicyError(*sorted(problems, key=_line_and_column))
    return policies


def _line_and_column(problem: Problem) -> tuple[int, ...]:
    return tuple(int(part) for part in problem.where.rsplit(":", 2)[1:] if part.isdigit())


def policies_in(sources: Iterable[Source]) -> list[Policy]:
    """The policies and waivers among manifests.

    Manifests that cannot be read are ignored here, because the command that reads them reports them.

    Raises PolicyError for invalid policies.
    """
    policies: list[Policy] = []
    problems: list[Problem] = []
    for manifest in read_manifests(source for source in sources if GROUP in source.text):
        if isinstance(manifest, Manifest):
            problems += _add_policy(manifest, policies)
    if problems:
        raise PolicyError(*problems)
    return policies


def _add_policy(manifest: Manifest, policies: list[Policy]) -> list[Problem]:
    """Add the policy of a manifest, if it is a valid one. The problems of an invalid one; none for another object."""
    if manifest.group != GROUP:
        return []
    problems = list(_violations(manifest))
    if not problems:
        policy = msgspec.convert(manifest.value, RESOURCES[manifest.kind].kind)
        problems += _compilation_problems(manifest, policy)
        policies.append(policy)
    return problems


def _violations(manifest: Manifest) -> Iterator[Problem]:
    for path, message in violations(manifest.value):
        field = render_path(path)
        location = manifest.document.location((*manifest.at, *path))
        yield Problem(location, f"{field}: {message}" if field else message)


def _compilation_problems(manifest: Manifest, policy: Policy) -> Iterator[Problem]:
    """What the schema cannot say about a policy."""
    try:
        verify(policy)
    except PolicyError as error:
        for problem in error.problems:
            location = manifest.document.location((*manifest.at, *parse_path(problem.where)))
            yield Problem(location, f"{problem.where}: {problem.message}")


def policy_files(path: Path) -> list[Path]:
    """The files to read. Hidden ones are left out: a mounted ConfigMap keeps a second copy of its files in them."""
    if not path.is_dir():
        return [path]
    return [
        file for file in files_below(path) if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]


def read_policy_file(file: Path) -> str:
    """The text of a file with its line breaks as they are. Raises PolicyError."""
    try:
        content = content_of(file, MAX_FILE_BYTES)
    except OSError as error:
        raise PolicyError(Problem(str(file), f"cannot be read: {error.strerror}")) from None
    return _text(content, str(file))


def _text(content: bytes, name: str) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise PolicyError(Problem(name, f"is larger than {MAX_FILE_BYTES >> 20} MiB"))
    text = text_of(content, name)
    if isinstance(text, Problem):
        raise PolicyError(text)
    return text

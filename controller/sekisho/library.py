"""Sekisho as a library: load policies, check manifests, read the findings. Import these names from `sekisho`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sekisho import manifests
from sekisho.documents import Problem, write_document
from sekisho.errors import SekishoError
from sekisho.findings import Finding
from sekisho.manifests import (
    Checked,
    Checker,
    Located,
    Namespaces,
    Source,
    labels_in,
    objects_in,
    read_sources,
    sources_of,
)
from sekisho.policies import Enforcement, PolicyError, PolicySet

__all__ = [
    "Checked",
    "Enforcement",
    "Finding",
    "Located",
    "ManifestError",
    "PolicyError",
    "PolicySet",
    "Problem",
    "SekishoError",
    "check",
    "load_policies",
]

Manifest = str | os.PathLike[str] | Mapping[str, Any]


class ManifestError(SekishoError, ValueError):
    """Manifests that cannot be read; `problems` holds every reason, each with its place."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load_policies(*paths: str | os.PathLike[str], standard: str | None = None) -> PolicySet:
    """The policies of files and folders, ready to check with.

    `standard` adds a level of the Pod Security Standards, such as `restricted` or `baseline:v1.30`; None adds none.
    Raises PolicyError, which names file, line and column, and ValueError for an unknown standard.
    """
    return PolicySet.of(manifests.load_policies(map(Path, paths), standard))


def check(
    manifest: Manifest,
    policies: PolicySet,
    *,
    namespace: str = "default",
    namespace_labels: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Checked]:
    """The verdict on each pod and each workload in a manifest, in order, as the webhook would give it.

    manifest: a str is YAML or JSON, of one or more documents; a path is a file or a folder; a mapping is one object, a
        List included.
    namespace: the namespace of objects that set none.
    namespace_labels: the labels of namespaces by name, for policies that read them; None for no labels. Namespaces
        in the manifest are added; any other namespace has no labels. LimitRanges and ServiceAccounts in the manifest
        change the pods of their namespace.

    Raises ManifestError when any of it cannot be read.
    """
    sources = _sources(manifest)
    applied = labels_in(sources) if policies.needs_labels else {}
    namespaces = Namespaces(namespace_labels or {}, applied, objects=objects_in(sources, namespace))
    checker = Checker(policies, namespaces, namespace)
    results = [checker.check(source) for source in sources]
    problems = [problem for result in results for problem in result.problems]
    if problems:
        raise ManifestError(*problems)
    return [checked for result in results for checked in result.checked]


def _sources(manifest: Manifest) -> list[Source]:
    if isinstance(manifest, str):
        return sources_of(manifest, "<manifest>")
    if isinstance(manifest, Mapping):
        try:
            return [Source("<manifest>", 0, write_document(dict(manifest)))]
        except (yaml.YAMLError, RecursionError) as error:
            raise ManifestError(Problem("<manifest>", f"has values that are not plain: {error}")) from None
    sources = read_sources([Path(manifest)])
    if sources.problems:
        raise ManifestError(*sources.problems)
    return list(sources.texts)

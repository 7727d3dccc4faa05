"""The configuration of Kubernetes' own Pod Security admission: labels of namespaces, and its configuration file.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-admission-controller/
"""

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from sekisho.controls import LEVELS, Level
from sekisho.documents import Document, Path, Problem, parse_path, problem_of
from sekisho.manifests.objects import Manifest, read_manifests
from sekisho.manifests.texts import Source
from sekisho.manifests.typed_files import document_in
from sekisho.policies import PolicyError
from sekisho.standards import WrittenLevels

_PLUGIN: Final = "PodSecurity"
_KIND: Final = "PodSecurityConfiguration"
_GROUP: Final = "pod-security.admission.config.k8s.io"

_Namespace = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
_RuntimeClass = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_Username = Annotated[str, Meta(min_length=1)]
_Version = Annotated[str, Meta(pattern="^(latest|v1\\.(0|[1-9][0-9]{0,5}))$")]

T = TypeVar("T")


class _Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    enforce: Level = Level.PRIVILEGED
    enforce_version: _Version = field(default="latest", name="enforce-version")
    audit: Level = Level.PRIVILEGED
    audit_version: _Version = field(default="latest", name="audit-version")
    warn: Level = Level.PRIVILEGED
    warn_version: _Version = field(default="latest", name="warn-version")


class Exemptions(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What Pod Security admission exempts, by exact name."""

    usernames: tuple[_Username, ...] = ()
    runtime_classes: tuple[_RuntimeClass, ...] = ()
    namespaces: tuple[_Namespace, ...] = ()


class _Configuration(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    defaults: _Defaults = _Defaults()
    exemptions: Exemptions = Exemptions()


class PodSecurityConfiguration(Struct, frozen=True):
    """The configuration of Pod Security admission: the levels of a namespace without labels, and exemptions."""

    defaults: WrittenLevels = WrittenLevels()
    exemptions: Exemptions = Exemptions()


class _Plugin(Struct, frozen=True):
    name: str = ""
    configuration: dict[str, Any] | None = None
    path: str | None = None


class _AdmissionConfiguration(Struct, frozen=True):
    plugins: tuple[_Plugin, ...] = ()


def read_configuration(path: FilePath) -> PodSecurityConfiguration:
    """The configuration in a file: an AdmissionConfiguration, or the PodSecurityConfiguration itself.

    Raises PolicyError with file:line:column.
    """
    document = document_in(path)
    value = document.value if isinstance(document.value, dict) else {}
    if value.get("kind") == _KIND:
        return _configuration(document, ())
    if value.get("kind") != "AdmissionConfiguration":
        message = f"is neither an AdmissionConfiguration nor a {_KIND}"
        raise PolicyError(Problem(document.location(()), message))
    for index, plugin in enumerate(_converted(document, (), _AdmissionConfiguration).plugins):
        if plugin.name == _PLUGIN:
            if plugin.configuration is not None:
                return _configuration(document, ("plugins", index, "configuration"))
            if plugin.path:
                return _configuration(document_in(path.parent / plugin.path), ())
            return PodSecurityConfiguration()
    raise PolicyError(Problem(document.location(()), f"does not configure the plugin {_PLUGIN}"))


def namespaces_in(sources: Iterable[Source]) -> dict[str, Mapping[str, str]]:
    """The labels of the Namespaces among manifests, by name. Raises PolicyError for what cannot be read."""
    labels_by_name: dict[str, Mapping[str, str]] = {}
    problems: list[Problem] = []
    for manifest in read_manifests(sources):
        if isinstance(manifest, Problem):
            problems.append(manifest)
        elif isinstance(manifest, Manifest) and (manifest.group, manifest.kind) == ("", "Namespace"):
            try:
                name, labels = _namespace(manifest)
            except PolicyError as error:
                problems += error.problems
            else:
                labels_by_name[name] = labels
    if problems:
        raise PolicyError(*problems)
    return labels_by_name


class _Labelled(Struct, frozen=True):
    name: _Namespace
    labels: dict[str, str] | None = None


class _NamespaceObject(Struct, frozen=True):
    metadata: _Labelled


def _namespace(manifest: Manifest) -> tuple[str, Mapping[str, str]]:
    meta = _converted(manifest.document, manifest.at, _NamespaceObject).metadata
    return meta.name, meta.labels or {}


def _configuration(document: Document, at: Path) -> PodSecurityConfiguration:
    configuration = _converted(document, at, _Configuration)
    if configuration.kind != _KIND or configuration.api_version.partition("/")[0] != _GROUP:
        raise PolicyError(Problem(document.location(at), f"must be a {_KIND} of {_GROUP}/v1"))
    levels = configuration.defaults
    defaults = WrittenLevels(
        enforce=(levels.enforce, levels.enforce_version),
        audit=(levels.audit, levels.audit_version),
        warn=(levels.warn, levels.warn_version),
    )
    return PodSecurityConfiguration(defaults, configuration.exemptions)


def _converted(document: Document, at: Path, kind: type[T]) -> T:
    """The value at a path of a document, typed. Raises PolicyError with the location of the wrong field."""
    value = document.value
    for part in at:
        value = value[part]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problem = problem_of(error)
        hint = f", must be one of {', '.join(LEVELS)}" if "Invalid enum value" in problem.message else ""
        location = document.location((*at, *parse_path(problem.where)))
        raise PolicyError(Problem(location, f"{problem}{hint}")) from None

"""Policies that do the same as Pod Security admission."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from textwrap import wrap
from typing import Any, Final

from msgspec import Struct

from sekisho.controls import NEWEST, Level
from sekisho.documents import Problem, write_document
from sekisho.manifests.pod_security import PodSecurityConfiguration
from sekisho.policies import PolicyError
from sekisho.policies.types import GROUP, VERSION
from sekisho.standards import LABEL_PREFIX, LATEST, LevelAndVersion, WrittenLevels, written_levels

NamespaceLabels = Mapping[str, Mapping[str, str]]
"""The labels of each namespace, by its name."""

MAX_NAMES: Final = 1024
"""Namespaces that one policy can name."""
MAX_LISTED: Final = 20
_LINE: Final = 110


class _Mode(StrEnum):
    """What happens to pods that do not meet a level; BOTH: they are denied, and workloads get warnings."""

    BOTH = "both"
    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


_PREFIXES: Final[Mapping[_Mode, str]] = {
    _Mode.BOTH: "",
    _Mode.ENFORCE: "enforce-",
    _Mode.WARN: "warn-",
    _Mode.AUDIT: "audit-",
}
_WHAT: Final[Mapping[_Mode, str]] = {
    _Mode.BOTH: "are denied, and workloads of such pods warned about",
    _Mode.ENFORCE: "are denied",
    _Mode.WARN: "are warned about, and workloads of such pods too",
    _Mode.AUDIT: "are noted in the audit log, and workloads of such pods too",
}
_ENFORCEMENT: Final[Mapping[_Mode, tuple[str, str]]] = {
    _Mode.BOTH: ("Deny", "Warn"),
    _Mode.ENFORCE: ("Deny", "Ignore"),
    _Mode.WARN: ("Warn", "Warn"),
    _Mode.AUDIT: ("Audit", "Warn"),
}


class Migrated(Struct, frozen=True):
    """A policy as an API object, and the comment above it."""

    comment: str
    policy: dict[str, Any]


class _Requirement(Struct, frozen=True, order=True):
    """What one policy requires; mode `both` if the same level is enforced and warned about."""

    level: Level
    version: str
    mode: _Mode

    @property
    def name(self) -> str:
        version = "" if self.version == LATEST else f"-{self.version}"
        return f"pod-security-{_PREFIXES[self.mode]}{self.level}{version}"


def policies_from_labels(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration) -> list[Migrated]:
    """A drop-in: one policy that reads the labels, and one for each default of the API server's configuration."""
    match = _match(configuration, exclude=configuration.exemptions.namespaces)
    spec = ({"match": match} if match else {}) | {"podSecurityStandard": {"fromNamespaceLabels": True}}
    comment = [
        "Applies the levels in each namespace's labels pod-security.kubernetes.io/{enforce,warn,audit}[-version], also "
        "when they change. As of now:"
    ]
    comment += _groups(namespaces, configuration)
    migrated = [Migrated(_commented(comment), _policy("pod-security-labels", spec))]
    return [*migrated, *_defaults_by_label(configuration)]


def explicit_policies(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration) -> list[Migrated]:
    """Policies that name their levels and namespaces, for the labels as they are now.

    The API server's configured default applies to all other namespaces, including those created later. Raises
    PolicyError if that needs more names than a policy may have.
    """
    exempt = set(configuration.exemptions.namespaces)
    required = {
        name: _requirements(written_levels(labels, configuration.defaults))
        for name, labels in sorted(namespaces.items())
        if name not in exempt
    }
    default = _requirements(configuration.defaults)
    migrated: list[Migrated] = []
    for requirement in sorted(default.union(*required.values()), key=_order):
        if requirement in default:
            others = sorted({*exempt, *(name for name, own in required.items() if requirement not in own)})
            if len(others) > MAX_NAMES:
                message = f"the default does not apply to more than {MAX_NAMES} namespaces; migrate without --explicit"
                raise PolicyError(Problem("--explicit", message))
            migrated.append(_explicit(requirement, requirement.name, _match(configuration, exclude=others)))
            continue
        names = [name for name, own in required.items() if requirement in own]
        for start in range(0, len(names), MAX_NAMES):
            name = requirement.name if not start else f"{requirement.name}-{start // MAX_NAMES + 1}"
            match = _match(configuration, include=names[start : start + MAX_NAMES])
            migrated.append(_explicit(requirement, name, match))
    return migrated


def remarks(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration, *, explicit: bool) -> Iterator[str]:
    """What to know before the policies are applied: invalid labels, and differences."""
    pinned = [
        f"{mode}-version {version}" for mode, (_, version) in _by_mode(configuration.defaults) if version != LATEST
    ]
    if pinned and not explicit:
        yield f"the defaults pin {', '.join(pinned)}; the policies use latest for labels with a level and no version"
    for name, labels in sorted(namespaces.items()):
        if name in configuration.exemptions.namespaces:
            continue
        levels = written_levels(labels, configuration.defaults)
        texts = [_misread(error) for error in levels.errors] + list(_newer(levels))
        if not explicit:
            texts += _halves(name, labels, configuration.defaults)
        if name == "kube-system" and levels.enforce[0] != Level.PRIVILEGED:
            texts.append("Sekisho does not receive its pods, so that a cluster can always start")
        for remark in texts:
            yield f"namespace {name}: {remark}"


def _misread(error: str) -> str:
    taken_for = "restricted" if f"{LABEL_PREFIX}enforce is " in error else "privileged"
    taken_for = "latest" if "-version is " in error else taken_for
    error = error.replace("the namespace's label", "its label")
    return f"{error}; Pod Security admission reads it as {taken_for}, and so do the policies"


def _newer(levels: WrittenLevels) -> Iterator[str]:
    for mode, (_, version) in _by_mode(levels):
        if version != LATEST and int(version[3:]) > NEWEST:
            yield f"{mode}-version {version} is newer than v1.{NEWEST}, the newest known one, and is read as latest"


def _halves(name: str, labels: Mapping[str, str], defaults: WrittenLevels) -> Iterator[str]:
    """Namespaces that set only one of a level and its version: no policy for defaults completes that."""
    for mode, (level, version) in _by_mode(defaults):
        key = LABEL_PREFIX + mode
        own_level, own_version = labels.get(key), labels.get(f"{key}-version")
        repair = ""
        if own_level is None and own_version not in (None, version) and level != Level.PRIVILEGED:
            repair = f"{key}={level}"
        elif own_level not in (None, Level.PRIVILEGED) and own_version is None and version != LATEST:
            repair = f"{key}-version={version}"
        if repair:
            has = f"{mode}-version" if own_level is None else mode
            yield f"it sets only the label {has}, so the other one has no default; fix: {_label(name, repair)}"


def _label(name: str, label: str) -> str:
    return f"`kubectl label namespace {name} {label}`"


def write_policies(migrated: Sequence[Migrated]) -> str:
    """The policies as YAML documents, each below its comment."""
    if not migrated:
        return "# No namespace requires more than privileged: there is nothing to write.\n"
    return "---\n".join(f"{item.comment}{write_document(item.policy)}" for item in migrated)


def _requirements(levels: WrittenLevels) -> frozenset[_Requirement]:
    enforce, warn, audit = (_known(standard) for standard in (levels.enforce, levels.warn, levels.audit))
    modes: list[tuple[_Mode, LevelAndVersion]] = [(_Mode.AUDIT, audit)]
    modes += [(_Mode.BOTH, enforce)] if enforce == warn else [(_Mode.ENFORCE, enforce), (_Mode.WARN, warn)]
    return frozenset(
        _Requirement(level, version, mode) for mode, (level, version) in modes if level != Level.PRIVILEGED
    )


def _known(standard: LevelAndVersion) -> LevelAndVersion:
    """The level, with a version that policies know: a newer one becomes latest."""
    level, version = standard
    return (level, LATEST) if version != LATEST and int(version[3:]) > NEWEST else standard


def _order(requirement: _Requirement) -> tuple[int, str, int]:
    version = NEWEST + 1 if requirement.version == LATEST else int(requirement.version[3:])
    return list(_PREFIXES).index(requirement.mode), requirement.level, version


def _explicit(requirement: _Requirement, name: str, match: dict[str, Any]) -> Migrated:
    spec = _spec(requirement, match)
    which = "in these namespaces" if "namespaces" in match else "in every namespace that the default applies to"
    return Migrated(_comment(requirement, which), _policy(name, spec))


def _spec(requirement: _Requirement, match: dict[str, Any]) -> dict[str, Any]:
    enforcement, templates = _ENFORCEMENT[requirement.mode]
    standard = {"level": requirement.level.value, "version": requirement.version}
    spec: dict[str, Any] = {"enforcement": enforcement, "templates": templates}
    return spec | ({"match": match} if match else {}) | {"podSecurityStandard": standard}


def _defaults_by_label(configuration: PodSecurityConfiguration) -> Iterator[Migrated]:
    """Policies for the API server's defaults, which apply to namespaces where a label is missing."""
    for mode, standard in _by_mode(configuration.defaults):
        level, version = _known(standard)
        if level == Level.PRIVILEGED:
            continue
        requirement = _Requirement(level, version, mode)
        missing: list[dict[str, Any]] = [{"key": LABEL_PREFIX + mode, "operator": "DoesNotExist"}]
        if mode is _Mode.WARN and level == Level.BASELINE:
            # Where restricted is enforced, the policy that reads the labels warns about that.
            missing.append({"key": f"{LABEL_PREFIX}enforce", "operator": "NotIn", "values": ["restricted"]})
        match = _match(configuration, exclude=configuration.exemptions.namespaces)
        match["namespaceSelector"] = {"matchExpressions": missing}
        where = f"in namespaces without the label {mode}: the API server's default"
        yield Migrated(_comment(requirement, where), _policy(f"pod-security-default-{mode}", _spec(requirement, match)))


def _by_mode(levels: WrittenLevels) -> tuple[tuple[_Mode, LevelAndVersion], ...]:
    return (_Mode.ENFORCE, levels.enforce), (_Mode.AUDIT, levels.audit), (_Mode.WARN, levels.warn)


def _match(
    configuration: PodSecurityConfiguration, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> dict[str, Any]:
    exemptions = configuration.exemptions
    match: dict[str, Any] = {}
    if include:
        match["namespaces"] = list(include)
    if exclude:
        match["excludeNamespaces"] = sorted(exclude)
    if exemptions.usernames:
        match["excludeSubjects"] = {"users": list(exemptions.usernames)}
    if exemptions.runtime_classes:
        match["excludeRuntimeClasses"] = list(exemptions.runtime_classes)
    return match


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec}


def _groups(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration) -> Iterator[str]:
    """The namespaces with each combination of levels: a line each, the names in order."""
    groups: dict[str, list[str]] = {}
    for name, labels in sorted(namespaces.items()):
        exempt = name in configuration.exemptions.namespaces
        groups.setdefault("exempt" if exempt else _summary(written_levels(labels)), []).append(name)
    for summary, names in sorted(groups.items()):
        more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        yield f"  {summary}: {', '.join(names[:MAX_LISTED])}{more}"


def _summary(levels: WrittenLevels) -> str:
    modes = [f"{mode} {level}:{version}" for mode, (level, version) in _by_mode(levels) if level != Level.PRIVILEGED]
    return ", ".join(modes) or "privileged"


def _comment(requirement: _Requirement, where: str) -> str:
    version = "" if requirement.version == LATEST else f" of {requirement.version}"
    return _commented([f"Pods that do not meet {requirement.level}{version} {_WHAT[requirement.mode]}, {where}."])


def _commented(lines: Iterable[str]) -> str:
    return "".join(
        f"# {piece}\n"
        for line in lines
        for piece in wrap(line, _LINE, subsequent_indent="    " if line.startswith(" ") else "", break_on_hyphens=False)
    )

"""From Pod Security admission to policies that do the same."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final, Literal

from msgspec import Struct

from sekisho.controls import NEWEST
from sekisho.documents import Problem, write_document
from sekisho.manifests.pod_security import PodSecurityConfiguration
from sekisho.policies import PolicyError
from sekisho.policies.types import GROUP, VERSION
from sekisho.standards import LABEL_PREFIX, LATEST, AskedLevels, LevelAndVersion, asked_levels

NamespaceLabels = Mapping[str, Mapping[str, str]]
"""The labels of each namespace, by its name."""

MAX_NAMES: Final = 1024
"""Namespaces that one policy can name."""
MAX_TOLD: Final = 20
_LINE: Final = 110

_Mode = Literal["both", "enforce", "warn", "audit"]
_PREFIXES: Final[Mapping[_Mode, str]] = {"both": "", "enforce": "enforce-", "warn": "warn-", "audit": "audit-"}
_WHAT: Final[Mapping[_Mode, str]] = {
    "both": "are denied, and workloads of such pods warned about",
    "enforce": "are denied",
    "warn": "are warned about, and workloads of such pods too",
    "audit": "are noted in the audit log, and workloads of such pods too",
}
_ENFORCEMENT: Final[Mapping[_Mode, tuple[str, str]]] = {
    "both": ("Deny", "Warn"),
    "enforce": ("Deny", "Ignore"),
    "warn": ("Warn", "Warn"),
    "audit": ("Audit", "Warn"),
}


class Migrated(Struct, frozen=True):
    """A policy as an object of the API, and what stands above it as a comment."""

    comment: str
    policy: dict[str, Any]


class _Asked(Struct, frozen=True, order=True):
    """What one policy asks for; `both` where the same is enforced and warned about."""

    level: str
    version: str
    mode: _Mode

    @property
    def name(self) -> str:
        version = "" if self.version == LATEST else f"-{self.version}"
        return f"pod-security-{_PREFIXES[self.mode]}{self.level}{version}"


def policies_from_labels(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration) -> list[Migrated]:
    """The drop-in: one policy that reads the labels, and one for each default that the API server was given."""
    match = _match(configuration, exclude=configuration.exemptions.namespaces)
    spec = ({"match": match} if match else {}) | {"podSecurityStandard": {"fromNamespaceLabels": True}}
    comment = [
        "Does what each namespace's labels pod-security.kubernetes.io/{enforce,warn,audit}[-version] say, and goes on "
        "when they change. As of now:"
    ]
    comment += _groups(namespaces, configuration)
    migrated = [Migrated(_commented(comment), _policy("pod-security-labels", spec))]
    return [*migrated, *_defaults_by_label(configuration)]


def explicit_policies(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration) -> list[Migrated]:
    """Policies that name their levels and namespaces, for what the labels say now.

    What the API server was configured with as default holds for all other namespaces, those that come later included.
    Raises PolicyError where that takes more names than a policy holds.
    """
    exempt = set(configuration.exemptions.namespaces)
    asked = {
        name: _asked(asked_levels(labels, configuration.defaults))
        for name, labels in sorted(namespaces.items())
        if name not in exempt
    }
    default = _asked(configuration.defaults)
    migrated: list[Migrated] = []
    for each in sorted({*default, *(one for found in asked.values() for one in found)}, key=_order):
        if each in default:
            others = sorted({*exempt, *(name for name, found in asked.items() if each not in found)})
            if len(others) > MAX_NAMES:
                message = f"more than {MAX_NAMES} namespaces are not held to the default; migrate without --explicit"
                raise PolicyError(Problem("--explicit", message))
            migrated.append(_explicit(each, each.name, _match(configuration, exclude=others)))
            continue
        names = [name for name, found in asked.items() if each in found]
        for start in range(0, len(names), MAX_NAMES):
            name = each.name if not start else f"{each.name}-{start // MAX_NAMES + 1}"
            match = _match(configuration, include=names[start : start + MAX_NAMES])
            migrated.append(_explicit(each, name, match))
    return migrated


def remarks(namespaces: NamespaceLabels, configuration: PodSecurityConfiguration, *, explicit: bool) -> Iterator[str]:
    """What there is to know before the policies are applied: labels that cannot be read, and what differs."""
    pinned = [
        f"{mode}-version {version}" for mode, (_, version) in _by_mode(configuration.defaults) if version != LATEST
    ]
    if pinned and not explicit:
        yield f"the defaults pin {', '.join(pinned)}: to the policies, labels with a level and no version mean latest"
    for name, labels in sorted(namespaces.items()):
        if name in configuration.exemptions.namespaces:
            continue
        asked = asked_levels(labels, configuration.defaults)
        told = [_misread(error) for error in asked.errors] + list(_newer(asked))
        if not explicit:
            told += _halves(name, labels, configuration.defaults)
        if name == "kube-system" and asked.enforce[0] != "privileged":
            told.append("Sekisho is not sent its pods, so that a cluster can always start")
        for remark in told:
            yield f"namespace {name}: {remark}"


def _misread(error: str) -> str:
    taken_for = "restricted" if f"{LABEL_PREFIX}enforce is " in error else "privileged"
    taken_for = "latest" if "-version is " in error else taken_for
    error = error.replace("the namespace's label", "its label")
    return f"{error}; Pod Security admission takes it for {taken_for}, and so do the policies"


def _newer(asked: AskedLevels) -> Iterator[str]:
    for mode, (_, version) in _by_mode(asked):
        if version != LATEST and int(version[3:]) > NEWEST:
            yield f"{mode}-version {version} is newer than v1.{NEWEST}, the newest known, and means latest until then"


def _halves(name: str, labels: Mapping[str, str], defaults: AskedLevels) -> Iterator[str]:
    """Labels of which the default would be the other half: the policies for defaults are about neither label."""
    for mode, (level, version) in _by_mode(defaults):
        key = LABEL_PREFIX + mode
        given, given_version = labels.get(key), labels.get(f"{key}-version")
        repair = ""
        if given is None and given_version not in (None, version) and level != "privileged":
            repair = f"{key}={level}"
        elif given not in (None, "privileged") and given_version is None and version != LATEST:
            repair = f"{key}-version={version}"
        if repair:
            has = f"{mode}-version" if given is None else mode
            yield f"it has the label {has} alone, without the default's other half; {_label(name, repair)} repairs that"


def _label(name: str, label: str) -> str:
    return f"`kubectl label namespace {name} {label}`"


def write_policies(migrated: Sequence[Migrated]) -> str:
    """The policies as YAML documents, each below its comment."""
    if not migrated:
        return "# No namespace is held to more than privileged: there is nothing to write.\n"
    return "---\n".join(f"{each.comment}{write_document(each.policy)}" for each in migrated)


def _asked(levels: AskedLevels) -> frozenset[_Asked]:
    enforce, warn, audit = (_known(asked) for asked in (levels.enforce, levels.warn, levels.audit))
    modes: list[tuple[_Mode, LevelAndVersion]] = [("audit", audit)]
    modes += [("both", enforce)] if enforce == warn else [("enforce", enforce), ("warn", warn)]
    return frozenset(_Asked(level, version, mode) for mode, (level, version) in modes if level != "privileged")


def _known(asked: LevelAndVersion) -> LevelAndVersion:
    """The same with a version that policies know: what is newer than all of them means latest until then."""
    level, version = asked
    return (level, LATEST) if version != LATEST and int(version[3:]) > NEWEST else asked


def _order(asked: _Asked) -> tuple[int, str, int]:
    version = NEWEST + 1 if asked.version == LATEST else int(asked.version[3:])
    return list(_PREFIXES).index(asked.mode), asked.level, version


def _explicit(asked: _Asked, name: str, match: dict[str, Any]) -> Migrated:
    spec = _spec(asked, match)
    which = "in these namespaces" if "namespaces" in match else "in every namespace that is held to the default"
    return Migrated(_comment(asked, which), _policy(name, spec))


def _spec(asked: _Asked, match: dict[str, Any]) -> dict[str, Any]:
    enforcement, templates = _ENFORCEMENT[asked.mode]
    standard = {"level": asked.level, "version": asked.version}
    spec: dict[str, Any] = {"enforcement": enforcement, "templates": templates}
    return spec | ({"match": match} if match else {}) | {"podSecurityStandard": standard}


def _defaults_by_label(configuration: PodSecurityConfiguration) -> Iterator[Migrated]:
    """Policies for what the API server's defaults ask of namespaces in which a label is missing."""
    for mode, standard in _by_mode(configuration.defaults):
        level, version = _known(standard)
        if level == "privileged":
            continue
        asked = _Asked(level, version, mode)
        missing: list[dict[str, Any]] = [{"key": LABEL_PREFIX + mode, "operator": "DoesNotExist"}]
        if mode == "warn" and level == "baseline":
            # Where more is enforced than that, that is warned about, by the policy that reads the labels.
            missing.append({"key": f"{LABEL_PREFIX}enforce", "operator": "NotIn", "values": ["restricted"]})
        match = _match(configuration, exclude=configuration.exemptions.namespaces)
        match["namespaceSelector"] = {"matchExpressions": missing}
        where = f"in namespaces without the label {mode}: the API server's default"
        yield Migrated(_comment(asked, where), _policy(f"pod-security-default-{mode}", _spec(asked, match)))


def _by_mode(levels: AskedLevels) -> tuple[tuple[_Mode, LevelAndVersion], ...]:
    return ("enforce", levels.enforce), ("audit", levels.audit), ("warn", levels.warn)


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
    """Which namespaces are held to what: a line for each combination, the names in order."""
    groups: dict[str, list[str]] = {}
    for name, labels in sorted(namespaces.items()):
        exempt = name in configuration.exemptions.namespaces
        groups.setdefault("exempt" if exempt else _summary(asked_levels(labels)), []).append(name)
    for summary, names in sorted(groups.items()):
        more = f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else ""
        yield f"  {summary}: {', '.join(names[:MAX_TOLD])}{more}"


def _summary(levels: AskedLevels) -> str:
    told = [f"{mode} {level}:{version}" for mode, (level, version) in _by_mode(levels) if level != "privileged"]
    return ", ".join(told) or "privileged"


def _comment(asked: _Asked, where: str) -> str:
    version = "" if asked.version == LATEST else f" of {asked.version}"
    return _commented([f"Pods that do not meet {asked.level}{version} {_WHAT[asked.mode]}, {where}."])


def _commented(lines: Iterable[str]) -> str:
    return "".join(
        f"# {piece}\n"
        for line in lines
        for piece in wrap(line, _LINE, subsequent_indent="    " if line.startswith(" ") else "", break_on_hyphens=False)
    )

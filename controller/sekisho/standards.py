"""The Pod Security Standards: which controls, with which parameters, a level has at a version.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from sekisho.controls import CONTROLS, LEVELS, NEWEST, Level, Parameters
from sekisho.errors import SekishoError

LATEST: Final = "latest"
VERSION_PATTERN: Final = "^(latest|v1\\.([0-9]|[12][0-9]|3[0-7]))$"
_VERSION = re.compile(VERSION_PATTERN[1:-1])


class UnknownVersionError(SekishoError, ValueError):
    """A version that is neither `latest` nor between v1.0 and the newest known."""


def parse_version(version: str) -> int:
    """The minor version of `latest` or `v1.N`. Raises UnknownVersionError."""
    if version == LATEST:
        return NEWEST
    if not _VERSION.fullmatch(version):
        raise UnknownVersionError(
            f"{version!r} is not a version of the Pod Security Standards; write latest or v1.0 to v1.{NEWEST}"
        )
    return int(version[3:])


@lru_cache(maxsize=256)
def controls_of(level: Level, minor: int) -> MappingProxyType[str, Parameters]:
    """The controls of a level at v1.<minor> by name, with their parameters, in the order of `CONTROLS`."""
    level_parameters = ((name, control.standard(level, minor)) for name, control in CONTROLS.items())
    return MappingProxyType({name: parameters for name, parameters in level_parameters if parameters is not None})


LABEL_PREFIX: Final = "pod-security.kubernetes.io/"
LevelAtVersion = tuple[Level, int]
LevelAndVersion = tuple[Level, str]
_LABEL_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,5})")


class NamespaceLevels(Struct, frozen=True):
    """The levels in the pod-security labels of a namespace; `errors` says which labels could not be read."""

    enforce: LevelAtVersion
    audit: LevelAtVersion
    warn: LevelAtVersion
    errors: tuple[str, ...] = ()


class WrittenLevels(Struct, frozen=True):
    """The levels in the pod-security labels of a namespace, with versions as the labels have them: latest, or v1.N."""

    enforce: LevelAndVersion = (Level.PRIVILEGED, LATEST)
    audit: LevelAndVersion = (Level.PRIVILEGED, LATEST)
    warn: LevelAndVersion = (Level.PRIVILEGED, LATEST)
    errors: tuple[str, ...] = ()


ALL_PRIVILEGED: Final = WrittenLevels()


def levels_of_labels(labels: Mapping[str, str]) -> NamespaceLevels:
    """The levels in a namespace's labels, as the built-in plugin reads them with its defaults."""
    levels = written_levels(labels)
    return NamespaceLevels(_at(levels.enforce), _at(levels.audit), _at(levels.warn), levels.errors)


def written_levels(labels: Mapping[str, str], defaults: WrittenLevels = ALL_PRIVILEGED) -> WrittenLevels:
    """The levels in a namespace's labels, as the built-in plugin reads them with the given defaults.

    A label that cannot be read counts as `restricted` and `latest` for enforce, and as `privileged` for audit and warn.
    Without a label for warn, the enforced level is also the level for warnings if it is stricter than the default.
    """
    errors: list[str] = []
    enforce = _level_of_labels(labels, "enforce", Level.RESTRICTED, defaults.enforce, errors)
    audit = _level_of_labels(labels, "audit", Level.PRIVILEGED, defaults.audit, errors)
    warn = _level_of_labels(labels, "warn", Level.PRIVILEGED, defaults.warn, errors)
    is_enforced = labels.get(LABEL_PREFIX + "enforce") == enforce[0]
    if is_enforced and LABEL_PREFIX + "warn" not in labels and LEVELS.index(enforce[0]) > LEVELS.index(warn[0]):
        warn = (enforce[0], warn[1] if LABEL_PREFIX + "warn-version" in labels else enforce[1])
    return WrittenLevels(enforce, audit, warn, tuple(errors))


def _level_of_labels(
    labels: Mapping[str, str], mode: str, fallback: Level, default: LevelAndVersion, errors: list[str]
) -> LevelAndVersion:
    key = LABEL_PREFIX + mode
    level, written = default[0], labels.get(key)
    if written in LEVELS:
        level = Level(written)
    elif written is not None:
        errors.append(f"the namespace's label {key} is {written!r}, must be one of {', '.join(LEVELS)}")
        level = fallback
    version = labels.get(f"{key}-version", default[1])
    if version != LATEST and not _LABEL_VERSION.fullmatch(version):
        errors.append(f"the namespace's label {key}-version is {version!r}, must be latest or v1.x")
        version = LATEST
    return level, version


def _at(written: LevelAndVersion) -> LevelAtVersion:
    """The version as a number; a version newer than NEWEST counts as NEWEST."""
    level, version = written
    return level, NEWEST if version == LATEST else min(int(version[3:]), NEWEST)

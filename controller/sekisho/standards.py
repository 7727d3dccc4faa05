"""The Pod Security Standards: which controls, with which parameters, a level has at a version.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from sekisho.controls import CONTROLS, NEWEST, Level, Parameters

LATEST: Final = "latest"
VERSION_PATTERN: Final = "^(latest|v1\\.([0-9]|[12][0-9]|3[0-7]))$"
_VERSION = re.compile(VERSION_PATTERN[1:-1])


class UnknownVersionError(ValueError):
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
    found = ((name, control.standard(level, minor)) for name, control in CONTROLS.items())
    return MappingProxyType({name: parameters for name, parameters in found if parameters is not None})

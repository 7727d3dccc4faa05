"""The library of policies and waivers in the folder policies/, with its pods."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

LIBRARY = Path(__file__).parents[1] / "policies"
RESTRICTED = LIBRARY / "restricted" / "policy.yaml"
AUDITED = frozenset({"audit-starter"})
"""Entries that deny nothing."""


class Entry(Struct, frozen=True):
    """A folder of the library.

    name: its path in the library, such as restricted or waivers/calico.
    pods: the files with pods in pods/good and pods/bad.
    """

    name: str
    folder: Path
    pods: tuple[Path, ...]


def documents(entry: Entry) -> list[str]:
    """The entry's policy, and its catalog if it has one; or the policy and the waivers from it, which expire in 30
    days.
    """
    files = [entry.folder / "policy.yaml", entry.folder / "catalog.yaml"]
    if files[0].exists():
        return [file.read_text() for file in files if file.exists()]
    expires = datetime.now(UTC) + timedelta(days=30)
    waivers = (entry.folder / "waiver.yaml").read_text()
    return [RESTRICTED.read_text(), re.sub(r'expires: ".*"', f'expires: "{expires:%Y-%m-%dT%H:%M:%SZ}"', waivers)]


def _entry(folder: Path) -> Entry:
    return Entry(str(folder.relative_to(LIBRARY)), folder, tuple(sorted(folder.glob("pods/*/*.yaml"))))


_ALL = [_entry(readme.parent) for readme in sorted(LIBRARY.glob("**/README.md")) if readme.parent != LIBRARY]
VERIFIED = [entry for entry in _ALL if (entry.folder / "authority.yaml").exists()]
"""Entries about what is attached to images, which are tried with a registry."""
ENTRIES = [entry for entry in _ALL if entry not in VERIFIED]
"""The others."""

"""Where a field comes from that the API server set, and nobody wrote."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from sekisho.findings import Change, FieldPath, Finding


class Origin(Struct, frozen=True, gc=False):
    """What set a field.

    cause: a clause that follows the value in a finding, such as `set by hostNetwork`.
    fix: the smallest change that unsets the field, as an imperative clause; None where setting the field itself
        works, so that the control's own fix stays.
    change: what `fix` says, for a program; None where a person has to decide.
    """

    cause: str
    fix: str | None = None
    change: Change | None = None


Origins = dict[FieldPath, Origin]
"""The fields that the API server set, by their path from the pod's root; also the topmost path of what it added."""


def with_origin(finding: Finding, origins: Mapping[FieldPath, Origin]) -> Finding:
    """The finding, with where its value comes from if the API server set the field or something above it."""
    path, origin = finding.path, None
    for end in range(len(path), 0, -1):
        origin = origins.get(path[:end])
        if origin is not None:
            break
    if origin is None:
        return finding
    if origin.fix is None:
        return replace(finding, origin=origin.cause)
    return replace(finding, origin=origin.cause, fix=origin.fix, change=origin.change)

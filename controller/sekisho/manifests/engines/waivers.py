"""Waivers for what other engines exempt: they need an end, which the originals do not have."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.manifests.engines.results import Remark, Written, looser, own_object

NEEDS_END: Final = "a waiver needs an end: give one with --waivers-until"

BY_NAME: Final = looser("pods of a workload with that name are exempt too")


class Waived(Struct, frozen=True):
    """What a waiver exempts: pods and containers that match, from controls, and why; and how it differs."""

    controls: tuple[str, ...]
    match: Mapping[str, Any]
    reason: str
    values: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def waiver(name: str, policies: Sequence[str], waived: Waived, until: str, namespace: str = "") -> Written:
    """The PolicyWaiver. `until`: its end as the API has it; `namespace`: the only one of namespaced policies."""
    titles = [f"{namespace}/{policy}" if namespace else policy for policy in policies]
    spec: dict[str, Any] = {"policies": titles, "controls": list(waived.controls)}
    if waived.values:
        spec["values"] = list(waived.values)
    if waived.match:
        spec["match"] = dict(waived.match)
    comment = tuple(f"{one.difference.capitalize()}: {one.text}." for one in dict.fromkeys(waived.remarks))
    return Written(comment, own_object("PolicyWaiver", name, spec | {"expires": until, "reason": waived.reason}))

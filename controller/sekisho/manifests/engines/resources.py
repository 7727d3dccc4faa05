"""Resources and probes that other engines require, and the parameters of ours that do the same."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sekisho.manifests.engines.parts import Part, Translated, Unknown, target_remarks
from sekisho.manifests.engines.requirements import Presence, Requirement, Target, Test
from sekisho.manifests.engines.results import Remark, looser, stricter

_JUDGED: Final = frozenset((Target.CONTAINERS, Target.INIT))
_LONG_RUNNING: Final = frozenset((Target.CONTAINERS,))
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_BOUNDS: Final = {
    (Test.AT_MOST, "limits"): "maxLimits",
    (Test.AT_MOST, "requests"): "maxRequests",
    (Test.AT_LEAST, "limits"): "minLimits",
    (Test.AT_LEAST, "requests"): "minRequests",
}
EPHEMERAL: Final = looser("ephemeral containers pass, because the API server accepts no resources in them")
OF_POD: Final = looser("resources of the pod as a whole count for containers that set none")
JOBS: Final = looser(
    "init containers that end, and containers of pods that do not restart always, such as those of Jobs, need no probes"
)


def translate_resources(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    """The parameters of the control resources that do what is required of requests and limits."""
    for one in requirements:
        parameters = _amounts(one)
        if parameters is None:
            yield Unknown(f"no control has {one.field} {one.test} {', '.join(one.values)}", one.path)
        else:
            yield Part("resources", parameters, tuple(_remarks(one)), one.path)


def _amounts(one: Requirement) -> dict[str, Any] | None:
    _, kind, resource = (*one.field.split(".", 2), "")[:3]
    if kind not in ("limits", "requests") or not resource:
        return None
    required = {"requiredLimits" if kind == "limits" else "requiredRequests": [resource]}
    if one.test is Test.SET or (one.test is Test.IN and one.values == ("*",)):
        return required if one.presence is Presence.REQUIRED else None
    bound = _BOUNDS.get((one.test, kind))
    if bound is None:
        return None
    bounds = {bound: [{"resource": resource, "quantity": one.values[0]}]}
    return bounds | (required if one.presence is Presence.REQUIRED else {})


def _remarks(one: Requirement) -> Iterator[Remark]:
    for remark in target_remarks(one, _JUDGED):
        yield EPHEMERAL if "not judge ephemeral containers" in remark.text else remark
    yield OF_POD
    if one.presence is not Presence.REQUIRED:
        yield stricter(f"{one.field} must be set, or be within the bounds for the pod as a whole")


def translate_probes(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    """The parameters of the control probes that do what is required."""
    for one in requirements:
        field = one.field.split(".")[0]
        parameters: dict[str, list[str]]
        if one.field == "keys" and one.test in (Test.HAS, Test.HAS_ONE) and set(one.values) <= set(_PROBES):
            name = "required" if one.test is Test.HAS else "anyOf"
            parameters = {name: [probe for probe in _PROBES if probe in one.values]}
        elif field in _PROBES and one.presence is Presence.REQUIRED and _is_any_value(one):
            parameters = {"required": [field]}
        else:
            yield Unknown(f"no control has {one.field} {one.test} {', '.join(one.values)}", one.path)
            continue
        yield Part("probes", parameters, (*target_remarks(one, _LONG_RUNNING), JOBS), one.path)


def _is_any_value(one: Requirement) -> bool:
    """Whether any probe meets it: the API server gives each a periodSeconds above 0."""
    return one.test is Test.SET or (one.field.endswith(".periodSeconds") and one.ranges[:1] == ((1, 4294967295),))

"""terminationGracePeriod: pods may take only so long to stop.

Restricted fields: spec.terminationGracePeriodSeconds
Allowed values: from `minSeconds` to `maxSeconds`, where they are set
An unset field means 30, which the API server writes into the pod.
Level: none, a policy names it
"""

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, ParameterError, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import DEFAULT_GRACE_SECONDS, ContainerRef, Pod

_FIELD: Final = ("spec", "terminationGracePeriodSeconds")
Seconds = Annotated[int, Meta(ge=0, le=31536000)]


class TerminationGracePeriod(Parameters, frozen=True):
    """How long pods may take to stop."""

    min_seconds: Annotated[Seconds, Meta(description="The shortest time that pods must have to stop.")] | None = None
    max_seconds: Annotated[Seconds, Meta(description="The longest time that pods may take to stop.")] | None = None


def _check(parameters: TerminationGracePeriod, _minor: int) -> Check:
    least, most = parameters.min_seconds, parameters.max_seconds
    if least is not None and most is not None and least > most:
        raise ParameterError("minSeconds", f"{least} is above maxSeconds {most}")
    allowed = f"at least {least}"
    if most is not None:
        allowed = f"at most {most}" if least is None else f"{least} to {most}"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        written = pod.spec.termination_grace_period_seconds
        seconds = DEFAULT_GRACE_SECONDS if written is None else written
        nearest = least if least is not None and seconds < least else seconds
        nearest = most if most is not None and nearest > most else nearest
        if nearest == seconds:
            return []
        change, fix = set_to(_FIELD, nearest), f"set it to {nearest}"
        return [Finding.of("terminationGracePeriod", _FIELD, written, allowed=allowed, fix=fix, change=change)]

    return judge


CONTROL = Control(
    name="terminationGracePeriod",
    reason="the time it takes to stop",
    summary="Pods may take only as long to stop as the policy allows.",
    why="A node is drained when its last pod has stopped, so one pod with hours can hold up an upgrade of the cluster.",
    example=Example(
        parameters="{maxSeconds: 300}",
        denied="""\
terminationGracePeriodSeconds: 86400
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
terminationGracePeriodSeconds: 120
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=TerminationGracePeriod,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    needs_parameters=True,
    unset={"minSeconds": "no minimum", "maxSeconds": "no maximum"},
)

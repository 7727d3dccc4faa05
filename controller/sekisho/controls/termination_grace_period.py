"""terminationGracePeriod: the time that pods may take to stop has bounds.

Restricted fields: spec.terminationGracePeriodSeconds
Allowed values: from `minSeconds` to `maxSeconds`, where they are set
An unset field means 30, which the API server writes into the pod.
Level: none; the control applies only where a policy names it
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
    minimum, maximum = parameters.min_seconds, parameters.max_seconds
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ParameterError("minSeconds", f"{minimum} is above maxSeconds {maximum}")
    allowed = f"at least {minimum}"
    if maximum is not None:
        allowed = f"at most {maximum}" if minimum is None else f"{minimum} to {maximum}"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        written = pod.spec.termination_grace_period_seconds
        seconds = DEFAULT_GRACE_SECONDS if written is None else written
        nearest = minimum if minimum is not None and seconds < minimum else seconds
        nearest = maximum if maximum is not None and nearest > maximum else nearest
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

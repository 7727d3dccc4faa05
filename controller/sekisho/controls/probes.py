"""probes: long-running containers must let the kubelet see whether they work.

Restricted fields: spec.containers[*].{livenessProbe,readinessProbe,startupProbe}, and those of sidecars
Allowed values: those in `required` are set, and one of those in `anyOf`; with `denyEqual`, livenessProbe differs from
    readinessProbe in some field; readinessProbe is set where the policy has none of the three
Only containers that run on need probes. Exempt are pods with a restartPolicy other than Always, which those of Jobs
have, containers with such a restartPolicy of their own, init containers that end, and ephemeral containers.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, words
from sekisho.pods import ContainerKind, ContainerRef, Pod


class ProbeKind(StrEnum):
    """A kind of probe."""

    LIVENESS = "livenessProbe"
    READINESS = "readinessProbe"
    STARTUP = "startupProbe"


_ALWAYS: Final = "Always"
_ATTRIBUTES: Final = {
    ProbeKind.LIVENESS: "liveness_probe",
    ProbeKind.READINESS: "readiness_probe",
    ProbeKind.STARTUP: "startup_probe",
}


class Probes(Parameters, frozen=True):
    """Which probes long-running containers must have."""

    required: (
        Annotated[tuple[ProbeKind, ...], Meta(description="Probes that must be set.", min_length=1, max_length=3)]
        | None
    ) = None
    deny_equal: (
        Annotated[
            bool,
            Meta(
                description="Whether a livenessProbe must differ from the readinessProbe: where they are equal, a "
                "container that cannot take traffic for a moment is restarted as well."
            ),
        ]
        | None
    ) = None
    any_of: (
        Annotated[
            tuple[ProbeKind, ...], Meta(description="Probes of which one must be set.", min_length=1, max_length=3)
        ]
        | None
    ) = None


def _check(parameters: Probes, _minor: int) -> Check:
    any_of = parameters.any_of or ()
    required = parameters.required or (() if any_of or parameters.deny_equal else (ProbeKind.READINESS,))

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        if (pod.spec.restart_policy or _ALWAYS) != _ALWAYS:
            return []
        findings: list[Finding] = []
        for ref in filter(_is_long_running, containers):
            unset = {probe for probe, name in _ATTRIBUTES.items() if getattr(ref.container, name) is None}
            missing = [probe for probe in required if probe in unset]
            findings += [_finding(ref, probe, "a probe", "add one that fits the container") for probe in missing]
            if any_of and unset.issuperset(any_of) and not missing:
                others = words([str(probe) for probe in any_of[1:]]) if any_of[1:] else ""
                allowed = f"a probe, or {others} set" if others else "a probe"
                findings.append(_finding(ref, any_of[0], allowed, f"add one of {words(list(map(str, any_of)))}"))
            liveness = ref.container.liveness_probe
            if parameters.deny_equal and liveness is not None and liveness == ref.container.readiness_probe:
                findings.append(_equal(ref))
        return findings

    return judge


def _finding(ref: ContainerRef, probe: ProbeKind, allowed: str, fix: str) -> Finding:
    return Finding.of("probes", (*ref.path, str(probe)), None, allowed=allowed, fix=fix, about=ref)


def _equal(ref: ContainerRef) -> Finding:
    return Finding.of(
        "probes",
        (*ref.path, str(ProbeKind.LIVENESS)),
        None,
        allowed="a probe that differs from readinessProbe",
        fix="let it check less, give it a higher failureThreshold, or remove it",
        about=ref,
        shown="equal to readinessProbe",
    )


def _is_long_running(ref: ContainerRef) -> bool:
    policy = ref.container.restart_policy
    if ref.kind is ContainerKind.INIT:
        return policy == _ALWAYS
    return ref.kind is ContainerKind.REGULAR and (policy or _ALWAYS) == _ALWAYS


CONTROL = Control(
    name="probes",
    reason="its probes",
    summary="Long-running containers must have the probes that the policy lists.",
    why="Without a readiness probe a pod gets traffic before it can answer; without a liveness probe the kubelet does "
    "not restart a container that hangs.",
    example=Example(
        parameters="{required: [readinessProbe]}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  readinessProbe: {httpGet: {port: 8080, path: /ready}}
""",
    ),
    parameters=Probes,
    standard=opt_in,
    check=_check,
    unset={
        "required": 'none; `["readinessProbe"]` if `anyOf` and `denyEqual` are unset too',
        "denyEqual": "`false`",
        "anyOf": "none",
    },
)

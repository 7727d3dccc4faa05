"""hostPorts: containers may not use ports of the node.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].ports[*].hostPort
Allowed values: unset, 0, or within a range that the policy allows
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Ports)
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import (
    MIN_ABOVE_MAX,
    Check,
    Control,
    Example,
    Level,
    ParameterError,
    Parameters,
    cel,
)
from sekisho.findings import Finding, remove, words
from sekisho.pods import ContainerRef, Pod

Port = Annotated[int, Meta(ge=1, le=65535)]


class PortRange(Struct, frozen=True, forbid_unknown_fields=True):
    """Ports from `min` to `max`, both included."""

    min: Annotated[Port, Meta(description="The first port of the range.")]
    max: Annotated[Port, Meta(description="The last port of the range.")]


class HostPorts(Parameters, frozen=True):
    """Which ports of the node containers may use."""

    allowed: (
        Annotated[
            tuple[Annotated[PortRange, Meta(extra_json_schema=cel("self.min <= self.max", MIN_ABOVE_MAX))], ...],
            Meta(description="Ranges of host ports that are allowed.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, _minor: int) -> HostPorts | None:
    return None if level == Level.PRIVILEGED else HostPorts(allowed=())


def _check(parameters: HostPorts, _minor: int) -> Check:
    ranges = parameters.allowed or ()
    for index, ports in enumerate(ranges):
        if ports.min > ports.max:
            raise ParameterError(f"allowed[{index}]", f"min {ports.min} is above max {ports.max}")
    ordered = sorted(ranges, key=lambda ports: ports.min)
    starts = [ports.min for ports in ordered]
    ends = list(accumulate((ports.max for ports in ordered), max))
    allowed = words(["unset", *(f"{r.min} to {r.max}" if r.min != r.max else str(r.min) for r in ranges)])

    def is_allowed(port: int) -> bool:
        # Of the ranges that start up to a port, one has it if their highest end is not below it.
        count = bisect_right(starts, port)
        return count > 0 and ends[count - 1] >= port

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for ref in containers:
            for index, port in enumerate(ref.container.ports or ()):
                number = port.host_port
                if number and not is_allowed(number):
                    field = (*ref.path, "ports", index, "hostPort")
                    finding = Finding.of(
                        "hostPorts",
                        field,
                        number,
                        allowed=allowed,
                        fix="remove it and reach the pod through a Service",
                        change=remove(field),
                        about=ref,
                    )
                    findings.append(finding)
        return findings

    return judge


CONTROL = Control(
    name="hostPorts",
    reason="a hostPort",
    summary="Containers may not use ports of the node.",
    why="A port of the node is reachable past the rules for Services and network policies, and a pod that uses one can "
    "impersonate a service of the node.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  ports: [{containerPort: 8080, hostPort: 80}]
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  ports: [{containerPort: 8080}]
""",
    ),
    parameters=HostPorts,
    standard=_standard,
    check=_check,
)

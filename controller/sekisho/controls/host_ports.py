"""hostPorts: containers may not bind ports of the node.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].ports[*].hostPort
Allowed values: unset, 0, or within a range that the policy allows
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Ports)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import (
    MIN_ABOVE_MAX,
    Check,
    Control,
    Level,
    ParameterError,
    Parameters,
    cel,
    of_container,
    remove,
)
from sekisho.findings import Finding, words
from sekisho.pods import ContainerRef, Pod

Port = Annotated[int, Meta(ge=1, le=65535)]


class PortRange(Struct, frozen=True, forbid_unknown_fields=True):
    """Ports from `min` to `max`, both included."""

    min: Annotated[Port, Meta(description="The first port of the range.")]
    max: Annotated[Port, Meta(description="The last port of the range.")]


class HostPorts(Parameters, frozen=True):
    """Which ports of the node containers may bind."""

    allowed: (
        Annotated[
            tuple[Annotated[PortRange, Meta(extra_json_schema=cel("self.min <= self.max", MIN_ABOVE_MAX))], ...],
            Meta(description="Ranges of host ports that are allowed.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, _minor: int) -> HostPorts | None:
    return None if level == "privileged" else HostPorts(allowed=())


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, HostPorts)  # noqa: S101
    ranges = parameters.allowed or ()
    for index, ports in enumerate(ranges):
        if ports.min > ports.max:
            raise ParameterError(f"allowed[{index}]", f"min {ports.min} is above max {ports.max}")
    allowed = words(["unset", *(f"{r.min} to {r.max}" for r in ranges)])

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for placed in containers:
            for index, port in enumerate(placed.container.ports or ()):
                number = port.host_port
                if number and not any(r.min <= number <= r.max for r in ranges):
                    tail = ("ports", index, "hostPort")
                    fix = "remove it and reach the pod through a Service"
                    change = remove(placed.path + tail)
                    findings.append(of_container("hostPorts", placed, tail, number, allowed, fix, change))
        return findings

    return judge


CONTROL = Control("hostPorts", "a hostPort", "Containers may not bind ports of the node.", HostPorts, _standard, _check)

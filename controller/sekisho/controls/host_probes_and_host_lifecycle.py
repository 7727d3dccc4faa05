"""hostProbesAndHostLifecycle: probes and lifecycle hooks may not name a host; the kubelet would call it from the node.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].
    {livenessProbe,readinessProbe,startupProbe,lifecycle.postStart,lifecycle.preStop}.{httpGet,tcpSocket}.host
Allowed values: unset, empty
Level: baseline, from v1.34
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Probes / Lifecycle Hooks)
"""

from collections.abc import Iterator, Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, remove
from sekisho.findings import Finding
from sekisho.pods import Container, ContainerRef, Handler, Pod


class HostProbesAndHostLifecycle(Parameters, frozen=True):
    """Probes and lifecycle hooks may not name a host."""


def _standard(level: Level, minor: int) -> HostProbesAndHostLifecycle | None:
    return HostProbesAndHostLifecycle() if level != "privileged" and minor >= 34 else None


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        of_container(
            "hostProbesAndHostLifecycle",
            placed,
            tail,
            host,
            "unset or empty",
            "remove it: the pod's own address is used then",
            remove(placed.path + tail),
        )
        for placed in containers
        for tail, host in _hosts(placed.container)
    ]


def _hosts(container: Container) -> Iterator[tuple[tuple[str, ...], str]]:
    handlers: tuple[tuple[tuple[str, ...], Handler | None], ...] = (
        (("livenessProbe",), container.liveness_probe),
        (("readinessProbe",), container.readiness_probe),
        (("startupProbe",), container.startup_probe),
    )
    lifecycle = container.lifecycle
    if lifecycle is not None:
        handlers += ((("lifecycle", "postStart"), lifecycle.post_start), (("lifecycle", "preStop"), lifecycle.pre_stop))
    for path, handler in handlers:
        if handler is not None:
            action = handler.http_get
            if action is not None and action.host:
                yield (*path, "httpGet", "host"), action.host
            action = handler.tcp_socket
            if action is not None and action.host:
                yield (*path, "tcpSocket", "host"), action.host


CONTROL = Control(
    "hostProbesAndHostLifecycle",
    "a probe or lifecycle host",
    "Probes and lifecycle hooks may not name a host.",
    HostProbesAndHostLifecycle,
    _standard,
    _check,
)

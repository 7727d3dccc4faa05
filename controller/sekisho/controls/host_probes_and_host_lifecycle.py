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
from sekisho.pods import Container, Handler, Placed, Pod


class HostProbesAndHostLifecycle(Parameters, frozen=True):
    """Probes and lifecycle hooks may not name a host."""


def _standard(level: Level, minor: int) -> HostProbesAndHostLifecycle | None:
    return HostProbesAndHostLifecycle() if level != "privileged" and minor >= 34 else None


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
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
    for key, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is not None:
            yield from _hosts_of(probe, (key,))
    lifecycle = container.lifecycle
    if lifecycle is not None:
        for key, hook in (("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)):
            if hook is not None:
                yield from _hosts_of(hook, ("lifecycle", key))


def _hosts_of(handler: Handler, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if handler.http_get is not None and handler.http_get.host:
        yield (*path, "httpGet", "host"), handler.http_get.host
    if handler.tcp_socket is not None and handler.tcp_socket.host:
        yield (*path, "tcpSocket", "host"), handler.tcp_socket.host


CONTROL = Control(
    "hostProbesAndHostLifecycle",
    "a probe or lifecycle host",
    "Probes and lifecycle hooks may not name a host.",
    HostProbesAndHostLifecycle,
    _standard,
    _check,
)

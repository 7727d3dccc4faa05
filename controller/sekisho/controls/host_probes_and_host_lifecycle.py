"""hostProbesAndHostLifecycle: probes and lifecycle hooks may not name a host.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].
    {livenessProbe,readinessProbe,startupProbe,lifecycle.postStart,lifecycle.preStop}.{httpGet,tcpSocket}.host
Allowed values: unset, empty
Level: baseline, from v1.34
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Probes / Lifecycle Hooks)
"""

from collections.abc import Iterator, Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import Finding, remove
from sekisho.pods import Container, ContainerRef, Handler, Pod, Probe


class HostProbesAndHostLifecycle(Parameters, frozen=True):
    """Probes and lifecycle hooks may not name a host."""


def _standard(level: Level, minor: int) -> HostProbesAndHostLifecycle | None:
    return HostProbesAndHostLifecycle() if level != Level.PRIVILEGED and minor >= 34 else None


def _check(_parameters: HostProbesAndHostLifecycle, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        Finding.of(
            "hostProbesAndHostLifecycle",
            ref.path + tail,
            host,
            allowed="unset or empty",
            fix="remove it: the pod's own address is used then",
            change=remove(ref.path + tail),
            about=ref,
        )
        for ref in containers
        for tail, host in _hosts(ref.container)
    ]


def _hosts(container: Container) -> Iterator[tuple[tuple[str, ...], str]]:
    """The path below the container and the value of every host that is set."""
    handlers: tuple[tuple[tuple[str, ...], Handler | Probe | None], ...] = (
        (("livenessProbe",), container.liveness_probe),
        (("readinessProbe",), container.readiness_probe),
        (("startupProbe",), container.startup_probe),
    )
    lifecycle = container.lifecycle
    if lifecycle is not None:
        handlers += ((("lifecycle", "postStart"), lifecycle.post_start), (("lifecycle", "preStop"), lifecycle.pre_stop))
    for path, handler in handlers:
        if handler is not None:
            request, connection = handler.http_get, handler.tcp_socket
            if request is not None and request.host:
                yield (*path, "httpGet", "host"), request.host
            if connection is not None and connection.host:
                yield (*path, "tcpSocket", "host"), connection.host


CONTROL = Control(
    name="hostProbesAndHostLifecycle",
    reason="a probe or lifecycle host",
    summary="Probes and lifecycle hooks may not name a host.",
    why="The kubelet calls the named host from the node, so a pod could use it to reach services that only the node "
    "may reach.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  livenessProbe: {httpGet: {host: 169.254.169.254, port: 80}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  livenessProbe: {httpGet: {port: 8080}}
""",
    ),
    parameters=HostProbesAndHostLifecycle,
    standard=_standard,
    check=_check,
)

"""hostNamespaces: pods may not share the node's network, process or IPC namespace.

Restricted fields: spec.hostNetwork, spec.hostPID, spec.hostIPC
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Namespaces)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod


class HostNamespaces(Parameters, frozen=True):
    """Pods may not share the node's namespaces."""


def _standard(level: Level, _minor: int) -> HostNamespaces | None:
    return None if level == Level.PRIVILEGED else HostNamespaces()


def _check(_parameters: HostNamespaces, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    spec = pod.spec
    if not (spec.host_network or spec.host_pid or spec.host_ipc):
        return []
    shared = (("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc))
    return [_finding(key, pod, containers) for key, is_shared in shared if is_shared]


def _finding(key: str, pod: Pod, containers: Sequence[ContainerRef]) -> Finding:
    needs_it = key == "hostNetwork" and any(
        context is not None and context.windows_options is not None and context.windows_options.host_process
        for context in (pod.spec.security_context, *(ref.container.security_context for ref in containers))
    )  # the API server rejects a HostProcess container outside the node's network
    fix = "remove it or set it to false"
    return Finding.of(
        "hostNamespaces",
        ("spec", key),
        True,
        allowed="unset or false",
        fix=f"{fix}, and hostProcess with it" if needs_it else fix,
        change=None if needs_it else set_to(("spec", key), False),
    )


CONTROL = Control(
    name="hostNamespaces",
    reason="host namespaces",
    summary="Pods may not share the node's network, process or IPC namespace.",
    why="In the node's namespaces a pod reaches services that listen on the node only, reads its traffic, and sees and "
    "signals its processes.",
    example=Example(
        denied="""\
hostNetwork: true
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
hostNetwork: false
containers:
- name: app
  image: registry.example.com/app:1.4
  ports: [{containerPort: 8080}]
""",
    ),
    parameters=HostNamespaces,
    standard=_standard,
    check=_check,
    of_pod_only=True,
)

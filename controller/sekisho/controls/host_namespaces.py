"""hostNamespaces: a pod may not share the node's network, process or IPC namespace.

Restricted fields: spec.hostNetwork, spec.hostPID, spec.hostIPC
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Host Namespaces)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod


class HostNamespaces(Parameters, frozen=True):
    """Pods may not share the node's namespaces."""


def _standard(level: Level, _minor: int) -> HostNamespaces | None:
    return None if level == "privileged" else HostNamespaces()


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    spec = pod.spec
    if not (spec.host_network or spec.host_pid or spec.host_ipc):
        return []
    shared = (("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc))
    return [
        Finding(
            control="hostNamespaces",
            path=("spec", name),
            value="true",
            allowed="unset or false",
            fix="remove it or set it to false",
            change=set_to(("spec", name), False),
        )
        for name, is_shared in shared
        if is_shared
    ]


CONTROL = Control(
    "hostNamespaces",
    "host namespaces",
    "Pods may not share the node's network, process or IPC namespace.",
    HostNamespaces,
    _standard,
    _check,
    of_pod_only=True,
)

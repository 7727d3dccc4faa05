"""seLinuxOptions: the SELinux type is one of the containers' own, and user and role are not set.

Restricted fields: spec.securityContext.seLinuxOptions.{type,user,role},
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.seLinuxOptions.{type,user,role}
Allowed values: type unset, empty, container_t, container_init_t, container_kvm_t, and from v1.31 container_engine_t;
    user and role unset or empty
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (SELinux)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, Parameters, inherits_by_update, of_container, remove
from sekisho.findings import Finding, render_value, words
from sekisho.pods import ContainerRef, Pod
from sekisho.pods import SELinuxOptions as Found

_FIELD = ("securityContext", "seLinuxOptions")
_TYPES = ("container_t", "container_init_t", "container_kvm_t")


class SELinuxOptions(Parameters, frozen=True):
    """Which SELinux types pods and containers may have."""

    allowed_types: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
            Meta(description="SELinux types that are allowed beside none.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, minor: int) -> SELinuxOptions | None:
    if level == "privileged":
        return None
    return SELinuxOptions(allowed_types=(*_TYPES, "container_engine_t") if minor >= 31 else _TYPES)


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, SELinuxOptions)  # noqa: S101
    types = parameters.allowed_types or ()
    allowed = words(["unset", *types])

    def faults(options: Found | None) -> list[tuple[str, str, str]]:
        if options is None:
            return []
        found = []
        if options.type and options.type not in types:
            found.append(("type", options.type, allowed))
        if options.user:
            found.append(("user", options.user, "unset"))
        if options.role:
            found.append(("role", options.role, "unset"))
        return found

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        pod_faults = faults(context.se_linux_options) if context is not None else []
        findings = [_of_pod(*fault) for fault in pod_faults]
        for placed in containers:
            own = placed.container.security_context
            options = own.se_linux_options if own is not None else None
            if options is None and pod_faults and inherits_by_update(placed):
                findings.append(
                    of_container(
                        "seLinuxOptions",
                        placed,
                        _FIELD,
                        None,
                        "set, as the pod's are denied",
                        "set its type to container_t",
                    )
                )
            for key, found, may_be in faults(options) if options is not None else ():
                tail = (*_FIELD, key)
                findings.append(
                    of_container("seLinuxOptions", placed, tail, found, may_be, "remove it", remove(placed.path + tail))
                )
        return findings

    return judge


def _of_pod(key: str, found: str, allowed: str) -> Finding:
    path = ("spec", *_FIELD, key)
    return Finding("seLinuxOptions", path, render_value(found), allowed, "remove it", change=remove(path))


CONTROL = Control(
    "seLinuxOptions",
    "its seLinuxOptions",
    "The SELinux type must be a container's own; user and role may not be set.",
    SELinuxOptions,
    _standard,
    _check,
)

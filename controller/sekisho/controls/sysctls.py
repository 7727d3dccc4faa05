"""sysctls: pods may set only sysctls that are namespaced and cannot harm their node.

Restricted fields: spec.securityContext.sysctls[*].name
Allowed values: kernel.shm_rmid_forced, net.ipv4.ip_local_port_range, net.ipv4.ip_unprivileged_port_start,
    net.ipv4.tcp_syncookies, net.ipv4.ping_group_range; from v1.27 net.ipv4.ip_local_reserved_ports; from v1.29
    net.ipv4.tcp_keepalive_time, net.ipv4.tcp_fin_timeout, net.ipv4.tcp_keepalive_intvl, net.ipv4.tcp_keepalive_probes;
    from v1.32 net.ipv4.tcp_rmem, net.ipv4.tcp_wmem; from v1.37 net.ipv4.tcp_slow_start_after_idle,
    net.ipv4.tcp_notsent_lowat
Level: baseline, from v1.0
A name may be written with slashes, or with both, as net/ipv4.tcp_rmem. `forbidden` applies to every spelling;
`allowed`, as the standard, to the spelling in the list.
Beyond the standard, a value must not contain `+` or `=`: a runtime that splits its options there reads the rest as
another sysctl (CVE-2022-0811). No sysctl needs these characters.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Sysctls)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, ParameterError, Parameters
from sekisho.findings import Finding, remove, words
from sekisho.globs import Globs
from sekisho.pods import ContainerRef, Pod

_SAFE_SINCE = {
    0: (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
    ),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: (
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ),
    32: ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    37: ("net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"),
}


SysctlName = Annotated[
    str, Meta(pattern="^[a-z0-9*]([-_a-z0-9*]*[a-z0-9*])?([./][a-z0-9*]([-_a-z0-9*]*[a-z0-9*])?)*$", max_length=253)
]


class Sysctls(Parameters, frozen=True):
    """Which sysctls a pod may set."""

    allowed: (
        Annotated[
            tuple[SysctlName, ...],
            Meta(
                description="Sysctls that a pod may set; * matches any characters, as in net.ipv4.*. Replaces the "
                "standard's list.",
                max_length=256,
            ),
        ]
        | None
    ) = None
    additional_allowed: (
        Annotated[
            tuple[SysctlName, ...],
            Meta(description="Sysctls that a pod may set besides those of the standard.", max_length=256),
        ]
        | None
    ) = None
    forbidden: (
        Annotated[
            tuple[SysctlName, ...],
            Meta(
                description="Sysctls that a pod may not set, in the same form; they take precedence over allowed.",
                max_length=256,
            ),
        ]
        | None
    ) = None


def _standard(level: Level, minor: int) -> Sysctls | None:
    if level == Level.PRIVILEGED:
        return None
    return Sysctls(allowed=tuple(name for since, names in _SAFE_SINCE.items() if since <= minor for name in names))


def _check(parameters: Sysctls, _minor: int) -> Check:
    forbidden = tuple(map(with_dots, parameters.forbidden or ()))
    patterns = parameters.allowed or ()
    allowed = f"only {words(patterns, 'and')}" if patterns else "no sysctl"
    is_allowed, is_forbidden = Globs.of(patterns).match, Globs.of(forbidden).match
    not_forbidden = f"none of {words(forbidden, 'and')}" if forbidden else ""

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        if context is None or not context.sysctls:
            return []
        findings = []
        for index, sysctl in enumerate(context.sysctls):
            if not is_allowed(sysctl.name):
                findings.append(_not_allowed(index, "name", sysctl.name, allowed))
            elif is_forbidden(with_dots(sysctl.name)):
                findings.append(_not_allowed(index, "name", sysctl.name, not_forbidden))
            elif "+" in sysctl.value or "=" in sysctl.value:
                findings.append(_not_allowed(index, "value", sysctl.value, "a value without + and ="))
        return findings

    return judge


def with_dots(name: str) -> str:
    """The name of a sysctl with dots between its parts; slashes, which it may have instead or beside dots, are dots.

    Use it only to deny: a name with both, such as one of the interface eth0.1, becomes the name of another sysctl.
    """
    return name.replace("/", ".")


def _not_allowed(index: int, key: str, value: str, allowed: str) -> Finding:
    path = ("spec", "securityContext", "sysctls", index)
    return Finding.of("sysctls", (*path, key), value, allowed=allowed, fix="remove it", change=remove(path))


def _verify(parameters: Sysctls) -> None:
    forbidden = {with_dots(pattern) for pattern in parameters.forbidden or ()}
    for parameter, patterns in (("allowed", parameters.allowed), ("additionalAllowed", parameters.additional_allowed)):
        for index, pattern in enumerate(patterns or ()):
            if with_dots(pattern) in forbidden:
                message = f"{pattern!r} is in forbidden too, which takes precedence"
                raise ParameterError(f"{parameter}[{index}]", message)


CONTROL = Control(
    name="sysctls",
    reason="a forbidden sysctl",
    summary="Pods may set only safe sysctls.",
    why="A sysctl that is not limited to the pod's namespaces changes the kernel of the whole node.",
    example=Example(
        denied="""\
securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=Sysctls,
    standard=_standard,
    check=_check,
    of_pod_only=True,
    verify=_verify,
    unset={"forbidden": "none"},
)

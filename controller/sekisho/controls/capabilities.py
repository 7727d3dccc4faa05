"""capabilities: containers may add few Linux capabilities, and at restricted must drop all others.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.capabilities.{add,drop}
Allowed values, baseline from v1.0: `add` unset, empty, or of AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
    MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT
Allowed values, restricted from v1.22: `drop` includes ALL; `add` unset, empty, or NET_BIND_SERVICE;
    pods that say spec.os.name is windows are exempt from v1.25
Names are compared as the API spells them: `all`, `CAP_SYS_ADMIN` or `sys_admin` are other names, and so not allowed.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Capabilities)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, ParameterError, Parameters, of_container
from sekisho.findings import Change, Finding, words
from sekisho.pods import Capabilities as Found
from sekisho.pods import ContainerRef, Pod, is_windows
from sekisho.spelling import did_you_mean

BASELINE_ADD = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)

KNOWN = (
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)
"""Linux' capabilities as the API spells them, and ALL. See capabilities(7)."""

CapabilityName = Annotated[str, Meta(pattern="^[A-Za-z0-9_]+$", max_length=64)]
_ADD = ("securityContext", "capabilities", "add")
_DROP = ("securityContext", "capabilities", "drop")


class Capabilities(Parameters, frozen=True):
    """Which Linux capabilities containers may add and must drop."""

    allowed_add: (
        Annotated[
            tuple[CapabilityName, ...],
            Meta(description="Capabilities that a container may add, without the prefix CAP_.", max_length=64),
        ]
        | None
    ) = None
    required_drop: (
        Annotated[
            tuple[CapabilityName, ...],
            Meta(description="Capabilities that every container must drop; ALL stands for all.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, minor: int) -> Capabilities | None:
    if level == "privileged":
        return None
    if level == "restricted" and minor >= 22:
        return Capabilities(allowed_add=("NET_BIND_SERVICE",), required_drop=("ALL",))
    return Capabilities(allowed_add=BASELINE_ADD, required_drop=())


def _check(parameters: Parameters, minor: int) -> Check:
    assert isinstance(parameters, Capabilities)  # noqa: S101
    allowed_add = frozenset(parameters.allowed_add or ())
    required_drop = parameters.required_drop or ()
    must_drop = frozenset(required_drop)
    may_add = f"only {words(parameters.allowed_add, 'and')}" if parameters.allowed_add else "nothing"
    spares_windows = minor >= 25 and bool(required_drop)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        if spares_windows and is_windows(pod.spec):
            return findings
        for placed in containers:
            context = placed.container.security_context
            found = _NONE if context is None else context.capabilities or _NONE
            if found.add and not allowed_add.issuperset(found.add):
                findings.extend(_added(placed, found.add, allowed_add, may_add))
            if not must_drop.issubset(found.drop or ()):
                findings.append(_not_dropped(placed, found, required_drop))
        return findings

    return judge


_NONE = Found()


def _added(placed: ContainerRef, added: list[str], allowed: frozenset[str], may_add: str) -> list[Finding]:
    return [
        of_container(
            "capabilities",
            placed,
            (*_ADD, index),
            name,
            may_add,
            "remove it from the list",
            Change("remove", (*placed.path, *_ADD, index)),
        )
        for index, name in enumerate(added)
        if name not in allowed
    ]


def _not_dropped(placed: ContainerRef, found: Found, required: tuple[str, ...]) -> Finding:
    missing = [name for name in required if name not in (found.drop or ())]
    listed = ", ".join(f'"{name}"' for name in missing)
    return of_container(
        "capabilities",
        placed,
        _DROP,
        found.drop,
        f"a list with {words(missing, 'and')}",
        f"set it to [{listed}]" if not found.drop else f"add {listed} to it",
        Change("append", (*placed.path, *_DROP), missing),
    )


def unknown(name: str) -> str:
    """What is wrong with a capability that Linux does not have."""
    hint = did_you_mean(name.upper().removeprefix("CAP_"), KNOWN)
    return f"there is no capability {name!r}{hint}"


def _verify(given: Parameters) -> None:
    assert isinstance(given, Capabilities)  # noqa: S101
    for parameter, names in (("allowedAdd", given.allowed_add), ("requiredDrop", given.required_drop)):
        for index, name in enumerate(names or ()):
            if name not in KNOWN:
                raise ParameterError(f"{parameter}[{index}]", unknown(name))
    for index, name in enumerate(given.allowed_add or ()):
        if name in (given.required_drop or ()):
            raise ParameterError(f"allowedAdd[{index}]", f"{name} is in requiredDrop too; a container cannot do both")


CONTROL = Control(
    "capabilities",
    "unrestricted capabilities",
    "Containers may add few Linux capabilities and, at restricted, must drop all others.",
    Capabilities,
    _standard,
    _check,
    verify=_verify,
)

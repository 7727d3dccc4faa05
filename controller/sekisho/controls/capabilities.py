"""capabilities: containers may add few Linux capabilities, and at restricted must drop all others.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.capabilities.{add,drop}
Allowed values, baseline from v1.0: `add` unset, empty, or of AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
    MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT
Allowed values, restricted from v1.22: `drop` includes ALL; `add` unset, empty, or NET_BIND_SERVICE;
    pods with spec.os.name windows are exempt from v1.25
With `requiredDrop`, `drop` includes those names or ALL, and `add` has none of them. ALL among them allows the names in
`allowedAdd`.
Names must be spelled as in the API: `all`, `CAP_SYS_ADMIN` and `sys_admin` are other names, which are not allowed.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Capabilities)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, ParameterError, Parameters
from sekisho.findings import Finding, append, remove, words
from sekisho.pods import Capabilities as PodCapabilities
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
            Meta(
                description="Capabilities that a container may add, without the prefix CAP_. Replaces the standard's "
                "list.",
                max_length=64,
            ),
        ]
        | None
    ) = None
    additional_allowed_add: (
        Annotated[
            tuple[CapabilityName, ...],
            Meta(description="Capabilities that a container may add besides those of the standard.", max_length=64),
        ]
        | None
    ) = None
    required_drop: (
        Annotated[
            tuple[CapabilityName, ...],
            Meta(
                description="Capabilities that every container must drop, by name or with ALL, which drops all.",
                max_length=64,
            ),
        ]
        | None
    ) = None


def _standard(level: Level, minor: int) -> Capabilities | None:
    if level == Level.PRIVILEGED:
        return None
    if level == Level.RESTRICTED and minor >= 22:
        return Capabilities(allowed_add=("NET_BIND_SERVICE",), required_drop=("ALL",))
    return Capabilities(allowed_add=BASELINE_ADD, required_drop=())


_NONE = PodCapabilities()


def _check(parameters: Capabilities, minor: int) -> Check:
    allowed_add = frozenset(parameters.allowed_add or ())
    required_drop = parameters.required_drop or ()
    must_drop = frozenset(required_drop)
    may_add = f"only {words(parameters.allowed_add, 'and')}" if parameters.allowed_add else "nothing"
    by_name = must_drop - {"ALL"}
    may_not_add_back = allowed_add & (by_name | {"ALL"}) if by_name else frozenset()
    not_back = f"none of {words(required_drop, 'and')}" if required_drop else ""
    exempts_windows = minor >= 25 and bool(required_drop)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        if exempts_windows and is_windows(pod.spec):
            return findings
        for ref in containers:
            context = ref.container.security_context
            capabilities = _NONE if context is None else context.capabilities or _NONE
            if capabilities.add and not allowed_add.issuperset(capabilities.add):
                findings += _added(ref, capabilities.add, allowed_add, may_add)
            dropped = capabilities.drop or ()
            if not must_drop.issubset(dropped) and "ALL" not in dropped:
                findings.append(_not_dropped(ref, capabilities.drop, required_drop))
            if capabilities.add and not may_not_add_back.isdisjoint(capabilities.add):
                findings += _added_back(ref, capabilities.add, may_not_add_back, not_back)
        return findings

    return judge


def _added(ref: ContainerRef, added: list[str], allowed: frozenset[str], may_add: str) -> list[Finding]:
    return [
        Finding.of(
            "capabilities",
            (*ref.path, *_ADD, index),
            name,
            allowed=may_add,
            fix="remove it",
            change=remove((*ref.path, *_ADD, index)),
            about=ref,
        )
        for index, name in enumerate(added)
        if name not in allowed
    ]


def _added_back(ref: ContainerRef, added: list[str], not_allowed: frozenset[str], allowed: str) -> list[Finding]:
    """The findings on capabilities that must be dropped: a runtime may add after it drops."""
    return [
        Finding.of(
            "capabilities",
            (*ref.path, *_ADD, index),
            name,
            allowed=allowed,
            fix="remove it",
            change=remove((*ref.path, *_ADD, index)),
            about=ref,
        )
        for index, name in enumerate(added)
        if name in not_allowed
    ]


def _not_dropped(ref: ContainerRef, dropped: list[str] | None, required: tuple[str, ...]) -> Finding:
    missing = [name for name in required if name not in (dropped or ())]
    listed = ", ".join(f'"{name}"' for name in missing)
    return Finding.of(
        "capabilities",
        ref.path + _DROP,
        dropped,
        allowed=f"a list with {words(missing, 'and')}",
        fix=f"add {listed} to it" if dropped else f"set it to [{listed}]",
        change=append(ref.path + _DROP, missing),
        about=ref,
    )


def unknown(name: str) -> str:
    """The message for a capability that Linux does not have."""
    hint = did_you_mean(name.upper().removeprefix("CAP_"), KNOWN)
    return f"there is no capability {name!r}{hint}"


def _verify(parameters: Capabilities) -> None:
    for parameter, names in (
        ("allowedAdd", parameters.allowed_add),
        ("additionalAllowedAdd", parameters.additional_allowed_add),
        ("requiredDrop", parameters.required_drop),
    ):
        for index, name in enumerate(names or ()):
            if name not in KNOWN:
                raise ParameterError(f"{parameter}[{index}]", unknown(name))
    for parameter, names in (
        ("allowedAdd", parameters.allowed_add),
        ("additionalAllowedAdd", parameters.additional_allowed_add),
    ):
        for index, name in enumerate(names or ()):
            if name in (parameters.required_drop or ()):
                message = f"{name} is in requiredDrop too; a container cannot do both"
                raise ParameterError(f"{parameter}[{index}]", message)


CONTROL = Control(
    name="capabilities",
    reason="unrestricted capabilities",
    summary="Containers may add few Linux capabilities and, at restricted, must drop all others.",
    why="Capabilities are the parts of root's power. SYS_ADMIN, SYS_PTRACE and others are ways out of a container; an "
    "application rarely needs any.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {capabilities: {add: [SYS_ADMIN]}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
""",
    ),
    parameters=Capabilities,
    standard=_standard,
    check=_check,
    verify=_verify,
)

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

from sekisho.controls.control import Check, Control, Level, Parameters, of_container
from sekisho.findings import Change, Finding, words
from sekisho.pods import Capabilities as Found
from sekisho.pods import Placed, Pod, is_windows

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

CapabilityName = Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]*$", max_length=64)]
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

    def judge(pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
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


def _added(placed: Placed, added: list[str], allowed: frozenset[str], may_add: str) -> list[Finding]:
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


def _not_dropped(placed: Placed, found: Found, required: tuple[str, ...]) -> Finding:
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


CONTROL = Control(
    "capabilities",
    "unrestricted capabilities",
    "Containers may add few Linux capabilities and, at restricted, must drop all others.",
    Capabilities,
    _standard,
    _check,
)

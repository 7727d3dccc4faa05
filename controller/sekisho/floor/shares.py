"""What the floor has of each control: the part that the API server can judge by itself.

Only what a pod sets counts. What it leaves unset is for defaults, which the mutating webhook applies: a floor that
required it would deny plain pods while the webhook does not answer.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sekisho.controls import Parameters
from sekisho.controls.capabilities import Capabilities
from sekisho.controls.host_path_volumes import HostPathVolumes
from sekisho.controls.host_ports import HostPorts
from sekisho.controls.proc_mount import ProcMount
from sekisho.controls.restricted_volumes import RestrictedVolumes
from sekisho.controls.sysctls import Sysctls, with_dots
from sekisho.findings import words
from sekisho.floor import cel
from sekisho.floor.image_breaches import images_share
from sekisho.floor.profile_breaches import app_armor_share, seccomp_share
from sekisho.floor.terms import IS_WINDOWS, UNSET, Share, in_containers, in_pod
from sekisho.pods import VOLUME_KINDS

_VOLUMES: Final = "object.spec.?volumes.orValue([])"
_VOLUME: Final = '"volume " + v.name'
LEFT_TO_WEBHOOK: Final = "only the webhook judges it"


def share_of(control: str, parameters: Parameters, minor: int) -> Share:
    """What the floor has of a control with complete parameters, at a minor version of the standard."""
    share = _SHARES.get(control)
    return Share((), (LEFT_TO_WEBHOOK,)) if share is None else share(parameters, minor)


def _privileged(_parameters: Parameters, _minor: int) -> Share:
    test = "c.?securityContext.?privileged.orValue(false)"
    return Share((in_containers(test, "securityContext.privileged must be unset or false"),))


def _host_namespaces(_parameters: Parameters, _minor: int) -> Share:
    test = cel.any_of(f"s.?{key}.orValue(false)" for key in ("hostNetwork", "hostPID", "hostIPC"))
    requires = "spec.hostNetwork, hostPID and hostIPC must be unset or false"
    return Share((in_pod("[object.spec]", "s", test, requires),))


def _host_path_volumes(parameters: HostPathVolumes, _minor: int) -> Share:
    if parameters.allowed:
        return Share((), ("it compares paths as the node resolves them, because some are allowed",))
    breach = in_pod(
        _VOLUMES, "v", "has(v.hostPath)", "it must not be a hostPath", value="v.hostPath.path", label=_VOLUME
    )
    return Share((breach,))


def _restricted_volumes(parameters: RestrictedVolumes, _minor: int) -> Share:
    kinds = [kind for kind in parameters.allowed or () if kind in VOLUME_KINDS]
    is_allowed = cel.any_of(f"has(v.{kind})" for kind in kinds)
    breach = in_pod(
        _VOLUMES,
        "v",
        cel.negated(is_allowed),
        f"its kind must be {words(kinds)}" if kinds else "there must be no volume",
        value='v.?hostPath.?path.orValue("")',
        label=_VOLUME,
    )
    return Share((breach,))


def _host_ports(parameters: HostPorts, _minor: int) -> Share:
    ranges = parameters.allowed or ()
    is_allowed = cel.any_of(f"p.hostPort >= {ports.min} && p.hostPort <= {ports.max}" for ports in ranges)
    allowed = (f"{ports.min} to {ports.max}" if ports.min != ports.max else str(ports.min) for ports in ranges)
    breach = in_containers(
        cel.all_of(("p.?hostPort.orValue(0) != 0", cel.negated(is_allowed))),
        f"ports[*].hostPort must be {words(['unset', *allowed])}",
        nested="c.?ports.orValue([])",
        nested_variable="p",
        value="string(p.hostPort)",
    )
    return Share((breach,))


def _host_process(_parameters: Parameters, _minor: int) -> Share:
    field, requires = "?securityContext.?windowsOptions.?hostProcess.orValue(false)", "must be unset or false"
    path = "securityContext.windowsOptions.hostProcess"
    return Share(
        (
            in_pod("[object.spec]", "s", f"s.{field}", f"spec.{path} {requires}"),
            in_containers(f"c.{field}", f"{path} {requires}"),
        )
    )


def _capabilities(parameters: Capabilities, minor: int) -> Share:
    required_drop = parameters.required_drop or ()
    by_name = set(required_drop) - {"ALL"}
    not_back = by_name | {"ALL"} if by_name else set()
    allowed = [name for name in parameters.allowed_add or () if name not in not_back]
    exempt = IS_WINDOWS if minor >= 25 and required_drop else cel.FALSE
    may_have = f"only {words(allowed, 'and')}" if allowed else "nothing"
    breach = in_containers(
        cel.all_of((cel.negated(exempt), cel.negated(cel.is_in("a", allowed)))),
        f"securityContext.capabilities.add may have {may_have}",
        nested="c.?securityContext.?capabilities.?add.orValue([])",
        nested_variable="a",
        value="a",
    )
    return Share((breach,), (f"capabilities.drop, {UNSET}",) if required_drop else ())


def _proc_mount(parameters: ProcMount, _minor: int) -> Share:
    outside = "object.spec.?hostUsers.orValue(true)" if parameters.allowed_in_user_namespace else cel.TRUE
    value = 'c.?securityContext.?procMount.orValue("Default")'
    test = cel.all_of((outside, f'{value} != "Default"'))
    return Share((in_containers(test, "securityContext.procMount must be unset or Default", value=value),))


def _sysctls(parameters: Sysctls, _minor: int) -> Share:
    allowed, forbidden = parameters.allowed or (), tuple(map(with_dots, parameters.forbidden or ()))
    is_denied = cel.any_of(
        (
            cel.negated(cel.glob_match("s.name", allowed)),
            cel.glob_match('s.name.replace("/", ".")', forbidden),
        )
    )
    requires = f"its name must be {words(allowed)}" if allowed else "there must be no sysctl"
    requires += f", and not {words(forbidden)}" if forbidden else ""
    breach = in_pod(
        "object.spec.?securityContext.?sysctls.orValue([])",
        "s",
        cel.any_of((is_denied, 's.value.contains("+")', 's.value.contains("=")')),
        f"{requires}; its value must not have + or =",
        value=f"({is_denied} ? s.name : s.value)",
        label='"sysctl " + s.name',
    )
    return Share((breach,))


_SHARES: Final[Mapping[str, Callable[[Any, int], Share]]] = MappingProxyType(
    {
        "privileged": _privileged,
        "hostNamespaces": _host_namespaces,
        "hostPathVolumes": _host_path_volumes,
        "restrictedVolumes": _restricted_volumes,
        "hostPorts": _host_ports,
        "windowsHostProcess": _host_process,
        "capabilities": _capabilities,
        "seccompProfile": seccomp_share,
        "appArmorProfile": app_armor_share,
        "procMount": _proc_mount,
        "sysctls": _sysctls,
        "images": images_share,
    }
)
FLOOR_CONTROLS: Final = tuple(_SHARES)
"""The controls of which the floor has at least a part."""

"""The constraints of Gatekeeper's library that are about security contexts and the node: `pod-security-policy`.

Source: https://open-policy-agent.github.io/gatekeeper-library/website/
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sekisho.controls.capabilities import KNOWN
from sekisho.manifests.engines.kyverno_values import MAX_ID
from sekisho.manifests.engines.parts import Part, Translated, Unknown
from sekisho.manifests.engines.results import Remark, looser, stricter

Parameters = Mapping[str, Any]
Constraint = Callable[[Parameters], Iterator[Translated]]

_NOTHING: Final = "it requires nothing, which needs no policy"
_OTHER_NAMESPACES: Final = stricter("hostPID, hostIPC and hostNetwork are all denied")
_OWN_PROFILE: Final = stricter("the pod's own value must be allowed also where each container has its own")


def just(control: str, *remarks: Remark) -> Constraint:
    """A constraint without parameters that a control does."""
    return lambda _parameters: iter([Part(control, {}, remarks)])


def _app_armor(parameters: Parameters) -> Iterator[Translated]:
    profiles = list(map(str, parameters.get("allowedProfiles") or ()))
    if "*" in profiles:
        yield Unknown(_NOTHING)
        return
    names = {"runtime/default": "RuntimeDefault", "unconfined": "Unconfined"}
    types = [names[one] for one in profiles if one in names]
    files = [one.removeprefix("localhost/") for one in profiles if one.startswith("localhost/")]
    yield from _profiles("appArmorProfile", types, files, has_others=len(types) + len(files) < len(profiles))


def _profiles(control: str, types: list[str], files: list[str], *, has_others: bool) -> Iterator[Translated]:
    if has_others:
        yield Unknown("a profile in its list is not known here (ours denies it)")
    allowed: dict[str, Any] = {"allowedTypes": [*types, *(["Localhost"] if files else [])]}
    if files and "*" not in files:
        allowed["localhostProfiles"] = files
    unset = () if "RuntimeDefault" in types else (looser("a container without profile passes"),)
    yield Part(control, allowed, (_OWN_PROFILE, *(unset if control == "appArmorProfile" else ())))


def _capabilities(parameters: Parameters) -> Iterator[Translated]:
    allowed = [str(name).upper() for name in parameters.get("allowedCapabilities") or ()]
    drops = [str(name).upper() for name in parameters.get("requiredDropCapabilities") or ()]
    remarks = [stricter("names in lower case are other names")]
    if "*" in allowed:
        allowed = [name for name in KNOWN if name not in drops]
    if set(allowed) & set(drops):
        remarks.append(stricter("what must be dropped may not be added"))
        allowed = [name for name in allowed if name not in drops]
    yield Part("capabilities", {"allowedAdd": allowed, "requiredDrop": drops}, tuple(remarks))


def _flex_volumes(parameters: Parameters) -> Iterator[Translated]:
    drivers = [str(one["driver"]) for one in parameters.get("allowedFlexVolumes") or ()]
    yield Part("flexVolumes", {"allowed": drivers} if drivers else {})


def _sysctls(parameters: Parameters) -> Iterator[Translated]:
    allowed, forbidden = parameters.get("allowedSysctls"), list(parameters.get("forbiddenSysctls") or ())
    if forbidden == [] and (allowed is None or "*" in allowed):
        yield Unknown(_NOTHING)
    else:
        names = ["*"] if allowed is None else [name for name in allowed if name not in forbidden]
        further = {"forbidden": forbidden} if forbidden and names and "*" not in forbidden else {}
        yield Part("sysctls", {"allowed": [] if "*" in forbidden else names, **further})


def _ids(control: str, parameters: Parameters) -> Iterator[Translated]:
    rule, ranges = parameters.get("rule"), parameters.get("ranges") or ()
    if rule in ("MustRunAs", "MayRunAs") and ranges:
        bounds = [{"min": int(one.get("min", 0)), "max": int(one.get("max", MAX_ID))} for one in ranges]
        remarks = () if control in ("fsGroup", "supplementalGroups") else (_OWN_PROFILE,)
        yield Part(control, {"rule": rule, "ranges": bounds}, remarks)
    elif rule in ("MustRunAs", "MayRunAs"):
        yield Unknown(f"{control} without ranges denies every id")


def _fs_group(parameters: Parameters) -> Iterator[Translated]:
    yield from list(_ids("fsGroup", parameters)) or [Unknown(_NOTHING)]


def _users(parameters: Parameters) -> Iterator[Translated]:
    translated: list[Translated] = []
    user = parameters.get("runAsUser") or {}
    if user.get("rule") == "MustRunAsNonRoot":
        unset = stricter("runAsNonRoot must be true also where runAsUser is another user than root")
        translated.append(Part("runAsNonRoot", {}, (unset,)))
        translated.append(Part("runAsUser", {"rule": "MayRunAs", "ranges": [{"min": 1, "max": MAX_ID}]}))
    else:
        translated += _ids("runAsUser", user)
    for control in ("runAsGroup", "fsGroup", "supplementalGroups"):
        translated += _ids(control, parameters.get(control) or {})
    yield from translated or [Unknown(_NOTHING)]


def _host_file_system(parameters: Parameters) -> Iterator[Translated]:
    paths = parameters.get("allowedHostPaths") or ()
    allowed = [
        {"pathPrefix": str(one["pathPrefix"])} | ({"readOnly": True} if one.get("readOnly") else {}) for one in paths
    ]
    yield Part("hostPathVolumes", {"allowed": allowed} if allowed else {})


def _host_network(parameters: Parameters) -> Iterator[Translated]:
    if not parameters.get("hostNetwork"):
        yield Part("hostNamespaces", {}, (_OTHER_NAMESPACES,))
    first, last = int(parameters.get("min", 0)), int(parameters.get("max", 65535))
    if first <= 1 and last >= 65535 and parameters.get("hostNetwork"):
        yield Unknown(_NOTHING)
    elif "min" in parameters or "max" in parameters:
        allowed = [{"min": max(first, 1), "max": min(last, 65535)}] if last >= max(first, 1) else []
        yield Part("hostPorts", {"allowed": allowed} if allowed else {})


def _host_probes(parameters: Parameters) -> Iterator[Translated]:
    if parameters.get("allowedHosts"):
        yield Unknown("hosts that probes may name (ours denies all)")
    yield Part("hostProbesAndHostLifecycle", {})


def _proc_mount(parameters: Parameters) -> Iterator[Translated]:
    is_unmasked = str(parameters.get("procMount", "")).lower() == "unmasked"
    yield Unknown(_NOTHING) if is_unmasked else Part("procMount", {})


def _seccomp(parameters: Parameters) -> Iterator[Translated]:
    profiles = list(map(str, parameters.get("allowedProfiles") or ()))
    if "*" in profiles:
        yield Unknown(_NOTHING)
        return
    names = {"runtime/default": "RuntimeDefault", "docker/default": "RuntimeDefault", "unconfined": "Unconfined"}
    names |= {one: one for one in ("RuntimeDefault", "Unconfined")}
    types = list(dict.fromkeys(names[one] for one in profiles if one in names))
    files = [one.removeprefix("localhost/") for one in profiles if one.startswith("localhost/")]
    files += map(str, parameters.get("allowedLocalhostFiles") or ()) if "Localhost" in profiles else []
    others = [one for one in profiles if one not in (*names, "Localhost", "not configured") and "/" not in one]
    allowed: dict[str, Any] = {"allowedTypes": [*types, *(["Localhost"] if files else [])]}
    if files and "*" not in files:
        allowed["localhostProfiles"] = files
    if others:
        yield Unknown(f"the profile {others[0]} is not known here (ours denies it)")
    allowed["required"] = "not configured" not in profiles
    annotations = stricter("profiles in annotations, which Kubernetes has not read since 1.27, do not count")
    yield Part("seccompProfile", allowed, (_OWN_PROFILE, annotations))


def _se_linux(parameters: Parameters) -> Iterator[Translated]:
    options = parameters.get("allowedSELinuxOptions") or ()
    types = [str(one["type"]) for one in options if set(one) == {"type"}]
    if len(types) < len(options):
        yield Unknown("options with a level, role or user (ours denies them)")
    level = looser("a level may be set")
    yield Part("seLinuxOptions", {"allowedTypes": types}, (level,))


def _volumes(parameters: Parameters) -> Iterator[Translated]:
    kinds = list(map(str, parameters.get("volumes") or ()))
    yield Unknown(_NOTHING) if "*" in kinds else Part("restrictedVolumes", {"allowed": kinds})


POD_SECURITY: Final[Mapping[str, Constraint]] = {
    "K8sPSPAllowPrivilegeEscalationContainer": just("allowPrivilegeEscalation"),
    "K8sPSPAppArmor": _app_armor,
    "K8sPSPCapabilities": _capabilities,
    "K8sPSPFlexVolumes": _flex_volumes,
    "K8sPSPForbiddenSysctls": _sysctls,
    "K8sPSPFSGroup": _fs_group,
    "K8sPSPHostFilesystem": _host_file_system,
    "K8sPSPHostNamespace": just("hostNamespaces", _OTHER_NAMESPACES),
    "K8sPSPHostNetworkingPorts": _host_network,
    "K8sPSPHostProbesLifecycle": _host_probes,
    "K8sPSPHostProcess": just("windowsHostProcess"),
    "K8sPSPPrivilegedContainer": just("privileged"),
    "K8sPSPProcMount": _proc_mount,
    "K8sPSPReadOnlyRootFilesystem": just("readOnlyRootFilesystem"),
    "K8sPSPSeccomp": _seccomp,
    "K8sPSPSeccompV2": _seccomp,
    "K8sPSPSELinuxV2": _se_linux,
    "K8sPSPAllowedUsers": _users,
    "K8sPSPVolumeTypes": _volumes,
    "K8sPSPAutomountServiceAccountTokenPod": just(
        "serviceAccountToken", stricter("automountServiceAccountToken must be set to false, and no token projected")
    ),
}
"""What each constraint becomes, by its kind."""

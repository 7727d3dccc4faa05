"""Which control does what a requirement of a field does, and with which parameters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from sekisho.controls.capabilities import KNOWN
from sekisho.manifests.engines.images import translate_images
from sekisho.manifests.engines.metadata import translate_annotations, translate_labels
from sekisho.manifests.engines.parts import Part, Translated, Translator, Unknown, compared
from sekisho.manifests.engines.requirements import (
    ALL_CONTAINERS,
    EVERYWHERE,
    POD,
    Presence,
    Requirement,
    Target,
    Test,
    merged,
)
from sekisho.manifests.engines.resources import translate_probes, translate_resources
from sekisho.manifests.engines.results import Remark, looser, stricter

_ANNOTATIONS: Final = "metadata.annotations."
_APPARMOR: Final = f"{_ANNOTATIONS}container.apparmor.security.beta.kubernetes.io/*"
_APPARMOR_TYPES: Final = {"runtime/default": "RuntimeDefault", "localhost/*": "Localhost", "unconfined": "Unconfined"}
_MAX_PORT: Final = 65535


class _Value(Struct, frozen=True):
    """A control that allows one value, of these parts of the pod."""

    control: str
    value: str
    judged: frozenset[Target]
    must_be_set: bool = False
    also: str = ""


_VALUES: Final[Mapping[str, _Value]] = {
    "securityContext.privileged": _Value("privileged", "false", ALL_CONTAINERS),
    "securityContext.windowsOptions.hostProcess": _Value("windowsHostProcess", "false", EVERYWHERE),
    "securityContext.procMount": _Value("procMount", "Default", ALL_CONTAINERS),
    "securityContext.allowPrivilegeEscalation": _Value("allowPrivilegeEscalation", "false", ALL_CONTAINERS, True),
    "securityContext.readOnlyRootFilesystem": _Value("readOnlyRootFilesystem", "true", ALL_CONTAINERS, True),
    "shareProcessNamespace": _Value("shareProcessNamespace", "false", POD),
    "hostUsers": _Value("hostUsers", "false", POD, True),
    "automountServiceAccountToken": _Value(
        "serviceAccountToken", "false", POD, True, "projected tokens for the API server are judged too"
    ),
}


def controls_of(requirements: Iterable[Requirement]) -> Iterator[Translated]:
    """The controls that do what a policy requires, and what no control does."""
    groups: dict[Translator, list[Requirement]] = {}
    for one in merged(requirements):
        translator = _translator(one.field)
        if translator is None:
            yield Unknown(f"no control is about {_shown(one.field)}", one.path)
        else:
            groups.setdefault(translator, []).append(one)
    for translator, group in groups.items():
        yield from translator(group)


def _shown(field: str) -> str:
    return field if field.startswith("metadata.") else f"spec…{field}" if "." in field else field


def _translator(field: str) -> Translator | None:
    if field in _VALUES:
        return _one_value
    if field == _APPARMOR:
        return _app_armor
    if field.startswith(_ANNOTATIONS):
        return translate_annotations
    if field.startswith("metadata.labels."):
        return translate_labels
    if field.startswith("resources."):
        return translate_resources
    if field == "keys" or field.split(".")[0] in ("livenessProbe", "readinessProbe", "startupProbe"):
        return translate_probes
    return _TRANSLATORS.get(field)


def _unknown(one: Requirement) -> Unknown:
    values = ", ".join(one.values) or ", ".join(f"{first}-{last}" for first, last in one.ranges)
    shown = f" {values}" if values else ""
    return Unknown(f"no control has {_shown(one.field)} {one.test}{shown}", one.path)


def _one_value(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        expected = _VALUES[one.field]
        is_denied = one.test is Test.NOT_IN and one.values == ("true" if expected.value == "false" else "",)
        if is_denied or (one.test is Test.IN and one.values == (expected.value,)):
            remarks = compared((one,), expected.judged, must_be_set=expected.must_be_set)
            also = (stricter(expected.also),) if expected.also else ()
            yield Part(expected.control, {}, (*remarks, *also), one.path)
        else:
            yield _unknown(one)


def _host_namespaces(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    known = [one for one in requirements if one.test is Test.IN and one.values == ("false",)]
    yield from (_unknown(one) for one in requirements if one not in known)
    if known:
        missing = sorted({"hostIPC", "hostNetwork", "hostPID"} - {one.field for one in known})
        remarks = compared(known, POD, must_be_set=False)
        also = [stricter(f"{', '.join(missing)} must be false too")] if missing else []
        yield Part("hostNamespaces", {}, (*remarks, *also), known[0].path)


def _host_path(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        if one.test is not Test.UNSET:
            yield _unknown(one)
            continue
        control = "hostPathVolumes" if one.field == "volumes[].hostPath" else "flexVolumes"
        yield Part(control, {}, compared((one,), POD, must_be_set=False), one.path)


def _cri_sockets(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    known = [one for one in requirements if one.test is Test.NOT_IN and not any("*" in value for value in one.values)]
    yield from (_unknown(one) for one in requirements if one not in known)
    sockets = sorted({value for one in known for value in one.values if value.endswith(".sock")})
    others = [one for one in known if not all(value.endswith(".sock") for value in one.values)]
    yield from (_unknown(one) for one in others)
    if sockets:
        remark = stricter("every well-known socket of a container runtime is denied, and folders that hold one")
        yield Part("criSockets", {"furtherSockets": sockets}, (remark,), known[0].path)


def _host_ports(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        remarks = list(compared((one,), ALL_CONTAINERS, must_be_set=False))
        if one.together:
            remarks.append(looser("each port may be in any of the ranges, and all need not be in one of them"))
        if one.test is Test.UNSET or (one.test is Test.IN and set(one.values) <= {"0"}):
            yield Part("hostPorts", {}, tuple(remarks), one.path)
        elif one.test is Test.RANGES:
            allowed = [{"min": max(first, 1), "max": min(last, _MAX_PORT)} for first, last in one.ranges if last > 0]
            yield Part("hostPorts", {"allowed": allowed} if allowed else {}, tuple(remarks), one.path)
        else:
            yield _unknown(one)


def _se_linux(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    types = [one for one in requirements if one.field.endswith(".type") and one.test is Test.IN]
    others = [one for one in requirements if not one.field.endswith(".type") and one.test is Test.UNSET]
    yield from (_unknown(one) for one in requirements if one not in (*types, *others))
    known = [*types, *others]
    if known:
        allowed = {"allowedTypes": list(types[0].values)} if types else {}
        remarks = list(compared(known, EVERYWHERE, must_be_set=False))
        if len({one.field for one in others}) < 2:
            remarks.append(stricter("user and role may not be set"))
        if not types:
            remarks.append(stricter("the type must be one that the Pod Security Standards allow"))
        yield Part("seLinuxOptions", allowed, tuple(remarks), known[0].path)
    for one in types[1:]:
        yield Part("seLinuxOptions", {"allowedTypes": list(one.values)}, (), one.path)


def _seccomp(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        if one.test is not Test.IN or not set(one.values) <= {"RuntimeDefault", "Localhost", "Unconfined"}:
            yield _unknown(one)
            continue
        required = one.presence is Presence.REQUIRED
        parameters = {"allowedTypes": list(one.values), "required": required}
        remarks = compared((one,), EVERYWHERE, must_be_set=required)
        yield Part("seccompProfile", parameters, (*remarks, *_inheritance(one)), one.path)


def _inheritance(one: Requirement) -> Iterator[Remark]:
    """What differs where the pod's value counts for its containers, as it does here."""
    if one.inherits:
        yield stricter(f"{one.field} of the pod, if it is set, must be right also where each container has its own")
    elif one.presence is Presence.REQUIRED and one.targets & ALL_CONTAINERS:
        yield looser(f"{one.field} of the pod counts for containers that set none")
    elif one.presence is Presence.REQUIRED:
        yield looser(f"{one.field} of the pod may be unset where each container sets its own")


def _run_as_non_root(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        if one.test is Test.IN and one.values == ("true",):
            remarks = compared((one,), EVERYWHERE, must_be_set=True)
            yield Part("runAsNonRoot", {}, (*remarks, *_inheritance(one)), one.path)
        else:
            yield _unknown(one)


def _ids(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        control = one.field.removesuffix("[]").rpartition(".")[2]
        numbers = tuple((int(value), int(value)) for value in one.values if value.isdecimal())
        ranges = one.ranges or numbers if one.test in (Test.RANGES, Test.IN) else ()
        if not ranges or (one.values and len(numbers) != len(one.values)):
            yield _unknown(one)
            continue
        required = one.presence is Presence.REQUIRED
        judged = EVERYWHERE if control in ("runAsUser", "runAsGroup") else POD
        rule = "MustRunAs" if required else "MayRunAs"
        parameters = {"rule": rule, "ranges": [{"min": first, "max": last} for first, last in ranges]}
        inheritance = _inheritance(one) if judged is EVERYWHERE and required else ()
        remarks = (*compared((one,), judged, must_be_set=required), *inheritance)
        yield Part(control, parameters, remarks, one.path)


def _capabilities(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    added = [one for one in requirements if one.field.endswith(".add[]") and one.test in (Test.IN, Test.UNSET)]
    added += [one for one in requirements if one.field.endswith(".add") and one.test is Test.UNSET]
    dropped = [one for one in requirements if one.test in (Test.HAS, Test.HAS_ONE) and one.field.endswith(".drop")]
    yield from (_unknown(one) for one in requirements if one not in (*added, *dropped))
    drops = [name.removeprefix("CAP_") for one in dropped for name in one.values]
    remarks = list(compared(added, ALL_CONTAINERS, must_be_set=False))
    remarks += compared(dropped, ALL_CONTAINERS, must_be_set=True)
    if any(name.startswith("CAP_") for one in (*added, *dropped) for name in one.values):
        remarks.append(stricter("names with CAP_, which Kubernetes does not use, are other names"))
    if dropped and set(drops) != {"ALL"}:
        remarks.append(looser("a container that drops ALL passes"))
        if len(set(drops)) > 1:
            remarks.append(stricter(f"each of {', '.join(dict.fromkeys(drops))} must be dropped"))
    if dropped and not added:
        remarks.append(stricter("what must be dropped may not be added"))
    allowed = [name for name in added[0].values if not name.startswith("CAP_")] if added else None
    if allowed is None:
        allowed = [name for name in KNOWN if name not in drops]
    required = list(dict.fromkeys(drops))
    if added or dropped:
        path = (*added, *dropped)[0].path
        yield Part("capabilities", {"allowedAdd": allowed, "requiredDrop": required}, tuple(remarks), path)
    for one in added[1:]:
        yield Part("capabilities", {"allowedAdd": list(one.values), "requiredDrop": []}, (), one.path)


def _app_armor(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        if one.test is not Test.IN or not set(one.values) <= set(_APPARMOR_TYPES):
            yield _unknown(one)
            continue
        remark = stricter("the fields that replace these annotations since Kubernetes 1.30 are judged too")
        types = [_APPARMOR_TYPES[value] for value in one.values]
        yield Part("appArmorProfile", {"allowedTypes": types}, (remark,), one.path)


_LISTS: Final[Mapping[str, tuple[str, Mapping[Test, str]]]] = {
    "securityContext.sysctls[].name": ("sysctls", {Test.IN: "allowed", Test.NOT_IN: "forbidden"}),
    "volumes[].keys": ("restrictedVolumes", {Test.IN: "allowed", Test.HAS_ONE: "allowed"}),
    "metadata.namespace": ("namespaces", {Test.NOT_IN: "denied"}),
    "serviceAccountName": ("serviceAccounts", {Test.IN: "allowed", Test.NOT_IN: "denied"}),
    "priorityClassName": ("priorityClass", {Test.IN: "allowed", Test.NOT_IN: "denied"}),
    "imagePullPolicy": ("imagePullPolicy", {Test.IN: "allowed"}),
}
"""Controls that allow or deny values of one field, by the field: the parameter for each test."""
_MUST_BE_SET: Final = frozenset(
    ("metadata.namespace", "serviceAccountName", "imagePullPolicy", "volumes[].keys", "securityContext.sysctls[].name")
)
"""Fields that the API server sets or requires, so that it makes no difference whether they must be set."""


def _listed_values(requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        control, parameters = _LISTS[one.field]
        values = [value for value in one.values if value and not (one.field == "volumes[].keys" and value == "name")]
        if one.test not in parameters or not values:
            yield _unknown(one)
            continue
        judged = ALL_CONTAINERS if control == "imagePullPolicy" else POD
        remarks = () if one.field in _MUST_BE_SET else compared((one,), judged, must_be_set=False)
        extra = {"allowed": ["*"]} if control == "sysctls" and one.test is Test.NOT_IN else {}
        yield Part(control, {**extra, parameters[one.test]: values}, remarks, one.path)


_TRANSLATORS: Final[Mapping[str, Translator]] = {
    **dict.fromkeys(("hostIPC", "hostNetwork", "hostPID"), _host_namespaces),
    **dict.fromkeys(("volumes[].hostPath", "volumes[].flexVolume"), _host_path),
    "volumes[].hostPath.path": _cri_sockets,
    "ports[].hostPort": _host_ports,
    **{f"securityContext.seLinuxOptions.{field}": _se_linux for field in ("type", "user", "role")},
    "securityContext.seccompProfile.type": _seccomp,
    "securityContext.runAsNonRoot": _run_as_non_root,
    **{f"securityContext.{field}": _ids for field in ("runAsUser", "runAsGroup", "fsGroup")},
    **{f"securityContext.supplementalGroups{end}": _ids for end in ("", "[]")},
    **{f"securityContext.capabilities.{field}": _capabilities for field in ("add", "add[]", "drop", "drop[]")},
    **dict.fromkeys(_LISTS, _listed_values),
    "image": translate_images,
}

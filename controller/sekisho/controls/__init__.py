"""The controls, one module each. `CONTROLS` is the registry that standards, policies, CRD and documentation follow."""

from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Final

from sekisho.controls.control import (
    LEVELS,
    NEWEST,
    Check,
    Control,
    ControlEnforcement,
    EvidenceCheck,
    Example,
    ImageFinding,
    Level,
    ParameterError,
    Parameters,
    WorkloadCheck,
    complete,
    no_longer_allowed,
)

ORDER: Final = (
    "privileged",
    "hostNamespaces",
    "hostPathVolumes",
    "restrictedVolumes",
    "criSockets",
    "csiDrivers",
    "flexVolumes",
    "ephemeralVolumes",
    "volumeDevices",
    "subPath",
    "resourceClaims",
    "hostPorts",
    "hostProbesAndHostLifecycle",
    "windowsHostProcess",
    "hostUsers",
    "runAsUser",
    "runAsNonRoot",
    "runAsGroup",
    "fsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "allowPrivilegeEscalation",
    "capabilities",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
    "procMount",
    "sysctls",
    "images",
    "imagePullPolicy",
    "secretsInEnv",
    "readOnlyRootFilesystem",
    "serviceAccountToken",
    "serviceAccounts",
    "shareProcessNamespace",
    "nodeName",
    "nodeSelectors",
    "ephemeralContainers",
    "stdinAndTty",
    "priorityClass",
    "tolerations",
    "namespaces",
    "labels",
    "annotations",
    "resources",
    "probes",
    "terminationGracePeriod",
)
"""The order in which findings are reported: the gravest first."""


def _discover() -> dict[str, Control[Any]]:
    """The `CONTROL` of every module of this package that has one, by name; those that ORDER lacks come last."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    controls: dict[str, Control[Any]] = {
        module.CONTROL.name: module.CONTROL for module in modules if hasattr(module, "CONTROL")
    }
    return {name: controls.pop(name) for name in ORDER} | controls


CONTROLS: Final = MappingProxyType(_discover())
"""Every control by name, in the order in which findings are reported."""

__all__ = [
    "CONTROLS",
    "LEVELS",
    "NEWEST",
    "ORDER",
    "Check",
    "Control",
    "ControlEnforcement",
    "EvidenceCheck",
    "Example",
    "ImageFinding",
    "Level",
    "ParameterError",
    "Parameters",
    "WorkloadCheck",
    "complete",
    "no_longer_allowed",
]

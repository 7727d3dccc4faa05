"""The controls, one file each; `CONTROLS` is the registry that standards, policies, CRD and documentation follow."""

from types import MappingProxyType
from typing import Final

from sekisho.controls import (
    allow_privilege_escalation,
    app_armor_profile,
    capabilities,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes_and_host_lifecycle,
    images,
    privileged,
    proc_mount,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    se_linux_options,
    seccomp_profile,
    sysctls,
    windows_host_process,
)
from sekisho.controls.control import (
    NEWEST,
    Check,
    Control,
    ControlEnforcement,
    Level,
    ParameterError,
    Parameters,
    complete,
)

_MODULES = (
    privileged,
    host_namespaces,
    host_path_volumes,
    restricted_volumes,
    host_ports,
    host_probes_and_host_lifecycle,
    windows_host_process,
    run_as_user,
    run_as_non_root,
    allow_privilege_escalation,
    capabilities,
    seccomp_profile,
    app_armor_profile,
    se_linux_options,
    proc_mount,
    sysctls,
    images,
)

CONTROLS: Final = MappingProxyType({module.CONTROL.name: module.CONTROL for module in _MODULES})
"""Every control by name, in the order in which findings are reported: the gravest first."""

__all__ = [
    "CONTROLS",
    "NEWEST",
    "Check",
    "Control",
    "ControlEnforcement",
    "Level",
    "ParameterError",
    "Parameters",
    "complete",
]

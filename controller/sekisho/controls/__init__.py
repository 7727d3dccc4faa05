"""The controls, one file each; `CONTROLS` is the registry that standards, policies, CRD and documentation follow."""

from types import MappingProxyType
from typing import Final

from sekisho.controls import (
    allow_privilege_escalation,
    app_armor_profile,
    capabilities,
    cri_sockets,
    ephemeral_containers,
    fs_group,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes_and_host_lifecycle,
    images,
    node_name,
    privileged,
    probes,
    proc_mount,
    read_only_root_filesystem,
    resources,
    restricted_volumes,
    run_as_group,
    run_as_non_root,
    run_as_user,
    se_linux_options,
    seccomp_profile,
    service_account_token,
    share_process_namespace,
    supplemental_groups,
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
    cri_sockets,
    host_ports,
    host_probes_and_host_lifecycle,
    windows_host_process,
    run_as_user,
    run_as_non_root,
    run_as_group,
    fs_group,
    supplemental_groups,
    allow_privilege_escalation,
    capabilities,
    seccomp_profile,
    app_armor_profile,
    se_linux_options,
    proc_mount,
    sysctls,
    images,
    read_only_root_filesystem,
    service_account_token,
    share_process_namespace,
    node_name,
    ephemeral_containers,
    resources,
    probes,
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

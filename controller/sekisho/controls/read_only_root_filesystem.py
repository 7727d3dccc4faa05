"""readOnlyRootFilesystem: containers may not write to their image's files.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.readOnlyRootFilesystem
Allowed values: true; pods that say spec.os.name is windows are exempt, for the API server rejects the field in them
Level: none, a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, of_container, opt_in, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, is_windows

_FIELD = ("securityContext", "readOnlyRootFilesystem")


class ReadOnlyRootFilesystem(Parameters, frozen=True):
    """Containers may not write to their image's files."""


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    if is_windows(pod.spec):
        return []
    findings = []
    for placed in containers:
        context = placed.container.security_context
        found = None if context is None else context.read_only_root_filesystem
        if not found:
            fix = "set it to true, and mount an emptyDir where the container writes"
            change = set_to(placed.path + _FIELD, True)
            findings.append(of_container("readOnlyRootFilesystem", placed, _FIELD, found, "true", fix, change))
    return findings


CONTROL = Control(
    "readOnlyRootFilesystem",
    "a writable root file system",
    "Containers must have a read-only root file system.",
    ReadOnlyRootFilesystem,
    opt_in,
    _check,
)

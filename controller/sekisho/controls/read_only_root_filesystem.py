"""readOnlyRootFilesystem: containers may not write to their image's files.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.readOnlyRootFilesystem
Allowed values: true; pods with spec.os.name windows are exempt, because the API server rejects the field in them
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod, is_windows

_FIELD = ("securityContext", "readOnlyRootFilesystem")


class ReadOnlyRootFilesystem(Parameters, frozen=True):
    """Containers may not write to their image's files."""


def _check(_parameters: ReadOnlyRootFilesystem, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    if is_windows(pod.spec):
        return []
    findings = []
    for ref in containers:
        context = ref.container.security_context
        value = None if context is None else context.read_only_root_filesystem
        if not value:
            finding = Finding.of(
                "readOnlyRootFilesystem",
                ref.path + _FIELD,
                value,
                allowed="true",
                fix="set it to true, and mount an emptyDir where the container writes",
                change=set_to(ref.path + _FIELD, True),
                about=ref,
            )
            findings.append(finding)
    return findings


CONTROL = Control(
    name="readOnlyRootFilesystem",
    reason="a writable root file system",
    summary="Containers must have a read-only root file system.",
    why="An attacker who gets into a container cannot replace its programs or add tools of their own.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {readOnlyRootFilesystem: true}
  volumeMounts: [{name: tmp, mountPath: /tmp}]
volumes:
- name: tmp
  emptyDir: {}
""",
    ),
    parameters=ReadOnlyRootFilesystem,
    standard=opt_in,
    check=_check,
)

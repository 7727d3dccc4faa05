"""hostUsers: pods must have a user namespace of their own.

Restricted fields: spec.hostUsers
Allowed values: false; pods with spec.os.name windows are exempt, because the API server rejects the field in them
Level: none; the control applies only where a policy names it
Source: KEP-127
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to, words
from sekisho.pods import ContainerRef, Pod, in_user_namespace, is_windows

_FIELD = ("spec", "hostUsers")


class HostUsers(Parameters, frozen=True):
    """Pods must have a user namespace of their own."""


def _check(_parameters: HostUsers, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    if in_user_namespace(pod.spec) or is_windows(pod.spec):
        return []
    spec = pod.spec
    rejected = [
        name
        for name, is_set in (
            ("hostNetwork", spec.host_network),
            ("hostPID", spec.host_pid),
            ("hostIPC", spec.host_ipc),
            ("volumeDevices", any(ref.container.volume_devices for ref in containers)),
        )
        if is_set
    ]  # the API server rejects them beside hostUsers false
    finding = Finding.of(
        "hostUsers",
        _FIELD,
        spec.host_users,
        allowed="false",
        fix=f"set it to false and unset {words(rejected, 'and')}" if rejected else "set it to false",
        change=None if rejected else set_to(_FIELD, False),
    )
    return [finding]


CONTROL = Control(
    name="hostUsers",
    reason="the node's user namespace",
    summary="A pod must set hostUsers to false, so that its root is another user on the node.",
    why="In the node's user namespace, a process that is root and leaves its container is root on the node.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
hostUsers: false
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=HostUsers,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)

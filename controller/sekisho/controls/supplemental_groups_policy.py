"""supplementalGroupsPolicy: processes get no groups from the image's /etc/group.

Restricted fields: spec.securityContext.supplementalGroupsPolicy
Allowed values: Strict; pods with spec.os.name windows are exempt, because the API server rejects the field in them
Level: none; the control applies only where a policy names it
Source: KEP-3619
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod, is_windows

_FIELD = ("spec", "securityContext", "supplementalGroupsPolicy")


class SupplementalGroupsPolicy(Parameters, frozen=True):
    """Pods must not take groups from their images."""


def _check(_parameters: SupplementalGroupsPolicy, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    context = pod.spec.security_context
    value = None if context is None else context.supplemental_groups_policy
    if value == "Strict" or is_windows(pod.spec):
        return []
    finding = Finding.of(
        "supplementalGroupsPolicy",
        _FIELD,
        value,
        allowed="Strict",
        fix="set it to Strict",
        change=set_to(_FIELD, "Strict"),
    )
    return [finding]


CONTROL = Control(
    name="supplementalGroupsPolicy",
    reason="groups from its images",
    summary="A pod must set supplementalGroupsPolicy to Strict, so that its images add no groups.",
    why="Otherwise the runtime adds the groups that the image's /etc/group gives the user, and the rules of "
    "supplementalGroups and fsGroup do not apply to those.",
    example=Example(
        parameters="{}",
        denied="""\
securityContext: {runAsUser: 1000, supplementalGroups: [2001]}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
securityContext: {runAsUser: 1000, supplementalGroups: [2001], supplementalGroupsPolicy: Strict}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=SupplementalGroupsPolicy,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)

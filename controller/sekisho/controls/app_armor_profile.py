"""appArmorProfile: containers may not turn the AppArmor profile off.

Restricted fields: spec.securityContext.appArmorProfile.type,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.appArmorProfile.type
Allowed values: unset, RuntimeDefault, Localhost
Restricted fields: metadata.annotations[container.apparmor.security.beta.kubernetes.io/*]
Allowed values: unset, empty, runtime/default, localhost/*
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (AppArmor)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, remove, set_to
from sekisho.findings import Finding, render_value
from sekisho.pods import Placed, Pod, annotations_of

_FIELD = ("securityContext", "appArmorProfile", "type")
_POD_FIELD = ("spec", *_FIELD)
_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_TYPES = frozenset({"RuntimeDefault", "Localhost"})
_ALLOWED = "unset, RuntimeDefault or Localhost"


class AppArmorProfile(Parameters, frozen=True):
    """Containers may not turn the AppArmor profile off."""


def _standard(level: Level, _minor: int) -> AppArmorProfile | None:
    return None if level == "privileged" else AppArmorProfile()


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
    findings = []
    pod_context = pod.spec.security_context
    pod_profile = None if pod_context is None else pod_context.app_armor_profile
    pod_is_good = pod_profile is None or pod_profile.type in _TYPES
    if pod_profile is not None and not pod_is_good:
        findings.append(
            Finding(
                control="appArmorProfile",
                path=_POD_FIELD,
                value=render_value(pod_profile.type),
                allowed=_ALLOWED,
                fix="set it to RuntimeDefault",
                change=set_to(_POD_FIELD, "RuntimeDefault"),
            )
        )
    for placed in containers:
        context = placed.container.security_context
        profile = None if context is None else context.app_armor_profile
        if profile is not None:
            if profile.type not in _TYPES:
                findings.append(_of(placed, profile.type))
        elif not pod_is_good and placed.path[1] == "ephemeralContainers":
            # It inherits the pod's profile and arrives by an update, when the pod's own finding is no longer new.
            findings.append(_of(placed, None))
    annotations = pod.metadata.annotations
    if annotations:
        findings.extend(_annotations(pod))
    return findings


def _of(placed: Placed, found: str | None) -> Finding:
    change = set_to(placed.path + _FIELD, "RuntimeDefault")
    return of_container("appArmorProfile", placed, _FIELD, found, _ALLOWED, "set it to RuntimeDefault", change)


def _annotations(pod: Pod) -> list[Finding]:
    return [
        Finding(
            control="appArmorProfile",
            path=("metadata", "annotations", key),
            value=render_value(profile),
            allowed="unset, runtime/default or localhost/*",
            fix="remove the annotation or set it to runtime/default",
            change=remove(("metadata", "annotations", key)),
        )
        for key, profile in sorted(annotations_of(pod).items())
        if key.startswith(_ANNOTATION)
        and profile
        and profile != "runtime/default"
        and not profile.startswith("localhost/")
    ]


CONTROL = Control(
    "appArmorProfile",
    "a forbidden AppArmor profile",
    "Containers may not turn the AppArmor profile off.",
    AppArmorProfile,
    _standard,
    _check,
)

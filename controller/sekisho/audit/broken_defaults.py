"""Defaults that keep containers from running: what a node says of a container in which a policy set a field.

What a policy set is read from the pod's annotation, which anybody who writes the pod can change. So only policies that
exist are named, and what is said is said about the pod's own owner.

Source for the texts: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-states
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.audit.objects import ContainerState, ContainerStatus, Owner, StoredPod
from sekisho.findings import render_path
from sekisho.pods import DEFAULTED_ANNOTATION, container_refs

MAX_BROKEN: Final = 256
"""In one pass. A namespace has at most as many as it leaves free."""
MAX_SYMPTOM_LENGTH: Final = 200
_MAX_FIELDS: Final = 64
"""Fields of one container that are read from the annotation."""
_BACK_OFF: Final = "CrashLoopBackOff"
"""The reason of a container that waits after it ended; why it ended is in its last state."""
_OF_POD: Final = re.compile(r" \(pod: .*", re.DOTALL)
"""What the node adds to a message, which differs for each pod."""


class _Cause(Struct, frozen=True):
    """A field that may be why a container does not run.

    key: the last names of the field's path; what is below it counts too.
    text: what the node's text has in that case, in small letters.
    fix: what helps, beside setting the field in the manifest.
    """

    key: str
    text: str
    fix: str


_CAUSES: Final = (
    _Cause(
        "securityContext.runAsNonRoot",
        "runasnonroot",
        "set runAsUser to an id above 0 that the image can run as, or build the image with a numeric USER",
    ),
    _Cause("securityContext.readOnlyRootFilesystem", "read-only file system", "mount an emptyDir where it writes"),
    _Cause("securityContext.runAsUser", "permission denied", "give this user access to the files that it needs"),
    _Cause("securityContext.runAsGroup", "permission denied", "give this group access to the files that it needs"),
    _Cause("securityContext.capabilities", "operation not permitted", "add the capability that it needs"),
    _Cause("securityContext.seccompProfile", "seccomp", "use a profile that the node has"),
    _Cause("securityContext.appArmorProfile", "apparmor", "use a profile that the node has"),
    _Cause("resources.limits.memory", "oomkilled", "set the limit to what it needs"),
)
_MAY_CRASH: Final = "securityContext.readOnlyRootFilesystem"
"""A field that makes programs end, and seldom with a text that the node knows."""


class BrokenDefault(Struct, frozen=True, gc=False):
    """A default that keeps a container from running, in the pods of an owner.

    owner, uid: the owner; the uid is empty if it is not known.
    policy: its title.
    field: what it set, as a path in the owner.
    container: its name.
    symptom: what the node says.
    fix: what helps, beside setting the field in the manifest.
    is_certain: whether the node names the cause.
    """

    owner: Owner
    uid: str
    policy: str
    field: str
    container: str
    symptom: str
    fix: str
    is_certain: bool

    @property
    def text(self) -> str:
        """What is wrong, and the two ways out."""
        may_be = "" if self.is_certain else ", which may be why"
        return (
            f'container "{self.container}" cannot run: {self.symptom}. '
            f'The default of policy "{self.policy}" set {self.field}{may_be}. '
            f"Fix: {self.fix}; or set {self.field} in the manifest, as far as policies permit it."
        )


def broken_defaults(
    pod: StoredPod, owner: Owner, uid: str, above: tuple[str | int, ...], titles: Collection[str]
) -> Iterator[BrokenDefault]:
    """The defaults that keep containers of a pod from running, as far as its status shows it.

    uid: that of the owner.
    above: where the pod's template is in the owner; empty for the pod itself.
    titles: the policies that exist.
    """
    annotation = (pod.metadata.annotations or {}).get(DEFAULTED_ANNOTATION)
    failing = [status for status in pod.status.containers if status.is_failing] if annotation else []
    if not failing:
        return
    fields = _fields_by_place(annotation or "", titles)
    places = {ref.container.name: render_path(ref.path) for ref in container_refs(pod.spec)}
    prefix = f"{render_path(above)}." if above else ""
    for status in failing:
        symptom, text = _symptom(status)
        for policy, field in (*fields.get(places.get(status.name, ""), ()), *fields.get("spec", ())):
            cause = next((cause for cause in _CAUSES if f".{cause.key}." in f"{field}."), None)
            if cause is None:
                continue
            is_certain = cause.text in text
            if is_certain or (cause.key == _MAY_CRASH and _is_crashing(status)):
                yield BrokenDefault(owner, uid, policy, prefix + field, status.name, symptom, cause.fix, is_certain)


def _fields_by_place(annotation: str, titles: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """The policies and fields in the annotation, by the path of the container; by `spec` for those of the whole pod."""
    try:
        recorded = msgspec.json.decode(annotation, type=dict[str, list[str]])
    except (msgspec.DecodeError, RecursionError):
        return {}
    fields: dict[str, list[tuple[str, str]]] = {}
    for policy, names in recorded.items():
        for name in names if policy in titles else ():
            place = name.partition(".securityContext.")[0].partition(".resources.")[0]
            listed = fields.setdefault(place, [])
            if len(listed) < _MAX_FIELDS:
                listed.append((policy, name))
    return fields


def _symptom(status: ContainerStatus) -> tuple[str, str]:
    """What the node says of a failing container: for people, and all of it in small letters."""
    states = [state for state in (status.state, status.last_state) if not _is_back_off(state)]
    reason, message, ending = next(
        (said for state in states if (said := _said(state)) is not None), (_BACK_OFF, "", "")
    )
    shown = " ".join(_OF_POD.sub("", message).split()) or ending or reason
    text = f"{reason} {message}".lower()
    return shown if len(shown) <= MAX_SYMPTOM_LENGTH else f"{shown[: MAX_SYMPTOM_LENGTH - 1]}…", text


def _said(state: ContainerState) -> tuple[str, str, str] | None:
    """Reason, message, and how the container ended; None where a state is not a failure."""
    if state.waiting is not None:
        return state.waiting.reason, state.waiting.message, ""
    if state.terminated is not None and state.terminated.exit_code:
        ended = state.terminated
        why = f" ({ended.reason})" if ended.reason not in ("", "Error") else ""
        return ended.reason, ended.message, f"it ends with exit code {ended.exit_code}{why}"
    return None


def _is_back_off(state: ContainerState) -> bool:
    return state.waiting is not None and state.waiting.reason == _BACK_OFF


def _is_crashing(status: ContainerStatus) -> bool:
    return _is_back_off(status.state) and status.restart_count > 1

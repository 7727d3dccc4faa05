"""What the pods of a namespace are evaluated by: policies, what is known of the namespace, the time, and limits."""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.pod_defaults import NO_OBJECTS, NamespaceObjects
from sekisho.admission.time_checks import CheckTime
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet

Clock = Callable[[], datetime]
"""Gives the present time, with its zone."""


class Context(Struct, frozen=True, gc=False):
    """What the pods of a namespace are evaluated by.

    namespace_labels: None only where `policies.needs_labels` is false.
    clock: gives the time for waivers and catalogs, and is called only where there is something to exempt or to look
        up. With None no waiver applies, because nothing says which have expired.
    objects: what is known of the namespace that changes the pods of a template or manifest.
    check_time: called between the steps of a large review; None where judging is quick.
    trust: what rules on signatures are judged from. With None this installation does not verify images: anything that
        needs it is denied, but a manifest gets a note that they were not judged.
    max_findings: violations past which a caller would rather judge the pod elsewhere; MAX_FINDINGS for no such limit.
    values_later: what begins a value of a template or manifest that is known when a pod is created, and not judged
        before; empty for none.
    """

    policies: PolicySet
    namespace: str
    namespace_labels: Mapping[str, str] | None
    clock: Clock | None = None
    objects: NamespaceObjects = NO_OBJECTS
    check_time: CheckTime | None = None
    trust: Trust | None = None
    max_findings: int = MAX_FINDINGS
    values_later: str = ""

"""Updates of pods: whether anything changed that decides what runs.

Where nothing did, the old pod excuses the new one: a pod that was admitted under older policies can still get labels,
annotations, finalizers, tolerations and a deadline, and can be resized. Otherwise the new pod is judged whole.

Source: k8s.io/pod-security-admission/admission (isSignificantPodUpdate)
"""

from collections.abc import Sequence
from typing import Final

from sekisho.pods import Container, Pod, PodSpec

EXCUSED_FIELDS: Final = frozenset({"resources", "env", "env_from", "tolerations", "node_selector", "affinity"})
"""Fields that nobody can change, or of which the API server permits changes that decide only where the pod runs or with
how much. What such a change violates that the old pod did not is a violation anyway.
"""
_LISTS: Final = ("init_containers", "containers", "ephemeral_containers")
_OF_CONTAINER: Final = tuple(name for name in Container.__struct_fields__ if name not in EXCUSED_FIELDS)
_OF_POD: Final = tuple(name for name in PodSpec.__struct_fields__ if name not in (*EXCUSED_FIELDS, *_LISTS))


def runs_the_same(old: Pod, new: Pod) -> bool:
    """Whether a pod runs the same containers in the same way after an update, apart from their resources."""
    return all(getattr(old.spec, name) == getattr(new.spec, name) for name in _OF_POD) and all(
        _same(getattr(old.spec, name) or (), getattr(new.spec, name) or ()) for name in _LISTS
    )


def _same(old: Sequence[Container], new: Sequence[Container]) -> bool:
    return len(old) == len(new) and all(
        getattr(before, name) == getattr(after, name)
        for before, after in zip(old, new, strict=True)
        for name in _OF_CONTAINER
    )

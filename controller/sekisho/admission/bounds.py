"""Bounds of what is judged, far above what pods need: they keep the work and the memory of any review small.

They are checked before anything is judged or gets defaults. A body of up to MAX_PLAIN_BYTES cannot hold more than they
allow, apart from containers and volumes, which are always counted, and from long strings.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from msgspec import Struct, structs

from sekisho.findings import FieldPath, render_path
from sekisho.pods import EnvVar, ExecAction, HTTPHeader, ObjectMeta, Pod, PodSecurityContext, WorkloadMeta

MAX_PLAIN_BYTES: Final = 32 * 1024
"""The entries of a smaller body need not be counted."""
MAX_OBJECTS: Final = 40_000
"""Opening braces in a body: an upper bound of its JSON objects, counted before it is decoded."""
MAX_LISTS: Final = 20_000
"""Opening brackets in a body, for the same reason."""
MAX_COMMAS: Final = 100_000
"""In a body: an upper bound of the entries of its lists and objects, counted before it is decoded."""
MAX_ROW: Final = 20_000
"""Keys and strings of a body without the end of an object between them. The search for duplicate keys holds up all
threads for 1 us for each, until an object ends."""
MAX_CONTAINERS: Final = 512
"""The most containers of a pod, in all three lists together."""
MAX_VOLUMES: Final = 1024
MAX_IMAGE_VOLUMES: Final = 128
MAX_OF_POD: Final = 256
"""The most entries of each list and map that a pod has itself, besides volumes. Policies compare each with patterns."""
MAX_OF_METADATA: Final = 1024
"""The most labels and the most annotations of a pod or workload."""
MAX_ENTRIES: Final = 20_000
"""The most entries of all lists and maps together that are judged in a pod."""
MAX_STRING_LENGTH: Final = 4096
"""The length of a string that is judged, except values of annotations."""
MAX_ANNOTATIONS_LENGTH: Final = 256 * 1024
"""The keys and values of all annotations together: the API server's own bound, which it checks after admission."""
MAX_NAMESPACE_LENGTH: Final = 63
"""The API server's own bound; what a policy set has computed for a namespace is kept by its name."""
MAX_FINDINGS: Final = 10_000
"""The most findings of a pod, by all policies together."""
MAX_WAIVED: Final = 10_000
"""The most pairs of a finding and a policy that waivers exempt a pod from."""


def body_excess(body: bytes) -> str:
    """What a body has too much of, as a clause; empty where it may be decoded."""
    if len(body) <= MAX_PLAIN_BYTES:
        return ""
    if body.count(b"{") > MAX_OBJECTS:
        return f"the review has more than {MAX_OBJECTS:,} objects"
    if body.count(b"[") > MAX_LISTS:
        return f"the review has more than {MAX_LISTS:,} lists"
    return f"the review has more than {MAX_COMMAS:,} entries" if body.count(b",") > MAX_COMMAS else ""


def row_excess(body: bytes) -> str:
    """That a body has too many strings in a row to search for duplicate keys, as a clause; empty where it has not."""
    quotes = 2 * MAX_ROW
    if body.count(b'"') <= quotes or all(part.count(b'"') - part.count(b'\\"') <= quotes for part in body.split(b"}")):
        return ""
    return f"the review has more than {MAX_ROW:,} keys and strings in a row"


_MAX_SHOWN: Final = 160
_LONG_STRING: Final = re.compile(rb'"[^"]{%d}' % (MAX_STRING_LENGTH + 1))
_BLOCK: Final = MAX_STRING_LENGTH // 2


def needs_counting(body: bytes) -> bool:
    """Whether a pod in a body must be counted, because it may have more entries or a longer string than is judged."""
    size = len(body)
    if size > MAX_PLAIN_BYTES:
        return True
    if b"\\" in body:
        body = body.replace(b'\\"', b"__")
    # A longer string has a whole block, and to find a quote in each block takes next to no time.
    for start in range(0, size - _BLOCK + 1, _BLOCK):
        if body.find(b'"', start, start + _BLOCK) < 0:
            return _LONG_STRING.search(body) is not None
    return False


def unknown_containers(path: str) -> str:
    """Why a pod is not judged that has a list of objects with an image in a field that nothing here knows."""
    return f"{path[:_MAX_SHOWN]} may hold containers that this version of Sekisho does not know"


def pod_excess(pod: Pod, *, is_counted: bool = True) -> str:
    """What a pod has too much of, as a clause; empty where it may be judged.

    is_counted: false where `needs_counting` says so of the review's body.
    """
    spec = pod.spec
    containers = len(spec.containers or ()) + len(spec.init_containers or ()) + len(spec.ephemeral_containers or ())
    if containers > MAX_CONTAINERS:
        return f"the pod has {containers:,} containers, more than {MAX_CONTAINERS:,}"
    if len(spec.volumes or ()) > MAX_VOLUMES:
        return f"the pod has {len(spec.volumes or ()):,} volumes, more than {MAX_VOLUMES:,}"
    return _long_list(pod) or ((_entries_excess(pod) or _length_excess(pod.metadata, "pod")) if is_counted else "")


def _long_list(pod: Pod) -> str:
    """Which list or map of the pod itself is too long, as a clause; empty where none is."""
    spec, metadata, context = pod.spec, pod.metadata, pod.spec.security_context or _NO_CONTEXT
    if excess := _metadata_excess(metadata, "pod"):
        return excess
    for entries, name in (
        (metadata.owner_references, "ownerReferences"),
        (context.sysctls, "sysctls"),
        (context.supplemental_groups, "supplementalGroups"),
        (spec.tolerations, "tolerations"),
        (spec.node_selector, "nodeSelector"),
        (spec.image_pull_secrets, "imagePullSecrets"),
        (spec.resource_claims, "resourceClaims"),
    ):
        if entries and len(entries) > MAX_OF_POD:
            return f"the pod has {len(entries):,} {name}, more than {MAX_OF_POD:,}"
    containers = [*(spec.containers or ()), *(spec.init_containers or ()), *(spec.ephemeral_containers or ())]
    for resources in (spec.resources, *[container.resources for container in containers]):
        for entries in () if resources is None else (resources.requests, resources.limits):
            if entries and len(entries) > MAX_OF_POD:
                return f"the pod has {len(entries):,} resources in one place, more than {MAX_OF_POD:,}"
    volumes = spec.volumes or ()
    images = len([volume for volume in volumes if volume.image is not None]) if len(volumes) > MAX_IMAGE_VOLUMES else 0
    if images > MAX_IMAGE_VOLUMES:
        return f"the pod has {images:,} image volumes, more than {MAX_IMAGE_VOLUMES:,}"
    return ""


def workload_excess(workload: WorkloadMeta) -> str:
    """What the metadata of an object with a pod template has too much of, as a clause; empty where it may be judged."""
    return _metadata_excess(workload.metadata, workload.kind) or _length_excess(workload.metadata, workload.kind)


def _metadata_excess(metadata: ObjectMeta, kind: str) -> str:
    for entries, name in ((metadata.labels, "labels"), (metadata.annotations, "annotations")):
        if entries and len(entries) > MAX_OF_METADATA:
            return f"the {kind} has {len(entries):,} {name}, more than {MAX_OF_METADATA:,}"
    return ""


def _length_excess(metadata: ObjectMeta, kind: str) -> str:
    annotations = metadata.annotations or {}
    length = sum(map(len, annotations)) + sum(map(len, annotations.values()))
    if length <= MAX_ANNOTATIONS_LENGTH:
        return ""
    return f"the {kind} has annotations of {length:,} characters, more than {MAX_ANNOTATIONS_LENGTH:,}"


_NO_CONTEXT: Final = PodSecurityContext()


def _entries_excess(pod: Pod) -> str:
    """Which string is too long, or that all lists and maps together are, as a clause; empty where nothing is.

    Values of variables and of headers, and commands of probes, may be long: no policy looks for anything in them.
    """
    entries = 0
    pending: list[Any] = [pod.spec, _judged_metadata(pod.metadata)]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if len(value) > MAX_STRING_LENGTH:
                return f"{_place_of(value, pod)} has {len(value):,} characters, more than {MAX_STRING_LENGTH:,}"
        elif isinstance(value, list):
            entries += len(value)
            pending += value
        elif isinstance(value, dict):
            entries += len(value)
            pending += value
            pending += value.values()
        elif isinstance(value, EnvVar | HTTPHeader):
            pending.append(value.name)
        elif isinstance(value, ExecAction):  # often a script
            entries += len(value.command or ())
        elif isinstance(value, Struct):
            pending += [field for name in value.__struct_fields__ if (field := getattr(value, name))]  # few are set
        if entries > MAX_ENTRIES:
            return f"the pod has more than {MAX_ENTRIES:,} entries in its lists and maps"
    return ""


def _place_of(text: str, pod: Pod) -> str:
    """Which field or key of a pod a string is, in words."""
    pending: list[tuple[FieldPath, Any]] = [(("metadata",), pod.metadata), (("spec",), pod.spec)]
    while pending:
        path, value = pending.pop()
        if value is text:
            return f"the pod's {_shown(path)}"
        fields: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, list):
            fields = enumerate(value)
        elif isinstance(value, dict):
            if any(key is text for key in value):
                return f"a key in the pod's {_shown(path)}"
            fields = value.items()
        elif isinstance(value, Struct):
            fields = [(name, getattr(value, attribute)) for name, attribute in _names_of(type(value))]
        pending += [((*path, key), field) for key, field in fields if field is text or isinstance(field, _NESTED)]
    return "a string of the pod"


_NESTED: Final = (list, dict, Struct)
"""Types of values that may hold a string."""


@cache
def _names_of(kind: type[Struct]) -> tuple[tuple[str, str], ...]:
    """The fields of a type as JSON and as Python name them, which takes long to find out for each object."""
    return tuple((field.encode_name, field.name) for field in structs.fields(kind))


def _shown(path: FieldPath) -> str:
    return render_path(path)[:_MAX_SHOWN]


def _judged_metadata(metadata: ObjectMeta) -> list[Any]:
    """Metadata without the values of annotations."""
    values = [getattr(metadata, name) for name in metadata.__struct_fields__ if name != "annotations"]
    return [*values, list(metadata.annotations or ())]

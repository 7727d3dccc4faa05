"""Pods for tests, as the API spells them: a good one, and small changes of it."""

import copy
from typing import Any

import msgspec

from sekisho.pods import Pod, Workload

CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")


def container(name: str = "app", image: str = "trusted.io/app:1", **fields: Any) -> dict[str, Any]:
    """A container that passes `restricted` in a pod that does."""
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    context |= fields.pop("securityContext", {})
    return {"name": name, "image": image, "securityContext": context, **fields}


def restricted_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod that passes `restricted`, with the given containers and fields of its spec."""
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | spec.pop("securityContext", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod"},
        "spec": {"securityContext": context, "containers": list(containers) or [container()], **spec},
    }


def with_container_in(kind: str, bad: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A restricted pod that has one more container in the given list; `sidecar` is a restartable init container."""
    pod = restricted_pod(container(), **spec)
    key = "initContainers" if kind == "sidecar" else kind
    added = copy.deepcopy(bad) | ({"restartPolicy": "Always"} if kind == "sidecar" else {})
    added["name"] = "tested"
    pod["spec"][key] = [*pod["spec"].get(key, []), added]
    return pod


def typed(pod: dict[str, Any]) -> Pod:
    """The pod as the engine sees it, decoded from JSON."""
    return msgspec.json.decode(msgspec.json.encode(pod), type=Workload)

"""The pods that receive a Service's requests, from its EndpointSlices (discovery.k8s.io/v1).

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

SERVICE_LABEL = "kubernetes.io/service-name"


class _Conditions(Struct, frozen=True):
    ready: bool | None = None


class _Target(Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Endpoint(Struct, frozen=True, rename="camel"):
    conditions: _Conditions = _Conditions()
    target_ref: _Target | None = None


class _EndpointSlice(Struct, frozen=True):
    endpoints: tuple[_Endpoint, ...] | None = None


_decoder = msgspec.json.Decoder(_EndpointSlice)


def slices_path(namespace: str) -> str:
    """The path of a namespace's EndpointSlices."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


class Pods(Struct, frozen=True):
    """The names of the pods of some endpoints; an empty name for each endpoint without a pod."""

    ready: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()


def pods_of(raw: bytes) -> Pods:
    """The pods in an EndpointSlice."""
    ready: list[str] = []
    unready: list[str] = []
    for endpoint in _decoder.decode(raw).endpoints or ():
        target = endpoint.target_ref
        name = target.name if target is not None and target.kind == "Pod" else ""
        (unready if endpoint.conditions.ready is False else ready).append(name)  # unset means ready
    return Pods(tuple(ready), tuple(unready))


def all_pods(slices: Iterable[Pods]) -> Pods:
    """The pods of several slices."""
    listed = list(slices)
    return Pods(
        tuple(pod for pods in listed for pod in pods.ready), tuple(pod for pods in listed for pod in pods.unready)
    )


def strangers(pods: Pods, reporting: Iterable[str]) -> frozenset[str]:
    """Those that report and are not a pod of the Service; none while an endpoint has no pod: it may be any of them."""
    known = {*pods.ready, *pods.unready}
    return frozenset() if "" in known else frozenset(reporting) - known


def unreported(ready: Iterable[str], reporting: Iterable[str]) -> tuple[str, ...]:
    """The names of the ready pods that do not report.

    An endpoint without a pod is taken for a reporting replica that no endpoint names, while there are such replicas.
    """
    pods, known = list(ready), set(reporting)
    named = sorted({pod for pod in pods if pod} - known)
    return (*named, *("an endpoint without a pod" for _ in range(pods.count("") - len(known - set(pods)))))

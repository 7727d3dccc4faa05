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


def ready_pods(raw: bytes) -> tuple[str, ...]:
    """The names of the pods of the ready endpoints in an EndpointSlice; an empty name for an endpoint without a pod."""
    return tuple(
        endpoint.target_ref.name if endpoint.target_ref is not None and endpoint.target_ref.kind == "Pod" else ""
        for endpoint in _decoder.decode(raw).endpoints or ()
        if endpoint.conditions.ready is not False  # unset means ready
    )


def unreported(ready: Iterable[str], reporting: Iterable[str]) -> tuple[str, ...]:
    """The names of the ready pods that do not report.

    An endpoint without a pod is taken for a reporting replica that no endpoint names, while there are such replicas.
    """
    pods, known = list(ready), set(reporting)
    named = sorted({pod for pod in pods if pod} - known)
    return (*named, *("an endpoint without a pod" for _ in range(pods.count("") - len(known - set(pods)))))

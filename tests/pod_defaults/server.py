"""What the corpus needs in an API server: namespaces whose objects change pods, and classes that pods name."""

import json

import msgspec

from sekisho.admission import LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.pods import LocalObjectReference
from tests.controlplane.plane import ControlPlane
from tests.pod_defaults.corpus import Json
from tests.pod_defaults.workloads import words_of

ACCOUNTS = tuple({"ingress", "log-agent", "operator", "quiet", *words_of("account"), *words_of("old-account")})
LIMITS: list[Json] = [
    {"type": "Pod", "max": {"cpu": "1000"}},
    {
        "type": "Container",
        "default": {"cpu": "64"},
        "defaultRequest": {"memory": "32Mi"},
        "min": {"ephemeral-storage": "1"},
        "max": {"memory": "900Gi"},
    },
]


class Namespace(msgspec.Struct, frozen=True):
    """A namespace, and what is in it that changes pods."""

    name: str
    objects: NamespaceObjects


def create_all(plane: ControlPlane) -> tuple[Namespace, ...]:
    """Namespaces with nothing in them, with LimitRanges and accounts, and with a default account without a token."""
    for runtime in words_of("runtime"):
        meta = {"name": runtime}
        handler = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": meta, "handler": "h"}
        plane.call("POST", "/apis/node.k8s.io/v1/runtimeclasses", handler)
    furnished: dict[str, bool | None] = {**dict.fromkeys(ACCOUNTS), "default": True, "quiet": False}
    return (
        _create(plane, "plain", dict.fromkeys(ACCOUNTS), []),
        _create(plane, "furnished", furnished, LIMITS, ("login", "mirror")),
        _create(plane, "reserved", {**dict.fromkeys(ACCOUNTS), "default": False}, []),
    )


def _create(
    plane: ControlPlane,
    name: str,
    accounts: dict[str, bool | None],
    limits: list[Json],
    pull_secrets: tuple[str, ...] = (),
) -> Namespace:
    plane.create_namespace(name)
    objects: list[Json] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": name},
            "automountServiceAccountToken": automount,
            "imagePullSecrets": [{"name": secret} for secret in pull_secrets],
        }
        for account, automount in accounts.items()
    ]
    if limits:
        metadata = {"name": "limits", "namespace": name}
        objects.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}})
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl.check("apply", "-f", "-", input=items)
    ranges = (limit_range("limits", msgspec.convert(limits, list[LimitRangeItem])),) if limits else ()
    secrets = tuple(map(LocalObjectReference, pull_secrets))
    known = {account: ServiceAccount(automount, secrets) for account, automount in accounts.items()}
    return Namespace(name, NamespaceObjects(ranges, known))

"""What is known of a cluster's namespaces at one moment: read once, without a watch."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from sekisho.admission import LimitRange, NamespaceObjects, ServiceAccount
from sekisho.cluster.api import METADATA, METADATA_LIST, ApiClient
from sekisho.cluster.namespace_objects import (
    decode_limit_range,
    decode_service_account,
    objects_of_pod,
    ranges_by_namespace,
)
from sekisho.cluster.namespaces import PATH, decode_labels
from sekisho.cluster.pages import pages
from sekisho.cluster.reflector import object_key
from sekisho.errors import SekishoError
from sekisho.pods import Pod
from sekisho.policies import PolicyError
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.policies.matching import Selects, compile_selector
from sekisho.policies.selectors import LabelSelector, LabelSelectorRequirement, SelectorOperator

logger = logging.getLogger(__name__)

T = TypeVar("T")
Labels = Mapping[str, str]

WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
PODS_WEBHOOK: Final = "validate.pods.sekisho.dev"


class LiveNamespaces(Struct, frozen=True):
    """Namespaces as they were when they were read.

    labels: by namespace.
    ranges: their LimitRanges, by namespace.
    accounts: the ServiceAccounts that change pods, by namespace/name.
    """

    labels: Mapping[str, Labels]
    ranges: Mapping[str, tuple[LimitRange, ...]]
    accounts: Mapping[str, ServiceAccount]

    def objects_of(self, namespace: str, pod: Pod) -> NamespaceObjects:
        """The LimitRanges of the namespace, and the ServiceAccount of the pod where it changes pods."""
        return objects_of_pod(self.ranges, self.accounts, namespace, pod)


class _Webhook(Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace_selector: dict[str, Any] | None = None


class _Configuration(Struct, frozen=True):
    webhooks: tuple[_Webhook, ...] | None = None


async def read_namespaces(api: ApiClient, namespace: str | None = None) -> LiveNamespaces:
    """What is known of all namespaces; `namespace`: the only one to read, None for all.

    Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    within = f"/namespaces/{namespace}" if namespace else ""
    if namespace:
        labels = {namespace: decode_labels(await api.get(f"{PATH}/{namespace}", accept=METADATA))}
    else:
        labels = await _read(api, PATH, decode_labels, METADATA_LIST)
    ranges = await _read(api, f"/api/v1{within}/limitranges", decode_limit_range)
    accounts = await _read(api, f"/api/v1{within}/serviceaccounts", decode_service_account)
    return LiveNamespaces(labels, ranges_by_namespace(ranges), accounts)


async def exempt_namespaces(api: ApiClient, labels: Mapping[str, Labels]) -> frozenset[str]:
    """The namespaces whose pods no webhook of Sekisho is sent; kube-system where none is installed.

    labels: by namespace.

    Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    selectors: list[Selects | None] = []
    async for page in pages(api, WEBHOOKS, {}):
        for raw in page.items or ():
            webhooks = msgspec.json.decode(raw, type=_Configuration).webhooks or ()
            selectors += [_selects(webhook) for webhook in webhooks if webhook.name == PODS_WEBHOOK]
    if not selectors:
        return EXEMPT_NAMESPACES
    return EXEMPT_NAMESPACES.union(
        name
        for name, namespace_labels in labels.items()
        if not any(selects is None or selects(namespace_labels) for selects in selectors)
    )


def _selects(webhook: _Webhook) -> Selects | None:
    """Whether the webhook is sent the pods of a namespace, by its labels; None for all namespaces."""
    selector = webhook.namespace_selector or {}
    # Not decoded as the selectors of policies are, which have bounds that Kubernetes does not have.
    expressions = tuple(
        LabelSelectorRequirement(one["key"], SelectorOperator(one["operator"]), tuple(one.get("values") or ()))
        for one in selector.get("matchExpressions") or ()
    )
    try:
        return compile_selector(LabelSelector(selector.get("matchLabels"), expressions), "namespaceSelector")
    except PolicyError:  # Kubernetes allows label keys that policies may not name
        return None


async def _read(
    api: ApiClient, path: str, decode: Callable[[bytes], T | None], accept: str = "application/json"
) -> dict[str, T]:
    """The objects at `path`, by name or namespace/name, without those that cannot be decoded or need not be kept."""
    kept: dict[str, T] = {}
    async for page in pages(api, path, {}, accept):
        for raw in page.items or ():
            try:
                decoded = decode(raw)
            except (ValueError, msgspec.DecodeError, SekishoError) as error:
                logger.warning("%s: %s is left out: %s", path, object_key(raw), error)
                continue
            if decoded is not None:
                kept[object_key(raw)] = decoded
    return kept

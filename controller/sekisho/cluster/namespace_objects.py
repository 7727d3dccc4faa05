"""LimitRanges and ServiceAccounts of the cluster, which change the pods of a template after the template was judged."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.admission import LimitRange, LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.cluster.api import ApiClient
from sekisho.cluster.names import is_subdomain
from sekisho.cluster.reflector import Reflector
from sekisho.pods import LocalObjectReference, Pod, service_account_of

logger = logging.getLogger(__name__)

LIMIT_RANGES: Final = "/api/v1/limitranges"
SERVICE_ACCOUNTS: Final = "/api/v1/serviceaccounts"
MAX_PULL_SECRETS: Final = 8
"""The pull Secrets of one ServiceAccount that are kept: the first ones."""
MAX_LIMIT_RANGES: Final = 16
"""The most LimitRanges of one namespace that are kept; further ones are left out."""
MAX_LIMIT_RANGE_LENGTH: Final = 4096
"""Characters of the resources and quantities of one LimitRange."""
MAX_ACCOUNTS: Final = 1000
"""The most ServiceAccounts of one namespace that change pods; further ones are left out."""


class _Meta(Struct, frozen=True):
    name: str


class _LimitRangeSpec(Struct, frozen=True):
    limits: list[LimitRangeItem] | None = None


class _LimitRange(Struct, frozen=True):
    metadata: _Meta
    spec: _LimitRangeSpec = _LimitRangeSpec()


class _ServiceAccount(Struct, frozen=True, rename="camel"):
    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] | None = None


_limit_range_decoder = msgspec.json.Decoder(_LimitRange)
_service_account_decoder = msgspec.json.Decoder(_ServiceAccount)
_WITHOUT_TOKEN: Final = ServiceAccount(automount_service_account_token=False)
"""A cluster has very many accounts, and tenants can create more: only those with this setting are kept."""


def decode_limit_range(raw: bytes) -> LimitRange:
    """A LimitRange, from its JSON. Raises ValueError for one that is too long to be kept."""
    decoded = _limit_range_decoder.decode(raw)
    made = limit_range(decoded.metadata.name, decoded.spec.limits or ())
    amounts = (*made.limits.items(), *made.requests.items())
    if sum(len(name) + len(str(amount)) for name, amount in amounts) > MAX_LIMIT_RANGE_LENGTH:
        raise ValueError(f"its resources and quantities have more than {MAX_LIMIT_RANGE_LENGTH} characters")
    return made


def decode_service_account(raw: bytes, *, keeps_pull_secrets: bool = False) -> ServiceAccount | None:
    """What a ServiceAccount sets for its pods, from its JSON; None for one that changes nothing.

    keeps_pull_secrets: whether to keep its pull secrets, of which no control depends; they are for look-ups of images.
    """
    decoded = _service_account_decoder.decode(raw)
    mounts_token = decoded.automount_service_account_token is not False
    if keeps_pull_secrets and decoded.image_pull_secrets:
        # No Secret has another name, and the API server does not bound the length of names here.
        secrets = tuple(secret for secret in decoded.image_pull_secrets if is_subdomain(secret.name))
        return ServiceAccount(None if mounts_token else False, secrets[:MAX_PULL_SECRETS])
    return None if mounts_token else _WITHOUT_TOKEN


def _log_left_out(name: str, error: Exception) -> None:
    logger.warning("LimitRange %s is left out: %s", name, error)


class ClusterObjects:
    """Looks up what changes the pods of a template. Both reflectors must be run."""

    def __init__(self, api: ApiClient, *, keeps_pull_secrets: bool = False) -> None:
        self.limit_ranges: Reflector[LimitRange] = Reflector(
            api,
            LIMIT_RANGES,
            decode_limit_range,
            on_change=self._index,
            on_quarantine=_log_left_out,
            max_per_namespace=MAX_LIMIT_RANGES,
        )
        self.service_accounts: Reflector[ServiceAccount] = Reflector(
            api,
            SERVICE_ACCOUNTS,
            partial(decode_service_account, keeps_pull_secrets=keeps_pull_secrets),
            max_per_namespace=MAX_ACCOUNTS,
        )
        self._by_namespace: Mapping[str, tuple[LimitRange, ...]] = {}

    def for_pod(self, namespace: str, pod: Pod) -> NamespaceObjects:
        """The LimitRanges of the namespace, and the ServiceAccount of the pod where it exists."""
        return objects_of_pod(self._by_namespace, self.service_accounts.objects, namespace, pod)

    def _index(self, limit_ranges: Mapping[str, LimitRange]) -> None:
        self._by_namespace = ranges_by_namespace(limit_ranges)


def objects_of_pod(
    ranges: Mapping[str, tuple[LimitRange, ...]], accounts: Mapping[str, ServiceAccount], namespace: str, pod: Pod
) -> NamespaceObjects:
    """What changes a pod of a namespace: its LimitRanges, and the ServiceAccount of the pod where it exists.

    ranges: by namespace.
    accounts: by namespace/name.
    """
    name = service_account_of(pod)
    account = accounts.get(f"{namespace}/{name}")
    return NamespaceObjects(ranges.get(namespace, ()), {} if account is None else {name: account})


def ranges_by_namespace(limit_ranges: Mapping[str, LimitRange]) -> dict[str, tuple[LimitRange, ...]]:
    """LimitRanges by namespace/name filed by namespace, those of each in the order of their names."""
    by_namespace: dict[str, list[LimitRange]] = {}
    for key in sorted(limit_ranges):
        by_namespace.setdefault(key.partition("/")[0], []).append(limit_ranges[key])
    return {namespace: tuple(ranges) for namespace, ranges in by_namespace.items()}

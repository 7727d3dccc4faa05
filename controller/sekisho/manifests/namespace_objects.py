"""The objects among manifests that change the pods of their namespace: LimitRanges and ServiceAccounts."""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from sekisho.admission import LimitRange, LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.manifests.objects import Manifest, read_manifests
from sekisho.manifests.sources import Source

_MAYBE: Final = re.compile(r"\bLimitRange\b|\bautomountServiceAccountToken\b")
"""In the text of each document that holds a LimitRange, or a ServiceAccount that does not mount its token."""

T = TypeVar("T")


class _Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str | None = None


class _LimitRangeSpec(msgspec.Struct, frozen=True):
    limits: list[LimitRangeItem] | None = None


class _LimitRangeObject(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _LimitRangeSpec = _LimitRangeSpec()


class _ServiceAccountObject(msgspec.Struct, frozen=True, rename="camel"):
    metadata: _Meta
    automount_service_account_token: bool | None = None


def objects_in(sources: Iterable[Source], namespace: str) -> dict[str, NamespaceObjects]:
    """The LimitRanges and ServiceAccounts of each namespace; `namespace` is that of objects which name none.

    An object that cannot be read is ignored, as every object is that has no pods.
    """
    ranges: dict[str, list[LimitRange]] = {}
    accounts: dict[str, dict[str, ServiceAccount]] = {}
    for manifest in read_manifests(source for source in sources if _MAYBE.search(source.text)):
        if not isinstance(manifest, Manifest) or manifest.group:
            continue
        if manifest.kind == "LimitRange" and (found := _typed(manifest, _LimitRangeObject)) is not None:
            meta = found.metadata
            ranges.setdefault(meta.namespace or namespace, []).append(limit_range(meta.name, found.spec.limits or ()))
        elif manifest.kind == "ServiceAccount" and (account := _typed(manifest, _ServiceAccountObject)) is not None:
            meta = account.metadata
            known = accounts.setdefault(meta.namespace or namespace, {})
            known[meta.name] = ServiceAccount(account.automount_service_account_token)
    return {
        name: NamespaceObjects(tuple(sorted(ranges.get(name, ()), key=lambda each: each.name)), accounts.get(name, {}))
        for name in ranges.keys() | accounts.keys()
    }


def _typed(manifest: Manifest, kind: type[T]) -> T | None:
    try:
        return msgspec.convert(manifest.value, kind)
    except (msgspec.ValidationError, RecursionError):
        return None

"""The objects among manifests that change the pods of their namespace: LimitRanges and ServiceAccounts."""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from sekisho.admission import LimitRange, LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.admission.nulls import without_nulls
from sekisho.documents import Problem, parse_path, problem_of
from sekisho.errors import SekishoError
from sekisho.manifests.objects import Manifest, read_manifests
from sekisho.manifests.texts import Source
from sekisho.pods import LocalObjectReference

_MAYBE: Final = re.compile(r"""\bLimitRange|\bkind["']?\s*:\s*["']?ServiceAccount(?:List)?\b""")
"""In the text of each document that holds a LimitRange or a ServiceAccount."""

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
    image_pull_secrets: tuple[LocalObjectReference, ...] | None = None


def objects_in(
    sources: Iterable[Source], namespace: str, problems: list[Problem] | None = None
) -> dict[str, NamespaceObjects]:
    """The LimitRanges and ServiceAccounts of each namespace. A later one replaces an earlier one of the same name.

    namespace: the namespace of objects that set none.
    problems: gets a problem for each LimitRange or ServiceAccount that is invalid and therefore ignored, if not None.
    """
    ranges: dict[str, dict[str, LimitRange]] = {}
    accounts: dict[str, dict[str, ServiceAccount]] = {}
    for manifest in read_manifests(filter(_may_have_objects, sources)):
        if not isinstance(manifest, Manifest) or manifest.group:
            continue
        try:
            if manifest.kind == "LimitRange":
                limits = _typed(manifest, _LimitRangeObject)
                meta = limits.metadata
                ranges_of_namespace = ranges.setdefault(meta.namespace or namespace, {})
                ranges_of_namespace[meta.name] = limit_range(meta.name, limits.spec.limits or ())
            elif manifest.kind == "ServiceAccount":
                account = _typed(manifest, _ServiceAccountObject)
                meta = account.metadata
                known = accounts.setdefault(meta.namespace or namespace, {})
                known[meta.name] = ServiceAccount(
                    account.automount_service_account_token, account.image_pull_secrets or ()
                )
        except (msgspec.ValidationError, RecursionError, SekishoError) as error:
            if problems is not None:
                problems.append(_ignored(manifest, error))
    return {
        name: NamespaceObjects(
            tuple(item for _, item in sorted(ranges.get(name, {}).items())),
            accounts.get(name, {}),
        )
        for name in ranges.keys() | accounts.keys()
    }


def _may_have_objects(source: Source) -> bool:
    """Whether to read a text; false for most, whose reading would take time."""
    inherited = source.inherited[1] if source.inherited is not None else ""
    return inherited in ("LimitRange", "ServiceAccount") or _MAYBE.search(source.text) is not None


def _typed(manifest: Manifest, kind: type[T]) -> T:
    return msgspec.convert(without_nulls(manifest.value), kind)


def _ignored(manifest: Manifest, error: Exception) -> Problem:
    problem = problem_of(error)
    location = manifest.document.location(manifest.at + parse_path(problem.where))
    return Problem(location, f"{manifest.kind} is invalid and was ignored: {problem}")

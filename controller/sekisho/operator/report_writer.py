"""Writes the reports of the audit: those that changed, and none where the cluster has no kind for them."""

import logging
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.pages import pages
from sekisho.operator.audit_reports import MANAGED_BY, Report, is_same, with_first_seen
from sekisho.operator.objects import FIELD_MANAGER

logger = logging.getLogger(__name__)

APPLY: Final = "application/apply-patch+yaml"
_LABELS: Final = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
_GONE: Final = 404

Reports = Mapping[tuple[str, str], Report]
"""By namespace and name."""


class ReportKind(Struct, frozen=True):
    """A kind of report."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the reports of all namespaces, or of one report."""
        root = f"/apis/{self.api_version}"
        return f"{root}/namespaces/{namespace}/{self.plural}/{name}" if namespace else f"{root}/{self.plural}"


KINDS: Final = (
    ReportKind("openreports.io/v1alpha1", "Report", "reports"),
    ReportKind("wgpolicyk8s.io/v1alpha2", "PolicyReport", "policyreports"),
)
"""The first one that the API server serves is written."""


class _Stored(Struct, frozen=True):
    metadata: "_StoredMeta"


class _StoredMeta(Struct, frozen=True):
    name: str
    namespace: str = ""


class ReportWriter:
    """Brings the reports of a cluster up to date."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._served: ReportKind | None = None
        self._is_logged = False

    async def write(self, reports: Reports) -> int:
        """Make these the reports of the cluster; gives how many requests wrote something, none if all are as they were.

        Reports in a namespace that is gone or being deleted are left out. Where no kind of reports exists, nothing is
        written, and where the first one appears or disappears, the next call moves all reports. One list of each kind
        is read, a page at a time.

        Raises ApiError, ApiUnavailable, msgspec.DecodeError.
        """
        writes, wanted = 0, reports
        for kind in KINDS:
            try:
                writes += await self._bring_up_to_date(kind, wanted)
            except ApiError as error:
                if error.status != _GONE:
                    raise
                continue
            if wanted:
                self._log(kind)
            wanted = {}
        if wanted:
            self._log(None)
        return writes

    def _log(self, kind: ReportKind | None) -> None:
        """Log once which kind is written; None if none exists."""
        if self._is_logged and kind == self._served:
            return
        self._served, self._is_logged = kind, True
        if kind is None:
            names = " or ".join(f"{kind.plural}.{kind.api_version.partition('/')[0]}" for kind in KINDS)
            logger.warning(
                "reports of the audit are enabled, but the cluster has no CustomResourceDefinition %s", names
            )
        else:
            logger.info("the audit writes reports of %s %s", kind.api_version, kind.kind)

    async def _bring_up_to_date(self, kind: ReportKind, reports: Reports) -> int:
        """Raises ApiError (404 if the kind does not exist)."""
        missing = dict(reports)
        writes = 0
        async for page in pages(self._api, kind.path(), {"labelSelector": _LABELS}):
            for raw in page.items or ():
                meta = msgspec.json.decode(raw, type=_Stored).metadata
                wanted = missing.pop((meta.namespace, meta.name), None)
                if wanted is None:
                    writes += await self._delete(kind.path(meta.namespace, meta.name))
                else:
                    writes += await self._write(kind, wanted, _decoded(raw))
        for report in missing.values():
            writes += await self._write(kind, report, None)
        return writes

    async def _write(self, kind: ReportKind, wanted: Report, stored: Report | None) -> bool:
        """Write a report unless it is stored like this; gives whether it was written."""
        report = with_first_seen(wanted, stored, self._api.clock.now())
        if is_same(report, stored):
            return False
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **msgspec.to_builtins(report)}
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            await self._api.patch(kind.path(*report.key), msgspec.json.encode(body), APPLY, params)
        except ApiError as error:
            if error.status != _GONE and "is being terminated" not in error.message:
                raise
            return False
        return True

    async def _delete(self, path: str) -> bool:
        try:
            await self._api.delete(path)
        except ApiError as error:
            if error.status != _GONE:
                raise
            return False
        return True


def _decoded(raw: Raw) -> Report | None:
    """A stored report; None for one that somebody else has changed so that it cannot be read."""
    try:
        return msgspec.json.decode(raw, type=Report)
    except msgspec.ValidationError:
        return None

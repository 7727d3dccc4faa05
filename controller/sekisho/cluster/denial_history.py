"""Denials, and images that run and would be denied now, read from the Events about them; the kinds of owners by which
they are selected."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sekisho.cluster.api import ApiClient
from sekisho.cluster.events import (
    CONTROLLER,
    CONTROLS_ANNOTATION,
    FIXES_ANNOTATION,
    POLICIES_ANNOTATION,
    Event,
    Reason,
    decode_event,
    events_path,
)
from sekisho.cluster.pages import pages
from sekisho.timestamps import parse

REASONS: Final = (Reason.POD_DENIED, Reason.IMAGE_NO_LONGER_TRUSTED)
"""The reasons of the Events that are read."""
_OTHERS: Final = (Reason.POD_WARNED, Reason.POD_AUDITED, Reason.POD_DEFAULTED, Reason.WAIVER_USED)
SELECTOR: Final = ",".join((f"reportingController={CONTROLLER}", *(f"reason!={reason.value}" for reason in _OTHERS)))
"""Selects these Events. A field selector cannot name two values, so it names the webhook's others."""
_DISCOVERY: Final = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class Owner(Struct, frozen=True, rename="camel"):
    """The object whose pods were denied."""

    api_version: str
    kind: str
    name: str


class Denial(Struct, frozen=True, rename="camel"):
    """What was denied, how often, why, and what would be admitted.

    `reason` is that of the Events: PodDenied, or ImageNoLongerTrusted for pods that run and would be denied now.
    `fixes` are those of the first controls only. `note` has a line for each problem, as many as fit. Times are in UTC.
    """

    namespace: str
    owner: Owner
    reason: str
    policies: list[str]
    controls: list[str]
    fixes: list[str]
    count: int
    first_seen: datetime
    last_seen: datetime
    note: str

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for reports of several replicas about the same denial."""
        owner = self.owner
        named = (self.namespace, owner.api_version, owner.kind, owner.name, self.reason)
        return (*named, *self.policies, *self.controls, self.note)


class _Kind(Struct, frozen=True):
    kind: str = ""
    group: str = ""


class _Resource(Struct, frozen=True, rename="camel"):
    resource: str = ""
    singular_resource: str = ""
    short_names: list[str] | None = None
    response_kind: _Kind | None = None


class _Version(Struct, frozen=True):
    resources: list[_Resource] | None = None


class _Named(Struct, frozen=True):
    name: str = ""


class _Group(Struct, frozen=True):
    metadata: _Named = _Named()
    versions: list[_Version] | None = None


class _Groups(Struct, frozen=True):
    items: list[_Group] | None = None


_groups_decoder = msgspec.json.Decoder(_Groups)


async def list_denials(api: ApiClient, namespace: str | None, selector: str) -> list[Denial]:
    """The denials in a namespace (None: all) whose Events match the field selector. Raises ApiError, ApiUnavailable."""
    events: list[Event] = []
    async for page in pages(api, events_path(namespace), {"fieldSelector": selector}):
        for raw in page.items or ():
            # Anybody may write an Event in the name of this controller.
            with suppress(msgspec.DecodeError):
                events.append(decode_event(raw))
    return denials_of(events)


def denials_of(events: Iterable[Event]) -> list[Denial]:
    """The denials that Events report, the latest last; several replicas' reports of the same denial are added up."""
    history = DenialHistory()
    for number, event in enumerate(events):
        history.put(str(number), event)
    return history.changes()


class DenialHistory:
    """The denials that Events report, kept up to date one Event at a time."""

    def __init__(self) -> None:
        self._by_event: dict[str, Denial] = {}
        self._reports: dict[tuple[str, ...], dict[str, Denial]] = {}
        """By the denials' keys, and by the names of the Events."""
        self._totals: dict[tuple[str, ...], Denial] = {}
        """What all reports of a denial say together, by its key; of those that need not be added up again."""
        self._changed: set[tuple[str, ...]] = set()

    def put(self, name: str, event: Event) -> None:
        """Add an Event, or replace the one with this name."""
        self.remove(name)
        denial = _denial_of(event)
        if denial is not None:
            self._by_event[name] = denial
            key = denial.key
            self._reports.setdefault(key, {})[name] = denial
            if key in self._totals:
                self._totals[key] = _merged((self._totals[key], denial))
            self._changed.add(key)

    def remove(self, name: str) -> None:
        """Remove an Event, if it is there."""
        denial = self._by_event.pop(name, None)
        if denial is not None:
            self._changed.add(denial.key)
            self._totals.pop(denial.key, None)
            del self._reports[denial.key][name]
            if not self._reports[denial.key]:
                del self._reports[denial.key]

    def gone(self) -> Iterator[tuple[str, ...]]:
        """The keys of the denials that no Event reports any more, since the last call of `changes`."""
        return (key for key in self._changed if key not in self._reports)

    def changes(self) -> list[Denial]:
        """The denials that have changed since the last call, the latest last; those that are gone are left out."""
        denials = [self._total(key) for key in self._changed if key in self._reports]
        self._changed.clear()
        return sorted(denials, key=lambda denial: (denial.last_seen, denial.key))

    def _total(self, key: tuple[str, ...]) -> Denial:
        if key not in self._totals:
            self._totals[key] = _merged(self._reports[key].values())
        return self._totals[key]


def _merged(reports: Iterable[Denial]) -> Denial:
    first, *others = reports
    if not others:
        return first
    return replace(
        first,
        count=first.count + sum(denial.count for denial in others),
        first_seen=min(first.first_seen, *(denial.first_seen for denial in others)),
        last_seen=max(first.last_seen, *(denial.last_seen for denial in others)),
    )


def _denial_of(event: Event) -> Denial | None:
    owner, series, annotations = event.regarding, event.series, event.metadata.annotations or {}
    if owner is None or event.reason not in REASONS:
        return None
    try:
        first = parse(event.event_time or "")
        last = parse(series.last_observed_time) if series is not None else first
    except ValueError:
        return None
    policies, controls = (annotations.get(key, "") for key in (POLICIES_ANNOTATION, CONTROLS_ANNOTATION))
    return Denial(
        namespace=event.metadata.namespace,
        owner=Owner(owner.api_version, owner.kind, owner.name),
        reason=event.reason,
        policies=policies.split(",") if policies else [],
        controls=controls.split(",") if controls else [],
        fixes=annotations.get(FIXES_ANNOTATION, "").splitlines(),
        count=series.count if series is not None else 1,
        first_seen=first,
        last_seen=last,
        note=event.note,
    )


async def kinds_called(api: ApiClient, name: str) -> list[str]:
    """The kinds that a name means, as in kubectl: `deployment`, `deploy`, `Deployment`, `deployments.apps`.

    Empty when the API server has none. Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    wanted, _, wanted_group = name.lower().partition(".")
    kinds: dict[str, None] = {}
    for path in ("/api", "/apis"):
        groups = _groups_decoder.decode(await api.get(path, accept=_DISCOVERY))
        for group in groups.items or ():
            if wanted_group and not f"{group.metadata.name}.".startswith(f"{wanted_group}."):
                continue
            for version in group.versions or ():
                for resource in version.resources or ():
                    kind = resource.response_kind.kind if resource.response_kind is not None else ""
                    names = {resource.resource, resource.singular_resource, kind.lower(), *(resource.short_names or ())}
                    if kind and wanted in names:
                        kinds[kind] = None
    return list(kinds)

"""Denials, read from the Events about them, and the kinds of owners by which they are selected."""

from collections.abc import Iterable
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

SELECTOR: Final = f"reportingController={CONTROLLER},reason={Reason.POD_DENIED.value}"
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

    `fixes` are those of the first controls only. `note` has a line for each problem, as many as fit. Times are in UTC.
    """

    namespace: str
    owner: Owner
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
        return (self.namespace, owner.api_version, owner.kind, owner.name, *self.policies, *self.controls, self.note)


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
    denials: dict[tuple[str, ...], Denial] = {}
    for event in events:
        denial = _denial_of(event)
        if denial is None:
            continue
        known = denials.get(denial.key)
        if known is not None:
            denial = replace(
                known,
                count=known.count + denial.count,
                first_seen=min(known.first_seen, denial.first_seen),
                last_seen=max(known.last_seen, denial.last_seen),
            )
        denials[denial.key] = denial
    return sorted(denials.values(), key=lambda denial: (denial.last_seen, denial.key))


def _denial_of(event: Event) -> Denial | None:
    owner, series, annotations = event.regarding, event.series, event.metadata.annotations or {}
    if owner is None or event.reason != Reason.POD_DENIED:
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

"""Every change of a policy or waiver, by list and watch."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector, object_key
from sekisho.policies.crd import RESOURCES, Resource
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

Body = Mapping[str, Any]
"""An object, as JSON."""


async def watch_policies(
    api: ApiClient, changed: Callable[[Body], None], deleted: Callable[[str], None], listed: Callable[[], None]
) -> None:
    """Call `changed` with each policy and waiver, first and after each change.

    deleted: called with the uid of each that was deleted.
    listed: called once, when `changed` was called with all that exist. While a CRD is missing, it is not called.

    Runs until cancelled. API failures are logged, and tried again.
    """
    reflectors = [_reflector(api, resource, changed, deleted) for resource in RESOURCES.values()]
    async with asyncio.TaskGroup() as watches:
        for reflector in reflectors:
            watches.create_task(reflector.run())
        for reflector in reflectors:
            await reflector.wait_synced()
        listed()


def _reflector(
    api: ApiClient, resource: Resource, changed: Callable[[Body], None], deleted: Callable[[str], None]
) -> Reflector[str]:
    """Keeps the uids of the objects of a kind only: the callbacks keep the rest."""

    def take(raw: bytes) -> str:
        # The items of a list do not name their kind.
        body = msgspec.json.decode(raw) | {"kind": resource.name}
        uid: str = body["metadata"]["uid"]
        before = reflector.objects.get(object_key(raw))
        if before is not None and before != uid:  # another object has its name by now
            deleted(before)
        changed(body)
        return uid

    reflector = Reflector(
        api,
        f"/apis/{GROUP}/{VERSION}/{resource.plural}",
        take,
        on_removed=deleted,
        on_quarantine=lambda name, error: logger.error("cannot read %s %s: %s", resource.name, name, error),
    )
    return reflector

"""Events on the owners of pods that do not run because of a default of a policy."""

import logging
import time
from collections.abc import Sequence
from typing import Final

from sekisho.audit import BrokenDefault
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.events import Reason
from sekisho.cluster.owners import ObjectReference
from sekisho.operator.events import Notice, write_warning

logger = logging.getLogger(__name__)

REPEAT_SECONDS: Final = 3600.0
"""When an Event is written again if the pods still do not run: the API server deletes it (--event-ttl)."""


class BrokenDefaultEvents:
    """Writes one Event as `identity` for each default that keeps a container of an owner from running."""

    def __init__(self, api: ApiClient, identity: str) -> None:
        self._api = api
        self._identity = identity
        self._written: dict[Notice, float] = {}
        """When, of those that the last pass gave."""

    async def write(self, broken: Sequence[BrokenDefault]) -> None:
        """Write what one pass gives and was not written lately. API failures are logged; the next pass tries again."""
        notices = [_notice(one) for one in broken]
        self._written = {notice: self._written[notice] for notice in notices if notice in self._written}
        now = time.monotonic()
        for notice in notices:
            if now - self._written.get(notice, -REPEAT_SECONDS) < REPEAT_SECONDS:
                continue
            try:
                await write_warning(self._api, notice, self._identity, self._api.clock.now())
            except ApiError as error:  # such as 403 in a namespace that is being deleted
                logger.warning("cannot write an Event about a default that keeps a container from running: %s", error)
            except ApiUnavailable as error:
                logger.warning("cannot write Events about defaults that keep containers from running: %s", error)
                return
            else:
                self._written[notice] = now


def _notice(broken: BrokenDefault) -> Notice:
    owner = broken.owner
    regarding = ObjectReference(owner.api_version, owner.kind, owner.name, owner.namespace, broken.uid)
    return Notice(regarding, Reason.DEFAULT_BREAKS_POD.value, "SetDefaults", broken.text, broken.text)

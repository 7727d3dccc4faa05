"""An audit of a cluster: the lists that it reads, page by page, and what it knows of namespaces."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from sekisho.admission import CheckTime, NamespaceObjects, UnjudgedError
from sekisho.audit import LINKS, PODS, TEMPLATES, Audit, Surroundings
from sekisho.cluster.api import METADATA_LIST, ApiClient
from sekisho.cluster.pages import pages
from sekisho.pods import Pod

logger = logging.getLogger(__name__)

MAX_SECONDS_OF_POD: Final = 1.0
"""A pod that takes more CPU time to judge is counted as not judged."""
MAX_SECONDS_OF_NAMESPACE: Final = 10.0
"""CPU time to judge the objects of a namespace in one pass, in addition to MAX_SECONDS_OF_OBJECT for each of them. What
is left then is counted as not judged: nobody can make the audit late for all others with a few costly objects."""
MAX_SECONDS_OF_OBJECT: Final = 0.01
"""Several times as much as those of most clusters take."""

Progress = Callable[[int, int], None]
"""Called with the pods that were read, and how many there are as far as the API server says."""


async def read_objects(
    api: ApiClient, audit: Audit, namespace: str | None = None, progress: Progress = lambda done, total: None
) -> None:
    """Give an audit all objects of a cluster. They are judged in a thread, so that the event loop is not held up.

    namespace: the only one to read; None for all.

    Raises ApiError (410 if a list took longer than the API server keeps it: begin again with a new audit),
    ApiUnavailable, msgspec.DecodeError.
    """
    try:
        for kind in LINKS:
            async for page in pages(api, kind.path(namespace), {}, METADATA_LIST):
                await asyncio.to_thread(audit.add_links, page.items or ())
        for kind in TEMPLATES:
            async for page in pages(api, kind.path(namespace), {}):
                await asyncio.to_thread(audit.add_templates, kind, page.items or ())
        done = 0
        async for page in pages(api, PODS.path(namespace), {}):
            await asyncio.to_thread(audit.add_pods, page.items or ())
            done += len(page.items or ())
            progress(done, done + page.remaining)
    finally:
        audit.end()
        if audit.defect is not None:
            logger.error("internal error while a pod that runs was judged", exc_info=audit.defect)


def surroundings(
    now: datetime,
    exempt: Collection[str],
    labels: Mapping[str, Mapping[str, str]],
    objects: Callable[[str, Pod], NamespaceObjects],
) -> Surroundings:
    """What pods of a cluster are judged by, with a bound on the time that each may take.

    exempt: the namespaces whose pods the API server does not send to the webhook.
    labels: those of all namespaces.
    """
    return Surroundings(now, exempt, labels.get, objects, Clocks().of)


class Clocks:
    """The CPU time that judging takes in a pass, by namespace."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    @contextmanager
    def of(self, namespace: str) -> Iterator[CheckTime]:
        """The time to judge one pod in; gives what raises UnjudgedError when it is over. Raises it if there is none."""
        left = self._left.get(namespace, MAX_SECONDS_OF_NAMESPACE) + MAX_SECONDS_OF_OBJECT
        if left < 0:
            raise UnjudgedError("its namespace has taken too much CPU time in this pass")
        began, cpu_began = time.monotonic(), time.thread_time()

        def check_time() -> None:
            # Called often. CPU time is what counts; the time on the clock is at least as much, and cheap to read.
            if time.monotonic() - began > MAX_SECONDS_OF_POD and time.thread_time() - cpu_began > MAX_SECONDS_OF_POD:
                raise UnjudgedError(f"it takes more than {MAX_SECONDS_OF_POD:g} s")

        try:
            yield check_time
        finally:
            self._left[namespace] = left - (time.thread_time() - cpu_began)

"""Every change of a policy or waiver, as kopf delivers it.

kopf lists and watches them, and writes nothing: its event handlers leave no finalizer and no annotation, and its
settings turn off Events, peering and the watches of namespaces and CRDs, which the role does not permit.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import kopf

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.config import ApiConfig, load_config
from sekisho.errors import SekishoError
from sekisho.policies.crd import RESOURCES
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0
_WATCHER = "watcher for "
"""How kopf names the tasks that watch a kind."""

_CHECK_SECONDS, _START_CHECK_SECONDS = 1.0, 0.05
_START_SECONDS = 60.0
"""How long kopf may take until it watches all kinds."""


class WatchEndedError(SekishoError):
    """kopf no longer watches every kind of policy."""


Body = Mapping[str, Any]
"""An object, as JSON."""


async def watch_policies(
    api: ApiClient,
    kubeconfig: Path | None,
    changed: Callable[[Body], None],
    deleted: Callable[[Body], None],
    started: Callable[[], None],
) -> None:
    """Call `changed` with each policy and waiver, first and after each change, and `deleted` with each deleted one.

    Runs until cancelled. Waits for the CRDs first. kopf installs signal handlers of its own; `started` is called after
    that. Raises WatchEndedError when kopf no longer watches a kind, such as after its CRD was deleted: kopf itself may
    take long to end then, or not end at all. Tasks that were created since the start are cancelled with kopf's.
    """
    for resource in RESOURCES.values():
        await _wait_until_served(api, resource.plural)
    registry = kopf.OperatorRegistry()
    logins = 0

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal logins
        if logins:  # after a 401: a token that is still rejected must not be tried in a tight loop
            await asyncio.sleep(_RETRY_SECONDS)
        logins += 1
        config = await load_config(kubeconfig)
        return kopf.AiohttpSession(server=config.host, aiohttp_session=_session(config))

    async def handle(event: Body, **_: Any) -> None:
        (deleted if event["type"] == "DELETED" else changed)(event["object"])

    for resource in RESOURCES.values():
        kopf.on.event(GROUP, VERSION, resource.plural, registry=registry)(handle)
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(registry=registry, settings=_settings(), standalone=True, clusterwide=True)
    started()
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=others))
    try:
        await _wait_for_end(tasks)
        raise WatchEndedError("kopf no longer watches every kind of policy")
    finally:
        running.cancel()


async def _wait_for_end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Return when kopf ends, or no longer watches one of the kinds, which it logs.

    tasks: kopf's own, which run until kopf ends. The first one that is done is the sign of that: ending the others may
        take kopf long. The tasks that watch are not among them.
    """
    deadline = time.monotonic() + _START_SECONDS
    watchers: dict[str, asyncio.Task[Any]] = {}
    while not any(task.done() for task in tasks):
        watchers |= {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)}
        is_complete = len(watchers) >= len(RESOURCES)
        if any(task.done() for task in watchers.values()) or (not is_complete and time.monotonic() > deadline):
            return
        pause = _CHECK_SECONDS if is_complete else _START_CHECK_SECONDS
        await asyncio.wait([*tasks, *watchers.values()], timeout=pause, return_when=asyncio.FIRST_COMPLETED)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 15.0
    settings.process.ultimate_exiting_timeout = None  # else it kills the process a while after the watch was cancelled
    return settings


def _session(config: ApiConfig) -> aiohttp.ClientSession:
    async def name_server(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.server_hostname = config.server_name
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=config.tls),
        headers={"User-Agent": "sekisho"} | ({"Authorization": config.authorization} if config.authorization else {}),
        proxy=config.proxy,
        middlewares=[name_server] if config.server_name else [],
    )


async def _wait_until_served(api: ApiClient, plural: str) -> None:
    is_logged = False
    while True:
        try:
            await api.get(f"/apis/{GROUP}/{VERSION}/{plural}", {"limit": "1"})
            return
        except (ApiError, ApiUnavailable) as error:
            if not is_logged:
                logger.warning("waiting for the CRD %s.%s: %s", plural, GROUP, error)
            is_logged = True
        await asyncio.sleep(_RETRY_SECONDS)

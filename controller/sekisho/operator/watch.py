"""Every change of a policy or waiver, as kopf delivers it.

kopf lists and watches them, and writes nothing: its event handlers leave no finalizer and no annotation, and its
settings turn off Events, peering and the watches of namespaces and CRDs, which the role does not permit.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import kopf

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.config import ApiConfig, load_config
from sekisho.policies.crd import RESOURCES
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0

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
    that. Returns, or raises what kopf raised, when kopf ends, as it does when a CRD is deleted or credentials are
    rejected; tasks that were created since then have been cancelled.
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
    await kopf.run_tasks(tasks, ignored=others)


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

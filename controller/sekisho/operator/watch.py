"""The policies as kopf reads them, for whoever wants to know each change.

kopf lists and watches them, and writes nothing: its event handlers leave no finalizer and no annotation, and it is
told to post no Events, to look for no peers and to watch neither namespaces nor CRDs, for which the role has no rule.
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
    """Call `changed` with every policy and waiver there is and whenever one changes, `deleted` when one goes, until
    cancelled.

    Waits for the CRDs first. kopf takes the signals of the process for itself; `started` is called when it has done so.
    Returns, or raises what kopf raised, when kopf ends, as it does when a CRD is deleted or credentials are denied;
    tasks that were made since have been cancelled then.
    """
    for resource in RESOURCES.values():
        await _wait_until_served(api, resource.plural)
    registry = kopf.OperatorRegistry()
    logins = 0

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal logins
        if logins:  # asked again after a 401: a token that goes on being denied must not be tried in a tight loop
            await asyncio.sleep(_RETRY_SECONDS)
        logins += 1
        config = await load_config(kubeconfig)
        return kopf.AiohttpSession(server=config.host, aiohttp_session=_session(config))

    async def happened(event: Body, **_: Any) -> None:
        (deleted if event["type"] == "DELETED" else changed)(event["object"])

    for resource in RESOURCES.values():
        kopf.on.event(GROUP, VERSION, resource.plural, registry=registry)(happened)
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(registry=registry, settings=_settings(), standalone=True, clusterwide=True)
    started()
    await kopf.run_tasks(tasks, ignored=others)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 15.0
    settings.process.ultimate_exiting_timeout = None  # it would kill a process that is merely asked to stop
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
    told = False
    while True:
        try:
            await api.get(f"/apis/{GROUP}/{VERSION}/{plural}", {"limit": "1"})
            return
        except (ApiError, ApiUnavailable) as error:
            if not told:
                logger.warning("waiting for the CRD %s.%s: %s", plural, GROUP, error)
            told = True
        await asyncio.sleep(_RETRY_SECONDS)

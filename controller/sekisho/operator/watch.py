"""Every change of a policy, waiver, authority or catalog.

kopf follows the kinds that administrators write, and writes nothing: its event handlers leave no finalizer and no
annotation, and its settings turn off Events, peering and the watches of namespaces and CRDs, which the role does not
permit. PodPolicies are followed by the reflector that the webhook uses: tenants write them, so there can be thousands,
and kopf takes 3 ms of CPU for each object that it delivers.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import msgspec

from sekisho.backoff import doubling_delay
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.config import ApiConfig, load_config
from sekisho.cluster.reflector import Reflector, object_key
from sekisho.errors import SekishoError
from sekisho.policies.crd import RESOURCES, Resource, watched_resources
from sekisho.policies.types import GROUP, VERSION, PodPolicy

logger = logging.getLogger(__name__)

POD_POLICIES = RESOURCES[PodPolicy.__name__]

_RETRY_SECONDS = 5.0
_LIST_SECONDS = 0.2
"""How often the API server is asked what kopf must still deliver, at first."""
_WATCHER = "watcher for "
"""How kopf names the tasks that watch a kind."""
_CHECK_SECONDS, _START_CHECK_SECONDS = 1.0, 0.05
_START_SECONDS = 60.0
"""How long kopf may take until it watches all kinds."""

Body = Mapping[str, Any]
"""An object, as JSON."""


class WatchEndedError(SekishoError):
    """kopf no longer watches every kind that it should."""


async def watch_pod_policies(
    api: ApiClient, changed: Callable[[Body], None], deleted: Callable[[str], None], listed: Callable[[], None]
) -> None:
    """Call `changed` with each PodPolicy, first and after each change.

    deleted: called with the uid of each that was deleted.
    listed: called once, when `changed` was called with all that exist. While the CRD is missing, it is not called.

    Runs until cancelled. API failures are logged, and tried again.
    """
    reflector = _reflector(api, POD_POLICIES, changed, deleted)
    async with asyncio.TaskGroup() as watch:
        watch.create_task(reflector.run())
        await reflector.wait_synced()
        listed()


async def watch_administrators_kinds(
    api: ApiClient,
    kubeconfig: Path | None,
    changed: Callable[[Body], None],
    deleted: Callable[[str], None],
    listed: Callable[[], None],
    started: Callable[[], None],
    *,
    with_authorities: bool,
) -> None:
    """Watch the kinds that administrators write, and call the functions as `watch_pod_policies` does.

    kubeconfig: None as for `ApiClient.connect`.
    with_authorities: whether ImageAuthorities are among them, which elsewhere may not be read.
    started: called when kopf has started; it installs signal handlers of its own before.

    Runs until cancelled. Waits for the CRDs first. Raises WatchEndedError when kopf no longer watches a kind, such as
    after its CRD was deleted: kopf itself may take long to end then, or not end at all. Tasks that were created since
    the start are cancelled with kopf's.
    """
    resources = administrators_kinds(with_authorities=with_authorities)
    for resource in resources:
        await _wait_until_served(api, resource)
    delivered: set[str] = set()
    others = asyncio.all_tasks()
    registry = _registry(kubeconfig, resources, _handler(delivered, changed, deleted))
    tasks = await kopf.spawn_tasks(registry=registry, settings=_settings(), standalone=True, clusterwide=True)
    started()
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=others))
    listing = asyncio.create_task(_call_when_delivered(api, resources, delivered, listed))
    try:
        await _wait_for_end(tasks, len(resources))
        raise WatchEndedError("kopf no longer watches every kind that it should")
    finally:
        listing.cancel()
        running.cancel()


def administrators_kinds(*, with_authorities: bool) -> tuple[Resource, ...]:
    """The kinds that administrators write, and that kopf follows."""
    watched = watched_resources(with_authorities=with_authorities)
    return tuple(resource for resource in watched if resource is not POD_POLICIES)


def _handler(
    delivered: set[str], changed: Callable[[Body], None], deleted: Callable[[str], None]
) -> Callable[..., Awaitable[None]]:
    """What kopf calls with each object; `delivered` gets the uids of all of them."""

    async def handle(event: Body, **_: Any) -> None:
        uid: str = event["object"]["metadata"]["uid"]
        delivered.add(uid)
        if event["type"] == "DELETED":
            deleted(uid)
        else:
            changed(event["object"])

    return handle


def _registry(
    kubeconfig: Path | None, resources: Iterable[Resource], handle: Callable[..., Any]
) -> kopf.OperatorRegistry:
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

    for resource in resources:
        kopf.on.event(GROUP, VERSION, resource.plural, registry=registry)(handle)
    return registry


async def _call_when_delivered(
    api: ApiClient, resources: Iterable[Resource], delivered: set[str], listed: Callable[[], None]
) -> None:
    """Call `listed` when kopf has delivered every object that exists.

    kopf does not tell when its first lists are complete, so the API server is asked for what must be in `delivered`.
    """
    attempts = 0
    while True:
        try:
            if await _uids_of(api, resources) <= delivered:
                listed()
                return
        except (ApiError, ApiUnavailable) as error:
            logger.warning("cannot list what kopf must deliver: %s", error)
        attempts += 1
        await asyncio.sleep(doubling_delay(_LIST_SECONDS, attempts, _RETRY_SECONDS))


async def _uids_of(api: ApiClient, resources: Iterable[Resource]) -> set[str]:
    """The uids of the objects of some kinds."""
    lists = [msgspec.json.decode(await api.get(f"/apis/{GROUP}/{VERSION}/{resource.plural}")) for resource in resources]
    return {item["metadata"]["uid"] for listed in lists for item in listed["items"]}


async def _wait_for_end(tasks: Collection[asyncio.Task[Any]], kinds: int) -> None:
    """Return when kopf ends, or no longer watches one of the kinds, which it logs.

    tasks: kopf's own, which run until kopf ends. The first one that is done is the sign of that: ending the others may
        take kopf long. The tasks that watch are not among them.
    kinds: how many kinds it watches.
    """
    deadline = time.monotonic() + _START_SECONDS
    watchers: dict[str, asyncio.Task[Any]] = {}
    while not any(task.done() for task in tasks):
        watchers |= {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)}
        is_complete = len(watchers) >= kinds
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


async def _wait_until_served(api: ApiClient, resource: Resource) -> None:
    is_logged = False
    while True:
        try:
            await api.get(f"/apis/{GROUP}/{VERSION}/{resource.plural}", {"limit": "1"})
            return
        except (ApiError, ApiUnavailable) as error:
            if not is_logged:
                logger.warning("waiting for the CRD %s.%s: %s", resource.plural, GROUP, error)
            is_logged = True
        await asyncio.sleep(_RETRY_SECONDS)


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

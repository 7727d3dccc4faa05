"""The controller's process: wait for the Lease, do the leader's work, end when stopped or when the Lease is lost."""

import asyncio
import logging
import signal
from collections.abc import Coroutine

from sekisho.cluster.api import ApiClient
from sekisho.cluster.lease import LeaderLease, LeaseLost
from sekisho.operator.metrics import Metrics
from sekisho.operator.options import Certificates, Clock, Options
from sekisho.operator.policy_status import StatusKeeper
from sekisho.operator.probes import serve_probes
from sekisho.operator.provided_secret import ProvidedSecretKeeper
from sekisho.operator.self_signed import SelfSignedKeeper
from sekisho.operator.watch import watch_policies
from sekisho.telemetry.health import Health

logger = logging.getLogger(__name__)

EXIT_STOPPED = 0
EXIT_FAILED = 1
"""The Lease was lost or the work failed: the kubelet starts the process again."""

STOP_SECONDS = 5.0
"""The longest wait for tasks to end, after which the Lease is released all the same."""


async def run(options: Options, clock: Clock | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the Lease is lost; gives the exit code.

    clock: the time for certificates; None for the API server's, which is the one that verifies them.

    Raises ConfigError when the cluster cannot be configured, and BindError when the metrics address is not available.
    """
    stop = asyncio.Event()
    metrics = Metrics()
    api = await ApiClient.connect(options.kubeconfig)
    try:
        # A process that waits for the Lease is ready: it would lead at once.
        async with serve_probes(options.metrics_bind_address, options.metrics_port, Health(metrics.render)):
            _listen_for_signals(stop)
            return await _run_elected(api, options, metrics, stop, clock)
    finally:
        await api.close()


async def _run_elected(
    api: ApiClient, options: Options, metrics: Metrics, stop: asyncio.Event, clock: Clock | None
) -> int:
    lease = LeaderLease(api, options.namespace, options.lease, options.identity)
    logger.info("waiting for Lease %s/%s as %s", options.namespace, options.lease, options.identity)
    await _until_first(stop.wait(), lease.acquire())
    try:
        if stop.is_set():
            return EXIT_STOPPED
        logger.info("leading")
        metrics.is_leader.set(1)
        # A process that was suspended may continue in the middle of its work after another became the leader.
        leading = await ApiClient.connect(options.kubeconfig, may_write=lambda: lease.is_held)
        try:
            return await _lead(leading, options, metrics, stop, clock, lease)
        finally:
            await leading.close()
    finally:
        metrics.is_leader.set(0)
        await lease.release()


async def _lead(
    api: ApiClient, options: Options, metrics: Metrics, stop: asyncio.Event, clock: Clock | None, lease: LeaderLease
) -> int:
    statuses = StatusKeeper(api, options.namespace, metrics, options.identity, options.webhook_service)
    policies = watch_policies(
        api, options.kubeconfig, statuses.changed, statuses.deleted, started=lambda: _listen_for_signals(stop)
    )
    clock = clock or api.clock.server_time
    works: list[Coroutine[object, object, object]] = [stop.wait(), lease.hold(), statuses.run(), policies]
    match options.certificates:
        case Certificates.SELF:
            works.append(SelfSignedKeeper(api, options, metrics, clock).run())
        case Certificates.SECRET:
            works.append(ProvidedSecretKeeper(api, options, metrics, clock).run())
        case Certificates.CERT_MANAGER:
            pass
    try:
        await _until_first(*works)
    except LeaseLost as lost:
        logger.error("Lease %s/%s lost: %s", options.namespace, options.lease, lost)
        return EXIT_FAILED
    except Exception:
        logger.exception("the controller failed")
        return EXIT_FAILED
    if stop.is_set():
        return EXIT_STOPPED
    logger.error("the watch of the policies ended")
    return EXIT_FAILED


async def _until_first(*works: Coroutine[object, object, object]) -> None:
    """Run all until one ends, then cancel the others, which have STOP_SECONDS to end. Raises what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in done:
        task.result()


def _listen_for_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

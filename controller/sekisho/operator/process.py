"""The controller's process: wait for the Lease, do the leader's work, end when stopped or when the Lease is lost."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from uuid import uuid4

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import LeaderLease, LeaseLost
from sekisho.operator.auditor import Auditor
from sekisho.operator.authority_sources import AuthoritySources
from sekisho.operator.broken_defaults import BrokenDefaultEvents
from sekisho.operator.metrics import Metrics
from sekisho.operator.objects import read_namespace
from sekisho.operator.options import Certificates, Clock, Options
from sekisho.operator.policy_status import StatusKeeper
from sekisho.operator.probes import serve_probes
from sekisho.operator.proof import RELEASE_DELETED
from sekisho.operator.prover import Prover
from sekisho.operator.provided_secret import ProvidedSecretKeeper
from sekisho.operator.report_writer import ReportWriter
from sekisho.operator.self_signed import SelfSignedKeeper
from sekisho.operator.watch import WatchEndedError, watch_administrators_kinds, watch_pod_policies
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.telemetry.health import Health

logger = logging.getLogger(__name__)

EXIT_STOPPED = 0
EXIT_FAILED = 1
"""The Lease was lost or the work failed: the kubelet starts the process again."""

MAX_IDLE_SECONDS = 300.0
"""The longest time between two passes over the status of policies; a pass begins at least once a minute."""

COLLECT_AFTER = 50_000
"""New objects until the garbage collector looks at them. At Python's own 700, it takes a third of the time in which
thousands of policies are read at the start, all of which stay."""

STOP_SECONDS = 5.0
"""The longest wait for tasks to end, after which the Lease is released anyway."""


Work = Coroutine[object, object, object]
"""What goes on until the process ends."""


async def run(options: Options, clock: Clock | None = None) -> int:
    """Run until SIGTERM or SIGINT, or until the Lease is lost; gives the exit code.

    clock: the time for certificates; None for the API server's, which is the one that verifies them.

    Raises ConfigError when the cluster cannot be configured, and BindError when the metrics address is not available.
    """
    gc.freeze()  # what is imported stays
    gc.set_threshold(COLLECT_AFTER)
    stop = asyncio.Event()
    metrics = Metrics()
    progress = Progress()
    api = await ApiClient.connect(options.kubeconfig)
    try:
        # A process that waits for the Lease is ready: it would lead at once.
        health = Health(metrics.families, stalled=progress.why_stalled)
        async with serve_probes(options.metrics_bind_address, options.metrics_port, health):
            _listen_for_signals(stop)
            return await _run_elected(api, options, metrics, progress, stop, clock)
    finally:
        await api.close()


class Progress:
    """Whether the leader's work goes on. A process that waits for the Lease has none, and is healthy."""

    def __init__(self) -> None:
        self._statuses: StatusKeeper | None = None

    def watch(self, statuses: StatusKeeper | None) -> None:
        """Observe the work of this keeper from now on; None for a process that does not lead any more."""
        self._statuses = statuses

    def why_stalled(self) -> str:
        """Why the process must be started again; empty while its work goes on."""
        idle = time.monotonic() - self._statuses.progressed_at if self._statuses is not None else 0.0
        return f"the status of policies was not checked for {idle:.0f} s" if idle > MAX_IDLE_SECONDS else ""


async def _run_elected(
    api: ApiClient, options: Options, metrics: Metrics, progress: Progress, stop: asyncio.Event, clock: Clock | None
) -> int:
    identity = f"{options.identity}_{uuid4()}"  # two processes of one host name must not take each other for themselves
    lease = LeaderLease(api, options.namespace, options.lease, identity)
    logger.info("waiting for Lease %s/%s as %s", options.namespace, options.lease, identity)
    await _until_first(stop.wait(), lease.acquire())
    try:
        if stop.is_set():
            return EXIT_STOPPED
        logger.info("leading")
        metrics.is_leader.set(1)
        # A process that was suspended may continue in the middle of its work after another became the leader.
        leading = await ApiClient.connect(options.kubeconfig, may_write=lambda: lease.is_held)
        try:
            return await _lead(leading, options, metrics, progress, stop, clock, lease)
        finally:
            await leading.close()
    finally:
        metrics.is_leader.set(0)
        await lease.release()


async def _lead(
    api: ApiClient,
    options: Options,
    metrics: Metrics,
    progress: Progress,
    stop: asyncio.Event,
    clock: Clock | None,
    lease: LeaderLease,
) -> int:
    exempt = EXEMPT_NAMESPACES.union(options.exclude_namespaces)
    sources = AuthoritySources(api, options.namespace, options.authority_secret) if options.verify_images else None
    statuses = StatusKeeper(api, options.namespace, metrics, options.identity, options.webhook_service, exempt, sources)
    progress.watch(statuses)
    works: list[Work] = [_stopped(stop, statuses, api, options.namespace), lease.hold(), statuses.run()]
    works += _watches(api, options, statuses, stop)
    if options.audit:
        report = BrokenDefaultEvents(api, options.identity).write
        reports = ReportWriter(api) if options.audit_reports else None
        auditor = Auditor(api, metrics, exempt, statuses.rules, statuses.audited, report, reports)
        statuses.on_rules_changed(auditor.changed)
        works.append(auditor.run())
    works += _keepers(api, options, metrics, statuses, clock or api.clock.server_time)
    try:
        await _until_first(*works)
    except WatchEndedError as error:
        logger.error("%s: ending, for another process to lead", error)
        return EXIT_FAILED
    except LeaseLost as lost:
        logger.error("Lease %s/%s lost: %s", options.namespace, options.lease, lost)
        return EXIT_FAILED
    except Exception:
        logger.exception("the controller failed")
        return EXIT_FAILED
    finally:
        progress.watch(None)
    return EXIT_STOPPED


def _watches(api: ApiClient, options: Options, statuses: StatusKeeper, stop: asyncio.Event) -> list[Work]:
    """What follows policies and all that belongs to them."""
    statuses.await_lists(2)
    callbacks = (statuses.changed, statuses.deleted, statuses.listed)
    return [
        watch_pod_policies(api, *callbacks),
        watch_administrators_kinds(
            api,
            options.kubeconfig,
            *callbacks,
            lambda: _listen_for_signals(stop),
            with_authorities=options.verify_images,
        ),
    ]


def _keepers(
    api: ApiClient, options: Options, metrics: Metrics, statuses: StatusKeeper, clock: Clock
) -> Iterator[Work]:
    """What proves that pods are judged, and what keeps the certificates, as far as the options say so."""
    if options.proof_namespace:
        statuses.await_proof()
        yield Prover(api, options, metrics, statuses.proved).run()
    match options.certificates:
        case Certificates.SELF:
            yield SelfSignedKeeper(api, options, metrics, clock).run()
        case Certificates.SECRET:
            yield ProvidedSecretKeeper(api, options, metrics, clock).run()
        case Certificates.CERT_MANAGER:
            pass


async def _stopped(stop: asyncio.Event, statuses: StatusKeeper, api: ApiClient, namespace: str) -> None:
    await stop.wait()
    with suppress(ApiError, ApiUnavailable):
        if (await read_namespace(api, namespace)).metadata.deletion_timestamp is not None:
            statuses.proved(RELEASE_DELETED)
    await statuses.report_end()


async def _until_first(*works: Work) -> None:
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

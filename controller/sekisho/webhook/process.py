"""The life of the process: start, become ready, serve, drain, stop."""

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import uvloop
from aiohttp import web

from sekisho.admission import DENIALS, NO_OBJECTS, Clock, Decision, NamespaceObjects
from sekisho.cluster.api import ApiClient, ConfigError
from sekisho.cluster.events import Occurrence, Reason
from sekisho.cluster.namespaces import Namespaces
from sekisho.cluster.owners import Owners
from sekisho.cluster.recorder import EventRecorder
from sekisho.cluster.replica_reporter import ReplicaReporter
from sekisho.errors import SekishoError
from sekisho.pods import Pod
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.telemetry.families import Family, gauges
from sekisho.telemetry.health import Health
from sekisho.webhook import dependencies
from sekisho.webhook.certificates import ServingCertificate
from sekisho.webhook.clients import Handler, only_named
from sekisho.webhook.dependencies import Dependency
from sekisho.webhook.handshakes import BACKLOG, accept, listen
from sekisho.webhook.http_server import HttpServer
from sekisho.webhook.http_shell import HttpShell, ReviewHandler
from sekisho.webhook.interpreter import exempt_from_collection, prefer_event_loop
from sekisho.webhook.memory import return_freed_memory, return_large_blocks
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.options import Options, StartError
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from sekisho.webhook.policy_reviews import PolicyReviews
from sekisho.webhook.reporting import report
from sekisho.webhook.senders import UnknownSenders
from sekisho.webhook.verification import Verification

logger = logging.getLogger(__name__)

FINISH_SECONDS = 10.0
"""How long a process that stops waits for requests that it has accepted."""
_DECISIONS = {
    Reason.POD_DENIED: Decision.DENY,
    Reason.POD_WARNED: Decision.WARN,
    Reason.POD_AUDITED: Decision.AUDIT,
    Reason.POD_DEFAULTED: Decision.PATCH,
}
"""The decisions that cause Events; outcomes with waivers are always reported."""
_READY_POLL_SECONDS = 0.02
_ACCEPTING = "the connections of clients"


class StoppedError(SekishoError):
    """A task that the process needs came to an end; the message says which."""


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError, StoppedError."""
    uvloop.run(serve(options))


async def serve(options: Options) -> None:
    """Serve on the running loop until SIGTERM or SIGINT; a second one ends the process at once.

    Raises StartError, StoppedError.
    """
    stop = _stop_on_signals()
    _allow_many_files()
    prefer_event_loop()
    return_large_blocks()
    with (
        _bound(options.bind_address, options.port) as tls,
        _bound(options.metrics_bind_address, options.metrics_port) as plain,
    ):
        api = None if options.policy_dir is not None else await _connect(options)
        try:
            await Process(options, api).live(stop, tls, plain)
        finally:
            if api is not None:
                await api.close()


class Process:
    """The parts of the process, put together; `live` runs them. Raises StartError.

    api: None where policies come from a folder.
    """

    def __init__(self, options: Options, api: ApiClient | None) -> None:
        self._options = options
        self._metrics = Metrics()
        certificate_clock = _system_time if api is None else api.clock.server_time
        self._reporter = self._reporter_of(api) if api is not None else None
        self._certificate = ServingCertificate(certificate_clock, options.serving_name, self._on_served())
        self._enforced = Enforced()
        self._needed: list[Dependency] = []
        self._listening = False
        self._pods = pods = self._pods_of(api)
        self._add_certificate(api)
        clock = _system_time if api is None else api.clock.now
        longest_waiver = timedelta(days=options.longest_waiver)
        exempt = EXEMPT_NAMESPACES.union(options.exclude_namespace)
        verifies_images = options.verify_images
        self._policies = policies = PolicyReviews(
            self._enforced, clock, longest_waiver, exempt, verifies_images=verifies_images
        )
        self._metrics.add_source(policies.families)
        unknown = UnknownSenders()
        self._metrics.add_source(unknown.families)
        self._pods_of_unknown_senders = pods.for_unknown_senders(unknown)
        knows_senders = api is not None and options.path_secret is not None
        self._silent = PolicyReviews(
            self._enforced, clock, longest_waiver, exempt, verifies_images=verifies_images, is_logged=False
        )
        unknown_routes = _routes(self._pods_of_unknown_senders, self._silent) if knows_senders else None
        self._shell = HttpShell(_routes(pods, policies), self._metrics, unknown_routes)
        if api is not None and options.path_secret is not None:
            secret = dependencies.path_from_secret(api, options.namespace, options.path_secret, self._shell.know)
            self._needed.append(secret)
        self._handler: Handler = self._shell.handle
        if options.client_ca_file is not None:
            self._needed.append(dependencies.clients_from_file(options.client_ca_file, self._certificate))
            if options.client_name:
                self._handler = only_named(options.client_name, self._handler, self._metrics)
        self._metrics.add_source(_tasks)
        for dependency in self._needed:
            self._metrics.add_source(dependency.families)

    def _reporter_of(self, api: ApiClient) -> ReplicaReporter:
        return ReplicaReporter(
            api,
            self._options.namespace,
            self._options.replica,
            self._metrics.reported,
            lambda: dependencies.why_no_certificate(self._certificate),
        )

    def _on_served(self) -> Callable[[str], object]:
        """What the certificate calls, in any thread, with the key id of the authority of each pair that is served."""
        reporter, loop = self._reporter, asyncio.get_running_loop()
        if reporter is None:
            return lambda key_id: None
        return lambda key_id: loop.call_soon_threadsafe(reporter.report_authority, key_id)

    def _pods_by_cluster(self, api: ApiClient, reporter: ReplicaReporter) -> PodReviews:
        options = self._options
        reflector, labels = dependencies.labels_from_cluster(api)
        objects, lists = dependencies.objects_from_cluster(api, keeps_pull_secrets=options.pod_pull_secrets)
        rate = options.events_per_second
        recorder = EventRecorder(
            api, Owners(api, rate), options.replica, rate, self._metrics.recent.count_without_event
        )
        self._needed += [
            dependencies.policies_from_cluster(
                api,
                self._enforced.enforce,
                reporter.report,
                self._metrics.forget,
                verifies_images=options.verify_images,
            ),
            labels,
            *lists,
            dependencies.events(recorder),
            Dependency("the report of what is enforced", reporter.run),
        ]
        namespaces = Namespaces(api, reflector)
        is_reported = Reason.IMAGE_NO_LONGER_TRUSTED in options.events
        record = recorder.record if is_reported else lambda occurrence: None
        return PodReviews(
            self._enforced,
            api.clock.now,
            namespaces,
            self._metrics,
            lambda outcome: report(outcome, recorder.record, options.events),
            DENIALS | {_DECISIONS[reason] for reason in options.events & _DECISIONS.keys()},
            objects.for_pod,
            self._verification(api.clock.now, api, objects.for_pod, namespaces, record),
        )

    def _pods_of(self, api: ApiClient | None) -> PodReviews:
        if api is None or self._reporter is None:
            return self._pods_by_files()
        return self._pods_by_cluster(api, self._reporter)

    def _pods_by_files(self) -> PodReviews:
        if self._options.policy_dir is not None:
            self._needed.append(dependencies.policies_from_folder(self._options.policy_dir, self._enforced.enforce))
        verification = self._verification(_system_time)
        return PodReviews(self._enforced, _system_time, None, self._metrics, report, verification=verification)

    def _verification(
        self,
        clock: Clock,
        api: ApiClient | None = None,
        objects_for: Callable[[str, Pod], NamespaceObjects] = lambda namespace, pod: NO_OBJECTS,
        namespaces: Namespaces | None = None,
        record: Callable[[Occurrence], None] = lambda occurrence: None,
    ) -> Verification | None:
        """The verification of images; None where it is not enabled, and nothing of it is loaded. Raises StartError."""
        if not self._options.verify_images:
            return None
        from sekisho.webhook.verification_setup import verification_of

        verification, dependencies = verification_of(
            self._options, self._enforced, clock, api, objects_for, namespaces, record
        )
        self._needed += dependencies
        return verification

    def _add_certificate(self, api: ApiClient | None) -> None:
        options = self._options
        if options.tls_cert_file is not None and options.tls_private_key_file is not None:
            files = (options.tls_cert_file, options.tls_private_key_file)
            self._needed.append(dependencies.certificate_from_files(files, self._certificate))
        elif api is not None and options.certificate_secret is not None:
            secret = dependencies.certificate_from_secret(
                api, options.namespace, options.certificate_secret, self._certificate
            )
            self._needed.append(secret)

    def _missing(self) -> list[str]:
        return [reason for dependency in self._needed if (reason := dependency.missing())]

    async def live(self, stop: asyncio.Event, tls: socket.socket, plain: socket.socket) -> None:
        """Serve probes on `plain`, and reviews on `tls` once nothing is missing, until `stop`. Both sockets are bound.

        Raises StoppedError.
        """

        def missing() -> list[str]:
            if stop.is_set():
                return ["the process is stopping"]
            return self._missing() or ([] if self._listening else ["reviews are not served yet"])

        self._metrics.add_source(
            lambda: [gauges("sekisho_webhook_ready", "1 while /readyz answers 200, else 0.", (), {(): not missing()})]
        )
        health = web.ServerRunner(HttpServer(Health(self._metrics.families, missing).handle))
        runner = web.ServerRunner(
            HttpServer(self._handler, answer=self._shell.answer_at_once, is_known=self._shell.is_known),
            shutdown_timeout=FINISH_SECONDS,
        )
        stopping = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(dependency.keep(), name=dependency.name) for dependency in self._needed
        ]
        tasks.append(asyncio.create_task(return_freed_memory(), name="the memory of the process"))
        try:
            await health.setup()
            await web.SockSite(health, plain, backlog=BACKLOG).start()
            await runner.setup()
            # The port opens when there are policies to judge by: an earlier answer would admit pods unjudged.
            while self._missing() and not stop.is_set():
                await _first_of(stopping, tasks, _READY_POLL_SECONDS)
            if not stop.is_set():
                serving = accept(tls, cast("HttpServer", runner.server), self._certificate.context)
                await self._serve_reviews(tls, plain, serving, stopping, tasks)
        finally:
            await self._end(runner, (stopping, *tasks))
            await health.cleanup()

    async def _serve_reviews(
        self,
        tls: socket.socket,
        plain: socket.socket,
        serving: Coroutine[Any, Any, None],
        stopping: asyncio.Task[Any],
        tasks: list[asyncio.Task[Any]],
    ) -> None:
        """Serve on `tls` until the process is to stop, and drain. Raises StoppedError."""
        exempt_from_collection()
        listen(tls)
        tasks.append(asyncio.create_task(serving, name=_ACCEPTING))
        self._listening = True
        logger.info("serving reviews", extra={"address": _name(tls), "metrics_address": _name(plain)})
        await _first_of(stopping, tasks)
        logger.info("stopping", extra={"drain_seconds": self._options.drain_seconds})
        self._shell.drain()
        await asyncio.sleep(self._options.drain_seconds)

    async def _end(self, runner: web.ServerRunner, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Accept no more connections, finish the requests of those that exist, and cancel the tasks."""
        for task in tasks:
            if task.get_name() == _ACCEPTING:
                task.cancel()
        await runner.cleanup()
        for reviews in (self._pods, self._policies, self._pods_of_unknown_senders, self._silent):
            reviews.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _routes(pods: PodReviews, policies: PolicyReviews) -> dict[str, ReviewHandler]:
    return {"/validate": pods.validate, "/mutate": pods.mutate, "/validate-policies": policies.validate}


def _system_time() -> datetime:
    return datetime.now(UTC)


def _tasks() -> Iterable[Family]:
    yield gauges("sekisho_asyncio_tasks", "Tasks of the event loop.", (), {(): len(asyncio.all_tasks())})


async def _first_of(stopping: asyncio.Task[Any], tasks: list[asyncio.Task[Any]], seconds: float | None = None) -> None:
    """Wait until the process is to stop. Raises StoppedError when one of the tasks ended."""
    await asyncio.wait([stopping, *tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            raise StoppedError(f"the task for {task.get_name()} ended") from task.exception()


async def _connect(options: Options) -> ApiClient:
    try:
        return await ApiClient.connect(options.kubeconfig)
    except ConfigError as error:
        raise StartError(str(error)) from None


def _bound(address: str, port: int) -> socket.socket:
    """A socket that is bound but does not listen yet. Raises StartError."""
    bound = None
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(name)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise StartError(f"cannot listen on {address}:{port}: {error.strerror}") from None
    return bound


def _name(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stop_on_signals() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; the second one kills the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


def _allow_many_files() -> None:
    """Raise the limit of open files: many systems start with 1,024, fewer than there may be connections."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))

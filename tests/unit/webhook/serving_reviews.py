"""Reviews served over real TLS on loopback, and a client that posts them."""

import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from sekisho.admission import Outcome
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.webhook.certificates import ServingCertificate
from sekisho.webhook.clients import only_named
from sekisho.webhook.http_server import HttpServer
from sekisho.webhook.http_shell import HttpShell
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from sekisho.webhook.policy_reviews import PolicyReviews
from sekisho.webhook.senders import UnknownSenders
from tests.unit.webhook.pairs import make_pair

BAD = {"name": "app", "image": "trusted.io/app", "securityContext": {"privileged": True}}
GOOD = {"name": "app", "image": "trusted.io/app"}


def policy(name: str = "no-privilege", **spec: Any) -> ClusterPodPolicy:
    """A policy that denies privileged containers, and what `spec` adds."""
    text = {"metadata": {"name": name}, "spec": {"controls": {"privileged": {}}} | spec}
    return msgspec.convert(text, ClusterPodPolicy)


def pod(*containers: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A pod with these containers."""
    return {"metadata": {"name": "pod"} | meta, "spec": {"containers": list(containers)}}


class Served:
    """A server of reviews, and a session to it. Requests are sent as they are given."""

    def __init__(self, shell: HttpShell, enforced: Enforced, metrics: Metrics, denials: list[Outcome]) -> None:
        self.shell = shell
        self.enforced = enforced
        self.metrics = metrics
        self.denials = denials
        self.certificate = ServingCertificate()
        self.pair = make_pair()
        self.certificate.offer(self.pair)
        self.port = 0
        self.session: aiohttp.ClientSession

    def trust(self) -> ssl.SSLContext:
        """A client's TLS context that trusts the present pair."""
        return ssl.create_default_context(cadata=self.pair.certificate.decode())

    async def send(
        self, body: Any, target: str = "/validate?timeout=3s", method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        """Send a body; gives the status and the JSON of the answer."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"https://127.0.0.1:{self.port}{target}"
        async with self.session.request(method, url, data=io.BytesIO(raw), headers=sent, ssl=self.trust()) as answer:
            assert answer.content_type == "application/json"
            return answer.status, msgspec.json.decode(await answer.read())

    async def allowed(self, thing: dict[str, Any]) -> bool:
        """Whether a review is answered with a yes."""
        status, answer = await self.send(thing)
        assert status == 200
        assert answer["kind"] == "AdmissionReview"
        assert answer["response"]["uid"] == thing["request"]["uid"]
        allowed: bool = answer["response"]["allowed"]
        return allowed

    async def message(self, thing: Any) -> str:
        """The text of a denial."""
        status, answer = await self.send(thing)
        assert status == 200
        assert answer["response"]["allowed"] is False
        message: str = answer["response"]["status"]["message"]
        return message


@asynccontextmanager
async def serving_reviews(
    *policies: ClusterPodPolicy,
    namespaces: Any = None,
    client_ca: bytes = b"",
    client_names: tuple[str, ...] = (),
    path_secret: str = "",
) -> AsyncIterator[Served]:
    """Serve reviews by these policies, to all clients or to those of an authority, with one of these names.

    path_secret: by which the API server is recognized; empty to know everybody.
    """
    metrics, denials = Metrics(), list[Outcome]()
    enforced = Enforced(PolicySet.of(policies or [policy()]))
    pods = PodReviews(enforced, _now, namespaces, metrics, denials.append)
    of_policies = PolicyReviews(enforced, _now, timedelta(days=90))
    metrics.add_source(of_policies.families)
    routes = {"/validate": pods.validate, "/mutate": pods.mutate, "/validate-policies": of_policies.validate}
    unknown = UnknownSenders()
    metrics.add_source(unknown.families)
    silent = PolicyReviews(enforced, _now, timedelta(days=90), is_logged=False)
    pods_of_unknown_senders = pods.for_unknown_senders(unknown)
    unknown_routes = {
        "/validate": pods_of_unknown_senders.validate,
        "/mutate": pods_of_unknown_senders.mutate,
        "/validate-policies": silent.validate,
    }
    shell = HttpShell(routes, metrics, unknown_routes if path_secret else None)
    if path_secret:
        shell.know(path_secret)
    served = Served(shell, enforced, metrics, denials)
    if client_ca:
        served.certificate.know_clients(client_ca.decode())
    handler = only_named(client_names, shell.handle, metrics) if client_names else shell.handle
    runner = web.ServerRunner(
        HttpServer(handler, answer=shell.answer_at_once, is_known=shell.is_known), shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served.certificate.context)
    await site.start()
    served.port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as served.session:
        yield served
    await runner.cleanup()
    pods.close()
    of_policies.close()
    pods_of_unknown_senders.close()
    silent.close()


def _now() -> datetime:
    return datetime.now(UTC)

"""The registry is slow, or ends, and then every replica: verified images run, and no others."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tests.controlplane.progress import Progress
from tests.controlplane.waiting import wait_until
from tests.drills.site import Site
from tests.drills.traffic import GOOD_KIND, VIOLATING_KIND, Client, DrillError, stored_violating
from tests.trustparts.authority import write_server_tls
from tests.trustparts.build import odd_registry_binary
from tests.trustparts.odd import Behavior, Fault, OddRegistry, start_odd_registry
from tests.unit.images.scan_data import scan_predicate, scan_statement, trivy, trivy_row
from tests.unit.images.signing import OTHER_P256, P256, PrivateKey, bundle, pem, statement

MAX_REQUESTS: Final = 7
"""Requests to the registry for each image, however many replicas and pods there are."""
SLOW_SECONDS: Final = 8.0
SLOW_PODS: Final = 20
MAX_SLOW_SECONDS: Final = 9.5
"""On a quiet machine."""
MAX_SLOW_DENIALS: Final = 3
_AUTHORITIES: Final = "/apis/sekisho.dev/v1alpha1/imageauthorities"
_EVIDENCE: Final = "/apis/sekisho.dev/v1alpha1/imageevidences"
_REPOSITORY: Final = "drills/app"
_AT_ONCE: Final = 16
_SOON: Final = 60.0
_PENDING: Final = "still being verified"


class _Wanted(Struct, frozen=True):
    """A pod to create, and whether it must be admitted."""

    image: str
    is_good: bool


def registry_down(site: Site, pods: int = 1000, images: int = 100) -> str:
    """The registry is stopped and all replicas restarted; images that were verified and scanned run, and no others."""
    few = max(images // 10, 1)
    with _registry(site) as registry, site.replicas.verifying_images(registry.ca), _namespace(site) as namespace:
        good = _images(registry, "signed and scanned", images, P256, ())
        vulnerable = _images(registry, "vulnerable", few, P256, (trivy_row(),))
        by_another_key = _images(registry, "by another key", few, OTHER_P256, ())
        never_seen = _images(registry, "never seen", few, P256, ())
        _require(site, namespace, registry.host, with_scan=True)
        first = [_Wanted(good[number % images], is_good=True) for number in range(pods)]
        reads = len(_reads(registry))
        uvloop.run(_create_all(site, namespace, "before", first))
        requests = len(_reads(registry)) - reads
        bad = [_Wanted(image, is_good=False) for image in (*vulnerable, *by_another_key)]
        uvloop.run(_create_all(site, namespace, "bad", bad))
        wait_until(lambda: _shared(site) >= {*good, *vulnerable}, _SOON, "there is an ImageEvidence of what is signed")
        registry.component.stop()
        site.replicas.replace_all()
        later = [*first, *bad, *(_Wanted(image, is_good=False) for image in never_seen)]
        began = time.monotonic()
        uvloop.run(_create_all(site, namespace, "after", later, waits=False))
        seconds = time.monotonic() - began
        _check(site, namespace)
    if requests > MAX_REQUESTS * images:
        raise DrillError(f"the registry got {requests} requests for {images} images, more than {MAX_REQUESTS} for each")
    return f"{pods} pods of {images} images after {requests} requests; again without the registry in {seconds:.1f} s"


def slow_registry(site: Site) -> str:
    """The registry takes 8 s to say what is attached to an image; a Deployment of 20 waits for it once."""
    with _registry(site) as registry, site.replicas.verifying_images(registry.ca), _namespace(site) as namespace:
        (image,) = _images(registry, "slow", 1, P256)
        _require(site, namespace, registry.host)
        registry.behave(Behavior(faults=(Fault("referrers", delay_ms=int(1000 * SLOW_SECONDS)),)), _REPOSITORY)
        template = {"metadata": {"labels": {"app": "slow"}}, "spec": {"containers": [{"name": "app", "image": image}]}}
        spec = {"replicas": SLOW_PODS, "selector": {"matchLabels": {"app": "slow"}}, "template": template}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "slow"}, "spec": spec}
        pods = f"/api/v1/namespaces/{namespace}/pods"
        before, began = _denials(site), time.monotonic()
        site.must("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment)
        wait_until(
            lambda: len(msgspec.json.decode(site.must("GET", pods))["items"]) == SLOW_PODS,
            _SOON,
            f"there are {SLOW_PODS} pods",
        )
        seconds, denials = time.monotonic() - began, _denials(site) - before
    if not SLOW_SECONDS <= seconds <= MAX_SLOW_SECONDS or denials > MAX_SLOW_DENIALS:
        raise DrillError(f"{SLOW_PODS} pods took {seconds:.1f} s and {denials:g} denials")
    return f"{SLOW_PODS} pods after {seconds:.1f} s and {denials:g} denials"


def _denials(site: Site) -> float:
    """Pods that the replicas have denied so far, the pending ones included."""
    return sum(
        sample.value
        for replica in site.replicas.running
        for family in text_string_to_metric_families(replica.metrics())
        for sample in family.samples
        if sample.name == "sekisho_admission_reviews_total"
        and sample.labels["kind"] == "Pod"
        and sample.labels["decision"] in ("deny", "pending")
    )


@contextmanager
def _registry(site: Site) -> Iterator[OddRegistry]:
    """Our own registry, where the replicas reach it."""
    address = site.plane.address
    with tempfile.TemporaryDirectory() as name:
        tls = write_server_tls(Path(name), address)
        registry = start_odd_registry(odd_registry_binary(Progress()), Path(name), tls, address)
        try:
            yield registry
        finally:
            registry.component.stop()


@contextmanager
def _namespace(site: Site) -> Iterator[str]:
    """A namespace that the drills' own policy does not match."""
    name = f"{site.namespace}-images"
    site.plane.create_namespace(name)
    try:
        yield name
    finally:
        site.clear_policies()
        site.plane.call("DELETE", f"{_AUTHORITIES}/drills")
        site.plane.call("DELETE", f"/api/v1/namespaces/{name}")


def _images(
    registry: OddRegistry, content: str, count: int, key: PrivateKey, findings: Iterable[Any] | None = None
) -> list[str]:
    """New images that a key has signed, by digest.

    findings: of a scan by the same key; None for no scan.
    """
    images = [registry.push_image(_REPOSITORY, f"{content} {number}") for number in range(count)]
    for image in images:
        statements = [statement(image.digest)]
        if findings is not None:
            report = scan_predicate(trivy(*findings, digest=image.digest), datetime.now(UTC))
            statements.append(scan_statement(report, image.digest))
        for signed in statements:
            registry.attach(image, json.dumps(bundle(key, signed)).encode())
    return [image.reference for image in images]


def _require(site: Site, namespace: str, host: str, *, with_scan: bool = False) -> None:
    """Require signatures, and scans without fixable critical vulnerabilities too."""
    spec = {"keys": [{"pem": pem(P256)}]}
    authority = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ImageAuthority", "metadata": {"name": "drills"}}
    site.must("POST", _AUTHORITIES, authority | {"spec": spec})
    rule = {"images": [f"{host}/drills/*"], "by": {"anyOf": ["drills"]}}
    gate = {"vulnerabilities": {"maxAge": "168h", "maximum": {"fixable": {"critical": 0}}}}
    images = {"signatures": [rule]} | ({"attestations": [rule | gate]} if with_scan else {})
    site.enforce("drills-signed", {"match": {"namespaces": [namespace]}, "controls": {"images": images}})


def _reads(registry: OddRegistry) -> list[Any]:
    return [request for request in registry.requests(_REPOSITORY) if request.method in ("GET", "HEAD")]


def _shared(site: Site) -> set[str]:
    """The images that ImageEvidence says are signed."""
    items = msgspec.json.decode(site.must("GET", _EVIDENCE))["items"]
    return {item["spec"]["image"] for item in items if item["spec"].get("signatures")}


async def _create_all(
    site: Site, namespace: str, prefix: str, wanted: Iterable[_Wanted], *, waits: bool = True
) -> None:
    """Create the pods, some at the same time, and count what becomes of them.

    waits: whether a pod is created again while its image is still being verified, as a ReplicaSet does.
    """
    client = Client(site.plane, namespace, _AT_ONCE)
    places = asyncio.Semaphore(_AT_ONCE)

    async def create(number: int, pod: _Wanted) -> None:
        spec = {"containers": [{"name": "app", "image": pod.image}]}
        kind = GOOD_KIND if pod.is_good else VIOLATING_KIND
        async with places, asyncio.timeout(_SOON):
            fate, said = await client.create(f"{prefix}-{number}", spec, kind)
            while waits and fate == "denied" and _PENDING in said:
                site.counts.good_excused += pod.is_good
                fate, said = await client.create(f"{prefix}-{number}", spec, kind)
        name = f"{kind}_{fate}" if fate != "unanswered" else fate
        if name == "good_uncalled":
            name = "good_denied"
        setattr(site.counts, name, getattr(site.counts, name) + 1)
        if pod.is_good and said:
            site.counts.reasons[said[:200]] += 1

    try:
        await asyncio.gather(*(create(number, pod) for number, pod in enumerate(wanted)))
    finally:
        await client.close()


def _check(site: Site, namespace: str) -> None:
    """Raises DrillError for a wrong verdict."""
    counts = site.counts
    stored = stored_violating(site.plane, namespace)
    if counts.violating_admitted or stored:
        raise DrillError(f"{counts.violating_admitted} pods without the signature were admitted, {len(stored)} stored")
    if counts.good_denied or counts.unanswered or counts.violating_uncalled:
        raise DrillError(f"verified images were denied, or pods got no verdict: {counts}")

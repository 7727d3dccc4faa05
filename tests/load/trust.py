"""`make bench-trust`: what the verification of images costs, known images and images that nobody has looked up.

The registry is our own, a process beside this one, on loopback with TLS; the look-ups are those of the webhook, in
this process. What replicas share goes through a real API server. Exits 1 when a figure misses its budget.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import uvloop
from msgspec import Struct

from sekisho.admission import Context, evaluate
from sekisho.images import Reference, parse
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, Signature, evidence_key
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.trust import Trust
from sekisho.manifests import parse_policies
from sekisho.pods import Container, Pod, PodSpec
from sekisho.policies import PolicySet
from sekisho.registry import RegistryClient, Settings, tls_context
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.image_needs import Needs
from sekisho.webhook.interpreter import exempt_from_collection, prefer_event_loop
from sekisho.webhook.signed_images import MAX_SIGNED
from tests.controlplane.build import BuildError
from tests.controlplane.component import ComponentError
from tests.controlplane.progress import Progress
from tests.controlplane.toolchain import ToolchainError
from tests.load.figures import Latencies
from tests.load.page import machine, table, write_section
from tests.load.trust_memory import Signed
from tests.load.trust_sharing import sharing
from tests.trustparts.authority import write_server_tls
from tests.trustparts.build import odd_registry_binary
from tests.trustparts.looking_up import LOOPBACK, by_identity, by_keys
from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.odd import Behavior, Fault, OddRegistry, Request, start_odd_registry
from tests.trustparts.registries import Image
from tests.trustparts.sigstore import RELEASE
from tests.unit.images.scan_data import scan_predicate, scan_statement, trivy, trivy_row
from tests.unit.images.signing import P256, bundle, pem, statement

IMAGES: Final = 100
MANY: Final = 200
FINDINGS: Final = 4000
SCAN_BYTES: Final = 7_500_000
AT_ONCE: Final = 16
CONTAINERS: Final = 4
ROUNDS: Final = 7
EVALUATIONS: Final = 2000
SECONDS: Final = 60.0


class Figure(Struct, frozen=True):
    """A figure and its budget."""

    name: str
    value: float
    budget: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is within its budget."""
        return self.value <= self.budget

    @property
    def row(self) -> tuple[str, str, str, str]:
        """As a row of the table."""
        verdict = "met" if self.is_met else "**missed**"
        return self.name, f"{self.value:.1f} {self.unit}".strip(), f"{self.budget:g} {self.unit}".strip(), verdict


class Bench:
    """Images in a registry, and who signed them."""

    def __init__(self, registry: OddRegistry) -> None:
        self._registry = registry
        self._sigstore = MintedSigstore()
        self._pushed: set[str] = set()
        self.facts_bytes = 0
        """Of the largest facts so far."""
        self._settings = Settings((LOOPBACK,), tls_context(registry.ca.read_text()), {})
        self.keyed = {"release": by_keys("release", pem(P256))}
        self.keyless = {"release": by_identity("release", self._sigstore.trusted_root(), CI, RELEASE)}

    def images(self, name: str, count: int, *, keyless: bool = False) -> list[Reference]:
        """New images in a repository, each signed."""
        references = []
        for number in range(count):
            image = self._push(name, number)
            signed = (
                self._sigstore.bundle(image.digest, datetime.now(UTC) - timedelta(days=1))
                if keyless
                else bundle(P256, statement(image.digest))
            )
            self._registry.attach(image, json.dumps(signed).encode())
            references.append(parse(image.reference))
        return references

    def scanned(self, name: str, count: int) -> list[Reference]:
        """New images in a repository, each with one scan of FINDINGS findings in SCAN_BYTES."""
        references = []
        for number in range(count):
            image = self._push(name, number)
            rows = [trivy_row(f"CVE-2024-{one:05}", "HIGH", Description="x" * 1300) for one in range(FINDINGS)]
            predicate = scan_predicate(trivy(*rows, digest=image.digest), datetime.now(UTC))
            attached = json.dumps(bundle(P256, scan_statement(predicate, image.digest))).encode()
            if len(attached) < SCAN_BYTES:
                raise click.ClickException(f"the scan has {len(attached):,} bytes, not {SCAN_BYTES:,}")
            self._registry.attach(image, attached)
            references.append(parse(image.reference))
        return references

    def _push(self, name: str, number: int) -> Image:
        """A new image: one that an earlier figure used would have two signatures, or two scans."""
        image = self._registry.push_image(name, f"{name} {number}")
        if image.reference in self._pushed:
            raise click.ClickException(f"{image.reference} was pushed before")
        self._pushed.add(image.reference)
        return image

    async def cold(
        self,
        references: Sequence[Reference],
        authorities: Mapping[str, Authority],
        *,
        at_once: bool,
        predicates: Sequence[str] = (),
    ) -> tuple[Latencies, float, Latencies]:
        """Look images up: how long each took, CPU time of this process for an image in ms.

        The third is the loop's lag, for images that are looked up at once.

        predicates: the types of attestations that policies need.
        """
        client = RegistryClient(self._settings)
        evidence = EvidenceStore(
            client,
            lambda: authorities,
            lambda: datetime.now(UTC),
            needs=Needs(
                predicates=lambda: predicates,
                lacks_signature=lambda _, facts: not (facts.signatures or predicates),
                fails_statement=lambda _, facts: bool(predicates) and not facts.attestations,
            ),
        )
        lags: list[float] = []
        # The watch takes CPU time itself, which would count for the images.
        watching = asyncio.create_task(_watch(lags)) if at_once else None
        cpu = time.process_time()

        async def one(reference: Reference) -> float:
            start = time.monotonic()
            evidence.start([reference])
            await evidence.settled([reference], SECONDS)
            facts = evidence.known(evidence_key(reference) or "")[0]
            if not isinstance(facts, ImageFacts) or not (facts.attestations if predicates else facts.signatures):
                raise click.ClickException(f"{reference} was not found signed: {facts}")
            self.facts_bytes = max(self.facts_bytes, len(msgspec.json.encode(facts)))
            return time.monotonic() - start

        try:
            if at_once:
                taken = await asyncio.gather(*map(one, references))
            else:
                taken = [await one(reference) for reference in references]
        finally:
            cpu = time.process_time() - cpu
            if watching is not None:
                watching.cancel()
            await evidence.close()
            await client.close()
        return Latencies(taken), cpu / len(references) * 1e3, Latencies(lags or [0.0])

    def figures(self) -> Iterable[Figure]:
        """Everything that needs a registry, or nothing."""
        yield Figure("known image, added for each container", known_image(self.keyed), 15, "us")

        run = uvloop.run  # as the webhook does
        run(self.cold(self.images("bench/warm", 5, keyless=True), self.keyless, at_once=False))  # loads what it needs
        images = self.images("bench/alone", IMAGES)
        pushing = len(self._reads("bench/alone"))
        alone, cpu, _ = run(self.cold(images, self.keyed, at_once=False))
        yield Figure("image by key, nobody has looked it up, alone, p50", alone.at(50), 5, "ms")
        yield Figure("the same, p99", alone.at(99), 25, "ms")
        yield Figure("the same, CPU", cpu, 4, "ms")
        requests = len(self._reads("bench/alone")) - pushing
        yield Figure("requests to the registry for it", requests / IMAGES, 6, "")

        _, cpu, _ = run(self.cold(self.images("bench/keyless", IMAGES, keyless=True), self.keyless, at_once=False))
        yield Figure("image signed keyless, CPU", cpu, 8, "ms")

        slow = self.images("bench/slow", IMAGES)
        self._registry.behave(Behavior(faults=(Fault(delay_ms=50),)), "bench/slow")
        together, _, _ = run(self.cold(slow, self.keyed, at_once=True))
        yield Figure(f"{IMAGES} images at once, each answer after 50 ms, p99", together.at(99), 600, "ms")

        yield Figure(f"memory for keyless signatures and {MAX_SIGNED:,} images", self.memory(), 40, "MiB")

        _, _, lag = run(self.cold(self.images("bench/many", MANY, keyless=True), self.keyless, at_once=True))
        yield Figure(f"lag of the event loop while {MANY} keyless images are verified, p99", lag.at(99), 10, "ms")

        yield from self._scans()

    def _scans(self) -> Iterable[Figure]:
        run, size = uvloop.run, f"{FINDINGS:,} findings ({SCAN_BYTES / 1e6:.1f} MB)"
        wanted = (SCAN_PREDICATE,)
        _, cpu, _ = run(self.cold(self.scanned("bench/scanned", AT_ONCE), self.keyed, at_once=False, predicates=wanted))
        yield Figure(f"scan of {size}, CPU", cpu, 200, "ms")
        yield Figure("facts that are kept and shared of it", self.facts_bytes / 1024, 128, "KiB")
        together, _, lag = run(
            self.cold(self.scanned("bench/together", AT_ONCE), self.keyed, at_once=True, predicates=wanted)
        )
        yield Figure(f"{AT_ONCE} such scans at once, p99", together.at(99), 3000, "ms")
        yield Figure("lag of the event loop meanwhile, p99", lag.at(99), 10, "ms")

    def memory(self) -> float:
        """MiB that the verification adds to a webhook which knows as many images as it may."""
        digest, signed_at = f"sha256:{'1' * 64}", datetime.now(UTC) - timedelta(days=1)
        made = self._sigstore.bundle(digest, signed_at)
        signed = Signed("ghcr.io/acme/pay", digest, CI, RELEASE, made, self._sigstore.trusted_root())
        command = (sys.executable, "-m", "tests.load.trust_memory", str(MAX_SIGNED))
        done = subprocess.run(command, input=msgspec.json.encode(signed), stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    def _reads(self, name: str) -> list[Request]:
        return [one for one in self._registry.requests(name) if one.method in ("GET", "HEAD")]


def known_image(authorities: Mapping[str, Authority]) -> float:
    """Microseconds that a rule on signatures adds for each container whose image is known."""
    references = [f"127.0.0.1:5000/acme/app-{number}@sha256:{number:064x}" for number in range(CONTAINERS)]
    pod = Pod(spec=PodSpec(containers=[Container(name=f"c{n}", image=one) for n, one in enumerate(references)]))
    signed = {(key := evidence_key(parse(one)) or ""): _facts(key, authorities) for one in references}
    trust = Trust(authorities, signed, datetime.now(UTC))
    without, with_rule = ({"trustedRegistries": ["127.0.0.1:5000"]}, {"signatures": [_RULE]})
    seconds = {
        rules: min(_timed(_policies(images), pod, trust) for _ in range(ROUNDS))
        for rules, images in (("without", without), ("with", without | with_rule))
    }
    return (seconds["with"] - seconds["without"]) / EVALUATIONS / CONTAINERS * 1e6


_RULE: Final = {"images": ["127.0.0.1:5000/acme/*"], "by": {"anyOf": ["release"]}}


def _facts(key: str, authorities: Mapping[str, Authority]) -> ImageFacts:
    repository, _, digest = key.partition("@")
    release = authorities["release"]
    signatures = (Signature("release", release.keys[0].fingerprint),)
    checked = {"release": release.fingerprint}
    return ImageFacts(repository, digest, signatures, checked=checked, looked_up=datetime.now(UTC))


def _policies(images: Mapping[str, Any]) -> PolicySet:
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": "signed"},
        "spec": {"controls": {"images": images}},
    }
    return PolicySet.of(parse_policies(json.dumps(policy), "bench"))


def _timed(policies: PolicySet, pod: Pod, trust: Trust) -> float:
    judged = evaluate(pod, Context(policies, "default", None, trust=trust))
    if judged.is_denied:
        raise click.ClickException(f"a known image is denied: {judged.violations[0].finding}")
    start = time.process_time()
    for _ in range(EVALUATIONS):
        evaluate(pod, Context(policies, "default", None, trust=trust))
    return time.process_time() - start


async def _watch(lags: list[float]) -> None:
    """Note by how much the event loop is late, each millisecond."""
    while True:
        start = time.monotonic()
        await asyncio.sleep(0.001)
        lags.append(max(time.monotonic() - start - 0.001, 0.0))


def _figures() -> Iterable[Figure]:
    """Everything that has a budget."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        registry = start_odd_registry(odd_registry_binary(Progress()), folder, write_server_tls(folder))
        try:
            yield from Bench(registry).figures()
        finally:
            registry.component.stop()
    yield Figure("facts of one replica are known to another one, p99", sharing().at(99), 250, "ms")


@click.command()
@click.option("--write", is_flag=True, help="Write docs/performance.md.")
def main(write: bool) -> None:
    """Measure the verification of images, and compare it with the budgets."""
    prefer_event_loop()  # as the webhook does
    exempt_from_collection()
    figures = []
    try:
        for figure in _figures():
            click.echo(", ".join(figure.row))
            figures.append(figure)
    except (BuildError, ToolchainError, ComponentError) as error:
        raise click.ClickException(str(error)) from error
    if write:
        rows = table(("", "measured", "budget", ""), (figure.row for figure in figures))
        write_section("trust", f"{rows}\n\nOn {machine()}.")
    sys.exit(0 if all(figure.is_met for figure in figures) else 1)


if __name__ == "__main__":
    main()

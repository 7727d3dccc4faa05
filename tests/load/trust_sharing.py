"""How long it takes until a replica has the facts about an image that another one has found."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from sekisho.cluster.api import ApiClient
from sekisho.images.evidence import ImageFacts, Signature
from sekisho.webhook.shared_evidence import SharedEvidence
from tests.controlplane.build import control_plane_binaries
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress
from tests.controlplane.release import CHART
from tests.load.figures import Latencies

IMAGES: Final = 200
SECONDS: Final = 60.0


def sharing() -> Latencies:
    """The times for images one after the other, through a real API server."""
    with tempfile.TemporaryDirectory() as name, ControlPlane(Path(name), control_plane_binaries(Progress())) as plane:
        plane.kubectl.check("apply", "-f", str(CHART / "files" / "crds"))
        plane.kubectl.check("wait", "--for=condition=Established", "crd/imageevidences.sekisho.dev")
        return Latencies(uvloop.run(_shared(plane.kubeconfig)))


async def _shared(kubeconfig: Path) -> list[float]:
    """The seconds from a look-up's end in one replica to its facts in the other one."""
    arrived: dict[str, asyncio.Event] = {}

    def offer(facts: ImageFacts, _: str) -> None:
        arrived[facts.digest].set()

    writer, reader = await ApiClient.connect(kubeconfig), await ApiClient.connect(kubeconfig)
    one = SharedEvidence(writer, "bench", lambda: datetime.now(UTC), lambda facts, namespace: None)
    other = SharedEvidence(reader, "bench", lambda: datetime.now(UTC), offer)
    tasks = [asyncio.create_task(run()) for run in (one.reflector.run, one.run, other.reflector.run)]
    taken = []
    try:
        async with asyncio.timeout(SECONDS):
            await one.reflector.wait_synced()
            await other.reflector.wait_synced()
            for number in range(IMAGES):
                digest = f"sha256:{number:064x}"
                arrived[digest] = asyncio.Event()
                signatures = (Signature("release", f"{number:064x}"),)
                start = time.monotonic()
                one.share(ImageFacts("ghcr.io/acme/pay", digest, signatures, looked_up=datetime.now(UTC)))
                await arrived[digest].wait()
                taken.append(time.monotonic() - start)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await writer.close()
        await reader.close()
    return taken

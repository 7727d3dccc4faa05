"""Floods against a real process: it stays below the chart's limit, answers other addresses, and keeps nothing."""

import asyncio
import json
from collections.abc import Iterator
from typing import Final

import pytest
import uvloop

from tests.controlplane.waiting import wait_until
from tests.drills.soak import Webhook, webhook
from tests.load.usage import peak_mib, resident_mib, start_peak
from tests.reviews import review_body
from tests.worst.floods import FLOODS, Opened, Target, reviewed
from tests.worst.judging import EVERYTHING, WAIVER

pytestmark = pytest.mark.long
MAX_MIB: Final = 256
"""Half of the chart's limit."""
MAX_KEPT_MIB: Final = 16
SOON: Final = 30.0
SELECTING: Final = 12
GOOD: Final = review_body({"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "x", "image": "r.io/x"}]}})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    head = {"apiVersion": "sekisho.dev/v1alpha1"}
    policies = [{"kind": "ClusterPodPolicy"} | EVERYTHING, {"kind": "PolicyWaiver"} | WAIVER]
    for number in range(SELECTING):
        match = {"podSelector": {"matchLabels": {f"l{number}": "x"}}}
        spec = {"match": match, "controls": {"privileged": {}}}
        policies.append({"kind": "ClusterPodPolicy", "metadata": {"name": f"by-label-{number}"}, "spec": spec})
    documents = [(policy["metadata"]["name"], json.dumps(head | policy).encode()) for policy in policies]
    with webhook(tmp_path_factory.mktemp("floods"), documents) as process:
        for path in ("/mutate", "/validate", "/validate-policies"):
            uvloop.run(reviewed(Target("127.0.0.1", process.port), path, iter([GOOD] * 50)))
        yield process


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_neither_fills_the_memory_nor_keeps_others_from_an_answer(served: Webhook, name: str) -> None:
    pid, target = served.process.pid, Target("127.0.0.1", served.port)
    others = Target("127.0.0.1", served.port, sent_from="127.0.0.2")
    before = resident_mib(pid)
    start_peak(pid)

    async def flood() -> list[bytes]:
        opened = Opened(target)
        try:
            async with asyncio.timeout(4 * SOON):
                flooding = asyncio.ensure_future(FLOODS[name](target, opened))
                answers = await reviewed(others, "/validate", iter([GOOD] * 20), connections=1)
                await flooding
                return answers + await reviewed(others, "/validate", iter([GOOD]), connections=1)
        finally:
            opened.close()

    answers = uvloop.run(flood())
    assert len(answers) == 21
    assert all(b'"allowed":' in answer for answer in answers)
    assert peak_mib(pid) <= MAX_MIB
    wait_until(
        lambda: resident_mib(pid) - before <= MAX_KEPT_MIB,
        SOON,
        lambda: f"at most {MAX_KEPT_MIB} MiB stay of {peak_mib(pid) - before:.0f}: {resident_mib(pid) - before:.0f}",
    )

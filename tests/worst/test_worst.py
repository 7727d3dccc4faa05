"""The short form of `make worst`, and the reviews that once stalled a webhook process, sent to a real one."""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.controlplane.answers import Answer, ask
from tests.documented import run_short
from tests.drills.soak import Webhook, webhook
from tests.load.usage import cpu_seconds, peak_mib, resident_mib, start_peak
from tests.reviews import review_body
from tests.worst.judging import EVERYTHING, WAIVER
from tests.worst.measure import MAX_BYTES, MAX_SECONDS

REPOSITORY = Path(__file__).parents[2]
MAX_KEPT_MIB = 16
"""Memory that the process may keep after all of them."""


def test_the_largest_reviews_stay_within_their_bounds() -> None:
    run_short("make worst")


MEASURED = """
from tests.worst.measure import costs_of, grows_faster, over_bounds

def quadratic(size):
    return sum(1 for one in range(size) for other in range(size))

small, large, huge = costs_of([lambda: quadratic(1000), lambda: quadratic(4000), lambda: bytearray(100 << 20)])
print(grows_faster(small, large, 4.0), over_bounds(huge))
"""


def test_the_measurement_finds_what_is_not_linear_and_what_is_large() -> None:
    done = subprocess.run((sys.executable, "-c", MEASURED), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "times the CPU for 4 times the bytes" in done.stdout
    assert " MiB" in done.stdout


def container(index: int, **fields: Any) -> dict[str, Any]:
    return {"name": f"x{index}", "image": "evil.example/x"} | fields


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "pod"}, "spec": {"containers": [*containers], **spec}}


def with_annotation(thing: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    return thing | {"metadata": {"name": "pod", "annotations": {name: value}}}


RECORDED = json.dumps({"everything": [f"x{index}" for index in range(240_000)]})
VOLUMES = [{"name": f"x{index}", "hostPath": {"path": "/x"}} for index in range(32_000)]
MOUNTS = [{"name": f"x{index}", "mountPath": "/x"} for index in range(32_000)]
REVIEWS: dict[str, Callable[[], dict[str, Any]]] = {
    "780,000 capabilities": lambda: pod(container(0, securityContext={"capabilities": {"add": ["A"] * 780_000}})),
    "a long record of defaults beside 8,000 containers": lambda: with_annotation(
        pod(*map(container, range(8000))), "sekisho.dev/defaulted", RECORDED
    ),
    "12,000 containers and a waiver": lambda: pod(*map(container, range(12_000))),
    "1,500 containers in 70 KB": lambda: pod(
        *({"name": f"x{index}", "image": "evil.example/x"} for index in range(1500))
    ),
    "2,600,000 empty containers": lambda: pod(*[{}] * 2_600_000),
    "32,000 volumes and mounts of them": lambda: pod(container(0, volumeMounts=MOUNTS), volumes=VOLUMES),
    "an image of 2.5 MB": lambda: pod(container(0, image="a/" * 1_250_000)),
    "sysctls": lambda: pod(container(0), securityContext={"sysctls": [{"name": "a"}] * 200_000}),
    "supplemental groups": lambda: pod(container(0), securityContext={"supplementalGroups": [0] * 1_400_000}),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    head = {"apiVersion": "sekisho.dev/v1alpha1"}
    kinds = (("ClusterPodPolicy", EVERYTHING), ("PolicyWaiver", WAIVER))
    documents = [(kind, json.dumps(head | {"kind": kind} | policy).encode()) for kind, policy in kinds]
    with webhook(tmp_path_factory.mktemp("worst"), documents) as process:
        send(process, "/mutate", review_body(pod(container(0))))
        yield process


def send(process: Webhook, path: str, body: bytes) -> Answer:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", process.port, timeout=60, context=tls)
    return ask(connection, "POST", f"{path}?timeout=30s", msgspec.Raw(body))


@pytest.mark.parametrize("name", REVIEWS)
def test_a_review_that_once_stalled_a_process_is_denied_within_its_bounds(served: Webhook, name: str) -> None:
    body, pid = review_body(REVIEWS[name]()), served.process.pid
    before = resident_mib(pid)
    for path in ("/mutate", "/validate"):
        start_peak(pid)
        used = cpu_seconds(pid)
        answer = send(served, path, body)
        assert answer.status == 200
        assert cpu_seconds(pid) - used <= MAX_SECONDS, path
        assert peak_mib(pid) - before <= (MAX_BYTES + 2 * len(body)) / 2**20, path
    assert json.loads(answer.body)["response"]["allowed"] is False
    assert len(answer.body) < 64 * 1024


WORST = {"metadata": {"name": "pod"}, "spec": {"containers": [container(number) for number in range(500)]}}
"""Within the bounds, and a violation of nearly every control in each container."""


def test_probes_metrics_and_ordinary_pods_are_answered_while_the_worst_are_judged(served: Webhook) -> None:
    padding = {"metadata": {"name": "pod", "annotations": {"a": "x" * 200_000}}}
    worst = [review_body(WORST | padding, namespace=f"n{number}") for number in range(20)]
    ordinary = review_body(pod(container(0)))
    with ThreadPoolExecutor(len(worst)) as executor:
        judging = [executor.submit(send, served, "/validate", body) for body in worst]
        wait(judging, return_when=FIRST_COMPLETED)
        for path, said in (("/healthz", b'"healthy":true'), ("/readyz", b'"ready":true'), ("/metrics", b"sekisho_")):
            connection = http.client.HTTPConnection("127.0.0.1", served.metrics_port, timeout=60)
            assert said in ask(connection, "GET", path).body
        assert b'"allowed":false' in send(served, "/validate", ordinary).body
        assert not all(future.done() for future in judging)
        assert all(b'"allowed":false' in future.result().body for future in judging)


def test_afterwards_an_ordinary_pod_is_judged_and_their_memory_is_released(served: Webhook) -> None:
    before = resident_mib(served.process.pid)
    for make in REVIEWS.values():
        send(served, "/validate", review_body(make()))
    assert resident_mib(served.process.pid) - before <= MAX_KEPT_MIB
    answer = send(served, "/validate", review_body(pod(container(0))))
    assert 'container "x0"' in json.loads(answer.body)["response"]["status"]["message"]

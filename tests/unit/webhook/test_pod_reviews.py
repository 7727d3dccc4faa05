"""Reviews over real TLS: what is answered, whatever is sent."""

import asyncio
import gc
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.cluster.namespaces import UnknownNamespaceError
from sekisho.findings import Finding
from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from sekisho.turns import Turns
from sekisho.webhook import bodies, http_shell, review_cost
from sekisho.webhook import pod_reviews as module
from sekisho.webhook.questions import Question
from tests.reviews import UID, review
from tests.unit.waiting import until
from tests.unit.webhook.serving_reviews import BAD, GOOD, Served, pod, policy, serving_reviews

TIER = {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving_reviews() as served:
        yield served


async def test_bad_pod_is_denied_and_good_one_admitted(served: Served) -> None:
    assert not await served.allowed(review(pod(BAD)))
    assert await served.allowed(review(pod(GOOD)))
    assert 'container "app" for privileged mode: securityContext.privileged is true' in await served.message(
        review(pod(BAD))
    )


async def test_defaults_are_filled_in_at_the_other_path(served: Served) -> None:
    async with serving_reviews(policy(defaults={"profile": "restricted"})) as mutating:
        _, answer = await mutating.send(review(pod(GOOD)), "/mutate?timeout=3s")
    assert answer["response"]["allowed"]
    assert answer["response"]["patchType"] == "JSONPatch"


# Requests that are not reviews


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an AdmissionReview"),
        (b"hello", "not an AdmissionReview"),
        (b"[]", "not an AdmissionReview"),
        (b"{}", "not an AdmissionReview"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', "request"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}', "uid"),
        (b'{"kind":"Pod","apiVersion":"v1","request":{"uid":"u"}}', "expected kind AdmissionReview"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}', "version"),
        (b"\xff\xfe\x00", "not an AdmissionReview"),
        (
            b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u"',
            "not an AdmissionReview",
        ),
    ],
)
async def test_malformed_review_is_400_with_a_json_error(served: Served, body: bytes, said: str) -> None:
    status, answer = await served.send(body)
    assert status == 400
    assert said in answer["error"]
    assert "Traceback" not in answer["error"]
    assert await served.allowed(review(pod(GOOD)))


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/validate", {}, 405),
        ("PUT", "/mutate", {}, 405),
        ("POST", "/", {}, 404),
        ("POST", "/validate/", {}, 404),
        ("POST", "/Validate", {}, 404),
        ("POST", "/metrics", {}, 404),
        ("POST", "/validate", {"Content_Type": "text/plain"}, 415),
        ("POST", "/validate", {"Content_Type": ""}, 415),
        ("POST", "/validate", {"Content_Encoding": "gzip"}, 400),
    ],
)
async def test_request_without_a_review_gets_the_reason_in_json(
    served: Served, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    body = b"\x1f\x8b not a review" if "Content_Encoding" in headers else review(pod(GOOD))
    code, answer = await served.send(body, target, method, **headers)
    assert code == status
    assert answer.keys() == {"error"}
    assert f'sekisho_http_errors_total{{status="{status}"}} 1.0'.encode() in served.metrics.render()


async def test_charset_of_the_content_type_does_not_matter(served: Served) -> None:
    status, _ = await served.send(review(pod(GOOD)), Content_Type="application/json; charset=utf-8")
    assert status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit_is_413_and_one_at_the_limit_is_judged(served: Served, chunked: bool) -> None:
    async def send(size: int) -> int:
        text = msgspec.json.encode(review(pod(GOOD)))
        text += b" " * (size - len(text))
        if not chunked:
            return (await served.send(text))[0]

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(text), 1 << 20):
                yield text[start : start + (1 << 20)]

        async with served.session.post(
            f"https://127.0.0.1:{served.port}/validate",
            data=chunks(),
            headers={"Content-Type": "application/json"},
            ssl=served.trust(),
        ) as answer:
            return answer.status

    assert await send(bodies.MAX_BODY_BYTES) == 200
    assert await send(bodies.MAX_BODY_BYTES + 1) == 413
    assert bodies.MAX_BODY_BYTES > 2 * (3 << 20)  # the API server's own limit, for the object and the old one


# Reviews that are hard to read


@pytest.mark.parametrize(("chunk", "status"), [(1, 400), (16, 200)])
async def test_body_in_chunks_of_a_byte_each_is_denied_before_it_takes_long(
    served: Served, chunk: int, status: int
) -> None:
    text = msgspec.json.encode(review(pod(GOOD)))
    text += b" " * (100_000 - len(text))
    framed = [
        b"%x\r\n%b\r\n" % (len(part), part) for part in (text[at : at + chunk] for at in range(0, 100_000, chunk))
    ]
    head = b"POST /validate?timeout=10s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trust())
    try:
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(framed) + b"0\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert status == 200 or b"chunks that are too small" in await reader.read(200)
    finally:
        writer.transport.abort()


async def test_deletion_and_connection_pass_without_an_object(served: Served) -> None:
    assert await served.allowed(review(None, operation="DELETE", oldObject=pod(BAD)))
    options = {"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]}
    kind = {"group": "", "version": "v1", "kind": "PodExecOptions"}
    assert await served.allowed(review(options, operation="CONNECT", kind=kind, subResource="exec"))


async def test_generated_name_is_judged_like_any_other(served: Served) -> None:
    for container, allowed in ((BAD, False), (GOOD, True)):
        thing = {"metadata": {"generateName": "pod-"}, "spec": {"containers": [container]}}
        assert await served.allowed(review(thing, name="")) is allowed


async def test_namespace_of_the_request_counts_and_not_the_objects() -> None:
    async with serving_reviews(policy(match={"namespaces": ["prod"]})) as served:
        assert not await served.allowed(review(pod(BAD, namespace="other"), namespace="prod"))
        assert await served.allowed(review(pod(BAD, namespace="prod"), namespace="other"))


async def test_verdict_is_on_the_new_object(served: Served) -> None:
    assert not await served.allowed(review(pod(BAD), operation="UPDATE", oldObject=pod(GOOD)))
    assert await served.allowed(review(pod(GOOD), operation="UPDATE", oldObject=pod(BAD)))


def raw_review(thing: str) -> bytes:
    """A review with an object that json.dumps would not write."""
    return json.dumps(review("OBJECT")).replace('"OBJECT"', thing).encode()


UNREADABLE = [
    ("number for a list", '{"spec":{"containers":1}}'),
    ("text for a bool", '{"spec":{"containers":[{"name":"a","securityContext":{"privileged":"false"}}]}}'),
    ("number for a bool", '{"spec":{"containers":[{"name":"a","securityContext":{"privileged":0}}]}}'),
    ("float for a user", '{"spec":{"securityContext":{"runAsUser":1e3},"containers":[]}}'),
    ("bool for a user", '{"spec":{"securityContext":{"runAsUser":true},"containers":[]}}'),
    ("NaN", '{"spec":{"securityContext":{"runAsUser":NaN},"containers":[]}}'),
    ("5,000 digits", '{"spec":{"securityContext":{"runAsUser":' + "9" * 5000 + '},"containers":[]}}'),
    ("object is a list", "[]"),
]


@pytest.mark.parametrize("thing", [thing for _, thing in UNREADABLE], ids=[name for name, _ in UNREADABLE])
async def test_pod_that_cannot_be_read_is_denied_or_not_a_review_and_affects_no_other(
    served: Served, thing: str
) -> None:
    status, answer = await served.send(raw_review(thing))
    assert "Traceback" not in str(answer)
    if status == 200:
        assert answer["response"]["allowed"] is False
        assert answer["response"]["uid"] == UID
    else:
        assert status == 400
    assert await served.allowed(review(pod(GOOD)))


async def test_deep_nesting_hides_nothing(served: Served) -> None:
    deep = '{"a":' * 1500 + "1" + "}" * 1500
    spec = f'{{"x":{deep},"containers":[{json.dumps(BAD)}]}}'
    status, answer = await served.send(raw_review(f'{{"spec":{spec}}}'))
    assert status == 200
    assert answer["response"]["allowed"] is False
    assert "Traceback" not in str(answer)


async def test_null_is_the_same_as_nothing(served: Served) -> None:
    empty = {"metadata": {"name": "p", "labels": None, "annotations": None}, "spec": {"containers": None}}
    assert await served.allowed(review(empty))
    nulls = {"name": "a", "securityContext": None, "ports": None, "livenessProbe": None}
    assert await served.allowed(review(pod(nulls)))
    assert not await served.allowed(review(pod(nulls, BAD) | {"status": None}))


async def test_lone_surrogate_and_odd_text_get_a_verdict(served: Served) -> None:
    text = raw_review('{"metadata":{"name":"\\ud800"},"spec":{"containers":[]}}')
    status, answer = await served.send(text)
    assert status in (200, 400)
    assert "Traceback" not in str(answer)


# Faults


async def test_internal_error_is_a_denial_with_an_id_that_the_log_explains(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Outcome:
        raise ZeroDivisionError("secret-value")

    monkeypatch.setattr(admission, "validate", fail)
    message = await served.message(review(pod(GOOD)))
    incident = message.split("internal error ")[1].split(";")[0]
    assert "secret-value" not in message
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert incident in record.getMessage()
    assert record.exc_info is not None


async def test_judging_past_the_deadline_is_a_denial_that_says_so(served: Served) -> None:
    _, answer = await served.send(review(pod(GOOD)), "/validate?timeout=0s")
    assert answer["response"]["allowed"] is False
    assert "longer than the API server waits" in answer["response"]["status"]["message"]


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", 9.0),
        ("timeout=3s", 2.7),
        ("timeout=10s", 9.0),
        ("dryRun=1&timeout=5s", 4.5),
        ("timeout=9999s", 27.0),
        ("timeout=soon", 9.0),
        ("xtimeout=3s", 9.0),
    ],
)
def test_deadline_comes_from_the_request(query: str, seconds: float) -> None:
    assert http_shell.seconds_of(query) == pytest.approx(seconds)


async def half_a_body(
    served: Served, target: str, address: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=served.trust(), local_addr=(address, 0)
    )
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode() + b'{"kind":"AdmissionReview",')
    await writer.drain()
    return reader, writer


async def test_half_a_body_is_dropped_at_the_deadline_and_delays_no_other(served: Served) -> None:
    reader, writer = await half_a_body(served, "/validate?timeout=1s")
    assert await served.allowed(review(pod(GOOD)))
    answer = await reader.read()
    assert b" 408 " in answer.splitlines()[0]
    assert b'{"error":"the body did not arrive in time"}' in answer
    writer.close()


async def test_client_that_leaves_in_the_middle_leaves_nothing_behind(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        _, writer = await half_a_body(served, "/validate?timeout=30s")
        writer.transport.abort()
    assert await served.allowed(review(pod(GOOD)))
    await until(lambda: not served.shell._bodies.held)  # noqa: SLF001
    assert not caplog.records


async def held_bytes(served: Served, least: int) -> None:
    await until(lambda: served.shell._bodies.held >= least)  # noqa: SLF001


async def half_bodies(
    served: Served, count: int, address: str = "127.0.0.1"
) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Half bodies from an address, one after the other."""
    streams = []
    for _ in range(count):
        before = served.shell._bodies.held  # noqa: SLF001
        streams.append(await half_a_body(served, "/validate?timeout=30s", address))
        await held_bytes(served, before + 1)
    return streams


async def test_past_the_bytes_of_all_bodies_the_large_one_that_waited_longest_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 60)
    monkeypatch.setattr(bodies, "MAX_FREE_BYTES", 0)
    first, second = await half_bodies(served, 2)
    third = await half_a_body(served, "/validate?timeout=30s")
    assert b" 503 " in await first[0].readline()
    assert await served.allowed(review(pod(GOOD)))
    for reader, writer in (second, third):
        assert not reader.at_eof()
        writer.close()
    first[1].close()


async def test_small_unfinished_bodies_of_one_address_do_not_keep_large_ones_of_others_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 1600)
    monkeypatch.setattr(bodies, "MAX_FREE_BYTES", 100)
    halves = await half_bodies(served, 60)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=served.trust(), local_addr=("127.0.0.2", 0)
    )
    large = json.dumps(review(pod(GOOD))).encode()
    before = served.shell._bodies.held  # noqa: SLF001
    writer.write(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(large) + large[:200])
    await held_bytes(served, before + 1)
    writer.write(large[200:])
    assert b" 200 " in await reader.readline()
    writer.close()
    for _, half in halves:
        half.close()


async def test_past_the_number_of_unfinished_bodies_the_address_with_the_most_loses_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_UNFINISHED", 3)
    [alone] = await half_bodies(served, 1, "127.0.0.2")
    first, second = await half_bodies(served, 2)
    third = await half_a_body(served, "/validate?timeout=30s")
    assert b" 503 " in await first[0].readline()
    for reader, writer in (alone, second, third):
        assert not reader.at_eof()
        writer.close()
    first[1].close()


async def test_invalid_http_gets_400_and_no_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trust())
    writer.write(b"NONSENSE\r\n\r\n")
    assert b" 400 " in (await reader.read()).splitlines()[0]
    writer.close()
    assert not caplog.records


# Namespaces


class SlowNamespaces:
    """Labels that are there, and labels that must be fetched."""

    def __init__(self) -> None:
        self.labels: dict[str, Mapping[str, str]] = {"prod": {"tier": "prod"}, "dev": {"tier": "dev"}}
        self.gate = asyncio.Event()
        self.waiting = 0

    def known(self, name: str) -> Mapping[str, str] | None:
        return self.labels.get(name)

    async def fetch(self, name: str) -> Mapping[str, str]:
        if name == "missing":
            raise UnknownNamespaceError("not found")
        self.waiting += 1
        await self.gate.wait()
        return {"tier": "prod"}


async def test_reviews_of_unknown_senders_look_few_namespaces_up_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_FETCHES_FOR_UNKNOWN_SENDERS", 2)
    namespaces, part = SlowNamespaces(), "0123456789abcdef" * 2
    async with serving_reviews(policy(match=TIER), namespaces=namespaces, path_secret=part) as served:
        unknown = [asyncio.create_task(served.allowed(review(pod(GOOD), namespace=f"n{n}"))) for n in range(2)]
        await until(lambda: namespaces.waiting == 2)
        assert "too many namespaces" in await served.message(review(pod(GOOD), namespace="n2"))
        known = asyncio.create_task(served.send(review(pod(GOOD), namespace="n3"), f"/validate/{part}?timeout=3s"))
        await until(lambda: namespaces.waiting == 3)
        namespaces.gate.set()
        assert await asyncio.gather(*unknown) == [True, True]
        assert (await known)[1]["response"]["allowed"]


async def test_labels_of_the_namespace_decide_and_unknown_ones_are_a_denial() -> None:
    namespaces = SlowNamespaces()
    async with serving_reviews(policy(match=TIER), namespaces=namespaces) as served:
        assert not await served.allowed(review(pod(BAD), namespace="prod"))
        assert await served.allowed(review(pod(BAD), namespace="dev"))
        message = await served.message(review(pod(GOOD), namespace="missing"))
        assert message.endswith("the labels of its namespace are not known: not found")
        assert "names none" in await served.message(review(pod(GOOD), namespace=None))
        assert await served.allowed(review(None, operation="DELETE", namespace="missing"))
        namespaces.gate.set()
        assert not await served.allowed(review(pod(BAD), namespace="new"))
        assert await served.allowed(review(pod(GOOD), namespace="new"))


async def test_labels_are_not_read_where_no_policy_needs_them(served: Served) -> None:
    assert await served.allowed(review(pod(GOOD), namespace="missing"))


async def test_without_a_cluster_labels_cannot_be_known() -> None:
    async with serving_reviews(policy(match=TIER)) as served:
        assert "there is no cluster to ask" in await served.message(review(pod(GOOD)))


async def test_namespace_that_takes_too_long_is_a_denial() -> None:
    async with serving_reviews(policy(match=TIER), namespaces=SlowNamespaces()) as served:
        status, answer = await served.send(review(pod(GOOD), namespace="new"), "/validate?timeout=1s")
        assert status == 200
        assert "did not answer in time" in answer["response"]["status"]["message"]


async def test_overload_is_a_denial_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REVIEWS", 3)
    namespaces = SlowNamespaces()
    async with serving_reviews(policy(match=TIER), namespaces=namespaces) as served:
        waiting = [
            asyncio.create_task(served.allowed(review(pod(GOOD), uid=f"u{i}", namespace=f"n{i}"))) for i in range(3)
        ]
        await until(lambda: namespaces.waiting == 3)
        assert "too many reviews" in await served.message(review(pod(GOOD), namespace="prod"))
        namespaces.gate.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await served.allowed(review(pod(GOOD), namespace="prod"))


async def test_request_sees_one_policy_set_from_beginning_to_end() -> None:
    namespaces = SlowNamespaces()
    strict, lax = policy(match=TIER), policy(match=TIER, enforcement="Warn")
    async with serving_reviews(strict, namespaces=namespaces) as served:
        waiting = asyncio.create_task(served.allowed(review(pod(BAD), namespace="new")))
        await until(lambda: namespaces.waiting)
        served.enforced.enforce(PolicySet.of([lax]))
        namespaces.gate.set()
        assert await waiting is False
        assert await served.allowed(review(pod(BAD), namespace="prod")) is True


# Large reviews


def large_pod() -> dict[str, Any]:
    """A pod that takes long to judge, within the bounds."""
    ports = [{"containerPort": number, "hostPort": number} for number in range(1, 18)]
    return pod(*({"name": f"c{number}", "image": f"x{number}.io/y", "ports": ports} for number in range(512)))


def many_policies() -> list[ClusterPodPolicy]:
    """Policies that allow all host ports, each by a list of its own."""
    return [
        policy(f"p{number}", controls={"hostPorts": {"allowed": [{"min": 1, "max": 1000 + number}]}})
        for number in range(60)
    ]


async def test_small_reviews_and_probes_are_answered_while_large_ones_are_judged() -> None:
    async with serving_reviews(*many_policies()) as served:
        target = "/validate?timeout=30s"
        large = [asyncio.create_task(served.send(review(large_pod()), target)) for _ in range(16)]
        await asyncio.wait(large, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(3):
            assert await served.allowed(review(pod(GOOD)))
        assert served.metrics.render()
        assert not all(task.done() for task in large)
        assert [answer["response"]["allowed"] for _, answer in await asyncio.gather(*large)] == [True] * 16


async def test_a_large_review_is_decoded_when_the_one_before_it_is_judged(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noting_step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            steps.append(name)
            return real(*arguments)

        return call

    for name in ("decode", "validate"):
        monkeypatch.setattr(admission, name, noting_step(name, getattr(admission, name)))
    large = pod(GOOD, annotations={"a": "x" * 100_000})
    answers = await asyncio.gather(*(served.send(review(large, namespace=f"n{number}")) for number in range(6)))
    assert all(answer["response"]["allowed"] for _, answer in answers)
    assert steps == ["decode", "validate"] * 6


async def test_reviews_that_wait_for_their_turn_are_kept_as_bodies_and_decoded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[bool] = []
    take = Turns.take

    async def noting_take(turns: Turns, namespace: str, places: int = 1) -> None:
        kept.extend(question.review is not None for question in gc.get_objects() if isinstance(question, Question))
        await take(turns, namespace, places)

    patterns = [f"r{number}.io/*a*b" for number in range(256)]
    async with serving_reviews(policy(controls={"images": {"trustedRegistries": patterns}})) as served:
        monkeypatch.setattr(Turns, "take", noting_take)
        compared = review(pod(*({"name": f"c{n}", "image": "x.io/y"} for n in range(300))))
        answers = await asyncio.gather(*(served.send(compared, "/validate?timeout=30s") for _ in range(8)))
    assert [answer["response"]["allowed"] for _, answer in answers] == [False] * 8
    assert 'denies containers "c0"' in answers[-1][1]["response"]["status"]["message"]
    assert kept.count(True) < kept.count(False)


async def test_a_small_body_with_much_to_compare_is_judged_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    apart: list[str] = []
    patterns = [f"r{number}.io/*a*b" for number in range(256)]
    async with serving_reviews(policy(controls={"images": {"trustedRegistries": patterns}})) as served:
        monkeypatch.setattr(Turns, "turn", noting(apart))
        for count, taken in ((4, 0), (100, 1)):
            assert not await served.allowed(review(pod(*({"name": f"c{n}", "image": "x.io/y"} for n in range(count)))))
            assert len(apart) == taken


async def test_a_pod_with_one_container_and_many_other_entries_is_judged_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    apart: list[str] = []
    patterns = [f"a*b{number}" for number in range(256)]
    async with serving_reviews(policy(controls={"sysctls": {"allowed": patterns}})) as served:
        monkeypatch.setattr(Turns, "turn", noting(apart))
        for count, taken in ((20, 0), (250, 1)):
            sysctls = [{"name": f"net.{number}", "value": ""} for number in range(count)]
            with_sysctls = pod(GOOD) | {"spec": {"containers": [GOOD], "securityContext": {"sysctls": sysctls}}}
            assert not await served.allowed(review(with_sysctls))
            assert len(apart) == taken


async def test_a_small_review_with_very_many_findings_is_judged_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    apart: list[str] = []
    many = [
        policy(f"p{number}", controls={"hostPorts": {"allowed": [{"min": number, "max": number}]}})
        for number in range(1, 11)
    ]
    async with serving_reviews(*many) as served:
        monkeypatch.setattr(Turns, "turn", noting(apart))
        for count, taken in ((100, 0), (101, 1)):
            ports = [{"containerPort": number, "hostPort": number} for number in range(60_000, 60_000 + count)]
            assert not await served.allowed(review(pod(GOOD | {"ports": ports})))
            assert len(apart) == taken


async def test_a_check_makes_no_more_findings_at_once_than_may_be_and_only_one_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: Counter[str] = Counter()
    of = Finding.of

    def counted(*arguments: Any, **named: Any) -> Finding:
        made[threading.current_thread().name] += 1
        return of(*arguments, **named)

    monkeypatch.setattr(Finding, "of", counted)
    async with serving_reviews(policy(controls={"hostPorts": {}})) as served:
        for count, at_once, apart in ((1000, 1000, 0), (1001, 1001, 1001), (1800, 1001, 1800)):
            made.clear()
            ports = [{"hostPort": number} for number in range(60_000, 60_000 + count)]
            assert not await served.allowed(review(pod(GOOD | {"ports": ports})))
            assert made.pop("MainThread") == at_once
            assert sum(made.values()) == apart


async def test_with_very_many_waivers_for_its_namespace_a_small_review_is_judged_apart(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = noting_threads(monkeypatch)
    monkeypatch.setattr(review_cost, "_MAX_EXEMPTIONS", 2)
    for namespaces, images, judged_by in (
        (["team-b"], ["a.io/*"], ["plans", "MainThread"]),
        (["team-a"], ["a.io/*"], ["large-reviews", "large-reviews"]),
        (["team-a"], None, ["MainThread", "MainThread"]),
    ):
        match = {"namespaces": namespaces, "images": images}
        served.enforced.enforce(PolicySet.of([policy(), waiver(["a", "b"], match)]))
        threads.clear()
        for _ in range(2):
            assert not await served.allowed(review(pod(BAD), namespace="team-a"))
        assert threads == judged_by


def waiver(policies: list[str], match: dict[str, Any]) -> PolicyWaiver:
    spec = {"policies": policies, "controls": ["privileged"], "reason": "x", "expires": "2999-01-01T00:00:00Z"}
    return msgspec.convert({"metadata": {"name": "w"}, "spec": spec | {"match": match}}, PolicyWaiver)


def noting_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that judge, without their numbers."""
    threads: list[str] = []
    validate = admission.validate

    def noting_validate(*arguments: Any) -> Outcome:
        threads.append(threading.current_thread().name.partition("_")[0])
        return validate(*arguments)

    monkeypatch.setattr(admission, "validate", noting_validate)
    return threads


@pytest.mark.parametrize(
    ("patterns", "excluded", "taken"),
    [
        (["*a", "*b"], [], 0),
        (["*a", "*b"], ["c*"], 1),
        (["*a*" * 8], [], 1),
        (["team-a*", "team-b*", "team-c*"], [], 0),  # other namespaces than the pod's begin so
    ],
)
async def test_first_review_of_a_namespace_with_many_patterns_to_compare_is_judged_apart(
    served: Served, monkeypatch: pytest.MonkeyPatch, patterns: list[str], excluded: list[str], taken: int
) -> None:
    apart: list[str] = []
    monkeypatch.setattr(Turns, "turn", noting(apart))
    monkeypatch.setattr(review_cost, "_MAX_PATTERNS", 2)
    applied = policy(match={"excludeNamespaces": excluded})
    served.enforced.enforce(PolicySet.of([applied, waiver(["p"], {"namespaces": patterns})]))
    for _ in range(2):
        assert not await served.allowed(review(pod(BAD)))
        assert len(apart) == taken


async def test_a_new_plan_of_many_policies_is_computed_apart_and_only_once_behind_no_large_review(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = noting_threads(monkeypatch)
    monkeypatch.setattr(review_cost, "_MAX_FEW_POLICIES", 1)
    for policies, judged_by in (
        ([policy()], ["MainThread"] * 3),
        ([policy(), policy("other")], ["plans", "MainThread", "MainThread"]),
    ):
        served.enforced.enforce(PolicySet.of(policies))
        threads.clear()
        for _ in range(3):
            assert not await served.allowed(review(pod(BAD)))
        assert threads == judged_by


async def test_a_new_plan_waits_for_nothing_where_few_policies_may_apply_to_the_namespace(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[str] = []
    monkeypatch.setattr(Turns, "turn", noting(apart))
    monkeypatch.setattr(review_cost, "_MAX_FEW_POLICIES", 1)
    served.enforced.enforce(PolicySet.of([policy(), policy("other", match={"namespaces": ["elsewhere"]})]))
    assert not await served.allowed(review(pod(BAD)))
    assert not apart


def noting(namespaces: list[str]) -> Any:
    """A turn that is taken at once, and noted."""

    @asynccontextmanager
    async def turn(_: Turns, namespace: str, seconds: float) -> AsyncIterator[None]:
        assert seconds > 0
        namespaces.append(namespace)
        yield

    return turn


async def test_large_review_past_the_deadline_is_denied_between_two_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = bodies.Bodies.receive  # the body itself is in time
    monkeypatch.setattr(bodies.Bodies, "receive", lambda self, request, _seconds: receive(self, request, 30.0))
    async with serving_reviews(*many_policies()) as served:
        for target in ("/validate?timeout=0s", "/mutate?timeout=0s"):
            _, answer = await served.send(review(large_pod()), target)
            assert answer["response"]["allowed"] is False
            assert "longer than the API server waits" in answer["response"]["status"]["message"]
        _, answer = await served.send(review(large_pod()), "/validate?timeout=30s")
        assert answer["response"]["allowed"]


def patterns_at_their_limit(number: int) -> ClusterPodPolicy:
    """A policy whose list of sysctls is as long as it may be, with patterns that take long to compare."""
    allowed = [f"*{'a*' * 100}b{number}-{index}*" for index in range(256)]
    return policy(f"p{number}", enforcement="Audit", controls={"sysctls": {"allowed": allowed}})


async def test_review_that_takes_much_cpu_is_denied_with_what_to_do() -> None:
    async with serving_reviews(*map(patterns_at_their_limit, range(10))) as served:
        for count, is_allowed in ((250, False), (1, True)):
            sysctls = [{"name": f"{'a' * 200}{number}", "value": ""} for number in range(count)]
            large = pod(GOOD) | {"spec": {"containers": [GOOD], "securityContext": {"sysctls": sysctls}}}
            began = time.process_time()
            _, answer = await served.send(review(large), "/validate?timeout=30s")
            assert time.process_time() - began < 1
            assert answer["response"]["allowed"] is is_allowed
            if not is_allowed:
                message = answer["response"]["status"]["message"]
                assert "judging takes more than 0.5 s of CPU; give the pod fewer containers" in message


# Connections


async def test_connection_is_kept_and_closed_while_draining(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trust())
    body = msgspec.json.encode(review(pod(GOOD)))
    request = (
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    for draining in (False, False, True):
        if draining:
            served.shell.drain()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert (b"Connection: close" in head) is draining
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert b'"allowed":true' in await reader.readexactly(length)
    assert await reader.read() == b""
    writer.close()


async def test_answer_has_the_headers_that_http_requires_in_either_version(served: Served) -> None:
    body = msgspec.json.encode(review(pod(GOOD)))
    for version in (b"1.1", b"1.0"):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trust())
        writer.write(
            b"POST /validate HTTP/%b\r\nHost: x\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (version, len(body), body)
        )
        status, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        assert status == f"HTTP/{version.decode()} 200 OK"
        fields = dict(header.split(": ") for header in headers)
        assert fields["Content-Type"] == "application/json"
        assert abs(datetime.now(UTC) - parsedate_to_datetime(fields["Date"])) < timedelta(minutes=1)
        assert b'"allowed":true' in await reader.readexactly(int(fields["Content-Length"]))
        writer.close()


async def test_old_tls_is_denied(served: Served) -> None:
    context = served.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    writer.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"SSL|reset"):
        await asyncio.open_connection("127.0.0.1", served.port, ssl=context)


async def test_denials_are_handed_on_and_passes_are_not(served: Served) -> None:
    await served.allowed(review(pod(GOOD)))
    assert served.denials == []
    await served.allowed(review(pod(BAD)))
    assert [outcome.decision for outcome in served.denials] == ["deny"]

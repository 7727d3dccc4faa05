"""The benchmarks' own arithmetic: what wrk and Linux say, percentiles, and the page that figures are written into."""

import os
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.controlplane.component import Component
from tests.load import population, wrk
from tests.load.changes import Spent
from tests.load.curves import Work
from tests.load.figures import Latencies, compared
from tests.load.growth import GROWING, MAX_EXPONENT, Growing, Measured, measure
from tests.load.page import PAGE, MarksError, table, with_section
from tests.load.questions import QUESTIONS
from tests.load.replicas import beside, option
from tests.load.servers import verdict
from tests.load.usage import cpu_seconds, cpu_ticks, resident_mib, status_kib
from tests.load.wrk import Load, WrkError

WRK = """\
Running 2s test @ https://127.0.0.1:30000/validate
  1 threads and 10 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.24ms    1.75ms  29.47ms   89.64%
    Req/Sec     3.21k   331.94     3.70k    70.00%
  6392 requests in 2.00s, 1.24MB read
Requests/sec:   3189.33
{"requests":6392,"microseconds":2004185,"p50":2830,"p99":9710,"p999":24010,"denied":0,"broken":0}
"""


def test_result_of_wrk_is_its_last_line() -> None:
    load = wrk.parse(WRK)
    assert load == Load(requests=6392, microseconds=2004185, p50=2830, p99=9710, p999=24010, denied=0, broken=0)
    assert round(load.per_second) == 3189


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (WRK.replace('"denied":0', '"denied":3'), "of 6392 requests 3 were answered with an error status"),
        (WRK.replace('"broken":0', '"broken":2'), "2 broke off"),
        (WRK.replace('"requests":6392', '"requests":0'), "of 0 requests"),
        ("unable to connect to 127.0.0.1:30000 Connection refused\n", "Connection refused"),
        ("", "without a result"),
    ],
)
def test_a_run_with_errors_gives_no_figures(output: str, said: str) -> None:
    with pytest.raises(WrkError, match=said):
        wrk.parse(output)


def test_missing_wrk_is_reported_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WrkError, match=r"^wrk is missing: apt-get install wrk$"):
        wrk.find_wrk()


def test_cpu_time_is_user_and_kernel_mode_whatever_the_process_is_called() -> None:
    after_name = "S 1 2 3 4 5 6 7 8 9 10 300 41 1000 1000 20 0 1 0 12345"
    assert cpu_ticks(f"17 (python) {after_name}") == 341
    assert cpu_ticks(f"17 (a) S (b 9 9) {after_name}") == 341


def test_memory_is_what_is_resident() -> None:
    assert status_kib("Name:\tx\nVmPeak:\t  900 kB\nVmRSS:\t   512 kB\nRssAnon:\t 100 kB\n", "VmRSS") == 512


def test_usage_of_a_real_process_is_what_it_says_itself() -> None:
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)
    assert resident_mib(os.getpid()) > 1


def test_percentile_is_a_latency_that_was_measured() -> None:
    latencies = Latencies(number / 1000 for number in range(1000, 0, -1))
    assert [latencies.at(percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1000]
    assert Latencies([0.002]).at(99) == 2
    assert len(latencies) == 1000
    with pytest.raises(ValueError, match="no latency"):
        Latencies([])


def test_a_figure_at_its_budget_meets_it_and_one_above_misses_it() -> None:
    assert compared(1.5, 1.5, "x") == "1.50x, budget 1.5x: met"
    assert compared(10.004, 10, " ms") == "10.00 ms, budget 10 ms: **missed**"


def test_section_is_replaced_and_the_rest_of_the_page_stays() -> None:
    page = "# Title\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nText.\n\n<!-- begin b -->\n<!-- end b -->\n"
    written = with_section(page, "a", "new\n")
    assert written == page.replace("old\n", "\nnew\n\n")
    assert with_section(written, "a", "new") == written
    with pytest.raises(MarksError, match="begin c"):
        with_section(page, "c", "new")
    with pytest.raises(MarksError, match="end a"):
        with_section(page.replace("<!-- end a -->", ""), "a", "new")


def test_performance_page_has_a_place_for_every_benchmark() -> None:
    page = PAGE.read_text()
    for name in ("webhook", "cluster", "trust"):
        assert "new" in with_section(page, name, "new")


def test_numbers_of_a_table_are_aligned_right() -> None:
    assert table(("a", "b"), [("x", "1"), ("y", "2")]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |"


def test_pod_of_the_questions_is_of_about_8_kb() -> None:
    for question in QUESTIONS:
        assert 7_500 < len(question.body) < 8_100, question.name


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ('{"response":{"uid":"UID","allowed":true}}', "allow"),
        ('{"response":{"uid":"UID","allowed":false,"status":{"code":403}}}', "deny"),
        ('{"response":{"uid":"UID","allowed":true,"patch":"W10=","patchType":"JSONPatch"}}', "patch"),
        ('{"response":{"uid":"another","allowed":true}}', "the uid another"),
        ('{"error":"no"}', "Object missing required field `response`"),
    ],
)
def test_verdict_is_read_from_the_answer(response: str, said: str) -> None:
    uid = "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert verdict(response.replace("UID", uid).encode()) == said


def test_each_namespace_of_the_large_cluster_has_its_teams_policy() -> None:
    policies = PolicySet.of(msgspec.convert(one, ClusterPodPolicy) for one in population.policies(30))
    assert policies.needs_labels
    for namespace in population.namespaces(300):
        name, labels = namespace["metadata"]["name"], namespace["metadata"]["labels"]
        plan = policies.plan(name, labels, None)
        asking = {policy for step in plan.steps for requirement in step.required_by for policy in requirement.policies}
        assert asking == {name.rpartition("-")[0]}
    assert policies.plan("default", {}, None).steps == ()


def test_another_replica_differs_in_name_and_ports_alone(tmp_path: Path) -> None:
    command = ("python", "-m", "sekisho", "webhook", "--port=1", "--metrics-port=2", "--replica=local", "--x=--port=1")
    webhook = Component("webhook", command, tmp_path / "log", lambda: True)
    another = beside(webhook, "another", 3, 4, tmp_path / "another.log")
    assert another.command == (*command[:4], "--port=3", "--metrics-port=4", "--replica=another", "--x=--port=1")
    assert option(another, "--metrics-port") == "4"


def test_what_changes_cost_beyond_their_bounds_is_named() -> None:
    status, lease = ("patch", "clusterpodpolicies/status"), ("patch", "leases")
    controller, webhooks = Counter({status: 40, lease: 4}), Counter({lease: 30, ("watch", "leases"): 3})
    within = Spent(10, 3, 10.0, 1.0, controller, webhooks)
    assert within.excesses() == []
    beyond = structs.replace(within, controller=controller + Counter({status: 1, ("create", "events"): 9}))
    assert beyond.excesses() == [
        "statuses that the controller wrote: 41, at most 40",
        "other writes of the controller: 13, at most 7",
    ]


@pytest.mark.parametrize(("power", "expected"), [(1, 1.0), (2, 2.0), (0, 0.0)])
def test_exponent_of_a_curve_is_its_power(power: int, expected: float) -> None:
    sizes = (100, 200, 400, 800)
    measured = Measured(sizes, tuple(0.001 * size**power for size in sizes), 0.0)
    assert measured.exponent == pytest.approx(expected)
    assert (measured.exponent > MAX_EXPONENT) == (power == 2)


@pytest.mark.parametrize("growing", GROWING, ids=lambda growing: growing.name)
def test_every_curve_does_its_work(growing: Growing) -> None:
    growing.curve(20)()


def test_quadratic_work_is_measured_as_such() -> None:
    def pairs(count: int) -> Work:
        return lambda: [None for _ in range(count) for _ in range(count)]

    assert measure(Growing("pairs", "item", 200, pairs)).exponent > MAX_EXPONENT

"""The log: bounded, whatever happens."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sekisho.telemetry import logs
from sekisho.telemetry.logs import Throttle

SOON = 30.0


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    monkeypatch.setattr(logs, "throttle", Throttle())
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield clock
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


def written(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_a_storm_writes_a_burst_and_then_a_bounded_rate(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    storm = logging.getLogger("storm")
    for _ in range(10_000):
        storm.info("denied")
    assert len(written(capfd)) == logs.BURST
    clock.now += 2.0
    for _ in range(10_000):
        storm.info("denied")
    lines = written(capfd)
    assert len(lines) == 2 * logs.PER_SECOND
    assert lines[0]["suppressed"] == 10_000 - logs.BURST
    assert "suppressed" not in lines[1]
    assert logs.throttle.suppressed == 20_000 - logs.BURST - 2 * logs.PER_SECOND


def test_a_storm_of_one_logger_drops_no_line_of_another(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    for _ in range(10_000):
        logging.getLogger("storm").info("denied")
    logging.getLogger("other").error("failed")
    last = written(capfd)[-1]
    assert (last["level"], last["logger"], last["message"]) == ("ERROR", "other", "failed")


def test_a_line_that_is_checked_first_is_counted_once(clock: Clock) -> None:
    throttle = Throttle()
    record = logging.LogRecord("storm", logging.INFO, "", 0, "denied", (), None)
    passed = sum(throttle.admits("storm") and throttle.filter(record) for _ in range(1000))
    assert (passed, throttle.suppressed) == (logs.BURST, 1000 - logs.BURST)


LOGGING = """
import logging, sys
from sekisho.telemetry import logs
logs.configure("info")
for number in range(500):
    logging.getLogger("storm").info("x" * 1000)
print("logged", flush=True)
"""


def test_a_reader_of_the_log_that_does_not_read_delays_no_review() -> None:
    command = (sys.executable, "-c", LOGGING)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        assert process.wait(SOON) == 0


def test_the_last_lines_are_written_when_somebody_reads() -> None:
    ended = subprocess.run((sys.executable, "-c", LOGGING), capture_output=True, text=True, timeout=SOON, check=True)
    assert [json.loads(line)["message"] for line in ended.stderr.splitlines()] == ["x" * 1000] * 500


def test_lines_that_do_not_fit_are_counted(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING", 10)
    reading, writing = os.pipe()
    monkeypatch.setattr(logs, "_STDERR", writing)
    logs.configure("info")
    for _ in range(200):
        logging.getLogger("storm").info("x" * 10_000)
    assert logs.throttle.suppressed >= 200 - 10 - 65_536 // 10_000 - 2
    with os.fdopen(reading, "rb") as pipe:
        while not logging.getLogger().handlers[0].queue.empty():  # type: ignore[attr-defined]
            pipe.readline()
        os.close(writing)

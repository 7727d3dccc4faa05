"""The log: bounded, whatever happens."""

import json
import logging
from collections.abc import Iterator

import pytest

from sekisho.cluster import logs
from sekisho.cluster.logs import Throttle


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


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_storm_writes_a_burst_and_then_so_many_a_second(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    storm = logging.getLogger("storm")
    for _ in range(10_000):
        storm.info("refused")
    assert len(written(capsys)) == logs.BURST
    clock.now += 2.0
    for _ in range(10_000):
        storm.info("refused")
    lines = written(capsys)
    assert len(lines) == 2 * logs.PER_SECOND
    assert lines[0]["suppressed"] == 10_000 - logs.BURST
    assert "suppressed" not in lines[1]
    assert logs.throttle.suppressed == 20_000 - logs.BURST - 2 * logs.PER_SECOND


def test_a_storm_of_one_logger_hides_nothing_of_another(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    for _ in range(10_000):
        logging.getLogger("storm").info("refused")
    logging.getLogger("other").error("failed")
    last = written(capsys)[-1]
    assert (last["level"], last["logger"], last["message"]) == ("ERROR", "other", "failed")


def test_what_is_asked_first_is_counted_once(clock: Clock) -> None:
    throttle = Throttle()
    record = logging.LogRecord("storm", logging.INFO, "", 0, "refused", (), None)
    passed = sum(throttle.admits("storm") and throttle.filter(record) for _ in range(1000))
    assert (passed, throttle.suppressed) == (logs.BURST, 1000 - logs.BURST)

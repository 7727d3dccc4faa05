"""The table of `sekisho denials`: what others wrote into Events does not make it as large as they like."""

from datetime import UTC, datetime

import pytest

from sekisho.cli.denials import show_table
from sekisho.cluster.denial_history import Denial, Owner

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def denial(name: str) -> Denial:
    owner = Owner("apps/v1", "Deployment", name)
    return Denial("shop", owner, "PodDenied", ["restricted"], ["privileged"], [], 1, NOW, NOW, "a note")


def test_columns_are_as_wide_as_their_longest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([denial("web"), denial("a-long-name")])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.index("COUNT") == first.index(" 1 ") + 1 == second.index(" 1 ") + 1


def test_one_very_long_name_does_not_widen_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([denial("x" * 100_000), *(denial(f"web-{number}") for number in range(100))])
    assert len(capsys.readouterr().out) < 100_000 + 100 * 1_000

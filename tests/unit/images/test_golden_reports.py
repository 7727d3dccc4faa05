"""Reports of several releases of Trivy and Grype: what is read of each, and which are denied."""

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.images.golden_reports import GRYPE, OLDER_GRYPE, OLDER_TRIVY, TRIVY
from tests.unit.images.scan_data import HOUR
from tests.unit.images.signing import NOW
from tests.unit.images.test_scans import cells, read

GOLDEN = {f"trivy {name}": one for name, one in TRIVY.items()} | {f"grype {name}": one for name, one in GRYPE.items()}
OLD = timedelta(hours=1, microseconds=876_544)


@pytest.mark.parametrize("name", GOLDEN)
def test_report_of_a_release_is_read(name: str) -> None:
    golden = GOLDEN[name]
    scan = read(golden.report)
    assert (scan.scanner, scan.problem, cells(scan)) == (name.partition(" ")[0], "", golden.cells)
    worst = scan.worst[0]
    assert (worst.id, worst.package, worst.installed, worst.fixed) == golden.worst


@pytest.mark.parametrize(("name", "age"), [("trivy 0.50", OLD), ("grype 0.87", OLD), ("trivy 0.20", HOUR)])
def test_time_of_a_report_counts_where_it_has_one(name: str, age: timedelta) -> None:
    (golden,) = (one for title, one in GOLDEN.items() if title.startswith(name))
    assert read(golden.report).finished == NOW - age


@pytest.mark.parametrize(
    ("report", "scanner", "problem"),
    [
        (OLDER_TRIVY, "", "its report is a list without a schema version, as before Trivy 0.20; 2 is supported"),
        (OLDER_GRYPE, "grype", "its report has another form: Object missing required field `fix`"),
    ],
)
def test_report_of_an_older_release_is_denied(report: Any, scanner: str, problem: str) -> None:
    scan = read(report)
    assert (scan.scanner, cells(scan)) == (scanner, {})
    assert scan.problem.startswith(problem)

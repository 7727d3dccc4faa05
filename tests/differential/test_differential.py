"""The engine's Pod Security Standards say of every pod what Kubernetes says of it, control by control."""

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.controls import LEVELS, NEWEST, Level
from sekisho.standards import controls_of
from tests.controlplane.progress import Progress
from tests.differential import comparison
from tests.differential.comparison import Comparison, compare, compare_updates, denied_by_engine
from tests.differential.generator import Case
from tests.differential.reduction import reduced
from tests.differential.reference import denied_by_kubernetes, evaluator

PODS = 20_000
UPDATES = 4_000
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def binary() -> Path:
    return evaluator(Progress())


@pytest.fixture(scope="module")
def compared(binary: Path) -> Comparison:
    return compare(binary, "every test run", PODS)


def test_engine_and_kubernetes_agree_on_every_control_of_20000_pods(binary: Path, compared: Comparison) -> None:
    assert compared.count == PODS
    assert [reduced(binary, difference) for difference in compared.differences[:3]] == []


@pytest.mark.parametrize(
    ("level", "control"), [(level, control) for level in LEVELS for control in controls_of(level, NEWEST)]
)
@pytest.mark.parametrize("denies", [True, False])
def test_every_control_both_denies_and_passes_among_them(
    compared: Comparison, level: str, control: str, denies: bool
) -> None:
    assert compared.verdicts[level, control, denies] >= 100  # type: ignore[index]


def test_engine_and_kubernetes_agree_on_4000_updates(binary: Path) -> None:
    compared = compare_updates(binary, "every test run", UPDATES)
    assert [reduced(binary, difference) for difference in compared.differences[:3]] == []
    denied = sum(count for (_, _, denies), count in compared.verdicts.items() if denies)
    assert denied >= 1000


def test_an_update_that_changes_nothing_that_runs_excuses_what_the_old_pod_had(binary: Path) -> None:
    violating = '{"metadata":{},"spec":{"hostPID":true,"containers":[{"name":"app","image":"a"}]}}'
    labelled = violating.replace('"metadata":{}', '"metadata":{"labels":{"a":"b"}}')
    other_image = violating.replace('"image":"a"', '"image":"b"')
    excused, judged = (Case(Level.BASELINE, "latest", new, violating) for new in (labelled, other_image))
    assert denied_by_kubernetes(binary, (excused, judged)) == [frozenset(), {"hostNamespaces"}]
    assert [denied_by_engine(excused), denied_by_engine(judged)] == [frozenset(), {"hostNamespaces"}]


def test_a_wrong_engine_is_detected_with_a_small_pod(binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = comparison._policy  # noqa: SLF001
    monkeypatch.setattr(comparison, "_policy", lambda level, _version: right(level, "v1.36"))
    wrong = [
        difference
        for difference in compare(binary, "wrong", 2000).differences
        if difference.case.version in ("latest", "v1.37") and difference.kubernetes < difference.engine
    ]
    small = min((reduced(binary, difference) for difference in wrong[:3]), key=lambda one: len(one.case.pod))
    assert small.engine ^ small.kubernetes == {"sysctls"}
    assert small.case.pod in (
        '{"spec":{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_notsent_lowat"}]}}}',
        '{"spec":{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_slow_start_after_idle"}]}}}',
    )


def test_command_line_says_how_many_pods_agree(binary: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "tests.differential", "300", "--seed", "1"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[0].endswith(": 0 differ")) == (0, True), done

"""What holds for every control: it is in the order, has cases in its test file, and its page's examples are true."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sekisho.controls import CONTROLS, ORDER
from sekisho.standards import controls_of
from tests.unit.controls.twins import at_level
from tools.control_pages import control_pages, example_denial

ALL = pytest.mark.parametrize("name", CONTROLS)


def test_every_control_is_in_the_order_in_which_findings_are_reported() -> None:
    assert tuple(CONTROLS) == ORDER


@ALL
def test_control_has_a_test_file_with_denied_and_allowed_pods(name: str) -> None:
    module = CONTROLS[name].parameters.__module__.rpartition(".")[2]
    tests = import_module(f"tests.unit.controls.test_{module}")
    tables = [table for key, table in vars(tests).items() if key.endswith("_TWINS")]
    assert sum(map(len, tables)) > 0


@ALL
def test_control_is_documented(name: str) -> None:
    control = CONTROLS[name]
    assert control.summary.endswith(".")
    assert control.why.endswith(".")
    assert not control.reason.endswith(".")
    assert control.parameters.__doc__


@ALL
def test_example_is_denied_by_this_control_alone(name: str) -> None:
    control = CONTROLS[name]
    assert example_denial(control, control.example.denied)[0] == {name}


@ALL
def test_allowed_example_is_admitted(name: str) -> None:
    control = CONTROLS[name]
    assert example_denial(control, control.example.allowed)[0] == set()


def test_no_page_is_left_of_a_control_that_is_gone() -> None:
    pages = {f"controls/{path.name}" for path in (Path(__file__).parents[3] / "docs/controls").iterdir()}
    assert pages == control_pages().keys() - {"controls.md"}


@pytest.mark.parametrize(
    "absent", [{}, {"containers": None, "initContainers": None, "volumes": None, "securityContext": None}]
)
def test_null_means_absent(absent: dict[str, Any]) -> None:
    for name in controls_of("baseline", 37):
        assert at_level(name, {"spec": absent}, "baseline") == []

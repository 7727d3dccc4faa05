"""What holds for every control: it is in the order, has cases in its test file, and its page's examples are true."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from sekisho.controls import CONTROLS, NEWEST, ORDER, Control, Level, Parameters, complete, no_longer_allowed
from sekisho.controls.capabilities import BASELINE_ADD
from sekisho.policies.crd import schema_of
from sekisho.standards import controls_of
from tests.pods import container, restricted_pod, with_container_in
from tests.unit.controls.twins import Pod, at_level, context, pod_context, with_parameters
from tools.control_pages import control_pages, example_denial, parameter_table, parameters_below

ALL = pytest.mark.parametrize("name", CONTROLS)
LEVELS: tuple[Level, ...] = (Level.BASELINE, Level.RESTRICTED)


def test_every_control_is_in_the_order_in_which_findings_are_reported() -> None:
    assert tuple(CONTROLS) == ORDER, "add the control to ORDER in controls/__init__.py"


FOLDER = Path(__file__).parent


def cases_of(name: str) -> ModuleType:
    module = CONTROLS[name].parameters.__module__.rpartition(".")[2]
    assert (FOLDER / f"test_{module}.py").exists(), f"{name} needs tests: write tests/unit/controls/test_{module}.py"
    return import_module(f"tests.unit.controls.test_{module}")


def tables_of(tests: ModuleType) -> dict[str, list[Any]]:
    """The tables of denied pods beside allowed ones."""
    return {key: table for key, table in vars(tests).items() if key.endswith("_TWINS")}


def denied_pods(tests: ModuleType) -> Iterator[Pod]:
    for key, table in tables_of(tests).items():
        for twin in table:
            if key == "PARAMETER_TWINS":
                yield twin[1]
            else:
                yield with_container_in("containers", twin[0]) if "CONTAINER" in key else restricted_pod(**twin[0])


@ALL
def test_control_has_a_test_file_with_denied_and_allowed_pods(name: str) -> None:
    tests = cases_of(name)
    tables = tables_of(tests)
    no_level_has_it = not any(CONTROLS[name].standard(level, NEWEST) for level in LEVELS)
    named = ["PARAMETER_TWINS"] if no_level_has_it else ["CONTAINER_TWINS", "POD_TWINS", "PARAMETER_TWINS"]
    assert any(map(tables.get, named)), f"{tests.__name__} needs a table of twins.py: {' or '.join(named)}"
    marks = [mark for test in vars(tests).values() for mark in getattr(test, "pytestmark", ())]
    parameters_of_tests = [mark.args[1] for mark in marks if mark.name == "parametrize"]
    unused = [key for key, table in tables.items() if not any(values is table for values in parameters_of_tests)]
    assert unused == [], f"no test of {tests.__name__} is parametrized by these tables"


@ALL
def test_control_says_whether_it_needs_parameters(name: str) -> None:
    findings = [finding for pod in denied_pods(cases_of(name)) for finding in with_parameters(name, {}, pod)]
    # No container runs an image whose reference is not valid, so denying it requires nothing.
    requires = any(finding.allowed != "a valid image reference" for finding in findings)
    assert CONTROLS[name].needs_parameters is not requires, "set needs_parameters in CONTROL"


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


ADDITIONS = [
    (name, field.name.removeprefix("additional_"), field.name)
    for name, control in CONTROLS.items()
    for field in structs.fields(control.parameters)
    if field.name.startswith("additional_")
]


@pytest.mark.parametrize(("name", "replaces", "adds"), ADDITIONS)
@pytest.mark.parametrize("level", LEVELS)
def test_addition_keeps_what_the_level_allows(name: str, replaces: str, adds: str, level: Level) -> None:
    control = CONTROLS[name]
    standard = control.standard(level, NEWEST)
    if standard is None:
        return
    listed = getattr(standard, replaces)
    added = complete(control, control.parameters(**{adds: ("x", listed[0])}), level, NEWEST)
    replaced = complete(control, control.parameters(**{replaces: ("x",)}), level, NEWEST)
    assert getattr(added, replaces) == (*listed, "x")
    assert getattr(replaced, replaces) == ("x",)
    assert getattr(added, adds) is getattr(replaced, adds) is None


def test_every_list_that_a_level_fills_can_be_added_to() -> None:
    filled = {
        (name, key)
        for level in LEVELS
        for name, parameters in controls_of(level, NEWEST).items()
        for key, value in structs.asdict(parameters).items()
        if key.startswith("allowed") and isinstance(value, tuple) and value
    }
    profiles = {("seccompProfile", "allowed_types"), ("appArmorProfile", "allowed_types")}  # only Unconfined is left
    assert filled - profiles == {(name, replaces) for name, replaces, _ in ADDITIONS}


def test_list_that_replaces_what_the_level_allows_is_named() -> None:
    control = CONTROLS["capabilities"]
    replaced = control.parameters(allowed_add=("NET_ADMIN", "KILL"))
    ((parameter, additional, lost),) = no_longer_allowed(control, replaced, Level.BASELINE, NEWEST)
    assert (parameter, additional) == ("allowedAdd", "additionalAllowedAdd")
    assert "CHOWN" in lost
    assert "KILL" not in lost
    for meant in ((), ("CHOWN",), (*BASELINE_ADD, "NET_ADMIN")):
        assert list(no_longer_allowed(control, control.parameters(allowed_add=meant), Level.BASELINE, NEWEST)) == []
    assert list(no_longer_allowed(control, replaced, Level.PRIVILEGED, NEWEST)) == []


def test_no_page_is_left_of_a_control_that_is_gone() -> None:
    pages = {f"controls/{path.name}" for path in (Path(__file__).parents[3] / "docs/controls").iterdir()}
    assert pages == control_pages().keys() - {"controls.md"}


@pytest.mark.parametrize(
    "absent", [{}, {"containers": None, "initContainers": None, "volumes": None, "securityContext": None}]
)
def test_null_means_absent(absent: dict[str, Any]) -> None:
    for name in controls_of("baseline", 37):
        assert at_level(name, {"spec": absent}, Level.BASELINE) == []


def _claims_case(parameter: str) -> tuple[str, dict[str, Any], Pod]:
    key = "resourceClaimName" if parameter == "allowedClaims" else "resourceClaimTemplateName"
    return "resourceClaims", {parameter: ["a", "b"]}, restricted_pod(resourceClaims=[{"name": "c", key: "other"}] * 2)


@ALL
def test_page_says_what_applies_while_a_parameter_is_unset(name: str) -> None:
    control: Control[Parameters] = CONTROLS[name]
    rows = [line.split("|")[3:-2] for line in control_pages()[f"controls/{name}.md"].splitlines()]
    assert [row for row in rows if row and not all(map(str.strip, row))] == []
    assert control.unset.keys() <= {path for path, _, _ in parameters_below("", schema_of(control.parameters))}


def test_page_of_a_control_that_does_not_say_what_applies_while_a_parameter_is_unset_is_an_error() -> None:
    control = structs.replace(CONTROLS["labels"], unset={"required": "none", "denied": "none"})
    with pytest.raises(LookupError, match="`unset` of the control labels what applies while allowedValues is unset"):
        list(parameter_table(control))


LISTS_IN_FINDINGS: list[tuple[str, dict[str, Any], Pod]] = [
    (
        "sysctls",
        {"allowed": ["*"], "forbidden": ["kernel.*", "net.*"]},
        pod_context(sysctls=[{"name": "net.a", "value": ""}, {"name": "net.b", "value": ""}]),
    ),
    ("images", {"trustedRegistries": ["a.example", "b.example"]}, restricted_pod(container("a"), container("b"))),
    (
        "images",
        {"deniedTags": ["edge", "latest"]},
        restricted_pod(container("a", image="c.example/x"), container("b", image="c.example/y:edge")),
    ),
    _claims_case("allowedClaims"),
    _claims_case("allowedTemplates"),
    (
        "resourceClaims",
        {"allowedDeviceClasses": ["a", "b"]},
        restricted_pod(
            container(resources={"limits": {f"deviceclass.resource.kubernetes.io/{name}": "1" for name in "cd"}})
        ),
    ),
    (
        "seccompProfile",
        {"localhostProfiles": ["a", "b"]},
        restricted_pod(
            *(
                container(name, securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": name}})
                for name in "cd"
            )
        ),
    ),
    (
        "serviceAccountToken",
        {"allowedAudiences": ["a", "b"]},
        restricted_pod(
            automountServiceAccountToken=False,
            volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"audience": "c"}}] * 2}}],
        ),
    ),
    (
        "capabilities",
        {"allowedAdd": ["CHOWN", "KILL", "ALL"], "requiredDrop": ["CHOWN", "KILL"]},
        context(capabilities={"add": ["CHOWN", "KILL"], "drop": ["ALL"]}),
    ),
]


@pytest.mark.parametrize(("name", "parameters", "pod"), LISTS_IN_FINDINGS)
def test_findings_share_the_text_of_a_list(name: str, parameters: dict[str, Any], pod: Pod) -> None:
    """A pod may have thousands of findings, and a list may have 64 KiB in words."""
    first, second = with_parameters(name, parameters, pod)
    assert first.allowed is second.allowed

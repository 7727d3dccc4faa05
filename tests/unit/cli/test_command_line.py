"""The command line as a whole: misspelt commands, variables for options, and policies from a pipe."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sekisho.cli import main
from sekisho.cli.groups import variable_of
from tests.unit.cli.sekisho_command import BAD_POD, RESTRICTED, sekisho


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["chekc"], "there is no command 'chekc'; did you mean check?"),
        (["policies", "lst"], "there is no command 'lst'; did you mean list?"),
        (["migrate", "xyz"], "there is no command 'xyz'; see main migrate --help"),
    ],
)
def test_a_misspelt_command_gets_a_suggestion(arguments: list[str], error: str) -> None:
    result = sekisho(*arguments)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {error}")


def test_a_misspelt_option_gets_a_suggestion() -> None:
    result = sekisho("check", "--standart", "baseline", "x")
    assert (result.exit_code, "--standard" in result.stderr) == (2, True)


def options(command: click.Command, prefix: str) -> Iterator[tuple[str, click.Option, click.Command]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            yield variable_of(parameter, prefix), parameter, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from options(below, f"{prefix}_{name.upper()}")


def all_options() -> list[tuple[str, click.Option, click.Command]]:
    context = click.Context(main)
    commands = [(name, main.get_command(context, name)) for name in main.list_commands(context)]
    return [one for name, command in commands if command for one in options(command, f"SEKISHO_{name.upper()}")]


OPTIONS = all_options()


@pytest.mark.parametrize(("variable", "option", "command"), OPTIONS, ids=[variable for variable, *_ in OPTIONS])
def test_every_option_is_set_by_the_variable_of_its_name(
    variable: str, option: click.Option, command: click.Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert variable.endswith(next(name for name in option.opts if name.startswith("--"))[2:].replace("-", "_").upper())
    assert option.envvar == variable
    monkeypatch.setenv(variable, "1")
    assert option.resolve_envvar_value(click.Context(command)) == "1"


def test_a_variable_sets_an_option_and_the_command_line_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_CHECK_POLICY", f"{RESTRICTED}:{RESTRICTED.parents[1] / 'baseline/policy.yaml'}")
    monkeypatch.setenv("SEKISHO_CHECK_OUTPUT", "json")
    result = sekisho("check", "-", text=BAD_POD)
    assert (result.exit_code, '"policies": [\n            "baseline",' in result.stdout) == (1, True)
    assert sekisho("check", "-o", "text", "-", text=BAD_POD).stdout.startswith("<stdin>:1:1: Pod")


def test_policies_are_read_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(BAD_POD)
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + RESTRICTED.read_text().replace("\n", "\n  ")
    for text in (RESTRICTED.read_text(), listed):
        result = sekisho("check", "-p", "-", tmp_path, text=text)
        assert (result.exit_code, 'policy "restricted"' in result.stdout) == (1, True), result.output
    nothing = sekisho("check", "-p", "-", tmp_path, text="apiVersion: v1\nkind: ConfigMap\n")
    assert (nothing.exit_code, nothing.stderr.startswith("Error: <stdin>: holds no ClusterPodPolicy")) == (2, True)


def test_policy_errors_are_in_the_order_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    controls = "  controls:\n    hostPorts:\n      allowed: [{min: x}]\n    nothing: {}\n"
    spec = f"spec:\n  unknown: 1\n{controls}  enforcement: No\n"
    policy = f"apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata:\n  name: p\n{spec}"
    file.write_text(f"{policy}---\n{policy}")
    result = sekisho("check", "-p", file, "-", text=BAD_POD)
    lines = [int(line.split(":")[2]) for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert (result.exit_code, len(lines) >= 6, lines == sorted(lines)) == (2, True, True)

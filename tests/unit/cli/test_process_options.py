"""The options of the two processes: each is documented, and each is an environment variable."""

import click
import pytest
from click.testing import CliRunner

from sekisho.cli import main
from tools.configuration import PROCESSES, configuration_page, context_of, options_of, variable_of

OPTIONS = [(process, option) for process in PROCESSES for option in options_of(context_of(process).command)]
VALUES = {"integer range": ("1234", "4321"), "float range": ("1.5", "2.5"), "reasons": ("PodDenied", "PodWarned")}
NAMES = [f"{process} {option.opts[0]}" for process, option in OPTIONS]


def helped(process: str) -> str:
    """The help of a command, without line breaks and indents."""
    result = CliRunner().invoke(main, [process, "--help"])
    assert result.exit_code == 0
    return "".join(result.stdout.split())


@pytest.mark.parametrize(("process", "option"), OPTIONS, ids=NAMES)
def test_every_option_is_documented_with_its_variable(process: str, option: click.Option) -> None:
    shown = helped(process)
    assert option.help
    assert option.help.endswith(".")
    assert "".join(option.help.split()) in shown
    variable = variable_of(option, context_of(process))
    assert f"[envvar:{variable}" in shown
    assert f"| `{option.opts[0]}` | `{variable}` |" in configuration_page()


@pytest.mark.parametrize(("process", "option"), OPTIONS, ids=NAMES)
def test_every_variable_is_read_and_the_command_line_overrides_it(
    process: str, option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, other = VALUES.get(option.type.name, ("here", "there"))
    if isinstance(option.type, click.Choice):
        text, *_, other = option.type.choices
    elif option.is_flag:
        text = "true"
    context = context_of(process)
    assert context.parent is not None
    monkeypatch.setenv(variable_of(option, context), text)

    def value(*arguments: str) -> str:
        params = context.command.make_context(process, list(arguments), parent=context.parent).params
        result = params[option.name or ""]
        return ",".join(result) if isinstance(result, tuple | frozenset) else str(result)

    if option.is_flag:
        assert (value(), value(*option.secondary_opts)) == ("True", "False")
        return
    assert value() == text
    assert value(f"{option.opts[0]}={other}") == other


@pytest.mark.parametrize("process", PROCESSES)
def test_a_wrong_value_in_a_variable_is_reported_with_the_option(process: str) -> None:
    variable = f"SEKISHO_{process.upper()}_METRICS_PORT"
    result = CliRunner().invoke(main, [process], env={variable: "many"})
    assert result.exit_code == 2
    assert "--metrics-port" in result.stderr

"""docs/cli.md shows what the commands write."""

import re
from importlib import import_module
from pkgutil import iter_modules

import pytest
from click import Command, Context, Group

import sekisho.cli
from sekisho.cli import main
from tests.unit.cli.cli_page import PAGE, ROOT, refreshed


def test_examples_of_the_page_are_the_output_of_the_commands() -> None:
    page = PAGE.read_text()
    assert refreshed(page) == page, "run: python -m tests.unit.cli.cli_page"


def test_every_offline_command_has_an_example() -> None:
    page = PAGE.read_text()
    context = Context(main)
    for name in set(main.list_commands(context)) - {"webhook", "controller"}:
        command = main.get_command(context, name)
        for below in [*command.commands] if isinstance(command, Group) else [""]:
            is_shown = re.search(rf"^\$ (.* \| )?sekisho {name} ?{below}\b", page, re.MULTILINE)
            assert is_shown, f"docs/cli.md has no example of sekisho {name} {below}"


def test_every_command_is_found_and_has_tests() -> None:
    names = [module.name for module in iter_modules(sekisho.cli.__path__, "sekisho.cli.")]
    modules = {name.rpartition(".")[2]: import_module(name) for name in names}
    commands = {name for name, module in modules.items() if isinstance(getattr(module, name, None), Command)}
    assert commands == set(main.list_commands(Context(main))), "add its module to _COMMANDS in cli/__init__.py"
    tests = {path.name for path in (ROOT / "tests").glob("*/**/test_*.py")}
    untested = [name for name in commands if not any(test.startswith(f"test_{name}") for test in tests)]
    assert untested == [], "test it in tests/unit/cli/test_NAME_command.py"


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (code, *_) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out
    assert "DaemonSet default/node-metrics 13 spec.template.spec.hostNetwork remove it or set it to false" in shown

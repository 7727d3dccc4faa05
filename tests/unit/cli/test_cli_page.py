"""docs/cli.md shows what the commands write."""

import re

import pytest
from click import Context, Group

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
            assert re.search(rf"^\$ (.* \| )?sekisho {name} ?{below}\b", page, re.MULTILINE)


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (code, *_) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out
    assert "DaemonSet default/node-metrics 13 spec.template.spec.hostNetwork remove it or set it to false" in shown

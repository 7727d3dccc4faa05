"""The generated reference has every value of the chart, every command with its options, and every field."""

from collections.abc import Iterator

import yaml

from sekisho.cli import main
from tools.configuration import context_of
from tools.reference_pages import CHART, chart_values, reference_pages

PAGES = reference_pages()


def paths(node: yaml.Node | None, above: str = "") -> Iterator[str]:
    """The path of each value. One that is written in braces is a single value."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    for name, value in node.value:
        yield f"{above}{name.value}"
        yield from paths(value, f"{above}{name.value}.")


def test_every_value_of_the_chart_is_listed_with_its_default() -> None:
    text = (CHART / "values.yaml").read_text()
    listed = {path: default for path, default, _ in chart_values(text.splitlines())}
    assert list(listed) == list(paths(yaml.compose(text)))
    assert listed["webhook.replicas"] == "`3`"
    assert listed["webhook"] == ""


def test_a_value_has_the_comment_above_it() -> None:
    lines = ["# Two", "# lines.", "a:", "  # Of b.", "  b: 1", "", "c: []"]
    assert list(chart_values(lines)) == [("a", "", "Two lines."), ("a.b", "`1`", "Of b."), ("c", "`[]`", "")]


def test_every_command_is_listed() -> None:
    for name in main.list_commands(context_of("check")):
        assert f"\n## sekisho {name}\n" in PAGES["commands.md"]
    assert "\n## sekisho migrate psa\n" in PAGES["commands.md"]
    assert "| `-o`, `--output` | `text` |" in PAGES["commands.md"]


def test_fields_have_their_types_and_defaults() -> None:
    assert '| `enforcement` | `Deny` or `Warn` or `Audit` | `"Deny"` |' in PAGES["fields.md"]
    assert "| `controls.hostPorts.allowed[].min` | integer |" in PAGES["fields.md"]

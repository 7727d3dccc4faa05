"""The logs of processes: those that still write them, and what they can write."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from sekisho.admission.answer import Decision

SOURCE = Path(__file__).parents[1] / "controller" / "sekisho"


def complete_lines(log: Path) -> list[str]:
    """The lines of a log; one whose end is not written yet is left out."""
    return log.read_bytes().rpartition(b"\n")[0].decode().splitlines()


def lines_of_source() -> list[str]:
    """A line for each message in the source, with its placeholders, as the processes write it: one object of JSON."""
    return [line for path in sorted(SOURCE.rglob("*.py")) for line in _lines_of(ast.parse(path.read_text()))]


def _lines_of(module: ast.Module) -> Iterator[str]:
    for call in ast.walk(module):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func).startswith("logger.")):
            continue
        texts = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        for message in texts[:1]:
            yield from (json.dumps({"message": message} | extra) for extra in _extras(call))


def _extras(call: ast.Call) -> Iterator[dict[str, str]]:
    """What a call adds to its line; a decision with each of its values."""
    added = [one.value for one in call.keywords if one.arg == "extra"]
    names = [
        key.value for one in added if isinstance(one, ast.Dict) for key in one.keys if isinstance(key, ast.Constant)
    ]
    extra = {str(name): "" for name in names}
    for decision in Decision if "decision" in extra else [""]:
        yield extra | ({"decision": str(decision)} if decision else {})

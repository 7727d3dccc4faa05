"""A function fits on a screen, with its signature and its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAX_LINES: Final = 43
SOURCES: Final = sorted(path for folder in ("controller", "tools") for path in (ROOT / folder).rglob("*.py"))


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_LINES:
                yield f"{node.name} has {lines} lines"


def test_no_function_is_longer_than_a_screen() -> None:
    assert len(SOURCES) > 200
    long = [f"{path.relative_to(ROOT)}: {name}" for path in SOURCES for name in long_functions(path.read_text())]
    assert long == [], f"split these where it reads better; {MAX_LINES} lines are a screen"


@pytest.mark.parametrize(("lines", "expected"), [(MAX_LINES, []), (MAX_LINES + 1, ["f has 44 lines"])])
def test_a_line_more_than_a_screen_is_too_long(lines: int, expected: list[str]) -> None:
    body = "\n".join("    pass" for _ in range(lines - 2))
    assert list(long_functions(f'async def f():\n    """What it does."""\n{body}\n')) == expected

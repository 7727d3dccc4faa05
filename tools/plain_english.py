"""Finds archaic and unclear words in texts, and says what to write instead.

`python -m tools.plain_english` checks what users read: the documentation, the chart and the string literals of the
product's code. It also checks what maintainers read: docstrings, comments and names in all code.
It prints each finding with its file and line, and exits with 1 if there are any.
"""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

ROOT: Final = Path(__file__).parents[1]
PROSE: Final = (
    "*.md",
    "Makefile",
    "Dockerfile",
    "docs/**/*.md",
    "policies/**/*.md",
    "policies/**/*.yaml",
    "tools/*.md",
    "charts/sekisho/*.yaml",
    "charts/sekisho/*.json",
    "charts/sekisho/files/**/*.yaml",
    "charts/sekisho/files/**/*.json",
    "charts/sekisho/templates/**/*.*",
)
CODE: Final = ("controller/sekisho/**/*.py",)
"""Code whose string literals are checked."""
ALL_CODE: Final = (*CODE, "tests/**/*.py", "tools/*.py")
"""Code whose docstrings, comments and names of functions are checked."""


class Word(Struct, frozen=True):
    """A word to avoid: a regular expression for it, and what to write instead."""

    pattern: str
    instead: str


WORDS: Final = (
    Word(r"refus(e|es|ed|ing|als?)", "denies a pod; rejects an invalid object"),
    Word(r"tell(s|ing)? of|told of", "reports; says; shows"),
    Word(r"is told\b|are told", "is reported; sees"),
    Word(r"anew", "again; new"),
    Word(r"dress(es|ed|ing)?", "defaults are applied"),
    Word(r"whoever", "anyone who; the user who"),
    Word(r"twice", "duplicate; two times"),
    Word(r"lends?|lent", "gives; provides"),
    Word(r"lift(s|ed|ing)?", "a waiver exempts"),
    Word(r"pods? (that )?enter(s|ed)?|enter(s|ed)? unjudged", "is admitted"),
    Word(r"let(s|ting)? ((pods?|it|them) )?in", "admits; accepts"),
    Word(r"mend(s|ed|ing)?", "correct; repair"),
    Word(r"what is over", "anything above"),
    Word(r"to the letter", "exactly"),
    Word(r"shall", "must; should"),
    Word(r"in vain", "without success; fails"),
    Word(r"unsaid", "unset"),
    Word(r"speaks? of|spoken of", "is about; names"),
    Word(r"(policy|policies|level|standard|controls?) asks?", "requires"),
    Word(r"(ha(s|ve)|is|are) to be", "must be; will be"),
    Word(r"all the same", "anyway; still"),
    Word(r"made again", "created again"),
    Word(r"in force", "in effect"),
    Word(r"catalogues?", "catalog, as in ImageCatalog"),
    Word(r"outweighs?", "takes precedence over"),
    Word(r"without end|for ever", "forever; without limit"),
    Word(r"(at most|about|within|after|by|of|in|for|with) so (many|much|long)", "the number, or the parameter's name"),
    Word(r"^the same", "what it is: a reader may not have read the text before it"),
    Word(
        r"hence(forth)?|thence|whence|whither|hitherto|thereof|thereby|wherein|whereby|lest|nought|naught|forthwith",
        "modern words",
    ),
    Word(r"(?<!there )(is|are|was|were) no (?!longer|more|one|such)\w+", "is not a; are not"),
)
NAMES: Final = frozenset(
    ("anew", "asked", "chosen", "dressed", "each", "found", "given", "lends", "looks", "most", "told", "tried", "twice")
)
"""What no variable, parameter, attribute, function or class may be called: it does not say what the thing is."""
EXCEPTIONS: Final = (
    "connection refused",
    "refused connection",
)
"""Phrases in which a word is right: the names that other programs and protocols use."""

_ALONE: Final = tuple(re.compile(rf"\b(?:{word.pattern})\b", re.I) for word in WORDS)
_WORD: Final = re.compile("|".join(pattern.pattern for pattern in _ALONE), re.I)
_NAME: Final = re.compile(rf"\b_*(?:{'|'.join(sorted(NAMES))})\b(?:\s*[:=,)(]|\s+in\b)|\bdef _*of_")
_EXCEPTION: Final = re.compile("|".join(map(re.escape, EXCEPTIONS)), re.I)


class Finding(Struct, frozen=True):
    """A word to avoid in a text: the line in the text, counted from 1, the word, and what to write instead."""

    line: int
    word: str
    instead: str


def findings(text: str) -> Iterator[Finding]:
    """The words to avoid in a text, in order. Line breaks count as spaces."""
    flat = re.sub(r"\s", " ", text)
    flat = _EXCEPTION.sub(lambda match: " " * len(match[0]), flat)
    for match in _WORD.finditer(flat):
        instead = next(
            word.instead for word, alone in zip(WORDS, _ALONE, strict=True) if alone.match(flat, match.start())
        )
        yield Finding(text.count("\n", 0, match.start()) + 1, match[0], instead)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """The string literals of Python code with their first line, including docstrings and the text of f-strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def words_of_code(source: str) -> Iterator[tuple[int, str]]:
    """The comments, docstrings and names of functions of Python code with their first line; names as words."""
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name.replace("_", " ")
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if ast.get_docstring(node, clean=False) is not None and first is not None:
                yield first.lineno, ast.get_docstring(node, clean=False) or ""


def bad_names(source: str) -> Iterator[Finding]:
    """The names that Python code declares or assigns and that do not say what the thing is."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.lstrip("_").startswith("of_"):
                    yield Finding(node.lineno, name, "what the function returns")
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                pass
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case _:
                continue
        if name.strip("_") in NAMES:
            yield Finding(node.lineno, name, "a name that says what the thing is")


def check(root: Path) -> Iterator[str]:
    """One line for each finding in the files below `root`."""
    for path in _files(root, PROSE):
        for finding in findings(path.read_text()):
            yield _line(path.relative_to(root), finding.line, finding)
    product = _files(root, CODE)
    for path in _files(root, ALL_CODE):
        source = path.read_text()
        for finding in bad_names(source) if _NAME.search(source) else ():
            yield _line(path.relative_to(root), finding.line, finding)
        if not _WORD.search(re.sub(r"[\s_]", " ", source)):  # parsing each file takes seconds
            continue
        texts = {*words_of_code(source), *(literals(source) if path in product else ())}
        for first, text in sorted(texts):
            for finding in findings(text):
                yield _line(path.relative_to(root), first + finding.line - 1, finding)


def _files(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})


def _line(path: Path, line: int, finding: Finding) -> str:
    return f"{path}:{line}: {finding.word!r}: write: {finding.instead}"


@click.command()
def main() -> None:
    """Print archaic and unclear words in texts that users read; exit with 1 if there are any."""
    lines = list(check(ROOT))
    print(*lines, sep="\n", end="\n" if lines else "")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()

"""Finds archaic and unclear words in texts that users read, and says what to write instead.

`python -m tools.plain_english` checks the documentation, the chart and the string literals of the product's code
(docstrings too, because some are shown by `--help`). It prints each finding with its file and line, and exits with 1 if
there are any.
"""

import ast
import re
import sys
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
    Word(r"outweighs?", "takes precedence over"),
    Word(r"without end|for ever", "forever; without limit"),
    Word(
        r"hence(forth)?|thence|whence|whither|hitherto|thereof|thereby|wherein|whereby|lest|nought|naught|forthwith",
        "modern words",
    ),
    Word(r"(?<!there )(is|are|was|were) no (?!longer|more|one|such)\w+", "is not a; are not"),
)
EXCEPTIONS: Final = (
    "connection refused",
    "refused connection",
)
"""Phrases in which a word is right: the names that other programs and protocols use."""

_WORD: Final = re.compile(
    "|".join(rf"(?P<w{number}>\b(?:{word.pattern})\b)" for number, word in enumerate(WORDS)), re.I
)
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
        word = WORDS[int((match.lastgroup or "w0")[1:])]
        yield Finding(text.count("\n", 0, match.start()) + 1, match[0], word.instead)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """The string literals of Python code with their first line, including docstrings and the text of f-strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def check(root: Path) -> Iterator[str]:
    """One line for each finding in the files below `root`."""
    for path in _files(root, PROSE):
        for finding in findings(path.read_text()):
            yield _line(path.relative_to(root), finding.line, finding)
    for path in _files(root, CODE):
        for first, literal in literals(path.read_text()):
            for finding in findings(literal):
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

"""Text of the Common Expression Language: literals, patterns, and the operators that join expressions."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

TRUE: Final = "true"
FALSE: Final = "false"
_SPECIAL: Final = re.compile(r"[^A-Za-z0-9_/-]")
_PUNCTUATION: Final = frozenset(".+*?()[]{}|^$:@")


def text(value: str) -> str:
    """A string literal."""
    return json.dumps(value, ensure_ascii=False)


def texts(values: Iterable[str]) -> str:
    """A list of string literals."""
    return f"[{', '.join(map(text, values))}]"


def regex(pattern: str) -> str:
    """A regular expression as a raw string literal; it must have no quotes."""
    if '"' in pattern:
        raise ValueError(f"a quote in the regular expression {pattern}")
    return f'r"{pattern}"'


def is_in(value: str, values: Sequence[str]) -> str:
    """Whether a value is one of some strings."""
    return f"{value} in {texts(values)}" if values else FALSE


def all_of(conditions: Iterable[str]) -> str:
    """Whether all conditions hold; those that are `true` are left out."""
    needed = [condition for condition in conditions if condition != TRUE]
    if FALSE in needed:
        return FALSE
    return " && ".join(map(_grouped, needed)) if len(needed) > 1 else "".join(needed) or TRUE


def any_of(conditions: Iterable[str]) -> str:
    """Whether one of the conditions holds; those that are `false` are left out."""
    needed = [condition for condition in conditions if condition != FALSE]
    if TRUE in needed:
        return TRUE
    return " || ".join(map(_grouped, needed)) if len(needed) > 1 else "".join(needed) or FALSE


def negated(condition: str) -> str:
    """Whether a condition does not hold."""
    return {TRUE: FALSE, FALSE: TRUE}.get(condition) or f"!({condition})"


def _grouped(condition: str) -> str:
    return f"({condition})" if re.search(r" (\|\||&&|\?) ", condition) else condition


def mapped(entries: str, variable: str, fields: Mapping[str, str]) -> str:
    """A list of maps, one for each entry; fields by their names, as expressions over the variable."""
    pairs = ", ".join(f"{text(name)}: {value}" for name, value in fields.items())
    return f"{entries}.map({variable}, {{{pairs}}})"


def glob_pattern(glob: str, any_characters: str = ".*") -> str:
    """A regular expression, without anchors, for a text with wildcards.

    any_characters: what `*` matches.
    """
    return any_characters.join(_SPECIAL.sub(_escaped, part) for part in glob.split("*"))


def begins_with(value: str, patterns: Sequence[str]) -> str:
    """Whether a string begins with what one of some regular expressions matches."""
    joined = "|".join(patterns)
    return f"{value}.matches({regex(f'^(?:{joined})')})" if patterns else FALSE


def _escaped(character: re.Match[str]) -> str:
    return f"\\{character[0]}" if character[0] in _PUNCTUATION else f"\\x{{{ord(character[0]):x}}}"


def glob_match(value: str, globs: Sequence[str]) -> str:
    """Whether one of some texts with wildcards matches a string as a whole."""
    if "*" in globs:
        return TRUE
    exact = [glob for glob in globs if "*" not in glob]
    wild = "|".join(glob_pattern(glob) for glob in globs if "*" in glob)
    return any_of((is_in(value, exact), f"{value}.matches({regex(f'^(?s:{wild})$')})" if wild else FALSE))

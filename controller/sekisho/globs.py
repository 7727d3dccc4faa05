"""Wildcards: `*` matches any number of any characters; a pattern must match the whole text."""


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the text, in linear time, without backtracking."""
    if "*" not in pattern:
        return pattern == text
    head, *middle, tail = pattern.split("*")
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    position, end = len(head), len(text) - len(tail)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def globs_meet(one: str, other: str) -> bool:
    """Whether some text matches both patterns; takes time in proportion to the product of their lengths."""
    prefix, other_prefix = one.partition("*")[0], other.partition("*")[0]
    if not prefix.startswith(other_prefix) and not other_prefix.startswith(prefix):
        return False  # a cheap test that rules out most pairs
    # row[j]: whether some text matches both the part of `one` read so far and other[:j]
    row = [True]
    for letter in other:
        row.append(row[-1] and letter == "*")
    for letter in one:
        next_row = [row[0] and letter == "*"]
        for j, other_letter in enumerate(other):
            is_wildcard = "*" in (letter, other_letter)
            next_row.append(row[j + 1] or next_row[j] if is_wildcard else row[j] and letter == other_letter)
        row = next_row
    return row[-1]

"""Wildcards: `*` stands for any characters, none included; patterns are anchored at both ends."""


def glob_matches(pattern: str, text: str) -> bool:
    """Whether `*` wildcards in the pattern can be filled so that it equals the text; linear, without backtracking."""
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

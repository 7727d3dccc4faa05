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


def globs_meet(one: str, other: str) -> bool:
    """Whether there is a text that both patterns match; takes the product of their lengths."""
    head, other_head = one.partition("*")[0], other.partition("*")[0]
    if not head.startswith(other_head) and not other_head.startswith(head):
        return False  # as most do, at little cost
    met = [True]  # met[j]: what came so far of `one` and other[:j] match a text in common
    for letter in other:
        met.append(met[-1] and letter == "*")
    for asked in one:
        following = [met[0] and asked == "*"]
        for j, letter in enumerate(other):
            is_open = "*" in (asked, letter)
            following.append(met[j + 1] or following[j] if is_open else met[j] and asked == letter)
        met = following
    return met[-1]

"""Paths on a node: one spelling for every path that leads to the same file."""

from typing import Final

_PROCESSES: Final = frozenset(("self", "thread-self"))
_ROOTS: Final = frozenset(("root", "cwd"))
_MAX_PROCESS_PATH: Final = 5  # /proc/1/task/1/root


def node_path(path: str) -> str:
    """The path as the node resolves it: absolute, without `.`, `..`, doubled and trailing slashes and known links.

    The links: /var/run points to /run; /proc/1/root points to the root of the file system, and so does the root of
    every other process of the node. The working directory of a process counts as its root, because only the node knows
    it. Other links of a node cannot be known here.
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            del parts[-1:]
            continue
        parts.append(part)
        if len(parts) <= _MAX_PROCESS_PATH and part in _ROOTS and _is_process(parts[:-1]):
            parts.clear()
        elif parts == ["var", "run"]:
            parts = ["run"]
    return "/" + "/".join(parts)


def process_folder(path: str) -> bool:
    """Whether a path of `node_path` is /proc, or a folder in it through which a process's root can be reached."""
    parts = path.split("/")[1:]
    if parts == ["proc"] or _is_process(parts) or (len(parts) == 3 and parts[2] == "task" and _is_process(parts[:2])):
        return True
    # An open folder of a process can be any folder of the node.
    return any(len(parts) > count and parts[count] == "fd" and _is_process(parts[:count]) for count in (2, 4))


def _is_process(parts: list[str]) -> bool:
    """Whether the parts are those of /proc/1 or /proc/1/task/1."""
    if len(parts) == 4 and parts[2] == "task":
        return parts[3].isdigit() and _is_process(parts[:2])
    return len(parts) == 2 and parts[0] == "proc" and (parts[1].isdigit() or parts[1] in _PROCESSES)

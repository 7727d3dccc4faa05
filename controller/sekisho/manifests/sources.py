"""Manifest texts: from files, folders and standard input, cut into one text a YAML document."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from sekisho.documents import Problem, split_documents, split_list

STDIN: Final = "<stdin>"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_INPUT_BYTES: Final = 512 * 1024 * 1024
"""Bytes of one file, and of everything that is read in one run."""

LARGE_LIST: Final = 512 * 1024
"""Characters from which the items of a list are read one by one, and on several cores."""

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_NOT_MANIFESTS: Final = frozenset({"kustomization.yaml", "kustomization.yml"})
"""Files in folders of manifests that are not manifests. They are read only if they are named themselves."""


class Source(Struct, frozen=True):
    """The text of one YAML document, the name of its file, and the number of lines before it there.

    inherited: for an item of a list, apiVersion and kind that it has if it names none; None for a whole document.
    """

    file: str
    first_line: int
    text: str
    inherited: tuple[str, str] | None = None


class Sources(Struct, frozen=True):
    """The documents that were read, in order, and problems with what could not be read."""

    texts: tuple[Source, ...]
    problems: tuple[Problem, ...] = ()


def read_sources(paths: Iterable[Path], stdin: BinaryIO | None = None, *, split_lists: bool = True) -> Sources:
    """The documents of files and of the YAML and JSON files of folders, by name; `-` is `stdin`.

    split_lists: whether the items of large lists become documents of their own.
    stdin: None if standard input is not available; then `-` is the name of a file.

    A file that cannot be read becomes a problem, and the others are read all the same.
    """
    texts: list[Source] = []
    problems: list[Problem] = []
    left = MAX_INPUT_BYTES
    for path in paths:
        for file in _files(path, problems):
            content = _content(file, stdin, min(left, MAX_FILE_BYTES), problems)
            left -= len(content)
            name = STDIN if str(file) == "-" else str(file)
            texts += _cut(content, name, problems, split_lists)
    return Sources(tuple(texts), tuple(problems))


def sources_of(text: str, file: str) -> list[Source]:
    """The documents of a text; `file` is its name in findings and errors."""
    return [Source(file, line, piece) for line, piece in split_documents(text)]


def _files(path: Path, problems: list[Problem]) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        files = [file for file in files_below(path) if file.name not in _NOT_MANIFESTS]
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        return []
    if not files:
        problems.append(Problem(str(path), "holds no .yaml, .yml or .json file"))
    return files


def files_below(folder: Path) -> list[Path]:
    """The YAML and JSON files of a folder and of those in it, by name. Raises OSError."""
    return sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES and file.is_file())


def content_of(file: Path, most: int) -> bytes:
    """The bytes of a file, and one byte more than `most` of a file that is larger. Raises OSError."""
    with file.open("rb") as stream:
        # A pipe has no size. Reading files with the maximum as the size would allocate far more than they need.
        size = os.fstat(stream.fileno()).st_size or most
        return stream.read(min(size, most) + 1)


def text_of(content: bytes, name: str) -> str | Problem:
    """The text of a file's content; a problem with its line where it is not UTF-8. `name` is the file's in problems."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(f"{name}:{line}", "is not UTF-8 text")


def _content(file: Path, stdin: BinaryIO | None, most: int, problems: list[Problem]) -> bytes:
    """The bytes of a file, none when it cannot be read or is too large."""
    name = str(file)
    try:
        if name == "-" and stdin is not None:
            name, content = STDIN, stdin.read(most + 1)
        else:
            content = content_of(file, most)
    except OSError as error:
        problems.append(Problem(name, f"cannot be read: {error.strerror}"))
        return b""
    if name == STDIN and not content.strip():
        # The command before the pipe failed; admitting its empty output would admit anything.
        problems.append(Problem(STDIN, "is empty"))
    if len(content) <= most:
        return content
    whole = f"the input is larger than {MAX_INPUT_BYTES >> 20} MiB"
    problems.append(Problem(name, f"is larger than {MAX_FILE_BYTES >> 20} MiB" if most == MAX_FILE_BYTES else whole))
    return b""


def _cut(content: bytes, name: str, problems: list[Problem], split_lists: bool) -> Iterator[Source]:
    text = text_of(content, name)
    if isinstance(text, Problem):
        problems.append(text)
        return
    for source in sources_of(text, name):
        yield from _items(source) if split_lists and len(source.text) >= LARGE_LIST else (source,)


def _items(source: Source) -> Iterator[Source]:
    """A source for each item of a list; the source itself if it is not a list that can be split."""
    items = split_list(source.text)
    if items is None:
        yield source
        return
    for line, piece in items.pieces:
        yield Source(source.file, source.first_line + line, piece, items.inherited)

"""Manifest texts: from files, folders and standard input, cut into one text a YAML document."""

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from sekisho.documents import Problem, split_documents, split_list
from sekisho.manifests.folders import Excluded, Folder, chart_of, read_folder
from sekisho.manifests.passed_over import RENDER_FIRST, PassedOver, Reason
from sekisho.manifests.texts import Source

STDIN: Final = "<stdin>"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_INPUT_BYTES: Final = 512 * 1024 * 1024
"""Bytes of one file, and of everything that is read in one run."""

LARGE_LIST: Final = 512 * 1024
"""Characters from which the items of a list are read one by one, and on several cores."""

_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""The byte order marks from which kubectl, too, knows a file in UTF-16."""


Render = Callable[[Folder], tuple[Sequence[Source], Folder]]
"""What is rendered of a folder, and the folder without the files that went into it."""


class Sources(Struct, frozen=True):
    """The documents that were read, in order, problems with what could not be read, and files that were not read."""

    texts: tuple[Source, ...]
    problems: tuple[Problem, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def read_sources(
    paths: Iterable[Path],
    stdin: BinaryIO | None = None,
    *,
    split_lists: bool = True,
    exclude: Iterable[str] = (),
    render: Render | None = None,
) -> Sources:
    """The documents of files and of the YAML and JSON files of folders, by name; `-` is `stdin`.

    split_lists: whether the items of large lists become documents of their own.
    stdin: None if standard input is not available; then `-` is the name of a file.
    exclude: patterns of files to leave out, see `Excluded`.
    render: renders the charts and kustomizations of a folder; None leaves them out.

    A file that cannot be read becomes a problem, and the others are read anyway.
    """
    texts: list[Source] = []
    problems: list[Problem] = []
    passed_over: list[PassedOver] = []
    excluded = Excluded(exclude)
    remaining = MAX_INPUT_BYTES
    for path in paths:
        folder = _folder(path, excluded, problems)
        if render is not None and (folder.charts or folder.kustomizations):
            rendered, folder = render(folder)
            texts += rendered
        passed_over += folder.passed_over
        for file in folder.files:
            content = _content(file, stdin, min(remaining, MAX_FILE_BYTES), problems)
            remaining -= len(content)
            name = STDIN if str(file) == "-" else str(file)
            texts += _cut(content, name, problems, split_lists, is_named=file == path)
    return Sources(tuple(texts), tuple(problems), tuple(passed_over))


def sources_of(text: str, file: str, *, is_named: bool = True) -> list[Source]:
    """The documents of a text; `file` is its name in findings and errors, and `is_named` is as of Source."""
    return [Source(file, line, piece, None, is_named) for line, piece in split_documents(text)]


def _folder(path: Path, excluded: Excluded, problems: list[Problem]) -> Folder:
    """The files of a path that is named: itself, or those of the folder."""
    try:
        if not path.is_dir():
            return _named_file(path, excluded, problems)
        folder = read_folder(path, excluded)
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        return Folder()
    if folder.is_empty:
        problems.append(Problem(str(path), "holds no .yaml, .yml or .json file"))
    return folder


def _named_file(path: Path, excluded: Excluded, problems: list[Problem]) -> Folder:
    if str(path) == "-":
        return Folder((path,))
    if excluded.leaves_out(path):
        return Folder((), (PassedOver(str(path), Reason.EXCLUDED),))
    if (chart := chart_of(path)) is not None:
        problems.append(Problem(str(path), f"is a Helm template; {RENDER_FIRST.replace('CHART', str(chart))}"))
        return Folder()
    return Folder((path,))


def content_of(file: Path, max_bytes: int) -> bytes:
    """The bytes of a file, and one byte more than `max_bytes` of a file that is larger. Raises OSError."""
    with file.open("rb") as stream:
        # A pipe has no size. Reading files with the maximum as the size would allocate far more than they need.
        size = os.fstat(stream.fileno()).st_size or max_bytes
        return stream.read(min(size, max_bytes) + 1)


def text_of(content: bytes, name: str) -> str | Problem:
    """The text of a file's content; a problem with its line where it is not UTF-8. `name` is the file's in problems.

    As kubectl does, it reads UTF-16 if the content begins with a byte order mark.
    """
    if content.startswith(_UTF_16):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            return Problem(name, "begins with the byte order mark of UTF-16, but is not UTF-16 text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(f"{name}:{line}", "is not UTF-8 text")


def _content(file: Path, stdin: BinaryIO | None, max_bytes: int, problems: list[Problem]) -> bytes:
    """The bytes of a file, none when it cannot be read or is too large."""
    name = str(file)
    try:
        if name == "-" and stdin is not None:
            name, content = STDIN, stdin.read(max_bytes + 1)
        else:
            content = content_of(file, max_bytes)
    except OSError as error:
        problems.append(Problem(name, f"cannot be read: {error.strerror}"))
        return b""
    if name == STDIN and not content.strip():
        # The command before the pipe failed; admitting its empty output would admit anything.
        problems.append(Problem(STDIN, "is empty"))
    if len(content) <= max_bytes:
        return content
    whole = f"the input is larger than {MAX_INPUT_BYTES >> 20} MiB"
    problems.append(
        Problem(name, f"is larger than {MAX_FILE_BYTES >> 20} MiB" if max_bytes == MAX_FILE_BYTES else whole)
    )
    return b""


def _cut(content: bytes, name: str, problems: list[Problem], split_lists: bool, *, is_named: bool) -> Iterator[Source]:
    text = text_of(content, name)
    if isinstance(text, Problem):
        problems.append(text)
        return
    for source in sources_of(text, name, is_named=is_named):
        yield from _items(source) if split_lists and len(source.text) >= LARGE_LIST else (source,)


def _items(source: Source) -> Iterator[Source]:
    """A source for each item of a list; the source itself if it is not a list that can be split."""
    items = split_list(source.text)
    if items is None:
        yield source
        return
    for line, piece in items.pieces:
        yield Source(source.file, source.first_line + line, piece, items.inherited, source.is_named)

"""What a translation gives: objects with comments, and remarks on what is not the same."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from textwrap import wrap
from typing import Any, Final

from msgspec import Struct

from sekisho.documents import Document, Path, write_document
from sekisho.policies.types import GROUP, VERSION

_WIDTH: Final = 110


class Difference(StrEnum):
    """How a translation differs from the original: in nothing but words, or in what is denied."""

    NOT_TRANSLATED = "not translated"
    LOOSER = "looser"
    STRICTER = "stricter"


class Remark(Struct, frozen=True):
    """One difference from the original, as a clause about the original or ours."""

    difference: Difference
    text: str


class Note(Struct, frozen=True):
    """A remark, where it is about (`file:line:column`), and the object and rule in words."""

    where: str
    about: str
    remark: Remark


class Written(Struct, frozen=True):
    """An object of ours, and the lines of the comment above it."""

    comment: tuple[str, ...]
    value: dict[str, Any]

    @property
    def name(self) -> str:
        """Its metadata.name."""
        return str(self.value["metadata"]["name"])


class Origin(Struct, frozen=True):
    """A rule of an original, in words, and what it became: controls of the policy of ours with the title."""

    about: str
    title: str
    controls: tuple[str, ...]


class Translation(Struct, frozen=True):
    """What the policies of one or more documents became.

    originals: how many policies, constraints and exceptions were read.
    origins: what became of each rule.
    """

    originals: int
    objects: tuple[Written, ...]
    notes: tuple[Note, ...]
    origins: tuple[Origin, ...] = ()

    @property
    def is_faithful(self) -> bool:
        """Whether everything was translated, and nothing is looser than it was."""
        return all(note.remark.difference is Difference.STRICTER for note in self.notes)


class Place(Struct, frozen=True):
    """A part of an original: the document, the path in it, and what it is in words."""

    document: Document
    path: Path
    about: str

    def at(self, *path: str | int) -> "Place":
        """A part below it."""
        return Place(self.document, (*self.path, *path), self.about)

    def note(self, difference: Difference, text: str, *path: str | int) -> Note:
        """A note about the part, or one below it."""
        return Note(self.document.location((*self.path, *path)), self.about, Remark(difference, text))


def not_translated(text: str) -> Remark:
    """A remark on a part of which nothing is left."""
    return Remark(Difference.NOT_TRANSLATED, text)


def looser(text: str) -> Remark:
    """A remark on what the original denies and ours admits."""
    return Remark(Difference.LOOSER, text)


def stricter(text: str) -> Remark:
    """A remark on what the original admits and ours denies."""
    return Remark(Difference.STRICTER, text)


def own_object(kind: str, name: str, spec: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    """An object of ours as the API has it."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": metadata, "spec": spec}


def joined(translations: Iterable[Translation]) -> Translation:
    """Several translations as one."""
    every = tuple(translations)
    return Translation(
        sum(one.originals for one in every),
        tuple(written for one in every for written in one.objects),
        tuple(note for one in every for note in one.notes),
        tuple(origin for one in every for origin in one.origins),
    )


def write_objects(objects: Sequence[Written]) -> str:
    """The objects as YAML documents, each below its comment."""
    return "---\n".join(_commented(one.comment) + write_document(one.value) for one in objects)


def _commented(lines: Iterable[str]) -> str:
    wrapped = (wrap(line, _WIDTH, subsequent_indent="  ", break_long_words=False) for line in lines)
    return "".join(f"# {part}\n" for parts in wrapped for part in parts)

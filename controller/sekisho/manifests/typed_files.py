"""Files with documents of a known type, such as a baseline."""

from pathlib import Path
from typing import TypeVar

import msgspec

from sekisho.documents import Document, Problem, parse_path, problem_of
from sekisho.manifests.objects import documents_of
from sekisho.manifests.sources import read_sources
from sekisho.policies import PolicyError

T = TypeVar("T")


def documents_in(path: Path) -> list[Document]:
    """The documents of a file. Raises PolicyError if one of them cannot be read."""
    sources = read_sources([path])
    documents: list[Document] = []
    problems = [*sources.problems]
    for source in sources.texts:
        for document in documents_of(source):
            if isinstance(document, Problem):
                problems.append(document)
            else:
                documents.append(document)
    if problems:
        raise PolicyError(*problems)
    return documents


def document_in(path: Path, message: str = "must hold one document") -> Document:
    """The only document of a file. Raises PolicyError, with the message if there are none or several."""
    documents = documents_in(path)
    if len(documents) != 1:
        raise PolicyError(Problem(str(path), f"{message}, found {len(documents)}"))
    return documents[0]


def converted(document: Document, kind: type[T], prefix: str = "") -> T:
    """The value of a document, typed.

    Raises PolicyError with the location of the wrong field, and `prefix` before the message.
    """
    try:
        return msgspec.convert(document.value, kind)
    except msgspec.ValidationError as error:
        problem = problem_of(error)
        raise PolicyError(Problem(document.location(parse_path(problem.where)), f"{prefix}{problem}")) from None

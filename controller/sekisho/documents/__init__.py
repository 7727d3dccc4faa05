"""YAML and JSON documents: strict reading that knows the place of every field, and writing."""

from sekisho.documents.editing import Edited, with_field
from sekisho.documents.lists import ListItems, split_list
from sekisho.documents.origins import Origin, origin
from sekisho.documents.problems import Problem, problem_of
from sekisho.documents.reading import Document, DocumentError, Path, parse_path, read_documents, split_documents
from sekisho.documents.writing import write_document

__all__ = [
    "Document",
    "DocumentError",
    "Edited",
    "ListItems",
    "Origin",
    "Path",
    "Problem",
    "origin",
    "parse_path",
    "problem_of",
    "read_documents",
    "split_documents",
    "split_list",
    "with_field",
    "write_document",
]

"""YAML and JSON documents: strict reading that knows the position of every field, and writing."""

from sekisho.documents.editing import Edited, with_field, with_pieces, with_values
from sekisho.documents.edits import is_same, new_indices
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
    "is_same",
    "new_indices",
    "origin",
    "parse_path",
    "problem_of",
    "read_documents",
    "split_documents",
    "split_list",
    "with_field",
    "with_pieces",
    "with_values",
    "write_document",
]

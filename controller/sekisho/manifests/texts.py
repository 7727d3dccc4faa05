"""The text of one document, and where it comes from."""

from msgspec import Struct

from sekisho.documents import Origin


class Source(Struct, frozen=True):
    """The text of one YAML document, the name of its file, and the number of lines before it there.

    inherited: for an item of a list, apiVersion and kind that it has if it names none; None for a whole document.
    is_named: whether the file was named itself, and is not just one of a folder's.
    origin: where a rendered document was written; None for one that was read as it is.
    """

    file: str
    first_line: int
    text: str
    inherited: tuple[str, str] | None = None
    is_named: bool = True
    origin: Origin | None = None

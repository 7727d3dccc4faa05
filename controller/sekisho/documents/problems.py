"""A problem with a document or an object, and its location."""

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing that is wrong.

    where: a field path (`spec.match`), a location in a file (`policy.yaml:3:5`), or empty when neither is known.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def problem_of(error: Exception) -> Problem:
    """An error of msgspec as a problem; `where` is the field path, empty for the value as a whole.

    msgspec writes "MESSAGE - at `$.PATH`".
    """
    text, at, path = str(error).rpartition(" - at `$")
    return Problem(path.rstrip("`").lstrip("."), text.replace("`", "'")) if at else Problem("", str(error))

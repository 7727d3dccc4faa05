"""What is wrong with a policy, and where."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from msgspec import Struct

from sekisho.errors import SekishoError

P = ParamSpec("P")
T = TypeVar("T")


class Problem(Struct, frozen=True):
    """One thing that is wrong. `where` is a field path (`spec.match`) or a place in a file (`policy.yaml:3:5`)."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class PolicyError(SekishoError):
    """A policy that cannot be used; `problems` says why, each with its place."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Problems:
    """Collects what is wrong with one policy, so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, where: str, message: str) -> None:
        """Take note of a problem."""
        self._found.append(Problem(where, message))

    def of(self, compile_part: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What a function gives; None where it raises PolicyError, whose problems are taken note of."""
        try:
            return compile_part(*args, **kwargs)
        except PolicyError as error:
            self._found += error.problems
            return None

    def raise_any(self) -> None:
        """Raise PolicyError where there are problems."""
        if self._found:
            raise PolicyError(*self._found)

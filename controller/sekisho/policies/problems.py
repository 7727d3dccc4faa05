"""PolicyError, and collecting everything that is wrong with a policy."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sekisho.documents import Problem
from sekisho.errors import SekishoError

P = ParamSpec("P")
T = TypeVar("T")


class PolicyError(SekishoError):
    """A policy that cannot be used; `problems` holds every reason, each with its place."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Problems:
    """Collects the problems of one policy, so that all of them are reported together."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def add(self, where: str, message: str) -> None:
        """Add a problem."""
        self._problems.append(Problem(where, message))

    def of(self, compile_part: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of a function; None if it raises PolicyError, whose problems are added."""
        try:
            return compile_part(*args, **kwargs)
        except PolicyError as error:
            self._problems += error.problems
            return None

    def raise_any(self) -> None:
        """Raise PolicyError if there are problems."""
        if self._problems:
            raise PolicyError(*self._problems)

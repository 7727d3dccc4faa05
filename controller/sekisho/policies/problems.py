"""What is wrong with a policy, and where."""

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing that is wrong. `where` is a field path (`spec.match`) or a place in a file (`policy.yaml:3:5`)."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class PolicyError(Exception):
    """A policy that cannot be used; `problems` says why, each with its place."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

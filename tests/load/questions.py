"""What the servers are asked: reviews of one pod in four states, and the answers that are right."""

from typing import Final, Literal

from msgspec import Struct

from tests.load.reviews import pod, review

Verdict = Literal["allow", "deny", "patch"]


class Question(Struct, frozen=True):
    """A request to a webhook, and what Sekisho has to decide."""

    name: str
    path: str
    body: bytes
    verdict: Verdict


VALIDATE: Final = Question("validate, passes", "/validate?timeout=3s", review(pod()), "allow")
VIOLATING: Final = Question("validate, violates", "/validate?timeout=3s", review(pod(violates=True)), "deny")
MUTATE: Final = Question("mutate, all to fill", "/mutate?timeout=3s", review(pod(with_defaults=False)), "patch")
COMPLETE: Final = Question("mutate, nothing to fill", "/mutate?timeout=3s", review(pod()), "allow")
QUESTIONS: Final = (VALIDATE, VIOLATING, MUTATE, COMPLETE)

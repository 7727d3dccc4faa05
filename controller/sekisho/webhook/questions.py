"""Reviews that may have to wait, and the threads in which those are judged that others cannot wait for."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, TypeVar

from msgspec import Struct

from sekisho import admission
from sekisho.admission import CheckTime, ManyFindingsError, Outcome, Review, UnjudgedError
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet
from sekisho.turns import Turns
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.review_cost import is_quick, needs_no_planning

LATE: Final = "judging took longer than the API server waits"
MAX_CPU_SECONDS: Final = 0.5
"""CPU of decoding and judging one review in a thread. One comparison, or the answer, is never interrupted."""
_TOO_MUCH: Final = (
    f"judging takes more than {MAX_CPU_SECONDS} s of CPU; give the pod fewer containers, volumes and other entries, or "
    "fewer entries to the lists of its policies"
)

T = TypeVar("T")
Judge = Callable[[Review, PolicySet, Mapping[str, str] | None, CheckTime | None, Trust | None], Outcome]
"""Judges a review by the policies and the labels of its namespace. The time checks are None on the event loop. The
trust is None where no policy needs evidence about images, and where images are not verified."""


class TimeLeft(Struct):
    """The time that is left to decode and judge a review in a thread.

    deadline: that of the review's answer.
    cpu_seconds: how many more seconds of CPU it may take.
    began: when the present call began, by the CPU clock of the thread.
    """

    deadline: Deadline
    cpu_seconds: float = MAX_CPU_SECONDS
    began: float = 0.0

    def run(self, call: Callable[[], T]) -> T:
        """Call, in the thread, and count the CPU that it takes."""
        self.began = time.thread_time()
        try:
            return call()
        finally:
            self.cpu_seconds -= time.thread_time() - self.began

    def check(self) -> None:
        """Raises UnjudgedError where no time is left; what `run` calls must call this now and then."""
        if self.deadline.remaining < 0:
            raise UnjudgedError(LATE)
        if time.thread_time() - self.began > self.cpu_seconds:
            raise UnjudgedError(_TOO_MUCH)


class Question(Struct):
    """A review that may have to wait, and what judges it.

    review: None while it waits for its turn in a thread, and of a large one until it is decoded: many may wait, and a
        decoded review takes up to 30 times the memory of its body.
    head: the review without its objects.
    is_large: whether it is large; then it keeps its turn in the thread, where it is decoded, until it has its outcome.
    has_many: whether it is known to have more findings than MAX_FINDINGS_ON_LOOP.
    policies, labels: what it is judged by; set before it is judged.
    """

    judge: Judge
    body: bytes
    deadline: Deadline
    time_left: TimeLeft
    review: Review | None
    head: Review
    has_many: bool = False
    is_large: bool = False
    policies: PolicySet = PolicySet()
    labels: Mapping[str, str] | None = None

    def decoded(self) -> Review:
        """The review. Raises MalformedReviewError."""
        if self.review is None:
            self.review = admission.decode(self.body)
        return self.review

    def judge_by(self, trust: Trust | None, check_time: CheckTime | None) -> Outcome:
        """Judge by what is known about images. `check_time` is called now and then; None on the event loop."""
        return self.judge(self.decoded(), self.policies, self.labels, check_time, trust)

    def needs_no_planning(self) -> bool:
        """Whether what applies to the pod is known, or takes so little time that all others can wait for it."""
        return needs_no_planning(self.decoded(), self.policies, self.labels)

    def judge_if_quick(self, trust: Trust | None) -> Outcome | None:
        """Judge a review that needs no planning; None where it takes so long that others cannot wait for it."""
        with suppress(ManyFindingsError):
            if not self.has_many and is_quick(self.decoded(), len(self.body), self.policies, self.labels):
                return self.judge_by(trust, None)
        return None

    def plan_and_judge_if_quick(self, trust: Trust | None) -> Outcome | None:
        """Select what applies to the pod, which takes a while, and judge; None where that takes long too."""
        self.policies.waivers_in(self.head.namespace or "")
        return self.judge_if_quick(trust)


class ReviewThread:
    """A thread for reviews that others cannot wait for; namespaces take turns at it."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._turns = Turns()

    def turn(self, question: Question) -> AbstractAsyncContextManager[None]:
        """A turn of the review's namespace. Raises TimeoutError where it takes too long to come.

        If the review must wait, `question.review` is unset, and it is decoded again when it has its turn.
        """
        if not self._turns.is_free:
            question.review = None
        return self._turns.turn(question.head.namespace or "", question.deadline.remaining)

    async def run(self, question: Question, call: Callable[[], T]) -> T:
        """Call in the thread, within a turn. Small reviews and probes are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question.time_left.run(call))

    def close(self) -> None:
        """End the thread when it is done with the present call."""
        self._thread.shutdown(wait=False, cancel_futures=True)

"""A process of `make bench-paired`: times the engine once for each line on standard input, and prints the times.

The Sekisho that it imports is the one that PYTHONPATH names first.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sekisho import admission
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.load.policies import documents
from tests.load.questions import COMPLETE, MUTATE, VALIDATE, VIOLATING

CALLS: Final = 100
"""Few enough that some rounds are not interrupted on a busy machine."""
_LABELS: Final[Mapping[str, str]] = {}


def cases() -> Mapping[str, Callable[[], object]]:
    """What is timed, by its name."""
    policies = PolicySet.of(msgspec.convert(policy, ClusterPodPolicy) for policy in documents(20))
    passing, failing, naked = (admission.decode(question.body) for question in (VALIDATE, VIOLATING, MUTATE))
    return {
        "decode": lambda: admission.decode(VALIDATE.body),
        VALIDATE.name: lambda: admission.validate(passing, policies, _LABELS),
        VIOLATING.name: lambda: admission.validate(failing, policies, _LABELS),
        COMPLETE.name: lambda: admission.mutate(passing, policies, _LABELS),
        MUTATE.name: lambda: admission.mutate(naked, policies, _LABELS),
    }


def microseconds(call: Callable[[], object]) -> float:
    """The CPU time of one call."""
    start = time.process_time_ns()
    for _ in range(CALLS):
        call()
    return (time.process_time_ns() - start) / CALLS / 1e3


def main() -> None:
    """Answer lines until standard input ends."""
    timed = cases()
    for _ in sys.stdin:
        gc.collect()
        gc.disable()  # a collection in some rounds only would add nothing but noise
        sys.stdout.write(json.dumps({name: microseconds(call) for name, call in timed.items()}) + "\n")
        sys.stdout.flush()
        gc.enable()


if __name__ == "__main__":
    main()

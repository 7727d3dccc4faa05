"""From a pod on which the engine and Kubernetes differ to the smallest one that a person wants to read."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.differential.comparison import Difference, differences
from tests.differential.generator import Case


def reduced(binary: Path, difference: Difference) -> Difference:
    """The difference without every field and list entry that it does not need. Raises EvaluatorError."""
    controls = difference.engine ^ difference.kubernetes
    while True:
        cases = sorted(_smaller_cases(difference.case), key=lambda case: len(case.pod) + len(case.old))
        differing = differences(binary, cases)
        same = next((smaller for smaller in differing if (smaller.engine ^ smaller.kubernetes) & controls), None)
        if same is None:
            return difference
        difference = same


def _smaller_cases(case: Case) -> Iterator[Case]:
    for pod in _smaller(json.loads(case.pod)):
        yield replace(case, pod=_text(pod))
    for old in _smaller(json.loads(case.old)) if case.old else ():
        yield replace(case, old=_text(old))


def _text(pod: Any) -> str:
    return json.dumps(pod, separators=(",", ":"))


def _smaller(value: Any) -> Iterator[Any]:
    """The value without one of the entries of one of its objects and lists, in every way."""
    if not isinstance(value, dict | list):
        return
    for key in value if isinstance(value, dict) else range(len(value)):
        without = copy.copy(value)
        del without[key]
        yield without
        for smaller in _smaller(value[key]):
            changed = copy.copy(value)
            changed[key] = smaller
            yield changed

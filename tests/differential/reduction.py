"""From a pod on which the engine and Kubernetes differ to the smallest one that a person wants to read."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.differential.comparison import Difference, differences


def reduced(binary: Path, difference: Difference) -> Difference:
    """The same difference with every field and list entry left out that it does not take. Raises EvaluatorError."""
    controls = difference.engine ^ difference.kubernetes
    while True:
        texts = sorted(
            (json.dumps(pod, separators=(",", ":")) for pod in _smaller(json.loads(difference.case.pod))), key=len
        )
        found = differences(binary, [replace(difference.case, pod=text) for text in texts])
        same = next((smaller for smaller in found if (smaller.engine ^ smaller.kubernetes) & controls), None)
        if same is None:
            return difference
        difference = same


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

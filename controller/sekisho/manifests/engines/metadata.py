"""Labels and annotations that other engines require, and the parameters of ours that do the same."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from sekisho.manifests.engines.parts import Part, Translated, Unknown
from sekisho.manifests.engines.requirements import Presence, Requirement, Test
from sekisho.manifests.engines.results import looser, stricter


def _translate(control: str, requirements: Sequence[Requirement]) -> Iterator[Translated]:
    for one in requirements:
        key = one.field.split(".", 2)[2]
        parameters: dict[str, Any] = {}
        remarks = []
        if one.presence is not Presence.OPTIONAL:
            parameters["required"] = [key]
            if one.presence is Presence.PARTLY:
                remarks.append(stricter(f"{key} must be set"))
        if one.test is Test.IN and "*" not in one.values:
            parameters["allowedValues"] = [{"key": key, "values": list(one.values)}]
            if one.presence is not Presence.OPTIONAL:
                remarks.append(stricter(f"{key} may not be empty"))
        elif one.test is Test.UNSET:
            parameters = {"denied": [key]}
        elif one.test not in (Test.SET, Test.IN):
            yield Unknown(f"no control has {one.field} {one.test} {', '.join(one.values)}", one.path)
            continue
        if parameters and "*" not in key:
            yield Part(control, parameters, tuple(remarks), one.path)
        else:
            yield Unknown(f"{one.field} is not required to be set, or is not a single key", one.path)


translate_labels: Final = partial(_translate, "labels")
translate_annotations: Final = partial(_translate, "annotations")

ON_WORKLOADS: Final = looser("labels and annotations of a pod template are judged, not those of its workload")
"""For originals that judge the metadata of Deployments and the like themselves."""

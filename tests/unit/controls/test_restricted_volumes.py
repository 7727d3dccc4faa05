"""restrictedVolumes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    PodTwin,
    check_parameter_twin,
    check_pod_twin,
    spec,
)

POD_TWINS: list[PodTwin] = [
    (
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "v", "emptyDir": {}}]},
        "spec.volumes[0].hostPath",
    ),
    (
        {"volumes": [{"name": "v", "gitRepo": {"repository": "x"}}]},
        {"volumes": [{"name": "v", "image": {}}]},
        "spec.volumes[0].gitRepo",
    ),
    (
        {"volumes": [{"name": "v", "fromTheFuture": {}}]},
        {"volumes": [{"name": "v", "downwardAPI": {}}]},
        "spec.volumes[0]",
    ),
    (
        {"volumes": [{"name": "v", "emptyDir": None}]},
        {"volumes": [{"name": "v", "csi": {"driver": "d"}}]},
        "spec.volumes[0]",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("restrictedVolumes", bad, good, field)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowed": ["nfs"]},
        spec(volumes=[{"name": "v", "emptyDir": {}}]),
        spec(volumes=[{"name": "v", "nfs": {}}]),
        "emptyDir",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("restrictedVolumes", parameters, bad, good, field)

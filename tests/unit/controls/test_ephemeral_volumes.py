"""ephemeralVolumes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
    with_parameters,
)


def ephemeral(storage_class: str | None) -> Pod:
    claim = {"accessModes": ["ReadWriteOnce"]} | ({"storageClassName": storage_class} if storage_class else {})
    return spec(volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}])


ALLOWED = {"allowedStorageClasses": ["scratch"]}

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, ephemeral("scratch"), spec(volumes=[{"name": "v", "emptyDir": {}}]), "spec.storageClassName"),
    (ALLOWED, ephemeral("scratch2"), ephemeral("scratch"), "volumeClaimTemplate.spec.storageClassName"),
    (ALLOWED, ephemeral(None), ephemeral("scratch"), "volumeClaimTemplate.spec.storageClassName"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("ephemeralVolumes", parameters, bad, good, field)


def test_volume_without_a_template_is_denied() -> None:
    (finding,) = with_parameters("ephemeralVolumes", ALLOWED, spec(volumes=[{"name": "v", "ephemeral": {}}]))
    assert finding.value == "unset"

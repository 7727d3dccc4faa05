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

BETA = "volume.beta.kubernetes.io/storage-class"


def ephemeral(storage_class: str | None, annotations: dict[str, str] | None = None, **fields: str) -> Pod:
    claim = fields | {"accessModes": ["ReadWriteOnce"]} | ({"storageClassName": storage_class} if storage_class else {})
    template = {"metadata": {"annotations": annotations or {}}, "spec": claim}
    return spec(volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}])


ALLOWED = {"allowedStorageClasses": ["scratch"]}

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, ephemeral("scratch"), spec(volumes=[{"name": "v", "emptyDir": {}}]), "spec.storageClassName"),
    (ALLOWED, ephemeral("scratch2"), ephemeral("scratch"), "volumeClaimTemplate.spec.storageClassName"),
    (ALLOWED, ephemeral(None), ephemeral("scratch"), "volumeClaimTemplate.spec.storageClassName"),
    (ALLOWED, ephemeral("scratch", {BETA: "fast"}), ephemeral("fast", {BETA: "scratch"}), f"annotations[{BETA}]"),
    (ALLOWED, ephemeral("scratch", {BETA: ""}), ephemeral("scratch", {"other": "fast"}), f"annotations[{BETA}]"),
    (ALLOWED, ephemeral("scratch", volumeName="pv"), ephemeral("scratch", volumeName=""), "spec.volumeName"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("ephemeralVolumes", parameters, bad, good, field)


def test_volume_without_a_template_is_denied() -> None:
    (finding,) = with_parameters("ephemeralVolumes", ALLOWED, spec(volumes=[{"name": "v", "ephemeral": {}}]))
    assert finding.value == "unset"

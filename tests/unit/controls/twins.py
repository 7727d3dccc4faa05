"""Pods that a control denies beside near-twins that it allows, and the tests that every table of them passes."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, NEWEST, Level, ParameterError, complete
from sekisho.findings import Finding
from sekisho.pods import container_refs
from sekisho.standards import controls_of
from tests.pods import container, restricted_pod, typed, with_container_in

Pod = dict[str, Any]
Container = dict[str, Any]

LISTS = ("containers", "initContainers", "sidecar", "ephemeralContainers")
"""Where a container can be; `sidecar` is an init container with restartPolicy Always."""

ContainerTwin = tuple[Container, Container, str, str]
"""A container that is denied, one that is allowed, the end of the field's path, and the value in the finding."""

PodTwin = tuple[Pod, Pod, str]
"""Fields of a pod's spec that are denied, fields that are allowed, and the path of the finding."""

ParameterTwin = tuple[Any, Pod, Pod, str]
"""Parameters, a pod that they deny, one that they allow, and the end of the field's path."""


def at_level(control: str, pod: Pod, level: Level = Level.RESTRICTED, minor: int = NEWEST) -> list[Finding]:
    """What a control of a level finds; nothing where the level does not have it."""
    parameters = controls_of(level, minor).get(control)
    if parameters is None:
        return []
    return _findings(control, parameters, minor, pod)


def with_parameters(control: str, parameters: dict[str, Any], pod: Pod) -> list[Finding]:
    """What a control finds that a policy without a standard names."""
    written = msgspec.convert(parameters, CONTROLS[control].parameters)
    return _findings(control, complete(CONTROLS[control], written, Level.PRIVILEGED, NEWEST), NEWEST, pod)


def _findings(control: str, parameters: Any, minor: int, pod: Pod) -> list[Finding]:
    judged = typed(pod)
    findings = CONTROLS[control].check(parameters, minor)(judged, container_refs(judged.spec))
    # `sekisho fix` writes the names in paths as YAML, which has no form for a member of an enum.
    assert all(type(part) in (str, int) for finding in findings for part in finding.path)
    return findings


def check_container_twin(control: str, bad: Container, good: Container, field: str, value: str, where: str) -> None:
    """The first container is denied in the list, with the field and the value, and the second one is allowed."""
    (finding,) = at_level(control, with_container_in(where, bad))
    assert finding.control == control
    assert finding.field.endswith(field)
    assert finding.field.startswith(f"spec.{'initContainers' if where == 'sidecar' else where}[")
    assert (finding.container, finding.value) == ("tested", value)
    assert '"tested"' in finding.subject
    assert at_level(control, with_container_in(where, good)) == []


def check_pod_twin(control: str, bad: Pod, good: Pod, field: str) -> None:
    """The first fields of a pod's spec are denied, at the path, and the second ones are allowed."""
    (finding,) = at_level(control, restricted_pod(**bad))
    assert (finding.field, finding.container) == (field, None)
    assert at_level(control, restricted_pod(**good)) == []


def check_parameter_twin(control: str, parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    """The parameters deny the first pod, with a finding on the field, and allow the second one."""
    (finding,) = with_parameters(control, parameters, bad)
    assert finding.control == control
    assert finding.field.endswith(field)
    assert finding.allowed
    assert finding.fix
    assert with_parameters(control, parameters, good) == []


def rejected_parameter(control: str, parameters: dict[str, Any]) -> ParameterError:
    """The error for parameters that the schema allows but that make no sense."""
    written = msgspec.convert(parameters, CONTROLS[control].parameters)
    with pytest.raises(ParameterError) as raised:
        CONTROLS[control].check(written, NEWEST)
    return raised.value


# Builders of the pods and containers in the tables.


def image(reference: str) -> Pod:
    return restricted_pod(container(image=reference))


def spec(**fields: Any) -> Pod:
    return restricted_pod(**fields)


def security(**context: Any) -> Container:
    return container(securityContext=context)


def context(**fields: Any) -> Pod:
    return restricted_pod(security(**fields))


def pod_context(**fields: Any) -> Pod:
    return restricted_pod(securityContext=fields)


def host_path(path: str) -> Pod:
    return restricted_pod(volumes=[{"name": "v", "hostPath": {"path": path}}])


def windows(name: str = "windows") -> Pod:
    return {"spec": {"os": {"name": name}, "containers": [{"name": "app", "image": "x"}]}}


# Checks that several controls share.


def check_windows_exemption(control: str) -> None:
    """Pods that say that they run on Windows are exempt from v1.25 on."""
    assert at_level(control, windows(), minor=24) != []
    assert at_level(control, windows(), minor=25) == []
    assert at_level(control, windows("linux"), minor=25) != []


def check_user_namespace(control: str) -> None:
    """Pods with a user namespace of their own are exempt from v1.35 on."""
    pod = restricted_pod(security(runAsUser=0, runAsNonRoot=False), hostUsers=False)
    assert at_level(control, pod, minor=34) != []
    assert at_level(control, pod, minor=35) == []
    pod["spec"]["hostUsers"] = True
    assert at_level(control, pod, minor=34) != []
    assert at_level(control, pod, minor=35) != []


def check_inheritance(control: str, pod_security: dict[str, Any]) -> None:
    """An ephemeral container that inherits a denied value has a finding of its own, beside the pod's."""
    pod = with_container_in("ephemeralContainers", container(), securityContext=pod_security)
    assert [finding.container for finding in at_level(control, pod)] == [None, "tested"]

"""namespaces: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.admission import Context, Form, evaluate
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import restricted_pod, typed
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, with_parameters


def of(namespace: str | None) -> Pod:
    pod = restricted_pod()
    pod["metadata"]["namespace"] = namespace
    return pod


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, of("default"), of("default-2"), "metadata.namespace"),
    ({}, of(None), of("shop"), "metadata.namespace"),
    ({"denied": ["old-*", "kube-public"]}, of("old-shop"), of("shop-old"), "metadata.namespace"),
    ({"denied": ["kube-public"]}, of("kube-public"), of("default"), "metadata.namespace"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("namespaces", parameters, bad, good, field)


def test_finding_says_which_namespaces_are_denied() -> None:
    (finding,) = with_parameters("namespaces", {"denied": ["default", "old-*"]}, of("old-shop"))
    assert (finding.value, finding.allowed) == ('"old-shop"', "any but default and old-*")


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("written", [None, "default", "shop"])
def test_the_namespace_of_the_request_is_judged_whatever_the_pod_says(form: Form, written: str | None) -> None:
    policy = {"metadata": {"name": "p"}, "spec": {"controls": {"namespaces": {}}}}
    policies = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    pod = typed(of(written))
    assert evaluate(pod, Context(policies, "default", {}), form=form).violations
    assert not evaluate(pod, Context(policies, "shop", {}), form=form).violations

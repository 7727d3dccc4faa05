"""Lists at their limits, in policies and in pods: no review holds the loop, or takes more than its share apart."""

import asyncio
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.controls import CONTROLS
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.webhook.review_cost import is_quick
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.worst.limits import (
    MAX_LOOP_SECONDS,
    Large,
    Part,
    Seconds,
    at_limit,
    dearest,
    growing_pods,
    parameters_at_limits,
    policies_at_limits,
    seconds_of,
)
from tests.worst.schema import ENTRY, growable, struct_schema

DEAREST = ("hostPathVolumes", "resourceClaims", "sysctls", "secretsInEnv")
"""The controls that compared most; `make worst` tries all."""
BASELINE = {"metadata": {"name": "baseline"}, "spec": {"podSecurityStandard": {"level": "baseline"}}}
ONE_CONTROL = {"metadata": {"name": "privileged"}, "spec": {"controls": {"privileged": {}}}}
ATTEMPTS = 3
COUNTS = (256, 140, 80, 40, 20, 8, 3, 1)


def least(policies: PolicySet, path: str, body: bytes) -> Seconds:
    """What a review costs, the least of some attempts where a busy machine makes one slow."""
    costs: list[Seconds] = []
    while len(costs) < ATTEMPTS and (not costs or costs[-1].faults):
        costs.append(asyncio.run(seconds_of(policies, path, body)))
    return Seconds(min(cost.loop for cost in costs), min(cost.apart for cost in costs))


def largest_quick(large: Large, policies: PolicySet) -> bytes | None:
    """The largest review of a pod that is judged on the loop; None where none is."""
    for count in COUNTS:
        body = review_body(large.make(count), namespace="shop")
        review = admission.decode(body)
        if review.defect is None and is_quick(review, len(body), policies, {}):
            return body
    return None


@pytest.mark.parametrize("control", DEAREST)
def test_lists_at_their_limits_in_many_policies_take_no_more_than_a_review_may(control: str) -> None:
    pods = list(growing_pods())
    policies = policies_at_limits(control, 0)
    (dear,) = dearest(control, next(parameters_at_limits(control)), pods, 1)
    assert not least(policies, "validate", at_limit(dear)).faults


@pytest.mark.parametrize(("control", "policies"), [("sysctls", 1), ("resourceClaims", 4), ("sysctls", 31)])
def test_no_review_that_is_judged_at_once_holds_the_loop(control: str, policies: int) -> None:
    enforced = policies_at_limits(control, 0, cluster_policies=0, pod_policies=policies)
    dear = dearest(control, next(parameters_at_limits(control)), list(growing_pods()), 3)
    bodies = [body for body in (largest_quick(large, enforced) for large in dear) if body is not None]
    assert bodies
    for body in bodies:
        assert least(enforced, "validate", body).loop <= MAX_LOOP_SECONDS


@pytest.mark.parametrize("policy", [BASELINE, ONE_CONTROL], ids=["baseline", "one control"])
@pytest.mark.parametrize(("sidecars", "names", "others"), [(4, 250, 450), (8, 256, 1), (38, 256, 470)])
def test_resources_of_sidecars_take_no_more_than_a_review_may(
    policy: Any, sidecars: int, names: int, others: int
) -> None:
    body = review_body(template_of_sidecars(sidecars, names, others), kind=DEPLOYMENT, resource=DEPLOYMENTS)
    enforced = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    assert not least(enforced, "validate", body).faults


def template_of_sidecars(sidecars: int, names: int, others: int) -> dict[str, Any]:
    """A Deployment of a pod with resources, sidecars with limits of huge pages that differ, and other init containers.

    names: of huge pages in each sidecar.
    """
    init: list[Any] = [
        {
            "name": f"s{number}",
            "restartPolicy": "Always",
            "resources": {"limits": {f"hugepages-{number * names + name}": "1" for name in range(names)}},
        }
        for number in range(sidecars)
    ]
    init += [{"name": f"p{number}"} for number in range(others)]
    spec = {"containers": [{"name": "c"}], "initContainers": init, "resources": {"limits": {"cpu": "1"}}}
    return {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"spec": spec}}}


def test_every_list_of_patterns_in_a_policy_is_tried() -> None:
    used = {(name, key) for name in CONTROLS for parameters in parameters_at_limits(name) for key in parameters}
    lists = {
        (name, path[0])
        for name, control in CONTROLS.items()
        for path, schema in growable(struct_schema(control.parameters))
        if schema.kind == "list" and ENTRY not in path
    }
    few_values = {
        ("restrictedVolumes", "allowed"),
        ("restrictedVolumes", "additionalAllowed"),
        ("capabilities", "allowedAdd"),
        ("capabilities", "additionalAllowedAdd"),
        ("capabilities", "requiredDrop"),
        ("seccompProfile", "allowedTypes"),
        ("appArmorProfile", "allowedTypes"),
        ("imagePullPolicy", "allowed"),
        ("probes", "required"),
        ("probes", "anyOf"),
        ("images", "signatures"),
        ("images", "attestations"),
    }
    assert lists - used == few_values


def test_the_parts_of_a_run_have_each_input_exactly_one_time() -> None:
    parts = [Part(number, 4).entries(range(10)) for number in range(1, 5)]
    assert sorted(one for part in parts for one in part) == list(range(10))
    assert Part().entries(range(10)) == range(10)

"""CEL expressions as policies of ours: what a predicate says is learnt by evaluating it."""

from typing import Any

import pytest
import yaml

from sekisho.manifests import Source
from sekisho.manifests.engines.results import Difference, Translation
from sekisho.manifests.engines.translate import translate

CONTAINERS = (
    "object.spec.containers + object.spec.?initContainers.orValue([]) + "
    "(has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers : [])"
)


def policy(*expressions: str, **spec: Any) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "apiVersion": "policies.kyverno.io/v1",
        "kind": "ValidatingPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "validationActions": ["Deny"],
            "matchConstraints": {"resourceRules": [rule]},
            "variables": [{"name": "all", "expression": CONTAINERS}],
            "validations": [{"expression": expression} for expression in expressions],
            **spec,
        },
    }


def translated(document: dict[str, Any]) -> Translation:
    return translate("kyverno", [Source("p.yaml", 0, yaml.safe_dump(document))], None)


def controls(*expressions: str) -> Any:
    translation = translated(policy(*expressions))
    assert not [note for note in translation.notes if note.remark.difference is Difference.NOT_TRANSLATED]
    [written] = translation.objects
    return written.value["spec"]["controls"]


EXPRESSIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "a default that passes": (
        "variables.all.all(c, c.?securityContext.?privileged.orValue(false) == false)",
        {"privileged": {}},
    ),
    "a negation": ("variables.all.all(c, !c.?securityContext.?privileged.orValue(false))", {"privileged": {}}),
    "guards": (
        "variables.all.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || "
        "c.securityContext.privileged == false)",
        {"privileged": {}},
    ),
    "fields that must be set": (
        "variables.all.all(c, has(c.securityContext) && has(c.securityContext.readOnlyRootFilesystem) && "
        "c.securityContext.readOnlyRootFilesystem)",
        {"readOnlyRootFilesystem": {}},
    ),
    "a range": (
        "variables.all.all(c, c.?ports.orValue([]).all(p, !has(p.hostPort) || (p.hostPort >= 80 && p.hostPort < 90)))",
        {"hostPorts": {"allowed": [{"min": 80, "max": 89}]}},
    ),
    "a list of values": (
        "variables.all.all(c, c.?securityContext.?capabilities.?add.orValue([]).all(x, x == '' || x in ['CHOWN']))",
        {"capabilities": {"allowedAdd": ["CHOWN"], "requiredDrop": []}},
    ),
    "an item that must exist": (
        "variables.all.all(c, c.?securityContext.?capabilities.?drop.orValue([]).exists(x, x == 'ALL'))",
        {"capabilities": {"requiredDrop": ["ALL"]}},
    ),
    "a field of each volume": (
        "object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
        {"hostPathVolumes": {}},
    ),
    "kinds of volume": (
        "!has(object.spec.volumes) || object.spec.volumes.all(v, has(v.secret) || has(v.emptyDir))",
        {"restrictedVolumes": {"allowed": ["secret", "emptyDir"]}},
    ),
    "three fields of the pod": (
        "!(object.spec.?hostPID.orValue(false) || object.spec.?hostIPC.orValue(false) || "
        "object.spec.?hostNetwork.orValue(false))",
        {"hostNamespaces": {}},
    ),
    "a label": (
        "has(object.metadata.labels) && 'team' in object.metadata.labels && object.metadata.labels['team'] != ''",
        {"labels": {"required": ["team"]}},
    ),
    "the start of images": (
        "variables.all.all(c, c.image.startsWith('a.example.com/') || c.image.startsWith('ghcr.io/acme/'))",
        {"images": {"trustedRegistries": ["a.example.com", "ghcr.io/acme"]}},
    ),
    "the namespace": ("namespaceObject.metadata.name != 'default'", {"namespaces": {"denied": ["default"]}}),
    "the pod or each container": (
        "(object.spec.?securityContext.?runAsNonRoot.orValue(false) == true && "
        "variables.all.all(c, c.?securityContext.?runAsNonRoot.orValue(true) == true)) || "
        "variables.all.all(c, c.?securityContext.?runAsNonRoot.orValue(false) == true)",
        {"runAsNonRoot": {}},
    ),
}


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_becomes_the_control_that_does_as_much(expression: str, expected: dict[str, Any]) -> None:
    result = controls(expression)
    if "capabilities" in result and "allowedAdd" not in expected.get("capabilities", {}):
        del result["capabilities"]["allowedAdd"]  # all that need not be dropped
    assert result == expected


UNREADABLE = {
    "another object": "variables.all.all(c, c.image == request.userInfo.username)",
    "two fields": "variables.all.all(c, c.image == c.name)",
    "a sum": "variables.all.all(c, c.?securityContext.?runAsUser.orValue(1) + 1 > 5)",
    "the order of texts": "variables.all.all(c, c.name < 'x')",
    "a regular expression": "variables.all.all(c, c.image.matches('^a'))",
    "the length of a list": "object.spec.containers.size() < 3",
    "an unknown variable": "variables.other.all(c, has(c.image))",
    "no expression": "object.spec.(",
    "a list whose absence is an error": "object.spec.volumes.all(v, !has(v.hostPath))",
    "init containers whose absence is an error": "object.spec.initContainers.all(c, c.image.startsWith('a.example/'))",
    "a guard of a field above the list only": (
        "variables.all.all(c, !has(c.securityContext) || c.securityContext.capabilities.add.all(x, x in ['CHOWN']))"
    ),
    "other cases of a text": (
        "variables.all.all(c, c.?securityContext.?capabilities.?add.orValue([]).all(x, x.upperAscii() != 'ALL'))"
    ),
}


@pytest.mark.parametrize("expression", UNREADABLE.values(), ids=UNREADABLE)
def test_an_expression_that_cannot_be_read_is_listed_with_its_place(expression: str) -> None:
    translation = translated(policy(expression))
    assert not translation.objects
    assert translation.notes
    assert all(note.remark.difference is Difference.NOT_TRANSLATED for note in translation.notes)
    assert all(note.where.startswith("p.yaml:") for note in translation.notes)


def test_presence_that_a_default_would_hide_stays_required() -> None:
    hidden = "variables.all.all(c, has(c.securityContext) && c.?securityContext.?privileged.orValue(false) == false)"
    translation = translated(policy(hidden))
    assert any("securityContext.privileged may be unset" in note.remark.text for note in translation.notes)
    assert not translation.is_faithful


def test_an_expression_of_any_depth_is_read_or_listed() -> None:
    for text in ("(" * 5000 + "true" + ")" * 5000, "!" * 5000 + "true", " && ".join(["has(object.spec.x)"] * 5000)):
        assert not translated(policy(text)).objects


def test_variables_that_multiply_are_bounded() -> None:
    names = [f"variables.v{index}" for index in range(60)]
    doubled = [{"name": f"v{index}", "expression": f"{name} || {name}"} for index, name in enumerate(names, 1)]
    variables = [{"name": "v0", "expression": "has(object.spec.x)"}, *doubled]
    assert not translated(policy("variables.v60", variables=variables)).objects


@pytest.mark.parametrize(
    "spec",
    [
        {"matchConditions": [{"name": "a", "expression": "true"}]},
        {"matchConstraints": {"resourceRules": [{"resources": ["services"], "operations": ["CREATE"]}]}},
        {"matchConstraints": {"resourceRules": [{"resources": ["pods"], "operations": ["DELETE"]}]}},
    ],
)
def test_a_policy_for_other_requests_is_listed(spec: dict[str, Any]) -> None:
    translation = translated(policy("object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))", **spec))
    assert not translation.objects
    assert translation.notes


def test_actions_and_selectors_become_enforcement_and_match() -> None:
    rules = policy()["spec"]["matchConstraints"]
    selector = {"matchLabels": {"a": "b"}}
    spec = {
        "validationActions": ["Warn", "Audit"],
        "matchConstraints": {**rules, "objectSelector": selector, "namespaceSelector": selector},
    }
    translation = translated(policy("object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))", **spec))
    [written] = translation.objects
    assert written.value["spec"]["enforcement"] == "Warn"
    assert written.value["spec"]["match"] == {"podSelector": selector, "namespaceSelector": selector}

"""Kyverno's rules as policies of ours: what each becomes, and what is listed instead of being dropped."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import sekisho
from sekisho.manifests import Source
from sekisho.manifests.engines.results import Difference, Translation, write_objects
from sekisho.manifests.engines.translate import translate

UNTIL = "2999-01-01T00:00:00Z"
PODS = {"any": [{"resources": {"kinds": ["Pod"]}}]}
EACH_LIST = ("containers", "=(initContainers)", "=(ephemeralContainers)")
EVERY_CONTAINER = "request.object.spec.[ephemeralContainers, initContainers, containers][]"


def policy(*rules: dict[str, Any], kind: str = "ClusterPolicy", **spec: Any) -> dict[str, Any]:
    """A policy of Kyverno; its rules are about pods unless they say otherwise."""
    named = [{"name": f"r{index}", "match": PODS, **rule} for index, rule in enumerate(rules)]
    metadata = {"name": "p"} | ({"namespace": "shop"} if kind == "Policy" else {})
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"validationFailureAction": "Enforce", **spec, "rules": named},
    }


def pattern(tree: Any) -> dict[str, Any]:
    return {"validate": {"pattern": tree}}


def every(container: Any) -> dict[str, Any]:
    """A pattern for all containers of a pod."""
    return {"validate": {"pattern": {"spec": {name: [container] for name in EACH_LIST}}}}


def denied_if(*conditions: dict[str, Any], how: str = "all") -> dict[str, Any]:
    return {"validate": {"deny": {"conditions": {how: list(conditions)}}}}


def translated(*objects: dict[str, Any], until: str | None = UNTIL) -> Translation:
    return translate("kyverno", [Source("p.yaml", 0, yaml.safe_dump(one)) for one in objects], until)


def specs(translation: Translation) -> list[dict[str, Any]]:
    return [one.value["spec"] for one in translation.objects]


def listed(translation: Translation, difference: Difference) -> list[str]:
    return [note.remark.text for note in translation.notes if note.remark.difference is difference]


def controls(*rules: dict[str, Any]) -> dict[str, Any]:
    """The controls of the one policy that rules become, when nothing differs but what is stricter."""
    translation = translated(policy(*rules))
    assert translation.is_faithful, translation.notes
    [spec] = specs(translation)
    result: dict[str, Any] = spec["controls"]
    return result


BOTH_LEVELS = {"securityContext": {"runAsNonRoot": True}}
OPTIONAL_IN_EACH = {"=(securityContext)": {"=(runAsNonRoot)": True}}

EXACT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no container may be privileged": (
        every({"=(securityContext)": {"=(privileged)": "false"}}),
        {"privileged": {}},
    ),
    "no pod may use the node's namespaces": (
        pattern({"spec": {"=(hostPID)": "false", "=(hostIPC)": "false", "=(hostNetwork)": False}}),
        {"hostNamespaces": {}},
    ),
    "no volume may be of the node": (
        pattern({"spec": {"=(volumes)": [{"X(hostPath)": "null"}]}}),
        {"hostPathVolumes": {}},
    ),
    "host ports must be in a range": (
        every({"=(ports)": [{"=(hostPort)": "8000-8100 | 9000-9000"}]}),
        {"hostPorts": {"allowed": [{"min": 8000, "max": 8100}, {"min": 9000, "max": 9000}]}},
    ),
    "users must be high": (
        pattern(
            {
                "spec": {
                    "=(securityContext)": {"=(runAsUser)": ">=1000"},
                    **{name: [{"=(securityContext)": {"=(runAsUser)": ">=1000"}}] for name in EACH_LIST},
                }
            }
        ),
        {"runAsUser": {"rule": "MayRunAs", "ranges": [{"min": 1000, "max": 4294967295}]}},
    ),
    "the pod or each container must not run as root": (
        {
            "validate": {
                "anyPattern": [
                    {"spec": {**BOTH_LEVELS, **{name: [OPTIONAL_IN_EACH] for name in EACH_LIST}}},
                    {"spec": {name: [BOTH_LEVELS] for name in EACH_LIST}},
                ]
            }
        },
        {"runAsNonRoot": {}},
    ),
    "images come from two registries": (
        every({"image": "registry.example.com/* | ghcr.io/acme/*"}),
        {"images": {"trustedRegistries": ["registry.example.com", "ghcr.io/acme"]}},
    ),
    "images have a digest": (every({"image": "*@sha256:*"}), {"images": {"requireDigest": True}}),
    "a label must be set": (
        pattern({"metadata": {"labels": {"example.com/team": "?*"}}}),
        {"labels": {"required": ["example.com/team"]}},
    ),
    "sysctls are of a list": (
        pattern({"spec": {"=(securityContext)": {"=(sysctls)": [{"=(name)": "net.core.* | kernel.shm_rmid_forced"}]}}}),
        {"sysctls": {"allowed": ["net.core.*", "kernel.shm_rmid_forced"]}},
    ),
    "capabilities are of a list": (
        denied_if(
            {
                "key": f"{{{{ {EVERY_CONTAINER}.securityContext.capabilities.add[] }}}}",
                "operator": "AnyNotIn",
                "value": ["CHOWN", "KILL"],
            }
        ),
        {"capabilities": {"allowedAdd": ["CHOWN", "KILL"], "requiredDrop": []}},
    ),
    "volumes are of some kinds": (
        denied_if(
            {
                "key": "{{ request.object.spec.volumes[].keys(@)[] || '' }}",
                "operator": "AnyNotIn",
                "value": ["name", "secret", ""],
            }
        ),
        {"restrictedVolumes": {"allowed": ["secret"]}},
    ),
}


@pytest.mark.parametrize(("rule", "expected"), EXACT.values(), ids=EXACT)
def test_a_rule_becomes_the_control_that_does_as_much(rule: dict[str, Any], expected: dict[str, Any]) -> None:
    assert controls(rule) == expected


def test_rules_about_one_control_become_one_control() -> None:
    drop = {"key": "ALL", "operator": "AnyNotIn", "value": "{{ element.securityContext.capabilities.drop[] || `[]` }}"}
    add = {
        "key": "{{ element.securityContext.capabilities.add[] || `[]` }}",
        "operator": "AnyNotIn",
        "value": ["CHOWN", ""],
    }
    rules = [
        {"validate": {"foreach": [{"list": EVERY_CONTAINER, "deny": {"conditions": {"all": [one]}}}]}}
        for one in (drop, add)
    ]
    assert controls(*rules) == {"capabilities": {"allowedAdd": ["CHOWN"], "requiredDrop": ["ALL"]}}


def test_a_control_that_two_rules_set_otherwise_is_in_two_policies() -> None:
    translation = translated(policy(every({"image": "a.example.com/*"}), every({"image": "*.example.com/*"})))
    assert [spec["controls"]["images"]["trustedRegistries"] for spec in specs(translation)] == [
        ["a.example.com"],
        ["*.example.com"],
    ]
    assert [one.name for one in translation.objects] == ["p", "p-2"]


def test_two_lists_of_which_one_is_enough_are_never_joined() -> None:
    probes = [
        [{"key": name, "operator": "AllNotIn", "value": "{{ element.keys(@)[] }}"} for name in pair]
        for pair in (("livenessProbe", "startupProbe"), ("readinessProbe", "startupProbe"))
    ]
    rules = [
        {"validate": {"foreach": [{"list": "request.object.spec.containers[]", "deny": {"conditions": {"all": one}}}]}}
        for one in probes
    ]
    written = [spec["controls"]["probes"]["anyOf"] for spec in specs(translated(policy(*rules)))]
    assert written == [["livenessProbe", "startupProbe"], ["readinessProbe", "startupProbe"]]


def test_a_standard_is_never_replaced_by_the_controls_of_another_rule() -> None:
    standard = {"validate": {"podSecurity": {"level": "restricted"}}}
    translation = translated(policy(standard, every({"=(securityContext)": {"=(privileged)": "false"}})))
    assert [sorted(spec) for spec in specs(translation)] == [
        ["enforcement", "podSecurityStandard", "templates"],
        ["controls", "enforcement", "templates"],
    ]


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "shop"},
    "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1"}]},
}


def is_denied(translation: Translation, tmp_path: Path, pod: dict[str, Any]) -> bool:
    file = tmp_path / "policies.yaml"
    file.write_text(write_objects(translation.objects))
    return any(one.is_denied for one in sekisho.check(pod, sekisho.load_policies(file)))


def with_context(**context: Any) -> dict[str, Any]:
    container = {**POD["spec"]["containers"][0], "securityContext": context}  # type: ignore[index]
    return {**POD, "spec": {"containers": [container]}}


TWINS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "privileged": (
        every({"=(securityContext)": {"=(privileged)": "false"}}),
        with_context(privileged=True),
        with_context(privileged=False),
    ),
    "seccomp": (
        every({"=(securityContext)": {"=(seccompProfile)": {"=(type)": "RuntimeDefault"}}}),
        with_context(seccompProfile={"type": "Unconfined"}),
        POD,
    ),
    "read-only": (
        every({"securityContext": {"readOnlyRootFilesystem": "true"}}),
        with_context(readOnlyRootFilesystem=False),
        with_context(readOnlyRootFilesystem=True),
    ),
    "Windows": (
        every({"securityContext": {"allowPrivilegeEscalation": "false"}}),
        {**POD, "spec": {**POD["spec"], "os": {"name": "windows"}}},  # type: ignore[dict-item]
        with_context(allowPrivilegeEscalation=False),
    ),
}


@pytest.mark.parametrize(("rule", "denied", "admitted"), TWINS.values(), ids=TWINS)
def test_the_policy_denies_what_the_rule_denies(
    rule: dict[str, Any], denied: dict[str, Any], admitted: dict[str, Any], tmp_path: Path
) -> None:
    translation = translated(policy(rule))
    assert is_denied(translation, tmp_path, denied)
    assert not is_denied(translation, tmp_path, admitted)


LOOSER: dict[str, dict[str, Any]] = {
    "securityContext.privileged may be unset": every({"securityContext": {"privileged": "false"}}),
    "runAsNonRoot of the pod counts": every({"securityContext": {"runAsNonRoot": "true"}}),
    "runAsNonRoot of the pod may be unset where each": pattern({"spec": {"securityContext": {"runAsNonRoot": True}}}),
    "passes also if it is written without docker.io": every({"image": "docker.io/acme/*"}),
    "resources of the pod as a whole count": every({"resources": {"limits": {"memory": "?*"}}}),
    "ports[].hostPort may be unset": every({"=(ports)": [{"hostPort": 0}]}),
}


@pytest.mark.parametrize(("text", "rule"), LOOSER.items(), ids=LOOSER)
def test_what_is_looser_is_listed_and_in_the_comment(text: str, rule: dict[str, Any]) -> None:
    translation = translated(policy(rule))
    assert any(text in one for one in listed(translation, Difference.LOOSER))
    assert any(text in line for line in translation.objects[0].comment if line.startswith("Looser: "))
    assert not translation.is_faithful


NOT_TRANSLATED: dict[str, dict[str, Any]] = {
    "it is about Service": {"match": {"any": [{"resources": {"kinds": ["Service"]}}]}, **pattern({"spec": {}})},
    "it is about Pod/exec": {"match": {"any": [{"resources": {"kinds": ["Pod/exec"]}}]}, **pattern({"spec": {}})},
    "depend on another field": every({"(image)": "a/*", "imagePullPolicy": "Always"}),
    "initContainers without =()": pattern({"spec": {"initContainers": [{"image": "a.example.com/*"}]}}),
    "no control is about runtimeClassName": pattern({"spec": {"runtimeClassName": "gvisor"}}),
    "the precondition is about something else": {
        "preconditions": {"all": [{"key": "{{ request.object.metadata.name }}", "operator": "Equals", "value": "a"}]},
        **every({"=(securityContext)": {"=(privileged)": "false"}}),
    },
    "match by subjects": {
        "match": {"any": [{"resources": {"kinds": ["Pod"]}, "subjects": [{"kind": "User", "name": "a"}]}]},
        **every({"=(securityContext)": {"=(privileged)": "false"}}),
    },
    "it changes objects": {"mutate": {"patchStrategicMerge": {}}},
    "is not a field of the pod": denied_if({"key": "{{ images.*.tag }}", "operator": "AnyIn", "value": ["latest"]}),
    "is one image or begins other registries": every({"image": "registry.example.com*"}),
    "it denies everything": {"validate": {"deny": {}}},
    "it requires nothing": pattern({}),
    "any and all together": {
        "validate": {
            "deny": {
                "conditions": {name: [{"key": "a", "operator": "Equals", "value": "b"}] for name in ("any", "all")}
            }
        }
    },
    "have the wildcard ?": denied_if(
        {"key": "{{ request.object.spec.priorityClassName || '' }}", "operator": "AnyIn", "value": ["high-?"]}
    ),
    "other operations than creating pods": {
        "match": {"any": [{"resources": {"kinds": ["Pod"], "operations": ["DELETE"]}}]},
        **every({"=(securityContext)": {"=(privileged)": "false"}}),
    },
}


@pytest.mark.parametrize(("text", "rule"), NOT_TRANSLATED.items(), ids=NOT_TRANSLATED)
def test_what_cannot_be_translated_is_listed_with_its_place(text: str, rule: dict[str, Any]) -> None:
    translation = translated(policy(rule))
    assert not translation.objects
    assert translation.notes
    for note in translation.notes:
        assert text in note.remark.text
        assert note.remark.difference is Difference.NOT_TRANSLATED
        assert note.where.startswith("p.yaml:")


def test_a_field_of_the_policy_that_is_not_known_is_listed_and_the_policy_not_translated() -> None:
    translation = translated(policy(every({"image": "a.example.com/*"}), admission=False))
    assert (translation.objects, listed(translation, Difference.NOT_TRANSLATED)) == (
        (),
        ["its field admission is not known here"],
    )


MATCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "namespaces": (
        {"match": {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["a", "team-*"]}}]}},
        {"namespaces": ["a", "team-*"]},
    ),
    "selectors": (
        {
            "match": {
                "all": [
                    {"resources": {"kinds": ["Pod"], "selector": {"matchLabels": {"a": "b"}}}},
                    {"resources": {"namespaceSelector": {"matchLabels": {"c": "d"}}}},
                ]
            }
        },
        {"podSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {"matchLabels": {"c": "d"}}},
    ),
    "excluded namespaces and subjects": (
        {
            "exclude": {
                "any": [
                    {"resources": {"namespaces": ["tools"]}},
                    {"subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b"}]},
                ]
            }
        },
        {"excludeNamespaces": ["tools"], "excludeSubjects": {"serviceAccounts": ["b/a"]}},
    ),
    "an excluded label": (
        {"exclude": {"any": [{"resources": {"selector": {"matchLabels": {"a": "b"}}}}]}},
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}},
    ),
}


@pytest.mark.parametrize(("rule", "expected"), MATCHES.values(), ids=MATCHES)
def test_a_policy_matches_the_pods_of_the_rule(rule: dict[str, Any], expected: dict[str, Any]) -> None:
    [spec] = specs(translated(policy({**every({"image": "a.example.com/*"}), **rule})))
    assert spec["match"] == expected


def test_each_filter_of_any_becomes_a_policy() -> None:
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": [name]}} for name in "ab"]}
    translation = translated(policy({**every({"image": "a.example.com/*"}), "match": match}))
    assert [spec["match"] for spec in specs(translation)] == [{"namespaces": ["a"]}, {"namespaces": ["b"]}]


def test_an_exclusion_that_match_cannot_say_becomes_a_waiver() -> None:
    resources = {"namespaces": ["tools"], "selector": {"matchLabels": {"app": "agent"}}}
    rule = {**every({"=(securityContext)": {"=(privileged)": "false"}}), "exclude": {"any": [{"resources": resources}]}}
    written, waiver = specs(translated(policy(rule)))
    assert "match" not in written
    assert waiver == {
        "policies": ["p"],
        "controls": ["privileged"],
        "match": {"namespaces": ["tools"], "podSelector": {"matchLabels": {"app": "agent"}}},
        "expires": UNTIL,
        "reason": "excluded in Kyverno",
    }


def test_a_waiver_by_name_is_listed_as_looser_because_it_exempts_the_pods_of_workloads() -> None:
    excluded = {"any": [{"resources": {"names": ["agent"]}}]}
    translation = translated(policy({**every({"image": "a.example.com/*"}), "exclude": excluded}))
    assert any("pods of a workload with that name" in one for one in listed(translation, Difference.LOOSER))
    assert translation.objects[1].comment == ("Looser: pods of a workload with that name are exempt too.",)


def test_without_an_end_an_exclusion_is_listed_and_the_policy_denies_its_pods() -> None:
    resources = {"namespaces": ["tools"], "names": ["agent-*"]}
    rule = {**every({"image": "a.example.com/*"}), "exclude": {"any": [{"resources": resources}]}}
    translation = translated(policy(rule), until=None)
    assert len(translation.objects) == 1
    assert "--waivers-until" in listed(translation, Difference.NOT_TRANSLATED)[0]


@pytest.mark.parametrize(
    ("spec", "enforcement", "templates"),
    [
        ({"validationFailureAction": "Enforce"}, "Deny", "Deny"),
        ({"validationFailureAction": "audit"}, "Audit", None),
        ({"validationFailureAction": "Audit", "emitWarning": True}, "Warn", None),
    ],
)
def test_the_failure_action_becomes_the_enforcement(
    spec: dict[str, Any], enforcement: str, templates: str | None
) -> None:
    [written] = specs(translated(policy(every({"image": "a.example.com/*"}), **spec)))
    assert (written["enforcement"], written.get("templates")) == (enforcement, templates)


def test_an_override_becomes_a_policy_for_its_namespaces_and_the_other_leaves_them_out() -> None:
    overrides = [{"action": "Audit", "namespaces": ["old"]}]
    translation = translated(policy(every({"image": "a.example.com/*"}), validationFailureActionOverrides=overrides))
    assert [(spec["enforcement"], spec["match"]) for spec in specs(translation)] == [
        ("Audit", {"namespaces": ["old"]}),
        ("Deny", {"excludeNamespaces": ["old"]}),
    ]


def test_an_override_within_the_namespaces_of_a_rule_keeps_both_limits() -> None:
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["team-*"]}}]}
    overrides = [{"action": "Audit", "namespaces": ["team-a", "other"]}]
    rule = {**every({"image": "a.example.com/*"}), "match": match}
    first, second = specs(translated(policy(rule, validationFailureActionOverrides=overrides)))
    assert (first["enforcement"], first["match"]) == ("Audit", {"namespaces": ["team-a"]})
    assert (second["enforcement"], second["match"]["excludeNamespaces"]) == ("Deny", ["team-a", "other"])


@pytest.mark.parametrize("limit", [{"namespaces": ["*-a"]}, {"namespaceSelector": {"matchLabels": {"a": "b"}}}])
def test_an_override_that_may_be_for_other_namespaces_is_listed(limit: dict[str, Any]) -> None:
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["team-*"]}}]}
    rule = {**every({"image": "a.example.com/*"}), "match": match}
    translation = translated(policy(rule, validationFailureActionOverrides=[{"action": "Audit", **limit}]))
    assert not translation.objects
    assert "an override for namespaces" in listed(translation, Difference.NOT_TRANSLATED)[0]


def test_a_policy_of_a_namespace_becomes_a_pod_policy_there() -> None:
    [written] = translated(policy(every({"image": "a.example.com/*"}), kind="Policy")).objects
    assert written.value["kind"] == "PodPolicy"
    assert written.value["metadata"] == {"name": "p", "namespace": "shop"}


PRIVILEGED = "Privileged Containers"
EXCLUSIONS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a control of pods": ([{"controlName": "Sysctls"}], ["sysctls"]),
    "a control of containers, for all images": ([{"controlName": PRIVILEGED, "images": ["*"]}], ["privileged"]),
    "a control of both": (
        [{"controlName": "Seccomp"}, {"controlName": "Seccomp", "images": ["*"]}],
        ["seccompProfile"],
    ),
}


@pytest.mark.parametrize(("exclusions", "off"), EXCLUSIONS.values(), ids=EXCLUSIONS)
def test_a_control_that_is_excluded_as_a_whole_is_off(exclusions: list[dict[str, Any]], off: list[str]) -> None:
    rule = {"validate": {"podSecurity": {"level": "restricted", "version": "v1.30", "exclude": exclusions}}}
    translation = translated(policy(rule))
    [spec] = specs(translation)
    assert translation.is_faithful
    assert spec["podSecurityStandard"] == {"level": "restricted", "version": "v1.30"}
    assert spec["controls"] == {name: {"enforcement": "Off"} for name in off}


def test_a_control_that_is_excluded_for_images_becomes_a_waiver() -> None:
    exclude = [{"controlName": "Capabilities", "images": ["ghcr.io/acme/*"]}]
    translation = translated(policy({"validate": {"podSecurity": {"level": "baseline", "exclude": exclude}}}))
    assert translation.is_faithful
    _, waiver = specs(translation)
    assert (waiver["controls"], waiver["match"]) == (["capabilities"], {"images": ["ghcr.io/acme"]})


@pytest.mark.parametrize(
    "exclusion",
    [
        {"controlName": "Seccomp"},
        {"controlName": "Volume Types", "restrictedField": "spec.volumes[*].hostPath", "values": ["/var/log"]},
        {"controlName": "Nothing"},
    ],
)
def test_an_exclusion_that_cannot_be_translated_is_listed_and_never_exempts(exclusion: dict[str, Any]) -> None:
    rule = {"validate": {"podSecurity": {"level": "baseline", "exclude": [exclusion]}}}
    translation = translated(policy(rule))
    assert len(listed(translation, Difference.NOT_TRANSLATED)) == 1
    assert [sorted(spec) for spec in specs(translation)] == [["enforcement", "podSecurityStandard", "templates"]]


def test_two_policies_with_one_name_become_two_and_waivers_follow_theirs() -> None:
    exclude = {"any": [{"resources": {"namespaces": ["tools"], "names": ["agent"]}}]}
    first, second = (policy({**every({"image": f"{name}.example.com/*"}), "exclude": exclude}) for name in "ab")
    translation = translated(first, second)
    assert [one.name for one in translation.objects] == ["p", "p-exclusion", "p-2", "p-exclusion-2"]
    assert [spec["policies"] for spec in specs(translation) if "policies" in spec] == [["p"], ["p-2"]]


def exception(match: dict[str, Any], rules: list[str], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kyverno.io/v2",
        "kind": "PolicyException",
        "metadata": {"name": "e", "namespace": "kyverno"},
        "spec": {
            "exceptions": [{"policyName": "p", "ruleNames": rules}],
            "match": {"any": [{"resources": {"kinds": ["Pod", "Deployment"], **match}}]},
            **spec,
        },
    }


TWO_RULES = policy(every({"=(securityContext)": {"=(privileged)": "false"}}), pattern({"spec": {"=(hostPID)": False}}))


def test_an_exception_becomes_a_waiver_of_the_controls_of_its_rules() -> None:
    translation = translated(exception({"namespaces": ["tools"], "names": ["agent*"]}, ["r0", "autogen-r0"]), TWO_RULES)
    assert [one.value["kind"] for one in translation.objects] == ["ClusterPodPolicy", "PolicyWaiver"]
    waiver = specs(translation)[1]
    assert (waiver["policies"], waiver["controls"]) == (["p"], ["privileged"])
    assert waiver["match"] == {"namespaces": ["tools"], "names": ["agent*"]}
    assert waiver["expires"] == UNTIL


def test_an_exception_for_a_rule_that_shares_its_control_is_looser() -> None:
    rules = [every({"image": "a.example.com/*"}), every({"image": "!*:latest"})]
    translation = translated(policy(*rules), exception({"namespaces": ["tools"]}, ["r0"]))
    assert "images is of other rules too, and exempt from them" in listed(translation, Difference.LOOSER)
    assert any("Looser: images is of other rules" in line for line in translation.objects[1].comment)


def test_an_exception_of_controls_of_a_standard_for_images_keeps_both_limits() -> None:
    pod_security = [{"controlName": "Capabilities", "images": ["ghcr.io/acme/*"]}]
    standard = policy({"validate": {"podSecurity": {"level": "baseline"}}})
    translation = translated(standard, exception({"namespaces": ["tools"]}, ["r0"], podSecurity=pod_security))
    waiver = specs(translation)[1]
    assert waiver["controls"] == ["capabilities"]
    assert waiver["match"] == {"namespaces": ["tools"], "images": ["ghcr.io/acme"]}


UNTRANSLATED_EXCEPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "of another policy": (exception({"namespaces": ["a"]}, ["missing"]), "was read and translated"),
    "with conditions": (exception({"namespaces": ["a"]}, ["r0"], conditions={"any": []}), "its field conditions"),
    "by annotation": (exception({"annotations": {"a": "b"}}, ["r0"]), "cannot be said in a waiver"),
}


@pytest.mark.parametrize(("document", "text"), UNTRANSLATED_EXCEPTIONS.values(), ids=UNTRANSLATED_EXCEPTIONS)
def test_an_exception_that_cannot_be_translated_is_listed_and_exempts_nothing(
    document: dict[str, Any], text: str
) -> None:
    translation = translated(TWO_RULES, document)
    assert [one.value["kind"] for one in translation.objects] == ["ClusterPodPolicy"]
    assert any(text in one for one in listed(translation, Difference.NOT_TRANSLATED))

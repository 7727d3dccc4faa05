"""Gatekeeper's constraints as policies of ours: what each becomes, and what is listed instead of being dropped."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import sekisho
from sekisho.manifests import Source
from sekisho.manifests.engines.results import Difference, Translation, write_objects
from sekisho.manifests.engines.translate import FOREIGN, translate

UNTIL = "2999-01-01T00:00:00Z"
PODS = [{"apiGroups": [""], "kinds": ["Pod"]}]


def constraint(kind: str, parameters: Any = None, *, match: Any = None, **spec: Any) -> dict[str, Any]:
    pods_and_more = {"kinds": PODS, **(match or {})}
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": {"name": "c"},
        "spec": {"match": pods_and_more, "parameters": parameters or {}, **spec},
    }


def template(kind: str, package: str) -> dict[str, Any]:
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": kind.lower()},
        "spec": {
            "crd": {"spec": {"names": {"kind": kind}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": f"package {package}\n\nviolation := 1\n"}],
        },
    }


def translated(*objects: dict[str, Any], until: str | None = UNTIL) -> Translation:
    return translate("gatekeeper", [Source("c.yaml", 0, yaml.safe_dump(one)) for one in objects], until)


def listed(translation: Translation, difference: Difference = Difference.NOT_TRANSLATED) -> list[str]:
    return [note.remark.text for note in translation.notes if note.remark.difference is difference]


CONTROLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "K8sPSPPrivilegedContainer": ({}, {"privileged": {}}),
    "K8sPSPCapabilities": (
        {"allowedCapabilities": ["CHOWN"], "requiredDropCapabilities": ["ALL"]},
        {"capabilities": {"allowedAdd": ["CHOWN"], "requiredDrop": ["ALL"]}},
    ),
    "K8sPSPForbiddenSysctls": (
        {"forbiddenSysctls": ["kernel.*"]},
        {"sysctls": {"allowed": ["*"], "forbidden": ["kernel.*"]}},
    ),
    "K8sPSPFSGroup": (
        {"rule": "MustRunAs", "ranges": [{"min": 2, "max": 3}]},
        {"fsGroup": {"rule": "MustRunAs", "ranges": [{"min": 2, "max": 3}]}},
    ),
    "K8sPSPHostFilesystem": (
        {"allowedHostPaths": [{"pathPrefix": "/var/log", "readOnly": True}]},
        {"hostPathVolumes": {"allowed": [{"pathPrefix": "/var/log", "readOnly": True}]}},
    ),
    "K8sPSPHostNetworkingPorts": (
        {"hostNetwork": True, "min": 80, "max": 90},
        {"hostPorts": {"allowed": [{"min": 80, "max": 90}]}},
    ),
    "K8sPSPSeccompV2": (
        {"allowedProfiles": ["RuntimeDefault", "not configured"]},
        {"seccompProfile": {"allowedTypes": ["RuntimeDefault"], "required": False}},
    ),
    "K8sPSPAllowedUsers": (
        {"runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 5, "max": 6}]}, "fsGroup": {"rule": "RunAsAny"}},
        {"runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 5, "max": 6}]}},
    ),
    "K8sPSPVolumeTypes": ({"volumes": ["secret"]}, {"restrictedVolumes": {"allowed": ["secret"]}}),
    "K8sAllowedRepos": (
        {"repos": ["registry.example.com/", "ghcr.io/acme/"]},
        {"images": {"trustedRegistries": ["registry.example.com", "ghcr.io/acme"]}},
    ),
    "K8sDisallowedTags": ({"tags": ["latest"]}, {"images": {"requireTag": True, "deniedTags": ["latest"]}}),
    "K8sImageDigests": ({}, {"images": {"requireDigest": True}}),
    "K8sContainerLimits": (
        {"cpu": "-1", "memory": "1Gi"},
        {"resources": {"maxLimits": [{"resource": "memory", "quantity": "1Gi"}]}},
    ),
    "K8sRequiredLabels": (
        {"labels": [{"key": "team", "allowedRegex": "^(shop|pay)$"}]},
        {"labels": {"required": ["team"], "allowedValues": [{"key": "team", "values": ["shop", "pay"]}]}},
    ),
    "K8sRequiredProbes": (
        {"probes": ["livenessProbe"], "probeTypes": ["exec", "grpc", "httpGet", "tcpSocket"]},
        {"probes": {"required": ["livenessProbe"]}},
    ),
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_constraint_becomes_the_control_that_does_as_much(kind: str) -> None:
    parameters, controls = CONTROLS[kind]
    translation = translated(constraint(kind, parameters))
    [written] = translation.objects
    assert written.value["spec"]["controls"] == controls
    assert not listed(translation)


NOTHING: dict[str, tuple[dict[str, Any], str]] = {
    "a rule that allows everything": (constraint("K8sPSPVolumeTypes", {"volumes": ["*"]}), "it requires nothing"),
    "exempt images that are all": (
        constraint("K8sPSPPrivilegedContainer", {"exemptImages": ["*"]}),
        "it exempts every image",
    ),
    "other objects": (
        constraint("K8sRequiredLabels", {"labels": [{"key": "a"}]}, match={"kinds": [{"kinds": ["Namespace"]}]}),
        "it is about Namespace",
    ),
    "all objects of a group without pods": (
        constraint("K8sImageDigests", match={"kinds": [{"apiGroups": ["apps"], "kinds": ["*"]}]}),
        "it is about * of apps",
    ),
    "no parameters": (constraint("K8sAllowedRepos"), "it requires nothing of pods"),
    "an unknown kind": (constraint("K8sMyOwnRule"), "no control of ours does what its template does"),
    "a part of match": (constraint("K8sImageDigests", match={"name": "web-*"}), "match by name"),
    "a scoped action": (constraint("K8sImageDigests", enforcementAction="scoped"), "its enforcementAction scoped"),
}


@pytest.mark.parametrize(("document", "text"), NOTHING.values(), ids=NOTHING)
def test_what_cannot_be_translated_is_listed_with_its_place(document: dict[str, Any], text: str) -> None:
    translation = translated(document)
    assert not translation.objects
    [note] = translation.notes
    assert text in note.remark.text
    assert note.where.startswith("c.yaml:")


@pytest.mark.parametrize(("package", "is_known"), [("k8simagedigests", True), ("mine", False)])
def test_a_template_that_is_not_the_librarys_is_never_taken_for_it(package: str, is_known: bool) -> None:
    translation = translated(template("K8sImageDigests", package), constraint("K8sImageDigests"))
    assert translation.originals == 1
    assert bool(translation.objects) == is_known
    assert listed(translation) == ([] if is_known else [FOREIGN])


def test_a_regular_expression_that_ours_cannot_say_is_listed() -> None:
    translation = translated(constraint("K8sRequiredLabels", {"labels": [{"key": "owner", "allowedRegex": "^a+$"}]}))
    assert "ours may have any value" in listed(translation)[0]
    assert translation.objects[0].value["spec"]["controls"] == {"labels": {"required": ["owner"]}}


@pytest.mark.parametrize(("action", "enforcement"), [("deny", "Deny"), ("warn", "Warn"), ("dryrun", "Audit")])
def test_the_action_becomes_the_enforcement(action: str, enforcement: str) -> None:
    [written] = translated(constraint("K8sImageDigests", enforcementAction=action)).objects
    assert written.value["spec"]["enforcement"] == enforcement


def test_match_becomes_match() -> None:
    selector = {"matchLabels": {"a": "b"}}
    match = {"excludedNamespaces": ["kube-*"], "labelSelector": selector, "namespaceSelector": selector}
    [written] = translated(constraint("K8sImageDigests", match=match)).objects
    assert written.value["spec"]["match"] == {
        "excludeNamespaces": ["kube-*"],
        "podSelector": selector,
        "namespaceSelector": selector,
    }


def pod(image: str, **context: Any) -> dict[str, Any]:
    container = {"name": "app", "image": image} | ({"securityContext": context} if context else {})
    metadata = {"name": "p", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def is_denied(translation: Translation, tmp_path: Path, document: dict[str, Any]) -> bool:
    file = tmp_path / "policies.yaml"
    file.write_text(write_objects(translation.objects))
    return any(one.is_denied for one in sekisho.check(document, sekisho.load_policies(file)))


def test_exempt_images_become_a_waiver(tmp_path: Path) -> None:
    translation = translated(constraint("K8sPSPPrivilegedContainer", {"exemptImages": ["agents.example.com/*"]}))
    assert not is_denied(translation, tmp_path, pod("agents.example.com/a:1", privileged=True))
    assert is_denied(translation, tmp_path, pod("other.example.com/a:1", privileged=True))


def test_an_exempt_image_of_a_rule_about_images_is_exempt_with_that_tag_only(tmp_path: Path) -> None:
    parameters = {"tags": ["latest"], "exemptImages": ["registry.example.com/a:latest"]}
    translation = translated(constraint("K8sDisallowedTags", parameters))
    assert translation.is_faithful
    assert not is_denied(translation, tmp_path, pod("registry.example.com/a:latest"))
    assert is_denied(translation, tmp_path, pod("registry.example.com/b:latest"))


def test_without_an_end_exempt_images_are_listed_and_denied(tmp_path: Path) -> None:
    parameters = {"exemptImages": ["agents.example.com/*"]}
    translation = translated(constraint("K8sPSPPrivilegedContainer", parameters), until=None)
    assert "--waivers-until" in listed(translation)[0]
    assert is_denied(translation, tmp_path, pod("agents.example.com/a:1", privileged=True))


def test_the_tags_of_an_exempt_image_that_a_waiver_cannot_say_are_listed_as_looser() -> None:
    translation = translated(constraint("K8sPSPPrivilegedContainer", {"exemptImages": ["a.example.com/x:1"]}))
    assert "all tags of a.example.com/x are exempt" in " ".join(listed(translation, Difference.LOOSER))
    assert any("Looser: " in line for one in translation.objects for line in one.comment)

"""Levels and versions, and what a namespace's labels ask for."""

from typing import Any

import pytest

from sekisho.policies import PolicySet
from sekisho.policies.types import Enforcement
from sekisho.standards import UnknownVersionError, levels_of_labels, parse_version
from tests.unit.policies.test_compilation import policy

P = "pod-security.kubernetes.io/"


@pytest.mark.parametrize(("version", "minor"), [("latest", 37), ("v1.0", 0), ("v1.9", 9), ("v1.37", 37)])
def test_known_version(version: str, minor: int) -> None:
    assert parse_version(version) == minor


@pytest.mark.parametrize("version", ["", "v1.38", "v1.037", "1.30", "v2.0", "v1.30\n", "Latest"])
def test_unknown_version_is_denied(version: str) -> None:
    with pytest.raises(UnknownVersionError):
        parse_version(version)


PRIVILEGED = ("privileged", 37)
LABELS = [
    ({}, PRIVILEGED, PRIVILEGED, PRIVILEGED, 0),
    ({"enforce": "baseline"}, ("baseline", 37), PRIVILEGED, ("baseline", 37), 0),
    ({"enforce": "restricted", "enforce-version": "v1.20"}, ("restricted", 20), PRIVILEGED, ("restricted", 20), 0),
    ({"enforce": "restricted", "warn": "privileged"}, ("restricted", 37), PRIVILEGED, PRIVILEGED, 0),
    ({"enforce": "baseline", "warn-version": "v1.5"}, ("baseline", 37), PRIVILEGED, ("baseline", 5), 0),
    ({"enforce": "privileged", "audit": "restricted"}, PRIVILEGED, ("restricted", 37), PRIVILEGED, 0),
    ({"enforce": "strict"}, ("restricted", 37), PRIVILEGED, PRIVILEGED, 1),
    ({"enforce": "baseline", "enforce-version": "1.20"}, ("baseline", 37), PRIVILEGED, ("baseline", 37), 1),
    ({"enforce": "baseline", "enforce-version": "v1.99"}, ("baseline", 37), PRIVILEGED, ("baseline", 37), 0),
    ({"warn": "strict", "audit": "Baseline"}, PRIVILEGED, PRIVILEGED, PRIVILEGED, 2),
]


@pytest.mark.parametrize(("labels", "enforce", "audit", "warn", "errors"), LABELS)
def test_labels_are_read_as_the_built_in_plugin_does(
    labels: dict[str, str], enforce: Any, audit: Any, warn: Any, errors: int
) -> None:
    levels = levels_of_labels({P + key: value for key, value in labels.items()})
    assert (levels.enforce, levels.audit, levels.warn, len(levels.errors)) == (enforce, audit, warn, errors)


def test_policy_follows_the_labels_of_each_namespace() -> None:
    policies = PolicySet.of([policy("p", podSecurityStandard={"fromNamespaceLabels": True})])
    assert policies.needs_labels
    assert policies.plan("a", {}, None).steps == ()
    strict = policies.plan("b", {P + "enforce": "restricted", P + "audit": "baseline"}, None)
    assert {requirement.enforcement for step in strict.steps for requirement in step.required_by} == {
        Enforcement.DENY,
        Enforcement.WARN,
        Enforcement.AUDIT,
    }
    assert {requirement.enforcement for step in strict.template_steps for requirement in step.required_by} == {
        Enforcement.WARN,
        Enforcement.AUDIT,
    }
    broken = policies.plan("c", {P + "enforce": "strict"}, None)
    assert "must be one of privileged, baseline, restricted" in broken.notes[0]

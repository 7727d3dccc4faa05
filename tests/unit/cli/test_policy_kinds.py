"""PodPolicies and PolicyWaivers at the command line: the webhook's verdicts, and why."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, sekisho

PRIVILEGED = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\n"
    "spec: {containers: [{name: app, image: quay.io/driver, securityContext: {privileged: true}}]}\n"
)
HEAD = "apiVersion: sekisho.dev/v1alpha1\n"
CLUSTER = HEAD + "kind: ClusterPodPolicy\nmetadata: {name: base}\nspec: {podSecurityStandard: {level: baseline}}\n"
OWN = HEAD + "kind: PodPolicy\nmetadata: {name: own, namespace: shop}\nspec: {controls: {hostNamespaces: {}}}\n"
WAIVER = (
    HEAD + "kind: PolicyWaiver\nmetadata: {name: driver}\n"
    "spec:\n  policies: [base]\n  controls: [privileged]\n  expires: EXPIRES\n  reason: it loads a module\n"
    "  match: {images: [quay.io/driver]}\n"
)
FAR, PAST = "2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "waiver.yaml").write_text(WAIVER.replace("EXPIRES", FAR))
    return tmp_path


def test_check_applies_a_waiver_with_a_note(policies: Path) -> None:
    result = sekisho("check", "-p", policies, "-", text=PRIVILEGED)
    assert result.exit_code == 0
    assert (
        'note: Pod shop/p: waiver "driver" exempts container "app" from privileged of policy "base" until '
        "2999-01-01T00:00:00Z: it loads a module\n"
    ) in result.stderr
    denied = sekisho("check", "-p", policies, "-", text=PRIVILEGED.replace("quay.io/driver", "quay.io/driver2"))
    assert denied.exit_code == 1


def test_check_ignores_an_expired_waiver(policies: Path) -> None:
    (policies / "waiver.yaml").write_text(WAIVER.replace("EXPIRES", PAST))
    assert sekisho("check", "-p", policies, "-", text=PRIVILEGED).exit_code == 1


def test_json_has_what_was_waived(policies: Path) -> None:
    result = sekisho("check", "-o", "json", "-p", policies, "-", text=PRIVILEGED)
    (checked,) = json.loads(result.stdout)["results"]
    assert checked["findings"] == []
    assert checked["waived"] == [
        {
            "control": "privileged",
            "policy": "base",
            "field": "spec.containers[0].securityContext.privileged",
            "subject": 'container "app"',
            "container": "app",
            "waiver": "driver",
            "expires": FAR,
            "reason": "it loads a module",
        }
    ]


def test_a_pod_policy_applies_to_its_own_namespace_only(policies: Path) -> None:
    shop = BAD_POD.replace("name: bad", "name: bad, namespace: shop").replace("hostPID", "hostIPC")
    assert '[hostNamespaces, policies "base" and "shop/own"]' in sekisho("check", "-p", policies, "-", text=shop).output
    assert '[hostNamespaces, policy "base"]' in sekisho("check", "-p", policies, "-", text=BAD_POD).output


def test_explain_shows_waivers_and_why_a_pod_policy_does_not_match(policies: Path) -> None:
    result = sekisho("explain", "-p", policies, "-", text=PRIVILEGED)
    assert (
        '    privileged: waived by waiver "driver" until 2999-01-01T00:00:00Z: it loads a module: container "app" for '
        "privileged mode: spec.containers[0].securityContext.privileged is true"
    ) in result.output
    assert '  policy "shop/own" matches\n' in result.output
    other = sekisho("explain", "-p", policies, "-", text=PRIVILEGED.replace("shop", "pay"))
    assert (
        '  policy "shop/own" does not match: it applies to the pods of namespace shop, and the namespace is pay\n'
        in other.output
    )


def test_list_has_all_three_kinds(policies: Path) -> None:
    assert sekisho("policies", "list", "-p", policies).output.splitlines() == [
        "NAME      ENFORCEMENT  STANDARD         CONTROLS        MATCH",
        "base      Deny         baseline latest  -               every pod",
        "shop/own  Deny         -                hostNamespaces  every pod",
        "",
        "WAIVER  POLICIES  CONTROLS    EXPIRES               MATCH",
        "driver  base      privileged  2999-01-01T00:00:00Z  images: quay.io/driver",
    ]
    assert "name: shop/own\n" in sekisho("policies", "show", "shop/own", "-p", policies).output


def test_a_waiver_alone_is_not_a_policy(policies: Path) -> None:
    waiver = policies / "waiver.yaml"
    assert sekisho("policies", "show", "-p", waiver).exit_code == 2
    assert sekisho("check", "-p", waiver, "-", text=PRIVILEGED).exit_code == 0

"""`import sekisho`: the public surface."""

import subprocess
import sys
from pathlib import Path

import pytest

import sekisho
from tests.pods import restricted_pod
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, RESTRICTED, policy_file


def test_every_public_name_exists_and_is_documented() -> None:
    for name in sekisho.__all__:
        assert getattr(sekisho, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        sekisho.chek  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys, sekisho; sekisho.__version__; assert not {'msgspec', 'yaml'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_text_a_file_and_an_object_can_be_checked() -> None:
    policies = sekisho.load_policies(RESTRICTED)
    (bad,) = sekisho.check(BAD_POD, policies)
    (located,) = [checked for checked in bad.violations if checked.finding.control == "hostNamespaces"]
    assert (bad.is_denied, bad.title, located.line, located.column) == (True, "Pod default/bad", 4, 8)
    assert (located.finding.field, located.enforcement) == ("spec.hostPID", sekisho.Enforcement.DENY)
    assert [checked.is_denied for checked in sekisho.check(MANIFESTS, policies)] == [True, True, False]
    for value, denied in ((True, True), (False, False)):
        (checked,) = sekisho.check(restricted_pod(hostPID=value), policies)
        assert checked.is_denied is denied


def test_standards_and_several_paths(tmp_path: Path) -> None:
    policies = sekisho.load_policies(
        policy_file(tmp_path, controls={"images": {"trustedRegistries": ["a.io"]}}), standard="baseline:v1.30"
    )
    assert len(policies) == 2
    assert sekisho.check(GOOD_POD, policies)[0].violations == ()
    for wrong, expected in (("strict", "the level must be"), ("baseline:v2", "is not a version")):
        with pytest.raises(ValueError, match=expected):
            sekisho.load_policies(standard=wrong)
    with pytest.raises(sekisho.PolicyError, match="no such file"):
        sekisho.load_policies(tmp_path / "gone")


def test_namespaces_and_their_labels(tmp_path: Path) -> None:
    selector = {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}
    policies = sekisho.load_policies(policy_file(tmp_path, match=selector, controls={"hostNamespaces": {}}))
    for labels, denied in (({"shop": {"tier": "prod"}}, True), ({"shop": {"tier": "test"}}, False), (None, False)):
        (checked,) = sekisho.check(BAD_POD, policies, namespace="shop", namespace_labels=labels)
        assert checked.is_denied is denied


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("a: b: c\n", "<manifest>:1:5: mapping values"),
        ({"kind": "Pod"}, "<manifest>:1:1: is not a Kubernetes object"),
        ({"apiVersion": "v1", "kind": "Pod", "x": object()}, "has values that are not plain"),
        (Path("gone.yaml"), "gone.yaml: cannot be read"),
    ],
)
def test_unreadable_input_raises_with_its_place(manifest: object, expected: str) -> None:
    with pytest.raises(sekisho.ManifestError, match=expected) as raised:
        sekisho.check(manifest, sekisho.load_policies(standard="baseline"))  # type: ignore[arg-type]
    assert len(raised.value.problems) == 1

"""What `sekisho verify` reads besides registries, and its errors for what it cannot read."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.unit.cli.sekisho_command import sekisho
from tests.unit.images.signing import P256, pem

HEAD = {"apiVersion": "sekisho.dev/v1alpha1"}
REGISTRY = "127.0.0.1:1"
IMAGE = f"{REGISTRY}/acme/pay@sha256:{'0' * 64}"
"""Nobody listens there."""
KEY = {"secret": {"name": "k"}}
ROOT = {"issuer": "https://ci.example", "identities": ["ci@acme.example"], "trustedRoot": {"configMap": {"name": "r"}}}
ENCODED = "LS0tLS1CRUdJTg=="


def verified(
    folder: Path,
    context: object,
    *keys: Any,
    match: Any = None,
    mirrors: dict[str, str] | None = None,
    image: str = IMAGE,
    **spec: Any,
) -> Result:
    """The result for an image, by an authority with the key of Secret k, and a context with one object."""
    authority = HEAD | {"kind": "ImageAuthority", "metadata": {"name": "release"}, "spec": spec or {"keys": list(keys)}}
    rule = {"images": [f"{REGISTRY}/*"], "by": {"anyOf": ["release"]}}
    policy = HEAD | {
        "kind": "ClusterPodPolicy",
        "metadata": {"name": "signed"},
        "spec": {
            "controls": {"images": {"signatures": [rule]}},
            "match": match or {},
            "defaults": {"mirrors": mirrors or {}},
        },
    }
    file, directory = folder / "policies.json", folder / "context"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [authority, policy]}))
    directory.mkdir()
    (directory / "objects.json").write_text(json.dumps(context))
    return sekisho("verify", "-p", file, "--context-dir", directory, image)


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}} | fields


BROKEN: list[tuple[object, str]] = [
    (secret(data=[]), "is not a valid Secret: Expected `object | null`, got `array` - at `$.data`"),
    (secret(data={"cosign.pub": 7}), "is not a valid Secret: Expected `str`, got `int` - at `$.data[...]`"),
    (secret(data={"cosign.pub": "%%%"}), 'is not a valid Secret: "cosign.pub" of data is not base64'),
    (secret(data={"cosign.pub": "\u00fc"}), 'is not a valid Secret: "cosign.pub" of data is not base64'),
    (
        secret(stringData={"cosign.pub": {}}),
        "is not a valid Secret: Expected `str`, got `object` - at `$.stringData[...]`",
    ),
    (secret(stringData="x"), "is not a valid Secret: Expected `object | null`, got `str` - at `$.stringData`"),
    (
        {"apiVersion": "v1", "kind": "List", "items": [secret(data={"cosign.pub": ENCODED})] * 2},
        "is a second Secret k; keep the one where Sekisho is installed",
    ),
]


@pytest.mark.parametrize(("context", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_secret_is_reported_with_its_place(tmp_path: Path, context: object, message: str) -> None:
    result = verified(tmp_path, context, KEY)
    assert result.exit_code == 2
    assert "objects.json:1:" in result.stderr
    assert message in result.stderr


OTHERS: list[object] = [
    secret(metadata="x"),
    secret(metadata=None),
    secret(metadata={"name": ["k"]}),
    secret(metadata={"name": "other"}, data={"a": "%%%"}),
    secret(data=None),
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k"}, "data": 7},
]


@pytest.mark.parametrize("context", OTHERS, ids=range(len(OTHERS)))
def test_authority_whose_secret_is_not_there_is_said_to_be_unusable(tmp_path: Path, context: object) -> None:
    result = verified(tmp_path, context, KEY)
    assert result.exit_code == 2  # nobody listens there
    assert 'note: ImageAuthority release is unusable: spec.keys[0].secret: Secret "k"' in result.stderr
    assert "are read from the policies' files, --context-dir and --cluster" in result.stderr


def test_secret_is_read_in_base64_and_as_text(tmp_path: Path) -> None:
    for number, fields in enumerate(({"stringData": {"cosign.pub": pem(P256)}}, {"data": {"cosign.pub": ENCODED}})):
        (tmp_path / str(number)).mkdir()
        result = verified(tmp_path / str(number), secret(**fields), KEY)
        assert ("is unusable" in result.stderr) is ("data" in fields)  # the text in base64 is not a key


def test_broken_root_is_said_to_be_unusable(tmp_path: Path) -> None:
    root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "r"}, "data": {"trusted_root.json": "{}"}}
    assert "is not a trusted root" in verified(tmp_path, root, keyless=ROOT).stderr


def test_key_that_cannot_be_used_beside_one_that_can_is_reported(tmp_path: Path) -> None:
    result = verified(tmp_path, secret(metadata={"name": "other"}), KEY, {"pem": pem(P256)})
    assert (
        'a key of ImageAuthority release is unusable: spec.keys[0].secret: Secret "k" is not in a file that was read'
        in result.stderr
    )


def test_policy_for_pods_with_a_label_counts(tmp_path: Path) -> None:
    result = verified(tmp_path, secret(), KEY, match={"podSelector": {"matchLabels": {"app": "pay"}}})
    assert 'policy "signed" spec.controls.images.signatures[0]: denied' in result.stdout


def test_policy_that_has_rules_for_the_image_in_another_namespace_is_named(tmp_path: Path) -> None:
    result = verified(tmp_path, secret(), KEY, match={"namespaces": ["payments"]})
    assert "no rule on signatures, attestations or catalogs applies to it in namespace default" in result.stdout
    assert 'policy "signed" has rules for it; name its namespace with --namespace' in result.stdout


def test_image_that_pods_pull_from_a_mirror_is_verified_there(tmp_path: Path) -> None:
    elsewhere = "127.0.0.1:2"
    image = IMAGE.replace(REGISTRY, elsewhere)
    for number, mirrors in enumerate(({elsewhere: f"{REGISTRY}/hub"}, {"ghcr.io": f"{REGISTRY}/hub"})):
        (tmp_path / str(number)).mkdir()
        result = verified(tmp_path / str(number), secret(), KEY, mirrors=mirrors, image=image)
        moved = IMAGE.replace("/acme", "/hub/acme")
        assert (f'note: pods get {moved} for {image}, by policy "signed"' in result.stderr) is (elsewhere in mirrors)
        assert ("signatures[0]: denied" in result.stdout) is (elsewhere in mirrors)


def test_image_that_only_some_pods_pull_from_a_mirror_is_verified_at_both(tmp_path: Path) -> None:
    elsewhere = "127.0.0.1:2"
    image = IMAGE.replace(REGISTRY, elsewhere)
    for number, match in enumerate(({"podSelector": {"matchLabels": {"mirror": "yes"}}}, {})):
        (tmp_path / str(number)).mkdir()
        mirrors = {elsewhere: f"{REGISTRY}/hub"}
        result = verified(tmp_path / str(number), secret(), KEY, match=match, mirrors=mirrors, image=image)
        assert (f"note: pods that no podSelector matches get {image}" in result.stderr) is bool(match)
        assert (f"\n{image}" in result.stdout) is bool(match)
        assert result.stdout.startswith(IMAGE.replace("/acme", "/hub/acme"))


def test_image_that_no_rule_applies_to_may_be_one_whose_rule_is_misspelt(tmp_path: Path) -> None:
    advice = "compare the registry and the repository in its images with those of this image"
    assert advice in verified(tmp_path, secret(), KEY, image=IMAGE.replace("127.0.0.1:1", "127.0.0.1:2")).stdout

"""`sekisho verify`, and `check` and `review` with --verify-images, on signatures that cosign made."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.reviews import review_body
from tests.trustparts.cosign import Cosign, Key
from tests.trustparts.odd import Behavior, Fault, OddRegistry
from tests.trustparts.registries import PASSWORD, USER, Image, Registry, basic
from tests.trustparts.sigstore import RELEASE, Sigstore
from tests.unit.cli.sekisho_command import sekisho

HEAD = {"apiVersion": "sekisho.dev/v1alpha1"}


def authority(name: str, **spec: Any) -> dict[str, Any]:
    return HEAD | {"kind": "ImageAuthority", "metadata": {"name": name}, "spec": spec}


def signed_by(registry: Registry, *names: str, **parameters: Any) -> dict[str, Any]:
    """A policy that requires signatures by all of these authorities for the images of a registry."""
    rule = {"images": [f"{registry.host}/*"], "by": {"allOf": names}}
    controls = {"images": {"signatures": [rule], **parameters}}
    return HEAD | {"kind": "ClusterPodPolicy", "metadata": {"name": "signed"}, "spec": {"controls": controls}}


def write(folder: Path, *objects: dict[str, Any]) -> Path:
    file = folder / "policies.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return file


@pytest.fixture(autouse=True)
def without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture(scope="session")
def key(cosign: Cosign) -> Key:
    return cosign.new_key("verify-command")


@pytest.fixture
def image(odd_registry: OddRegistry, repository_name: str) -> Image:
    return odd_registry.push_image(repository_name, tag="v1")


@pytest.fixture
def options(tmp_path: Path, odd_registry: OddRegistry, key: Key) -> tuple[str, ...]:
    file = write(tmp_path, authority("release", keys=[{"pem": key.pem}]), signed_by(odd_registry, "release"))
    return ("-p", str(file), "--registry-ca-file", str(odd_registry.ca))


def report(*arguments: str) -> dict[str, Any]:
    """The report on one image, with the exit code."""
    result = sekisho("verify", "-o", "json", *arguments)
    [only] = json.loads(result.stdout)["images"]
    return {**only, "exit": result.exit_code}


def test_unsigned_image_is_denied_with_the_fix(image: Image, options: tuple[str, ...]) -> None:
    result = sekisho("verify", image.reference, *options)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{image.reference}: denied",
        "  no signature by an ImageAuthority",
        '  policy "signed" spec.controls.images.signatures[0]: denied: requires an image signed by release, and the '
        "image is not signed",
        "    Fix: run cosign sign -r --key KEY IMAGE, then kubectl rollout restart KIND/NAME.",
    ]


def test_signed_image_is_admitted(cosign: Cosign, image: Image, options: tuple[str, ...], key: Key) -> None:
    cosign.sign(image, key)
    result = sekisho("verify", image.reference, *options)
    assert result.exit_code == 0
    first, signed, rule = result.stdout.splitlines()
    assert first == f"{image.reference}: admitted"
    assert signed.startswith("  signed by release, with key ")
    assert rule == '  policy "signed" spec.controls.images.signatures[0]: passes: requires an image signed by release'


def test_report_for_programs(cosign: Cosign, image: Image, options: tuple[str, ...], key: Key) -> None:
    cosign.sign(image, key)
    cosign.sign(image, cosign.new_key("verify-command-other"))
    shown = report(image.reference, *options)
    assert (shown["exit"], shown["isAdmitted"], shown["digest"]) == (0, True, image.digest)
    assert [signature["authority"] for signature in shown["signatures"]] == ["release"]
    assert shown["otherSignatures"] == 1
    assert [(rule["policy"], rule["isMet"]) for rule in shown["rules"]] == [("signed", True)]


def test_tag_is_denied_unless_the_policy_resolves_it(
    cosign: Cosign, image: Image, odd_registry: OddRegistry, options: tuple[str, ...], key: Key, tmp_path: Path
) -> None:
    cosign.sign(image, key)
    tagged = f"{image.repository}:v1"
    shown = report(tagged, *options)
    assert (shown["exit"], shown["digest"]) == (1, image.digest)
    assert "has a mutable tag" in shown["rules"][0]["problem"]
    release = authority("release", keys=[{"pem": key.pem}])
    write(tmp_path, release, signed_by(odd_registry, "release", resolveTags=True))
    assert report(tagged, *options)["exit"] == 0


@pytest.mark.parametrize(
    ("parameters", "tag", "allowed"),
    [
        ({"trustedRegistries": ["ghcr.io"]}, "", "an image from ghcr.io"),
        ({"trustedRegistries": ["ghcr.io"]}, ":v1", "an image from ghcr.io"),
        ({"deniedTags": ["v1"]}, ":v1", "a tag other than v1"),
        ({"deniedTags": ["v2"], "requireDigest": True}, ":v1", None),
        ({"deniedTags": ["v2"], "requireDigest": True}, "", None),
    ],
)
def test_signed_image_is_denied_for_its_name_as_by_the_webhook(
    cosign: Cosign,
    image: Image,
    odd_registry: OddRegistry,
    options: tuple[str, ...],
    key: Key,
    tmp_path: Path,
    parameters: dict[str, Any],
    tag: str,
    allowed: str | None,
) -> None:
    cosign.sign(image, key)
    release = authority("release", keys=[{"pem": key.pem}])
    write(tmp_path, release, signed_by(odd_registry, "release", resolveTags=True, **parameters))
    shown = report(f"{image.repository}{tag}" if tag else image.reference, *options)
    assert (shown["exit"], shown["isAdmitted"]) == ((0, True) if allowed is None else (1, False))
    problems = [(rule["rule"], rule["requires"]) for rule in shown["rules"] if not rule["isMet"]]
    assert problems == ([] if allowed is None else [("spec.controls.images", allowed)])


def test_registry_that_only_a_pod_policy_names_is_denied_as_by_the_webhook(
    cosign: Cosign, image: Image, odd_registry: OddRegistry, options: tuple[str, ...], key: Key, tmp_path: Path
) -> None:
    cosign.sign(image, key)
    cluster = signed_by(odd_registry, "release")
    of_tenant = cluster | {"kind": "PodPolicy", "metadata": {"name": "tenant", "namespace": "default"}}
    release = authority("release", keys=[{"pem": key.pem}])
    write(tmp_path, release, of_tenant)
    shown = report(image.reference, *options)
    assert (shown["exit"], [one["authority"] for one in shown["signatures"]]) == (1, ["release"])
    assert [rule["problem"] for rule in shown["rules"]] == [
        f"is not verified: no ClusterPodPolicy names registry {odd_registry.host} in a rule on signatures"
    ]
    cluster["spec"]["enforcement"] = "Audit"
    write(tmp_path, release, of_tenant, cluster)
    assert report(image.reference, *options)["exit"] == 0


def test_each_required_authority_must_have_signed(
    cosign: Cosign, image: Image, odd_registry: OddRegistry, options: tuple[str, ...], key: Key, tmp_path: Path
) -> None:
    cosign.sign(image, key)
    qa = cosign.new_key("verify-command-qa")
    authorities = (authority("release", keys=[{"pem": key.pem}]), authority("qa", keys=[{"pem": qa.pem}]))
    write(tmp_path, *authorities, signed_by(odd_registry, "release", "qa"))
    shown = report(image.reference, *options)
    assert (shown["exit"], shown["rules"][0]["problem"]) == (1, "is signed by release only")
    cosign.sign(image, qa)
    assert report(image.reference, *options)["exit"] == 0


def test_key_in_a_secret_and_root_in_a_config_map_are_read_from_files(
    cosign: Cosign,
    sigstore: Sigstore,
    image: Image,
    odd_registry: OddRegistry,
    options: tuple[str, ...],
    tmp_path: Path,
) -> None:
    keyless = {
        "issuer": sigstore.issuer,
        "identities": ["https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*"],
        "trustedRoot": {"configMap": {"name": "root"}},
    }
    root = {"trusted_root.json": sigstore.trusted_root.read_text()}
    qa = cosign.new_key("verify-command-secret")
    write(
        tmp_path,
        authority("release", keyless=keyless),
        authority("qa", keys=[{"secret": {"name": "qa"}}]),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "root"}, "data": root},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "qa"}, "stringData": {"cosign.pub": qa.pem}},
        signed_by(odd_registry, "release", "qa"),
    )
    assert report(image.reference, *options)["exit"] == 1
    sigstore.sign(image)
    cosign.sign(image, qa)
    shown = report(image.reference, *options)
    assert shown["exit"] == 0
    [keyless_signature] = [one for one in shown["signatures"] if one["authority"] == "release"]
    assert keyless_signature["identity"] == RELEASE
    assert keyless_signature["signedAt"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")


def test_registry_that_fails_is_reported_and_differs_from_a_denial(
    image: Image, odd_registry: OddRegistry, repository_name: str, options: tuple[str, ...]
) -> None:
    odd_registry.behave(Behavior(faults=(Fault("referrers", status=503),)), repository_name)
    shown = report(image.reference, *options)
    assert (shown["exit"], shown["problem"]) == (
        2,
        f"cannot be verified: registry {odd_registry.host} answers with status 503",
    )


def test_credentials_are_used_for_their_registry(
    image: Image, odd_registry: OddRegistry, repository_name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    odd_registry.behave(Behavior("basic", USER, PASSWORD), repository_name)
    assert report(image.reference, *options)["exit"] == 2
    config = tmp_path / "login.json"
    auth = basic(USER, PASSWORD).removeprefix("Basic ")
    config.write_text(json.dumps({"auths": {odd_registry.host: {"auth": auth}}}))
    assert report(image.reference, *options, "--registry-config", str(config))["exit"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("not/an image",), "Error: not/an image: is not an image: "),
        (("a.example/b", "--registry-ca-file", "/none.pem"), "Error: /none.pem: cannot be read: No such file"),
        (("a.example/b", "--registry-config", "/none.json"), "Error: /none.json: cannot be read: No such file"),
    ],
)
def test_bad_input_is_reported(options: tuple[str, ...], arguments: tuple[str, ...], message: str) -> None:
    result = sekisho("verify", *options, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def deployment(image: str) -> str:
    template = {"spec": {"containers": [{"name": "app", "image": image}]}}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": template},
    }
    return json.dumps(manifest)


NOT_JUDGED = "the rules on signatures and attestations of images were not judged"


def test_check_says_that_signatures_were_not_judged(image: Image, options: tuple[str, ...]) -> None:
    result = sekisho("check", "-", *options, text=deployment(image.reference) + "\n---\n" + deployment("nginx"))
    assert result.exit_code == 0
    assert result.stderr.count(NOT_JUDGED) == 1
    assert "use --verify-images" in result.stderr


def test_check_verifies_images(cosign: Cosign, image: Image, options: tuple[str, ...], key: Key) -> None:
    arguments = ("check", "-", "--verify-images", *options)
    denied = sekisho(*arguments, text=deployment(image.reference))
    assert denied.exit_code == 1
    assert ", not signed (allowed" in denied.stdout
    cosign.sign(image, key)
    admitted = sekisho(*arguments, text=deployment(image.reference))
    assert (admitted.exit_code, NOT_JUDGED in admitted.stderr) == (0, False)


def test_check_resolves_tags_where_the_policy_does(
    cosign: Cosign, image: Image, odd_registry: OddRegistry, options: tuple[str, ...], key: Key, tmp_path: Path
) -> None:
    cosign.sign(image, key)
    text = deployment(f"{image.repository}:v1")
    assert sekisho("check", "-", "--verify-images", *options, text=text).exit_code == 1
    release = authority("release", keys=[{"pem": key.pem}])
    write(tmp_path, release, signed_by(odd_registry, "release", resolveTags=True))
    assert sekisho("check", "-", "--verify-images", *options, text=text).exit_code == 0
    unsigned = odd_registry.push_image(image.repository.removeprefix(f"{odd_registry.host}/"), "unsigned", tag="v2")
    denied = sekisho("check", "-", "--verify-images", *options, text=deployment(f"{unsigned.repository}:v2"))
    assert (denied.exit_code, unsigned.digest in denied.stdout) == (1, True)


def test_review_verifies_images_only_on_request(
    cosign: Cosign, image: Image, options: tuple[str, ...], key: Key
) -> None:
    review = review_body({"spec": {"containers": [{"name": "app", "image": image.reference}]}}) + b"\n"

    def allowed(*more: str) -> tuple[bool, bool]:
        result = sekisho("review", *options, *more, text=review)
        return json.loads(result.stdout)["response"]["allowed"], NOT_JUDGED in result.stderr

    assert allowed() == (False, True)
    assert allowed("--verify-images") == (False, False)
    cosign.sign(image, key)
    assert allowed("--verify-images") == (True, False)

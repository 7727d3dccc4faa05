"""Signatures of images, through the real API server and a registry: what runs, what waits, and what replicas share."""

import json
import os
import re
import sys
import textwrap
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.vex import VEX_PREDICATES
from tests.chart import render
from tests.cluster.conftest import Lab
from tests.cluster.test_monitoring import metrics_of
from tests.controlplane.build import Binaries
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.kubectl import run as run_command
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod
from tests.promql_results import Scrape, result
from tests.trustparts.build import TrustBinaries
from tests.trustparts.cosign import Cosign
from tests.trustparts.issuer import IssuerKind
from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.odd import (
    ENDLESS,
    HIDDEN_SUBJECTS,
    NO_REFERRERS,
    UNAVAILABLE,
    WRONG_BYTES,
    Behavior,
    Fault,
    OddRegistry,
)
from tests.trustparts.registries import INDEX, PASSWORD, USER, Image, Registry, descriptor
from tests.trustparts.sigstore import RELEASE as IDENTITY
from tests.trustparts.sigstore import Certifying, Sigstore, running_sigstore, with_validity
from tests.trustparts.test_keyless_signatures import (
    CHANGES,
    MINTED,
    MINTED_CASES,
    SIGNED,
    VALIDITIES,
    WORKFLOW,
    flipped,
)
from tests.unit.admission.test_image_attestations import BOM, BUILDER, DOCUMENT, SOURCE, slsa_1
from tests.unit.images.scan_data import (
    scan_predicate,
    scan_statement,
    trivy,
    trivy_row,
    vex_document,
    vex_statement,
)
from tests.unit.images.signing import OTHER_P256, P256, PrivateKey, bundle, pem, statement

SOON = 30.0
SECRETS = ("release-key", "cosign-key", "broken-key", "weak-key", "docs-key")
WEAK = pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  it is denied
SLOW_SECONDS, MAX_SLOW_SECONDS, MAX_SLOW_DENIALS = 8, 9.5, 3
SETTINGS = (
    "imageVerification.enabled=true",
    f"imageVerification.secrets={{{','.join(SECRETS)}}}",
    "imageVerification.podPullSecrets=true",
)
PAGE = Path(__file__).parents[2] / "docs" / "signed-images.md"
WEBHOOK = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-webhook"
OF_RUNNING = "reason=ImageNoLongerTrusted"
EVIDENCE = "/apis/sekisho.dev/v1alpha1/imageevidences"
Bundle = dict[str, Any]
Root = dict[str, Any]


class Site(msgspec.Struct, frozen=True):
    """Sekisho that verifies the images of one registry."""

    lab: Lab
    sekisho: Sekisho
    registry: OddRegistry

    @property
    def kubectl(self) -> Kubectl:
        return self.lab.plane.kubectl

    def image(self, name: str, content: str, *keys: PrivateKey, tag: str | None = None) -> Image:
        """An image that these keys have signed."""
        image = self.registry.push_image(name, content, tag)
        for key in keys:
            self.registry.attach(image, json.dumps(bundle(key, statement(image.digest))).encode())
        return image


def apply(site: Site, kind: str, name: str, **rest: Any) -> None:
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, **rest}
    site.kubectl.check("apply", "-f", "-", input=json.dumps(body))


@pytest.fixture(scope="module")
def site(lab: Lab, odd_registry: OddRegistry) -> Iterator[Site]:
    if lab.plane.call("GET", f"/api/v1/namespaces/{NAMESPACE}").status == 404:
        lab.plane.create_namespace(NAMESPACE)
    key = ("create", "secret", "generic", "release-key", f"--from-literal=cosign.pub={pem(P256)}")
    lab.plane.kubectl.check(*key, "--namespace", NAMESPACE)
    secrets = ("--verify-images", *(f"--authority-secret={name}" for name in SECRETS))
    options = (
        *secrets,
        "--pod-pull-secrets",
        f"--registry-ca-file={odd_registry.ca}",
        "--registry-network=127.0.0.0/8",
    )
    sekisho = Sekisho(lab.plane, SETTINGS, options={"webhook": options, "controller": secrets})
    try:
        sekisho.install()
        yield Site(lab, sekisho, odd_registry)
    finally:
        sekisho.stop()
        sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")
        lab.plane.kubectl("delete", "secret", *SECRETS, "--namespace", NAMESPACE, "--ignore-not-found")


@contextmanager
def requiring(site: Site, authority: str, host: str) -> Iterator[Kubectl]:
    """A new namespace whose images of a registry must be signed by an authority; tags are resolved."""
    rule = {"images": [host], "by": {"anyOf": [authority]}}
    with applying(site, {"resolveTags": True, "signatures": [rule]}) as kubectl:
        yield kubectl


@contextmanager
def applying(site: Site, images: dict[str, Any]) -> Iterator[Kubectl]:
    """A new namespace, and a policy of its name with parameters of the control images."""
    name = f"signed-{uuid.uuid4().hex[:8]}"
    site.lab.plane.create_namespace(name)
    apply(site, "ClusterPodPolicy", name, spec={"match": {"namespaces": [name]}, "controls": {"images": images}})
    site.kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    try:
        yield site.kubectl.in_namespace(name)
    finally:
        site.kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def with_release(site: Site) -> None:
    """Make the authority release, and return when the webhook uses it."""
    apply(site, "ImageAuthority", "release", spec={"keys": [{"secret": {"name": "release-key"}}]})
    usable = "sekisho_image_authority_usable"
    wait_until(lambda: site.sekisho.metric(usable, authority="release"), SOON, "the webhook uses the authority")


@pytest.fixture
def signed(site: Site) -> Iterator[Kubectl]:
    """A namespace whose images must be signed by the authority release; tags are resolved."""
    with_release(site)
    with requiring(site, "release", site.registry.host) as kubectl:
        yield kubectl


def run(kubectl: Kubectl, name: str, image: str, **spec: Any) -> Completed:
    pod = restricted_pod(container("app", image=image)) | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {"name": name}
    pod["spec"] = pod["spec"] | spec
    return kubectl("create", "-f", "-", input=json.dumps(pod))


def admits(kubectl: Kubectl, image: Image, **spec: Any) -> bool:
    """Whether a pod with the image is admitted; false for a denial because of its signatures only."""
    done = run(kubectl, f"pod-{uuid.uuid4().hex[:8]}", image.reference, **spec)
    assert done.returncode == 0 or "signed by" in done.stderr, done.stderr
    return done.returncode == 0


def test_only_what_the_authority_signed_runs(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    other = site.image(repository_name, "other", OTHER_P256)
    admitted = run(signed, "good", good.reference)
    assert admitted.returncode == 0, admitted.stderr
    assert ", not signed (allowed" in run(signed, "unsigned", unsigned.reference).stderr
    assert "1 signature by another key" in run(signed, "other", other.reference).stderr


def test_signature_in_the_fallback_tag_counts_whatever_the_registry_lists(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    site.registry.behave(Behavior(faults=(NO_REFERRERS, HIDDEN_SUBJECTS)), repository_name)
    good, bad = site.image(repository_name, "good", P256), site.image(repository_name, "bad", OTHER_P256)
    junk = site.registry.attach(site.image(repository_name, "another"), b"pushed by anyone")
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(junk)]}
    only_junk = Fault("referrers", headers={"Content-Type": INDEX}, body=json.dumps(listed).encode())
    site.registry.behave(Behavior(faults=(only_junk,)), repository_name)
    assert admits(signed, good)
    assert "1 signature by another key" in run(signed, "bad", bad.reference).stderr


def test_another_spelling_or_port_of_a_registry_does_not_avoid_its_rule(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    zero = {image: image.reference.replace(":", ":0", 1) for image in (good, unsigned)}
    assert ", not signed (allowed" in run(signed, "unsigned", zero[unsigned]).stderr
    admitted = run(signed, "good", zero[good])
    assert admitted.returncode == 0, admitted.stderr
    with requiring(site, "release", site.registry.host.partition(":")[0]) as every_port:
        assert admits(every_port, good)
        assert not admits(every_port, unsigned)
    with requiring(site, "release", "registry.invalid/acme") as kubectl:
        image = f"REGISTRY.invalid:443/acme/pay@{good.digest}"
        assert "(allowed: signed by release)" in run(kubectl, "acme", image).stderr
        assert run(kubectl, "other", image.replace("acme", "other")).returncode == 0


def test_tag_runs_as_the_digest_that_was_verified(site: Site, signed: Kubectl, repository_name: str) -> None:
    image = site.image(repository_name, "good", P256, tag="v1")
    other = site.image(repository_name, "other")
    site.registry.behave(Behavior(turns=(image.digest, other.digest)), repository_name)
    tagged = f"{site.registry.host}/{repository_name}:v1"
    admitted = run(signed, "tagged", tagged)
    assert admitted.returncode == 0, admitted.stderr
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}}
    with applying(site, {"signatures": [rule]}) as unresolved:
        assert "has a mutable tag" in run(unresolved, "tagged", tagged).stderr
        assert not verdict(unresolved, image.reference)
    image_of = ("-o", "jsonpath={.spec.containers[0].image}")
    assert signed.check("get", "pod", "tagged", *image_of) == f"{tagged}@{image.digest}"
    flips, stays = (f"{repository_name}/{name}" for name in ("flips", "stays"))
    good, moved = site.image(flips, "good", P256, tag="v1"), site.image(flips, "unsigned")
    site.registry.behave(Behavior(turns=(moved.digest, good.digest)), flips)
    denied = run(signed, "flips", f"{good.repository}:v1").stderr
    assert f'"{good.repository}:v1@{moved.digest}", not signed' in denied
    kept = site.image(stays, "good", P256, tag="v1")
    for name in ("once", "again"):
        assert run(signed, name, f"{kept.repository}:v1").returncode == 0
        assert signed.check("get", "pod", name, *image_of) == f"{kept.repository}:v1@{kept.digest}"


def test_ephemeral_container_must_be_signed(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    assert run(signed, "good", good.reference).returncode == 0
    for image, is_allowed in ((unsigned, False), (good, True)):
        patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": image.reference}]}}
        patched = signed("patch", "pod", "good", "--subresource=ephemeralcontainers", "-p", json.dumps(patch))
        assert (patched.returncode == 0) is is_allowed, patched.stderr


def test_broken_repository_does_not_hold_up_images_of_others(site: Site, signed: Kubectl, repository_name: str) -> None:
    broken = site.image(f"{repository_name}-broken", "broken", P256)
    good = site.image(repository_name, "good", P256)
    site.registry.behave(Behavior(faults=(UNAVAILABLE,)), f"{repository_name}-broken")
    assert "answers with status 503" in run(signed, "broken", broken.reference).stderr
    admitted = run(signed, "good", good.reference)
    assert admitted.returncode == 0, admitted.stderr


METADATA = "169.254.169.254"
MISBEHAVIOR: dict[str, tuple[Fault, ...]] = {
    "endless": (ENDLESS,),
    "wrong bytes": (WRONG_BYTES,),
    "status 503": (UNAVAILABLE,),
    "sends to the metadata service": (
        Fault("blob", status=307, headers={"Location": f"https://{METADATA}/latest/meta-data"}),
    ),
    "plain": (),
}


def test_registry_that_misbehaves_vouches_for_nothing(site: Site, signed: Kubectl, repository_name: str) -> None:
    images = {}
    for number, (what, faults) in enumerate(MISBEHAVIOR.items()):
        name = f"{repository_name}/{number}"
        images[what] = site.image(name, what, P256)
        site.registry.behave(Behavior(faults=faults), name)
    assert admitted(site, signed, images) == {what: what == "plain" for what in MISBEHAVIOR}
    with requiring(site, "release", METADATA) as kubectl:
        denied = verdict(kubectl, f"{METADATA}/acme/pay@{images['plain'].digest}")
    assert f"cannot be verified: registry {METADATA} cannot be reached" in denied


def test_credentials_do_not_follow_a_redirect_to_another_host(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    image = site.image(repository_name, "redirected", P256)
    faults = (site.registry.redirect(),)
    site.registry.behave(Behavior(auth="basic", user=USER, password=PASSWORD, faults=faults), repository_name)
    login = (f"--docker-server={site.registry.host}", f"--docker-username={USER}", f"--docker-password={PASSWORD}")
    signed.check("create", "secret", "docker-registry", "login", *login)
    assert "does not let" in run(signed, "without", image.reference).stderr
    answers: list[str] = []

    def is_admitted() -> bool:
        with_login = run(signed, "with-login", image.reference, imagePullSecrets=[{"name": "login"}])
        answers.append(with_login.stderr)
        return with_login.returncode == 0

    # The registry is left alone for some seconds after the first answer, and the pod is pending meanwhile.
    wait_until(is_admitted, SOON, "a pod with the login is admitted")
    assert all(", still being verified" in answer for answer in answers[:-1])
    requests = site.registry.requests(repository_name)
    assert {one.authorization for one in requests if one.listener == "storage"} == {""}
    assert any(one.authorization for one in requests if one.listener == "registry")


def test_slow_registry_delays_a_deployment_and_does_not_stop_it(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    known, slow = site.image(repository_name, "known", P256), site.image(repository_name, "slow", P256)
    assert run(signed, "known", known.reference).returncode == 0
    usual = deploy(site, signed, "usual", known)
    fault = Fault("referrers", delay_ms=1000 * SLOW_SECONDS, times=1)
    site.registry.behave(Behavior(faults=(fault,)), repository_name)
    denied = denials(site)
    taken = deploy(site, signed, "slow", slow)
    assert taken >= SLOW_SECONDS
    # On a busy machine 20 pods take longer without a look-up too.
    assert taken <= max(MAX_SLOW_SECONDS, SLOW_SECONDS + 1 + 4 * usual)
    assert 1 <= denials(site) - denied <= MAX_SLOW_DENIALS
    events = signed.check("get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert "PodDenied" not in events


def deployment(name: str, image: Image, replicas: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": restricted_pod(container("app", image=image.reference))["spec"],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def deploy(site: Site, kubectl: Kubectl, name: str, image: Image) -> float:
    """The seconds until the 20 pods of a new Deployment are there."""
    pods = f"/api/v1/namespaces/{kubectl.namespace}/pods?labelSelector=app%3D{name}"

    def count() -> int:
        return len(msgspec.json.decode(site.lab.plane.call("GET", pods).body)["items"])

    began = time.monotonic()
    kubectl.check("create", "-f", "-", input=json.dumps(deployment(name, image, 20)))
    wait_until(lambda: count() == 20, SOON, "20 pods of the Deployment are there")
    return time.monotonic() - began


def denials(site: Site) -> float:
    """Pods that the webhook has denied so far, the pending ones included."""
    return sum(
        site.sekisho.metric("sekisho_admission_reviews_total", kind="Pod", decision=decision)
        for decision in ("deny", "pending")
    )


def test_denial_while_a_look_up_goes_on_is_pending(site: Site, signed: Kubectl, repository_name: str) -> None:
    image = site.image(repository_name, "slow", P256)
    site.registry.behave(Behavior(faults=(Fault("referrers", delay_ms=4000, times=1),)), repository_name)
    first = run(signed, "first", image.reference)
    assert ", still being verified at registry" in first.stderr
    wait_until(lambda: run(signed, "next", image.reference).returncode == 0, SOON, "the next try finds the result")


def test_nobody_else_can_vouch_for_an_image(site: Site, signed: Kubectl, repository_name: str) -> None:
    good = site.image(repository_name, "good", P256)
    assert run(signed, "good", good.reference).returncode == 0
    names = ("get", "imageevidence", "-o", f'jsonpath={{.items[?(@.spec.image=="{good.reference}")].metadata.name}}')
    wait_until(lambda: bool(site.kubectl.check(*names)), SOON, "an ImageEvidence of the image is there")
    name = site.kubectl.check(*names)
    forged = msgspec.json.decode(site.kubectl.check("get", "imageevidence", name, "-o", "json"))
    forged["metadata"] = {"name": "forged", "labels": forged["metadata"]["labels"]}
    created = site.kubectl("create", "-f", "-", input=json.dumps(forged))
    assert "only Sekisho's webhook writes ImageEvidence" in created.stderr
    signed.check("create", "rolebinding", "tenant", "--clusterrole=admin", "--user=tenant")
    by_tenant = site.kubectl("create", "-f", "-", "--as=tenant", input=json.dumps(forged))
    assert 'User "tenant" cannot create resource "imageevidences"' in by_tenant.stderr
    patched = site.kubectl("patch", "imageevidence", name, "--type=merge", "-p", '{"spec":{"others":1}}')
    assert "only Sekisho's webhook writes ImageEvidence" in patched.stderr
    unsigned = site.image(repository_name, "unsigned")
    claims = {"sekisho.dev/defaulted": '{"signed":["spec.containers[0].image"]}', "sekisho.dev/verified": "true"}
    pod = {"metadata": {"name": "claims", "annotations": claims}, "apiVersion": "v1", "kind": "Pod"}
    body = restricted_pod(container("app", image=unsigned.reference)) | pod
    assert ", not signed (allowed" in signed("create", "-f", "-", input=json.dumps(body)).stderr
    stripped = site.kubectl("label", "imageevidence", name, "sekisho.dev/release-")
    assert "only Sekisho's webhook writes ImageEvidence" in stripped.stderr
    assert site.kubectl("delete", "imageevidence", name).returncode == 0


def test_evidence_is_shared_and_outlives_the_registry_and_the_replicas(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    known, new = site.image(repository_name, "known", P256), site.image(repository_name, "new", P256)
    assert run(signed, "known", known.reference).returncode == 0

    def rows() -> list[str]:
        table = site.kubectl.check("get", "imageevidence", "--no-headers")
        return [row for row in table.splitlines() if known.reference in row]

    wait_until(lambda: bool(rows()), SOON, "an ImageEvidence of the image is there")
    assert "release" in rows()[0].split()
    site.registry.behave(Behavior(faults=(UNAVAILABLE,)), repository_name)
    site.sekisho.webhook.restart()
    site.sekisho.webhook.wait_ready()
    again = run(signed, "again", known.reference)
    assert again.returncode == 0, again.stderr
    assert "cannot be verified: registry" in run(signed, "new", new.reference).stderr


def test_key_in_a_secret_makes_an_authority_usable_and_admits_what_cosign_signed(
    site: Site, cosign: Cosign, distribution: Registry, repository_name: str
) -> None:
    apply(site, "ImageAuthority", "by-cosign", spec={"keys": [{"secret": {"name": "cosign-key"}}]})
    unusable = ("wait", "--for=condition=Usable=False", "imageauthority/by-cosign", f"--timeout={SOON:g}s")
    site.kubectl.check(*unusable)
    key = cosign.new_key("in-a-secret")
    images = [site.registry.push_image(repository_name, name) for name in ("signed", "older", "unsigned")]
    signed, older, unsigned = images
    cosign.sign(signed, key)
    cosign.sign_older(older, key)
    with requiring(site, "by-cosign", site.registry.host) as kubectl:
        denied = run(kubectl, "early", signed.reference).stderr
        assert 'ImageAuthority "by-cosign" is unusable' in denied
        assert 'Secret "cosign-key" does not exist' in denied
        secret = ("create", "secret", "generic", "cosign-key", f"--from-file=cosign.pub={key.public}")
        site.kubectl.check(*secret, "--namespace", NAMESPACE)
        site.kubectl.check("wait", "--for=condition=Usable", "imageauthority/by-cosign", f"--timeout={SOON:g}s")
        wait_until(lambda: admits_soon(kubectl, signed), SOON, "the webhook uses the key")
        assert admits(kubectl, older)
        assert not admits(kubectl, unsigned)
    signed, unsigned = (distribution.push_image(repository_name, name) for name in ("signed", "unsigned"))
    cosign.sign(signed, key)
    with requiring(site, "by-cosign", distribution.host) as kubectl:
        assert admits(kubectl, signed)
        assert not admits(kubectl, unsigned)


def admits_soon(kubectl: Kubectl, image: Image) -> bool:
    return run(kubectl, f"pod-{uuid.uuid4().hex[:8]}", image.reference).returncode == 0


def test_keyless_signature_of_the_right_identity_is_admitted(
    site: Site, sigstore: Sigstore, binaries: Binaries, cosign: Cosign, repository_name: str, tmp_path: Path
) -> None:
    signed = site.registry.push_image(repository_name, "a", tag="v1.2.3")
    other, unsigned = (site.registry.push_image(repository_name, name) for name in ("b", "c"))
    sigstore.sign(signed)
    sigstore.sign(other, identity=IDENTITY.replace("acme", "evil"))
    shell = shell_in(site, tmp_path, binaries, cosign)
    (tmp_path / "trusted_root.json").write_bytes(sigstore.trusted_root.read_bytes())
    authority = as_here(documented(BY_CI, "yaml")[0], signed)
    issuer = "issuer: https://token.actions.githubusercontent.com"
    own_root = "trustedRoot: {configMap: {name: sigstore-trusted-root}}"
    assert issuer in authority
    (tmp_path / "ci.yaml").write_text(authority.replace(issuer, f"issuer: {sigstore.issuer}\n    {own_root}"))
    [*as_written, verify, create_root] = documented_commands(BY_CI, signed)
    for command in (create_root, *as_written):
        shell(command)
    shown = shell(verify).stdout
    assert re.search(f"signed by ci at .*, as {re.escape(IDENTITY)} of {re.escape(sigstore.issuer)}", shown), shown
    assert "passes: requires an image signed by ci" in shown
    site.kubectl.check("delete", "clusterpodpolicy", "signed-by-ci", "--wait=false")
    with requiring(site, "ci", site.registry.host) as kubectl:
        wait_until(lambda: admits_soon(kubectl, signed), SOON, "the webhook uses the root")
        assert not admits(kubectl, other)
        assert not admits(kubectl, unsigned)
        [real] = site.registry.bundles(signed)
        changes = CHANGES | {"nothing": lambda bundle: bundle}
        copies = {}
        for number, (what, change) in enumerate(changes.items()):
            copies[what] = copy = site.registry.push_image(f"{repository_name}/copy-{number}", "a")
            site.registry.attach(copy, json.dumps(change(json.loads(real))).encode())
        assert admitted(site, kubectl, copies) == dict.fromkeys(CHANGES, False) | {"nothing": True}


@pytest.fixture(scope="module")
def other_sigstore(
    trust_parts: TrustBinaries, cosign: Cosign, sigstore: Sigstore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sigstore]:
    """A Sigstore whose certificates no log promises."""
    folder = tmp_path_factory.mktemp("other-sigstore")
    with running_sigstore(trust_parts, cosign, folder, Certifying(is_logged=False), beside=sigstore) as running:
        yield running


class Signers(msgspec.Struct, frozen=True):
    """Keyless authorities with the images that they are for, and whether the signatures of these count."""

    site: Site
    folder: str
    authorities: dict[str, tuple[str, Root]] = {}
    images: dict[str, Image] = {}
    counts: dict[str, bool] = {}

    def authority(self, issuer: str, root: Root) -> str:
        """The name of a new authority, whose identities are the WORKFLOW."""
        name = f"{self.folder.partition('/')[0]}-{len(self.authorities)}"
        self.authorities[name] = issuer, root
        return name

    def add(self, what: str, authority: str, signature: Bundle, *, counts: bool, content: str = "") -> None:
        """An image with a signature, which must be signed by this authority."""
        image = self.site.registry.push_image(f"{self.folder}/{authority}/{len(self.images)}", content)
        self.site.registry.attach(image, json.dumps(signature).encode())
        self.images[what], self.counts[what] = image, counts

    def signed(self, sigstore: Sigstore, **how: Any) -> Bundle:
        """What cosign attaches to an image of no content when it signs it."""
        image = self.site.registry.push_image(f"{self.folder}/signed/{uuid.uuid4().hex[:8]}")
        sigstore.sign(image, **how)
        [made] = self.site.registry.bundles(image)
        return json.loads(made)  # type: ignore[no-any-return]

    def check(self) -> None:
        """Apply all, and compare what runs."""
        roots = {f"{name}.json": json.dumps(root) for name, (_, root) in self.authorities.items()}
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots"}, "data": roots}
        self.site.kubectl.check("apply", "-f", "-", "--namespace", NAMESPACE, input=json.dumps(config_map))
        rules = []
        for name, (issuer, _) in self.authorities.items():
            root = {"configMap": {"name": "roots", "key": f"{name}.json"}}
            keyless = {"issuer": issuer, "identities": [WORKFLOW], "trustedRoot": root}
            apply(self.site, "ImageAuthority", name, spec={"keyless": keyless})
            rules.append({"images": [f"{self.site.registry.host}/{self.folder}/{name}"], "by": {"anyOf": [name]}})
        they = [f"imageauthority/{name}" for name in self.authorities]
        self.site.kubectl.check("wait", "--for=condition=Usable", *they, f"--timeout={SOON:g}s")
        for name in self.authorities:
            is_used = partial(self.site.sekisho.metric, "sekisho_image_authority_usable", authority=name)
            wait_until(lambda is_used=is_used: is_used() == 1, SOON, "the webhook uses the authority")  # type: ignore[misc]
        with applying(self.site, {"signatures": rules}) as kubectl:
            assert admitted(self.site, kubectl, self.images) == self.counts


def root_of(sigstore: Sigstore) -> Root:
    return json.loads(sigstore.trusted_root.read_text())  # type: ignore[no-any-return]


def joined(root: Root, current: Root) -> Root:
    """A root with parts that ended beside current ones, without which it would be unusable."""
    return root | {kind: part + current[kind] for kind, part in root.items() if isinstance(part, list)}


IDENTITIES: dict[str, tuple[str, IssuerKind, bool]] = {
    "as named": (IDENTITY, IssuerKind.CI, True),
    "of another issuer": (IDENTITY, IssuerKind.OTHER_CI, False),
    "of another repository, which * matches": (IDENTITY.replace("/pay/", "/ledger/"), IssuerKind.CI, True),
    "* does not match /": (IDENTITY.replace("acme/", "acme/evil/"), IssuerKind.CI, False),
    "of another version, which * matches": (IDENTITY.replace("v1.2.3", "v2"), IssuerKind.CI, True),
    "with a suffix": (f"{IDENTITY}/evil", IssuerKind.CI, False),
    "with a prefix": (f"https://evil.test/{IDENTITY}", IssuerKind.CI, False),
}


def test_keyless_signature_counts_only_for_its_identity_and_issuer(
    site: Site, sigstore: Sigstore, repository_name: str
) -> None:
    signers = Signers(site, repository_name)
    authority = signers.authority(sigstore.issuer, root_of(sigstore))
    for what, (identity, issuer, counts) in IDENTITIES.items():
        made = signers.signed(sigstore, identity=identity, issuer=issuer)
        signers.add(what, authority, made, counts=counts)
    signers.check()


def test_keyless_signature_counts_only_if_all_of_it_is_there(
    site: Site, sigstore: Sigstore, other_sigstore: Sigstore, repository_name: str
) -> None:
    signers = Signers(site, repository_name)
    authority = signers.authority(sigstore.issuer, root_of(sigstore))
    unpromised = signers.authority(other_sigstore.issuer, joined(root_of(other_sigstore), root_of(sigstore)))
    real, second, of_other = signers.signed(sigstore), signers.signed(sigstore), signers.signed(other_sigstore)
    signers.add("complete", authority, real, counts=True)
    signers.add("another complete one", authority, second, counts=True)
    swapped = json.loads(json.dumps(real))
    swapped["verificationMaterial"]["tlogEntries"] = second["verificationMaterial"]["tlogEntries"]
    signers.add("log entry of another signature", authority, swapped, counts=False)
    swapped = json.loads(json.dumps(real))
    stamps = second["verificationMaterial"]["timestampVerificationData"]
    swapped["verificationMaterial"]["timestampVerificationData"] = stamps
    signers.add("timestamp of another signature", authority, swapped, counts=False)
    signers.add("of another image", authority, real, counts=False, content="another")
    signers.add("of another Sigstore", authority, of_other, counts=False)
    signers.add("without a promise of the log of certificates", unpromised, of_other, counts=False)
    signers.check()


def test_parts_of_a_sigstore_count_only_for_signatures_from_their_time(
    site: Site, sigstore: Sigstore, other_sigstore: Sigstore, repository_name: str
) -> None:
    signers = Signers(site, repository_name)
    made = signers.signed(sigstore)
    signed, hour = datetime.now(UTC) + timedelta(seconds=1), timedelta(hours=1)
    current = root_of(other_sigstore) | {"timestampAuthorities": []}  # both have the same one
    periods = {
        "ended before": (signed - 2 * hour, signed - hour, False),
        "ended after": (signed - hour, signed, True),
        "began after": (signed + hour, None, False),
    }
    for kind in ("certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"):
        for when, (start, end, counts) in periods.items():
            root = with_validity(root_of(sigstore), kind, start, end)
            authority = signers.authority(sigstore.issuer, joined(root, current))
            signers.add(f"{kind} {when} it was signed", authority, made, counts=counts)
    signers.check()


def test_certificate_that_expired_counts_for_signatures_with_a_proof_of_time(
    site: Site,
    sigstore: Sigstore,
    other_sigstore: Sigstore,
    trust_parts: TrustBinaries,
    cosign: Cosign,
    repository_name: str,
    tmp_path: Path,
) -> None:
    signers = Signers(site, repository_name)
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    # The certificates that Fulcio makes always last ten minutes, so it is the one above that ends.
    with running_sigstore(trust_parts, cosign, tmp_path / "ending", Certifying(ends), beside=sigstore) as ending:
        made, root = signers.signed(ending), joined(root_of(ending), root_of(other_sigstore))
        authority = signers.authority(ending.issuer, root)
    signers.add("with the time of a timestamp authority", authority, made, counts=True)
    without = json.loads(json.dumps(made))
    del without["verificationMaterial"]["timestampVerificationData"]
    signers.add("without a proof of time", authority, without, counts=False)
    # Only in Python: cosign signs with no certificate whose chain has ended, and that of a signer can't be made to end.
    minted = MINTED.trusted_root()
    by_minted = signers.authority(CI, minted)
    for what in ("complete, though its certificate expired", "signed after the certificate"):
        mint, counts = MINTED_CASES[what]
        signers.add(what, by_minted, mint(made_for(made)), counts=counts)
    for what, validity, counts in VALIDITIES:
        if "intermediate" in what:
            own = MintedSigstore(validity)
            authority = signers.authority(CI, joined(own.trusted_root(), minted))
            signers.add(what, authority, own.bundle(made_for(made), SIGNED), counts=counts)
    wait_until(lambda: datetime.now(UTC) > ends, 90, "the certificate of the authority has expired")
    signers.check()


def made_for(signature: Bundle) -> str:
    """The digest of the image that a signature is for."""
    [subject] = json.loads(b64decode(signature["dsseEnvelope"]["payload"]))["subject"]
    return f"sha256:{subject['digest']['sha256']}"


def admitted(site: Site, kubectl: Kubectl, images: Mapping[str, Image]) -> dict[str, bool]:
    """Whether a pod with each of these images is admitted once all are looked up; the others need a signature."""
    run_id = uuid.uuid4().hex[:8]
    names = {what: f"row-{run_id}-{number}" for number, what in enumerate(images)}
    errors = ""

    def there() -> set[str]:
        items = msgspec.json.decode(site.lab.plane.call("GET", f"/api/v1/namespaces/{kubectl.namespace}/pods").body)
        return {item["metadata"]["name"] for item in items["items"]}

    def are_looked_up() -> bool:
        nonlocal errors
        present = there()
        pods = [
            restricted_pod(container("app", image=images[what].reference))
            | {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
            for what, name in names.items()
            if name not in present
        ]
        body = {"apiVersion": "v1", "kind": "List", "items": pods}
        errors = kubectl("create", "-f", "-", input=json.dumps(body)).stderr if pods else ""
        # On a busy machine, the API server may give up before it has the answer that a look-up goes on.
        return not any(text in errors for text in ("still being verified", "context deadline exceeded"))

    wait_until(are_looked_up, SOON, "the images are looked up")
    present = there()
    assert errors.count("(allowed: signed by ") == len(set(names.values()) - present), errors
    return {what: name in present for what, name in names.items()}


def test_signature_by_key_counts_only_for_the_image_and_as_a_signature(
    site: Site, cosign: Cosign, repository_name: str, tmp_path: Path
) -> None:
    own, second, stranger = (cosign.new_key(f"row-{number}") for number in range(3))
    keys = [{"pem": own.pem, "until": "2999-01-01T00:00:00Z"}, {"pem": second.pem}]
    apply(site, "ImageAuthority", "rows", spec={"keys": keys})
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"answer": 42}')

    def pushed(content: str, folder: str = "") -> Image:
        return site.registry.push_image(f"{repository_name}{folder}", content)

    signed, older, unknown, attested, both = map(pushed, ("signed", "older", "unknown", "attested", "both"))
    children = [pushed(content) for content in ("a", "b")]
    alone = site.registry.push_index(repository_name, children[:1])
    recursive = site.registry.push_index(repository_name, children[1:])
    cosign.sign(signed, own)
    cosign.sign_older(older, second)
    cosign.sign(unknown, stranger)
    for image in (attested, both):
        cosign.attest(image, own, "https://acme.example/qa/v1", predicate)
    cosign.sign(both, own)
    cosign.sign(alone, own)
    cosign.sign(recursive, own, "-r")
    [real] = site.registry.bundles(signed)
    other, older_copy = pushed("other"), pushed("older copy")
    site.registry.attach(other, real)
    _, _, manifest = site.registry.request("GET", f"/v2/{repository_name}/manifests/{sig_tag(older)}")
    site.registry.put_manifest(repository_name, sig_tag(older_copy), manifest, older.media_type)
    rows = {
        "by another key": (unknown, signed),
        "older format": (older_copy, older),
        "bundle of another image": (other, signed),
        "an attestation": (attested, both),
        "child of a signed index": (children[0], alone),
        "child of an index signed with its children": (pushed("no index"), children[1]),
    }
    for number, part in enumerate(("dsseEnvelope.payload", "dsseEnvelope.signatures.0.sig")):
        changed, same = (pushed("signed", f"/{what}-{number}") for what in ("changed", "same"))
        site.registry.attach(changed, json.dumps(flipped(part)(json.loads(real))).encode())
        site.registry.attach(same, real)
        rows[f"one byte changed in {part}"] = changed, same
    with requiring(site, "rows", site.registry.host) as kubectl:
        wait_until(lambda: admits_soon(kubectl, signed), SOON, "the webhook uses the keys")
        for side, is_admitted in ((0, False), (1, True)):
            images = {f"{what} {side}": pair[side] for what, pair in rows.items()}
            assert admitted(site, kubectl, images) == dict.fromkeys(images, is_admitted)
        ended = {"keys": [{"pem": own.pem, "until": "2020-01-01T00:00:00Z"}, {"pem": second.pem}]}
        apply(site, "ImageAuthority", "rows", spec=ended)
        wait_until(lambda: "a key that ended at 2020" in verdict(kubectl, signed.reference), SOON, "its key has ended")
        assert not verdict(kubectl, older.reference)


def sig_tag(image: Image) -> str:
    """The tag of an image's signatures in the older format."""
    return image.digest.replace(":", "-") + ".sig"


def test_init_container_and_sidecar_must_be_signed(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    for more in ({}, {"restartPolicy": "Always"}):
        for image, is_allowed in ((unsigned, False), (good, True)):
            init = container("before", image=image.reference) | more
            assert admits(signed, good, initContainers=[init]) is is_allowed


def test_running_pod_cannot_be_given_an_unsigned_image(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, next_one = site.image(repository_name, "good", P256), site.image(repository_name, "next", P256)
    unsigned = site.image(repository_name, "unsigned")
    assert run(signed, "patched", good.reference).returncode == 0
    for image, is_allowed in ((unsigned, False), (next_one, True)):
        patch = {"spec": {"containers": [{"name": "app", "image": image.reference}]}}
        patched = signed("patch", "pod", "patched", "-p", json.dumps(patch))
        assert (patched.returncode == 0) is is_allowed, patched.stderr
        assert is_allowed or ", not signed (allowed" in patched.stderr


def test_pull_secret_of_the_pod_is_used_for_its_images(
    site: Site, distribution_with_login: Registry, repository_name: str
) -> None:
    registry = distribution_with_login
    image = registry.push_image(repository_name, "private")
    registry.attach(image, json.dumps(bundle(P256, statement(image.digest))).encode())
    with_release(site)
    with requiring(site, "release", registry.host) as kubectl:
        for name, password in (("login", PASSWORD), ("wrong", "guess")):
            login = (f"--docker-server={registry.host}", f"--docker-username={USER}", f"--docker-password={password}")
            kubectl.check("create", "secret", "docker-registry", name, *login)
        for secrets in ((), ("wrong",)):
            denied = run(kubectl, "denied", image.reference, imagePullSecrets=[{"name": name} for name in secrets])
            assert "does not let" in denied.stderr
        with_secret = run(kubectl, "pod", image.reference, imagePullSecrets=[{"name": "login"}])
        assert with_secret.returncode == 0, with_secret.stderr


def test_image_that_runs_is_looked_up_again(site: Site, signed: Kubectl, repository_name: str) -> None:
    image = site.image(repository_name, "runs", P256)
    assert run(signed, "runs", image.reference).returncode == 0
    names = ("get", "imageevidence", "-o", f'jsonpath={{.items[?(@.spec.image=="{image.reference}")].metadata.name}}')
    wait_until(lambda: bool(site.kubectl.check(*names)), SOON, "an ImageEvidence of the image is there")
    name, long_ago = site.kubectl.check(*names), "2026-01-01T00:00:00Z"
    old: dict[str, Any] = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ImageEvidence", "metadata": {"name": name}}
    old["spec"] = {"lookedUp": long_ago}
    forced = ("apply", "--server-side", "--force-conflicts", "--validate=false", f"--as={WEBHOOK}", "-f", "-")
    site.kubectl.check(*forced, input=json.dumps(old))
    site.sekisho.webhook.restart()
    looked_up = ("get", "imageevidence", name, "-o", "jsonpath={.spec.lookedUp}")
    wait_until(lambda: site.kubectl.check(*looked_up) != long_ago, SOON, "it was looked up again")


def firing(site: Site, alert: str, severity: str = "warning", since: Scrape | None = None) -> set[str]:
    """The authorities for which an alert of the chart is true now, or a name of no authority; empty if it is not.

    since: from when on it counts; None for an alert without rates.
    """
    [rule] = [one for one in render("prometheusRule.enabled=true") if one["kind"] == "PrometheusRule"]
    rules = [one for group in rule["spec"]["groups"] for one in group["rules"]]
    [expression] = [one["expr"] for one in rules if (one["alert"], one["labels"]["severity"]) == (alert, severity)]
    series = result(expression, [*([since] if since else []), scrape(site)])
    return {dict(labels).get("authority", "") for labels in series}


def scrape(site: Site) -> Scrape:
    return Scrape(metrics_of(site.sekisho.webhook), time.time())


def ending(days: float, **rest: Any) -> dict[str, Any]:
    """A key that ends in `days` from now."""
    return {"pem": pem(P256), "until": f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"} | rest


def with_root_of(site: Site, name: str, days: float) -> None:
    """A keyless authority, and its trusted root, to which nothing was added for `days`."""
    root = MINTED.trusted_root()
    for kind in ("certificateAuthorities", "tlogs", "ctlogs"):
        root = with_validity(root, kind, datetime.now(UTC) - timedelta(days=days), None)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}}
    config_map["data"] = {"trusted_root.json": json.dumps(root)}
    site.kubectl.check("apply", "-f", "-", "--namespace", NAMESPACE, input=json.dumps(config_map))
    keyless = {"issuer": CI, "identities": [WORKFLOW], "trustedRoot": {"configMap": {"name": name}}}
    apply(site, "ImageAuthority", name, spec={"keyless": keyless})


def test_alerts_about_authorities_fire_and_their_runbooks_end_them(site: Site) -> None:
    for name, days in (("ends-soon", 2), ("ends-later", 10), ("lasts", 60)):
        apply(site, "ImageAuthority", name, spec={"keys": [ending(days)]})
    for name, days in (("root-old", 549), ("root-new", 547)):
        with_root_of(site, name, days)
    names = {"ends-soon", "ends-later", "lasts", "root-old", "root-new"}
    usable = "sekisho_image_authority_usable"
    wait_until(lambda: all(site.sekisho.metric(usable, authority=name) for name in names), SOON, "all are used")

    def are_firing(alert: str, severity: str = "warning") -> set[str]:
        return firing(site, alert, severity) & names

    assert are_firing("SekishoImageAuthorityEnding", "critical") == {"ends-soon"}
    assert are_firing("SekishoImageAuthorityEnding") == {"ends-soon", "ends-later"}
    assert are_firing("SekishoTrustedRootOld") == {"root-old"}
    apply(site, "ImageAuthority", "ends-soon", spec={"keys": [ending(2), {"pem": pem(OTHER_P256)}]})
    with_root_of(site, "root-old", 1)
    is_over = {"SekishoImageAuthorityEnding": {"ends-later"}, "SekishoTrustedRootOld": set[str]()}
    wait_until(
        lambda: all(are_firing(one) == still_firing for one, still_firing in is_over.items()), SOON, "two are mended"
    )


def test_alerts_about_registries_fire_only_where_images_that_are_needed_cannot_be_read(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    def tries(image: Image) -> Completed:
        return signed("run", "once", f"--image={image.reference}", "--dry-run=server")

    began, old = scrape(site), site.image(repository_name, "old", P256)
    assert tries(old).returncode == 0
    assert not firing(site, "SekishoRegistryUnavailable", since=began)
    names = ("get", "imageevidence", "-o", f'jsonpath={{.items[?(@.spec.image=="{old.reference}")].metadata.name}}')
    wait_until(lambda: bool(site.kubectl.check(*names)), SOON, "an ImageEvidence of the image is there")
    looked_up = f"{datetime.now(UTC) - timedelta(hours=7):%Y-%m-%dT%H:%M:%SZ}"
    aged: dict[str, Any] = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ImageEvidence"}
    aged |= {"metadata": {"name": site.kubectl.check(*names)}, "spec": {"lookedUp": looked_up}}
    forced = ("apply", "--server-side", "--force-conflicts", "--validate=false", f"--as={WEBHOOK}", "-f", "-")
    site.kubectl.check(*forced, input=json.dumps(aged))
    site.sekisho.webhook.restart()
    site.sekisho.webhook.wait_ready()
    wait_until(lambda: site.sekisho.metric("sekisho_images_known", facts="signed") > 0, SOON, "its facts are read")
    assert not firing(site, "SekishoImageFactsStale")

    began = scrape(site)
    site.registry.behave(Behavior(faults=(UNAVAILABLE,)), repository_name)
    assert tries(old).returncode == 0
    wait_until(lambda: firing(site, "SekishoImageFactsStale"), SOON, "its facts could not be renewed")
    assert firing(site, "SekishoRegistryUnavailable", since=began)
    site.registry.behave(Behavior(), repository_name)
    ended = scrape(site)

    def is_renewed() -> bool:
        return tries(old).returncode == 0 and not firing(site, "SekishoImageFactsStale")

    wait_until(is_renewed, SOON, "its facts are renewed")
    assert not firing(site, "SekishoRegistryUnavailable", since=ended)


NAME, MAIL = "bad-authority", "a URL, or an email address whose domain is written without *"
ISSUER = "https://token.actions.githubusercontent.com"
DENIED_WHEN_APPLIED = [
    ({"keys": [{"pem": "x"}]}, "spec.keys[0].pem: is not a public key in PEM, such as cosign.pub"),
    (
        {"keys": [{"pem": WEAK}]},
        "spec.keys[0].pem: is an RSA key of 1024 bits; use ECDSA P-256, P-384 or P-521, RSA of",
    ),
    (
        {"keyless": {"issuer": ISSUER, "identities": ["*"]}},
        f'spec.keyless.identities[0]: "*" must be {MAIL}',
    ),
    (
        {"keyless": {"issuer": ISSUER, "identities": ["^https://github.com/acme/.*"]}},
        "is a regular expression; write the identity with * for what may vary",
    ),
]


@pytest.mark.parametrize(("spec", "problem"), DENIED_WHEN_APPLIED, ids=range(len(DENIED_WHEN_APPLIED)))
def test_broken_authority_is_denied_when_it_is_applied(site: Site, spec: dict[str, Any], problem: str) -> None:
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ImageAuthority", "metadata": {"name": NAME}, "spec": spec}
    denied = site.kubectl("create", "-f", "-", input=json.dumps(body))
    assert denied.returncode != 0
    assert problem in denied.stderr


def test_rule_for_images_of_any_registry_is_denied_when_it_is_applied(site: Site) -> None:
    rule = {"images": ["*/acme/*"], "by": {"anyOf": ["release"]}}
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": NAME}}
    spec = {"controls": {"images": {"signatures": [rule]}}}
    denied = site.kubectl("create", "-f", "-", input=json.dumps(body | {"spec": spec}))
    problem = "spec.controls.images.signatures[0].images[0]: '*/acme/*' begins with *; name the registry"
    assert problem in denied.stderr


EMPTY_ROOT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
UNUSABLE = {
    "without-secret": (
        {"keys": [{"secret": {"name": "no-key"}}]},
        'spec.keys[0].secret: Secret "no-key" does not exist',
    ),
    "broken-in-secret": (
        {"keys": [{"secret": {"name": "broken-key"}}]},
        'spec.keys[0].secret: "cosign.pub" of Secret "broken-key" is not a public key in PEM, such as cosign.pub',
    ),
    "weak-in-secret": (
        {"keys": [{"secret": {"name": "weak-key"}}]},
        'spec.keys[0].secret: "cosign.pub" of Secret "weak-key" is an RSA key of 1024 bits; use ECDSA',
    ),
    "without-config-map": (
        {"keyless": {"issuer": ISSUER, "identities": [IDENTITY], "trustedRoot": {"configMap": {"name": "no-root"}}}},
        'spec.keyless.trustedRoot.configMap: ConfigMap "no-root" does not exist in the namespace where Sekisho is',
    ),
    "root-without-keys": (
        {"keyless": {"issuer": ISSUER, "identities": [IDENTITY], "trustedRoot": {"configMap": {"name": "empty-root"}}}},
        'spec.keyless.trustedRoot.configMap: "trusted_root.json" of ConfigMap "empty-root" has no transparency log in',
    ),
}


def test_authority_that_cannot_be_used_says_why_and_rules_that_name_it_deny(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    for name, key in (("broken-key", "x"), ("weak-key", WEAK)):
        secret = ("create", "secret", "generic", name, f"--from-literal=cosign.pub={key}", "--namespace", NAMESPACE)
        site.kubectl.check(*secret)
    root = ("create", "configmap", "empty-root", f"--from-literal=trusted_root.json={EMPTY_ROOT}")
    site.kubectl.check(*root, "--namespace", NAMESPACE)
    rules = []
    for name, (spec, _) in UNUSABLE.items():
        apply(site, "ImageAuthority", name, spec=spec)
        rules.append({"images": [f"{site.registry.host}/{repository_name}/{name}"], "by": {"anyOf": [name]}})
    namespace = signed.namespace
    policy = {"match": {"namespaces": [namespace]}, "controls": {"images": {"signatures": rules}}}
    apply(site, "ClusterPodPolicy", f"{namespace}-unusable", spec=policy)
    enforced = ("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}-unusable", f"--timeout={SOON:g}s")
    site.kubectl.check(*enforced)
    images = {name: site.image(f"{repository_name}/{name}", name, P256) for name in UNUSABLE}
    for name, (_, problem) in UNUSABLE.items():
        wait_until(lambda name=name, problem=problem: is_unusable(site, name, problem), SOON, f"{name} is unusable")  # type: ignore[misc]
        expected = f'ImageAuthority "{name}" is unusable, {problem}'
        wait_until(
            lambda name=name, expected=expected: expected in run(signed, "denied", images[name].reference).stderr,  # type: ignore[misc]
            SOON,
            f"a pod is denied because of {name}",
        )
    assert admits(signed, site.image(repository_name, "good", P256))
    site.kubectl.check("delete", "clusterpodpolicy", f"{namespace}-unusable", "--wait=false")
    site.kubectl.check("delete", "imageauthority", *UNUSABLE, "--wait=false")


def is_unusable(site: Site, name: str, problem: str) -> bool:
    """Whether the status of an authority says that it cannot be used, and why."""
    answer = site.lab.plane.call("GET", f"/apis/sekisho.dev/v1alpha1/imageauthorities/{name}")
    conditions = msgspec.json.decode(answer.body).get("status", {}).get("conditions", [])
    return any(one["type"] == "Usable" and one["status"] == "False" and problem in one["message"] for one in conditions)


BY_KEY, ROTATION, BY_CI = "Start with a key", "Rotate the key", "Without a key, by a CI provider"


def documented(section: str, language: str) -> list[str]:
    """The blocks of a section of the page on signed images that are in a language, in their order."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^ *```{language}\n((?s:.*?))^ *```$", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def documented_commands(section: str, image: Image) -> list[str]:
    return [one for block in documented(section, "console") for one in as_here(block, image)[2:].split("\n$ ")]


def shell_in(site: Site, folder: Path, binaries: Binaries, cosign: Cosign) -> Callable[[str], Completed]:
    """Runs a command of the page in a folder; it must succeed."""
    (folder / "charts").symlink_to(CHART.parent)
    paths = {Path(one).parent for one in (cosign.binary, binaries.kubectl, binaries.helm, sys.executable)}
    environment = cosign.environment | {
        "HOME": str(folder),
        "KUBECONFIG": str(site.lab.plane.kubeconfig),
        "PATH": os.pathsep.join((*map(str, paths), os.environ["PATH"])),
    }

    def shell(command: str) -> Completed:
        done = run_command(("bash", "-c", f"cd {folder} && {command}"), environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    return shell


def test_commands_of_the_page_on_signed_images_do_what_it_says(
    site: Site, binaries: Binaries, cosign: Cosign, repository_name: str, tmp_path: Path
) -> None:
    image = site.registry.push_image(repository_name, tag="1.2.3")
    unsigned = site.registry.push_image(repository_name, "unsigned", tag="1.1.0")
    (tmp_path / "signed.yaml").write_text(as_here(documented(BY_KEY, "yaml")[0], image))
    shell = shell_in(site, tmp_path, binaries, cosign)
    [*until_verified, pay, older] = documented_commands(BY_KEY, image)
    try:
        shown = [shell(command).stdout for command in until_verified][-1]
        assert "signed by documented, with key" in shown
        assert "passes: requires an image signed by documented" in shown
        wait_until(lambda: "Warning" not in shell(pay).stderr, SOON, "the webhook uses the key")
        # A policy that only warns waits for a look-up for half a second.
        wait_until(lambda: ", not signed (allowed" in shell(older).stderr, SOON, "an unsigned image is warned about")
        assert 'policy "signed" warns about container "older" for its image' in shell(older).stderr
        (tmp_path / "signed.yaml").write_text(as_here(documented(ROTATION, "yaml")[0], image))
        [*rotate, describe] = documented_commands(ROTATION, image)
        for command in rotate:
            shell(command)
        said = re.compile(r"verified without an end; spec\.keys\[0\] end(s|ed) at 2027-06-30T00:00:00Z")
        wait_until(lambda: said.search(shell(describe).stdout), SOON, "the status says when the old key ends")
        [sign] = [command for command in until_verified if command.startswith("cosign sign ")]
        shell(sign.replace("cosign.key", "new.key").replace(image.digest, unsigned.digest))
        wait_until(
            lambda: "Warning" not in shell(older).stderr, SOON, "an image that the new key has signed is trusted"
        )
    finally:
        site.kubectl.check("delete", "clusterpodpolicy/signed", "imageauthority/documented", "--wait=false")


def as_here(text: str, image: Image) -> str:
    """A block of the page with the names of this site, and the image that the page signs."""
    text = text.replace(" --wait ", " ")  # no node runs the Deployments
    text = text.replace("secrets={release-key}", f"secrets={{{','.join(SECRETS)}}}")
    text = text.replace("name: release-key", "name: docs-key").replace(" release-key", " docs-key")
    text = re.sub(r"\brelease\b(?![-.])", "documented", text)  # other tests have an authority release
    text = text.replace("ghcr.io/acme/pay", image.repository).replace("ghcr.io/acme/*", image.repository)
    return re.sub(r"sha256:[0-9a-f]{64}", image.digest, text.rstrip())


def scan_rule(site: Site, **vulnerabilities: Any) -> dict[str, Any]:
    """Parameters that require a scan by the authority release."""
    required = {"maxAge": "7d", "maximum": {"fixable": {"critical": 0}}, **vulnerabilities}
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}, "vulnerabilities": required}
    return {"resolveTags": True, "attestations": [rule]}


def scan(site: Site, image: Image, *rows: dict[str, Any], finished: datetime | None = None, **how: Any) -> None:
    """Attach a scan of Trivy with these findings."""
    predicate = scan_predicate(trivy(*rows, digest=image.digest), finished or datetime.now(UTC))
    attest(site, image, predicate, **how)


def attest(
    site: Site, image: Image, predicate: dict[str, Any], predicate_type: str = SCAN_PREDICATE, key: PrivateKey = P256
) -> None:
    """Attach a statement of a type."""
    statement_of_it = scan_statement(predicate, image.digest, predicate_type)
    site.registry.attach(image, json.dumps(bundle(key, statement_of_it)).encode())


def evidence(site: Site, image: Image) -> dict[str, Any] | None:
    """The shared facts about an image."""
    items = msgspec.json.decode(site.lab.plane.call("GET", EVIDENCE).body)["items"]
    return next((one["spec"] for one in items if one["spec"]["image"] == image.reference), None)


def verdict(kubectl: Kubectl, image: str) -> str:
    """What the API server says of a pod with the image once its look-up has ended; empty if it is admitted."""
    answers: list[Completed] = []

    def is_looked_up() -> bool:
        answers.append(run(kubectl, f"pod-{uuid.uuid4().hex[:8]}", image))
        return "still being verified" not in answers[-1].stderr

    wait_until(is_looked_up, SOON, "the image is looked up")
    return answers[-1].stderr if answers[-1].returncode else ""


def test_only_scanned_images_run(site: Site, repository_name: str) -> None:
    with_release(site)
    clean, none, old = (site.image(repository_name, name, tag=name) for name in ("clean", "none", "old"))
    newest, cleaned = site.image(repository_name, "newest"), site.image(repository_name, "cleaned")
    now = datetime.now(UTC)
    scan(site, clean, trivy_row("CVE-2024-0002", "HIGH"))
    scan(site, old, finished=now - timedelta(days=7, minutes=1))
    future, typed, by_other = (site.image(repository_name, name) for name in ("future", "typed", "by-other"))
    scan(site, future, finished=now + timedelta(hours=1))
    scan(site, typed, predicate_type="https://acme.example/scan/v1")
    scan(site, by_other, key=OTHER_P256)
    for image, at in ((newest, now), (cleaned, now - timedelta(hours=1))):
        scan(site, image, trivy_row(), finished=at)
        scan(site, image, finished=now - timedelta(minutes=30))
    scanned, partly = (site.registry.push_index(repository_name, (clean, other)) for other in (cleaned, none))
    with applying(site, scan_rule(site)) as kubectl:
        assert verdict(kubectl, scanned.reference) == ""
        of_none = f"which has a platform, linux/arm64 ({none.digest}), which has no scan by release"
        assert of_none in verdict(kubectl, partly.reference)
        assert verdict(kubectl, f"{clean.repository}:clean") == ""
        assert "which has no scan by release" in verdict(kubectl, none.reference)
        assert "which was last scanned 7 days ago" in verdict(kubectl, old.reference)
        assert "which has a scan from the future" in verdict(kubectl, future.reference)
        for image in (typed, by_other):
            assert "which has no scan by release" in verdict(kubectl, image.reference)
        assert re.search(
            r"which has 1 fixable critical vulnerability, in a scan by trivy \d+ minutes ago: openssl 3.0.11 -> "
            "3.0.13, CVE-2024-0001",
            verdict(kubectl, newest.reference),
        )
        assert verdict(kubectl, cleaned.reference) == ""
    wait_until(lambda: evidence(site, clean), SOON, "the facts about the clean image are shared")
    columns = site.kubectl.check("get", "imageevidence").splitlines()
    assert columns[0].split()[:7] == ["NAME", "IMAGE", "SIGNED", "BY", "CRITICAL", "HIGH", "SCANNED"]
    [row] = [line.split() for line in columns if clean.reference in line]
    assert row[2:4] == ["0", "1"], columns
    assert re.fullmatch(r"\d+[smh]\d*s?", row[4]), columns  # how long ago it was scanned


def test_vulnerability_counts_unless_the_policy_or_the_right_authority_excludes_it(
    site: Site, repository_name: str
) -> None:
    with_release(site)
    apply(site, "ImageAuthority", "product-security", spec={"keys": [{"pem": pem(OTHER_P256)}]})
    images = {name: site.image(repository_name, name) for name in ("scanner", "product")}
    for image, key in zip(images.values(), (P256, OTHER_P256), strict=True):
        scan(site, image, trivy_row(), trivy_row("CVE-2024-0002", fixed=""))
        attest(site, image, vex_document(vex_statement(), issued=datetime.now(UTC)), VEX_PREDICATES[0], key)
    with applying(site, scan_rule(site, vex={"by": {"anyOf": ["product-security"]}})) as kubectl:
        assert "which has 1 fixable critical" in verdict(kubectl, images["scanner"].reference)
        assert verdict(kubectl, images["product"].reference) == ""
    for days, is_admitted in ((1, True), (-1, False)):
        until = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
        allowed = [{"id": "CVE-2024-0001", "until": until, "reason": "not reachable"}]
        with applying(site, scan_rule(site, allowed=allowed)) as kubectl:
            assert (verdict(kubectl, images["scanner"].reference) == "") is is_admitted


def test_scan_of_cosign_counts_and_an_allowed_vulnerability_until_its_time_is_over(
    site: Site, cosign: Cosign, repository_name: str, tmp_path: Path
) -> None:
    key = cosign.new_key("scans")
    apply(site, "ImageAuthority", "cosign-scans", spec={"keys": [{"pem": key.pem}]})
    images = {name: site.image(repository_name, name) for name in ("fixable", "unfixable", "empty")}
    rows = {"fixable": [trivy_row()], "unfixable": [trivy_row(fixed="")], "empty": []}
    for name, image in images.items():
        report = trivy(*rows[name], digest=image.digest)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(report if name == "empty" else scan_predicate(report, datetime.now(UTC))))
        cosign.attest(image, key, "vuln", file)

    def rule(**vulnerabilities: Any) -> dict[str, Any]:
        parameters = scan_rule(site, **vulnerabilities)
        parameters["attestations"][0]["by"] = {"anyOf": ["cosign-scans"]}
        return parameters

    def allowed_until(moment: datetime) -> dict[str, Any]:
        until = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        return rule(allowed=[{"id": "CVE-2024-0001", "until": until, "reason": "not reachable"}])

    fixable = images["fixable"].reference
    with applying(site, rule()) as kubectl:
        assert "which has 1 fixable critical vulnerability" in verdict(kubectl, fixable)
        assert verdict(kubectl, images["unfixable"].reference) == ""
        assert "its scan holds no result" in verdict(kubectl, images["empty"].reference)
    with applying(site, allowed_until(datetime.now(UTC) + timedelta(days=1))) as kubectl:
        assert verdict(kubectl, fixable) == ""
    end = (datetime.now(UTC) + timedelta(seconds=SOON / 2)).replace(microsecond=0)
    with applying(site, allowed_until(end)) as kubectl:
        wait_until(lambda: "which has 1 fixable critical" in verdict(kubectl, fixable), SOON, "it counts by the clock")
        assert datetime.now(UTC) >= end


def test_denial_names_the_worst_vulnerabilities_and_their_fixes(site: Site, repository_name: str) -> None:
    with_release(site)
    image = site.image(repository_name, "many")
    rows = [trivy_row(f"CVE-2024-000{number}", package=f"lib{number}", fixed=f"3.1.{number}") for number in range(5)]
    scan(site, image, *rows, finished=datetime.now(UTC) - timedelta(hours=3, minutes=1))
    with applying(site, scan_rule(site)) as kubectl:
        assert (
            "which has 5 fixable critical vulnerabilities, in a scan by trivy 3 hours ago: lib0 3.0.11 -> 3.1.0, "
            "CVE-2024-0000; lib1 3.0.11 -> 3.1.1, CVE-2024-0001; lib2 3.0.11 -> 3.1.2, CVE-2024-0002; and 2 more "
            "(allowed: none of these). "
            "Fix: rebuild it with the fixed versions, and scan it. [images]"
        ) in verdict(kubectl, image.reference)


def test_changed_policy_is_judged_from_the_known_scan(site: Site, repository_name: str) -> None:
    with_release(site)
    image = site.image(repository_name, "critical")
    scan(site, image, trivy_row())
    with applying(site, scan_rule(site)) as kubectl:
        assert "which has 1 fixable critical" in verdict(kubectl, image.reference)
        wait_until(lambda: evidence(site, image), SOON, "the facts are shared")
        # No further look-up ends in time.
        site.registry.behave(Behavior(faults=(Fault("referrers", delay_ms=1000 * SLOW_SECONDS),)), repository_name)
        until = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
        allowed = [{"id": "CVE-2024-0001", "until": until, "reason": "not reachable"}]
        spec = {"match": {"namespaces": [kubectl.namespace]}, "controls": {"images": scan_rule(site, allowed=allowed)}}
        apply(site, "ClusterPodPolicy", str(kubectl.namespace), spec=spec)
        wait_until(
            lambda: run(kubectl, f"pod-{uuid.uuid4().hex[:8]}", image.reference).returncode == 0,
            SOON,
            "the allowed vulnerability does not count",
        )


def test_changed_catalog_is_judged_from_the_known_signature(site: Site, repository_name: str) -> None:
    with_release(site)
    image, unsigned = site.image(repository_name, "good", P256, tag="v1"), site.image(repository_name, "unsigned")
    by_release = {"repository": f"{site.registry.host}/{repository_name}", "by": {"anyOf": ["release"]}}
    name, tagged = repository_name.partition("/")[0], f"{image.repository}:v1"

    def certify(**fields: Any) -> None:
        apply(site, "ImageCatalog", name, spec={"owner": "security", "entries": [by_release | fields]})

    certify()
    with applying(site, {"resolveTags": True, "catalogs": {"anyOf": [name]}}) as kubectl:
        assert verdict(kubectl, image.reference) == ""
        assert "and it is not signed (allowed: certified by ImageCatalog" in verdict(kubectl, unsigned.reference)
        assert run(kubectl, "tagged", tagged).returncode == 0
        resolved = kubectl.check("get", "pod", "tagged", "-o", "jsonpath={.spec.containers[0].image}")
        assert resolved == f"{tagged}@{image.digest}"
        # No further look-up ends in time.
        site.registry.behave(Behavior(faults=(Fault("referrers", delay_ms=1000 * SLOW_SECONDS),)), repository_name)
        certify(withdrawn={"reason": "CVE-2026-1234"})
        denied = f'was withdrawn in ImageCatalog "{name}": CVE-2026-1234'
        wait_until(lambda: denied in verdict(kubectl, image.reference), SOON, "the withdrawal counts")
        notes = ("get", "events.events.k8s.io", "--field-selector", OF_RUNNING, "-o", "jsonpath={.items[*].note}")
        wait_until(lambda: denied in kubectl.check(*notes), SOON, "the image that runs is reported")
        certify()
        wait_until(
            lambda: run(kubectl, f"pod-{uuid.uuid4().hex[:8]}", image.reference).returncode == 0,
            SOON,
            "the known signature counts again",
        )
    site.kubectl("delete", "imagecatalog", name, "--wait=false")


def test_images_that_run_are_reported_when_they_are_no_longer_trusted(site: Site, repository_name: str) -> None:
    with_release(site)
    apply(site, "ImageAuthority", "ending", spec={"keys": [{"pem": pem(P256)}]})
    images = {name: site.image(repository_name, name, P256) for name in ("vulnerable", "clean")}
    scan(site, images["vulnerable"], trivy_row("CVE-2024-0002", "HIGH"))
    scan(site, images["clean"], trivy_row("CVE-2024-0003", "HIGH"))
    signed = [{"images": [site.registry.host], "by": {"anyOf": ["ending"]}}]
    with applying(site, scan_rule(site) | {"signatures": signed}) as kubectl:
        for name, image in images.items():
            kubectl.check("create", "-f", "-", input=json.dumps(deployment(name, image, 2)))
        policy, pods = str(kubectl.namespace), ("get", "pods", "-o", "name")
        wait_until(lambda: len(kubectl.check(*pods).split()) == 4, SOON, "all pods are there")
        before = kubectl.check(*pods)

        def reported() -> dict[str, str]:
            """The Events about images that run, by the owner that they are on."""
            events = kubectl.check("get", "events.events.k8s.io", "-o", "json", "--field-selector", OF_RUNNING)
            items = msgspec.json.decode(events)["items"]
            return {f"{one['regarding']['kind']}/{one['regarding']['name']}": one["note"] for one in items}

        def untrusted() -> float:
            return site.sekisho.metric("sekisho_images_no_longer_trusted", policy=policy, enforcement="Deny")

        changed = scan_rule(site, denied=["CVE-2024-0002"]) | {"signatures": signed}
        spec = {"match": {"namespaces": [policy]}, "controls": {"images": changed}}
        apply(site, "ClusterPodPolicy", policy, spec=spec)
        wait_until(reported, SOON, "the vulnerable image is reported")
        assert list(reported()) == ["Deployment/vulnerable"]
        assert (
            "which has CVE-2024-0002, which the policy denies, in a scan by trivy: openssl"
            in (reported()["Deployment/vulnerable"])
        )
        wait_until(lambda: untrusted() == 1, SOON, "the metric counts one image")
        apply(site, "ImageAuthority", "ending", spec={"keys": [{"pem": pem(OTHER_P256)}]})
        wait_until(lambda: "Deployment/clean" in reported(), SOON, "the clean image is reported")
        assert "(allowed: signed by ending)" in reported()["Deployment/clean"]
        wait_until(lambda: untrusted() == 2, SOON, "the metric counts both images")
        command = (
            sys.executable,
            "-m",
            "sekisho",
            "denials",
            "-n",
            policy,
            f"--kubeconfig={site.lab.plane.kubeconfig}",
        )
        rows = [row.split()[2:5:2] for row in run_command(command, os.environ).stdout.splitlines()]
        assert ["Deployment/clean", "ImageNoLongerTrusted"] in rows
        assert kubectl.check(*pods) == before


def test_scan_of_4000_findings_is_judged_and_shared(site: Site, repository_name: str) -> None:
    with_release(site)
    image = site.image(repository_name, "large")
    scan(site, image, *(trivy_row(f"CVE-2024-{n:05}", "HIGH", Description="x" * 1300) for n in range(4000)))
    with applying(site, scan_rule(site)) as kubectl:
        assert verdict(kubectl, image.reference) == ""
    wait_until(lambda: evidence(site, image), SOON, "the facts about the large scan are shared")
    assert (evidence(site, image) or {})["high"] == 4000


def test_image_needs_an_sbom_and_a_provenance(site: Site, repository_name: str) -> None:
    with_release(site)
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}}
    required = {"builders": [BUILDER], "sources": ["git+https://github.com/acme/*"]}
    rules = [rule | {"sbom": {"formats": ["cyclonedx", "spdx"]}}, rule | {"provenance": required}]
    names = ("good", "spdx", "elsewhere", "bare", "builder", "scan")
    images = {name: site.image(repository_name, name) for name in names}
    attest(site, images["spdx"], DOCUMENT, "https://spdx.dev/Document")
    attest(site, images["spdx"], slsa_1(), "https://slsa.dev/provenance/v1")
    attach_build(site, images["builder"], slsa_1(builder="https://builds.evil.example/"))
    attest(site, images["scan"], trivy(digest=images["scan"].digest), "https://cyclonedx.org/bom")
    attach_build(site, images["good"], slsa_1())
    attach_build(site, images["elsewhere"], slsa_1(source="git+https://github.com/evil/pay@v1"))
    with applying(site, {"attestations": rules}) as kubectl:
        for name in ("good", "spdx"):
            assert verdict(kubectl, images[name].reference) == ""
        assert f'which was built by "{BUILDER}" from "git+https://github.com/evil/pay@v1"' in verdict(
            kubectl, images["elsewhere"].reference
        )
        assert "which has no SBOM in cyclonedx or spdx by release" in verdict(kubectl, images["bare"].reference)
        assert 'which was built by "https://builds.evil.example/"' in verdict(kubectl, images["builder"].reference)
        assert "it is not an SBOM: bomFormat is not CycloneDX" in verdict(kubectl, images["scan"].reference)
    wait_until(lambda: evidence(site, images["good"]), SOON, "the facts are shared")
    shared = (evidence(site, images["good"]) or {})["attestations"]
    assert {"builder": BUILDER, "sources": [SOURCE]} in [one.get("build") for one in shared]


def attach_build(site: Site, image: Image, provenance: dict[str, Any]) -> None:
    """Attach an SBOM, and a provenance in SLSA v1."""
    for kind, predicate in (("https://cyclonedx.org/bom", BOM), ("https://slsa.dev/provenance/v1", provenance)):
        signed = bundle(P256, scan_statement(predicate, image.digest, kind))
        site.registry.attach(image, json.dumps(signed).encode())


def test_authority_has_no_status_when_images_are_no_longer_verified(site: Site) -> None:
    with_release(site)
    site.kubectl.check("wait", "--for=condition=Usable", "imageauthority/release", f"--timeout={SOON:g}s")
    site.sekisho.stop()
    without = Sekisho(site.lab.plane)
    try:
        without.install()
        read = ("get", "imageauthority/release", "--output")
        wait_until(lambda: site.kubectl.check(*read, "jsonpath={.status}") == "{}", SOON, "no status is shown")
        assert "release-key" in site.kubectl.check(*read, "jsonpath={.spec}")
    finally:
        without.stop()
        site.sekisho.install()
    site.kubectl.check("wait", "--for=condition=Usable", "imageauthority/release", f"--timeout={SOON:g}s")

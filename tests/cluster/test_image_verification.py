"""Signatures of images, through the real API server and a registry: what runs, what waits, and what replicas share."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.cluster.conftest import Lab
from tests.controlplane.installed import NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod
from tests.trustparts.odd import UNAVAILABLE, Behavior, Fault, OddRegistry
from tests.trustparts.registries import Image
from tests.unit.images.signing import OTHER_P256, P256, PrivateKey, bundle, pem, statement

SOON = 30.0
SETTINGS = ("imageVerification.enabled=true", "imageVerification.secrets={release-key}")
EVIDENCE = "/apis/sekisho.dev/v1alpha1/imageevidences"


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
    options = (
        "--verify-images",
        "--authority-secret=release-key",
        f"--registry-ca-file={odd_registry.ca}",
        "--registry-network=127.0.0.0/8",
    )
    sekisho = Sekisho(lab.plane, SETTINGS, options={"webhook": options})
    try:
        sekisho.install()
        yield Site(lab, sekisho, odd_registry)
    finally:
        sekisho.stop()
        sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")
        lab.plane.kubectl("delete", "secret", "release-key", "--namespace", NAMESPACE)


@pytest.fixture
def signed(site: Site) -> Iterator[Kubectl]:
    """A namespace whose images must be signed by the authority release; tags are resolved."""
    name = f"signed-{uuid.uuid4().hex[:8]}"
    site.lab.plane.create_namespace(name)
    apply(site, "ImageAuthority", "release", spec={"keys": [{"secret": {"name": "release-key"}}]})
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}}
    images = {"resolveTags": True, "signatures": [rule]}
    apply(site, "ClusterPodPolicy", name, spec={"match": {"namespaces": [name]}, "controls": {"images": images}})
    site.kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    yield site.kubectl.in_namespace(name)
    site.kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def run(kubectl: Kubectl, name: str, image: str) -> Completed:
    pod = restricted_pod(container("app", image=image)) | {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {"name": name}
    return kubectl("create", "-f", "-", input=json.dumps(pod))


def test_only_what_the_authority_signed_runs(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    other = site.image(repository_name, "other", OTHER_P256)
    admitted = run(signed, "good", good.reference)
    assert admitted.returncode == 0, admitted.stderr
    assert "which is not signed" in run(signed, "unsigned", unsigned.reference).stderr
    assert "1 signature by another key" in run(signed, "other", other.reference).stderr


def test_tag_runs_as_the_digest_that_was_verified(site: Site, signed: Kubectl, repository_name: str) -> None:
    image = site.image(repository_name, "good", P256, tag="v1")
    other = site.image(repository_name, "other")
    site.registry.behave(Behavior(turns=(image.digest, other.digest)), repository_name)
    tagged = f"{site.registry.host}/{repository_name}:v1"
    admitted = run(signed, "tagged", tagged)
    assert admitted.returncode == 0, admitted.stderr
    assert signed.check("get", "pod", "tagged", "-o", "jsonpath={.spec.containers[0].image}") == (
        f"{tagged}@{image.digest}"
    )


def test_ephemeral_container_must_be_signed(site: Site, signed: Kubectl, repository_name: str) -> None:
    good, unsigned = site.image(repository_name, "good", P256), site.image(repository_name, "unsigned")
    assert run(signed, "good", good.reference).returncode == 0
    for image, is_allowed in ((unsigned, False), (good, True)):
        patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": image.reference}]}}
        patched = signed("patch", "pod", "good", "--subresource=ephemeralcontainers", "-p", json.dumps(patch))
        assert (patched.returncode == 0) is is_allowed, patched.stderr


def test_slow_registry_delays_a_deployment_and_does_not_stop_it(
    site: Site, signed: Kubectl, repository_name: str
) -> None:
    image = site.image(repository_name, "slow", P256)
    site.registry.behave(Behavior(faults=(Fault("referrers", delay_ms=8000, times=1),)), repository_name)
    template = {
        "metadata": {"labels": {"app": "slow"}},
        "spec": restricted_pod(container("app", image=image.reference))["spec"],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "slow"},
        "spec": {"replicas": 20, "selector": {"matchLabels": {"app": "slow"}}, "template": template},
    }
    signed.check("create", "-f", "-", input=json.dumps(deployment))
    pods = ("get", "pods", "-l", "app=slow", "-o", "name")
    wait_until(lambda: len(signed.check(*pods).split()) == 20, SOON, "20 pods of the Deployment are there")
    events = signed.check("get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert "PodDenied" not in events


def test_denial_while_a_look_up_goes_on_is_pending(site: Site, signed: Kubectl, repository_name: str) -> None:
    image = site.image(repository_name, "slow", P256)
    site.registry.behave(Behavior(faults=(Fault("referrers", delay_ms=4000, times=1),)), repository_name)
    first = run(signed, "first", image.reference)
    assert "which is still being verified (registry" in first.stderr
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
    patched = site.kubectl("patch", "imageevidence", name, "--type=merge", "-p", '{"spec":{"others":1}}')
    assert "only Sekisho's webhook writes ImageEvidence" in patched.stderr
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

"""Certificates that others make, and clients that must show one, on a control plane that writes down who wrote what."""

import http.client
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sekisho.operator.certificates import KeyPair, new_authority, new_serving
from tests.client_authority import ClientAuthority
from tests.cluster.audit import credential_of
from tests.cluster.callers import APISERVER
from tests.cluster.cert_manager import definitions
from tests.cluster.conftest import Cluster, Lab
from tests.cluster.release_helpers import (
    BAD_POD,
    CONFIGURATIONS,
    SECRETS,
    SOON,
    bundles,
    clobber,
    contents,
    dry_run,
    enforced_policy,
    get,
    judges,
    option,
    served,
    token_of,
)
from tests.cluster.traffic import Traffic
from tests.controlplane.answers import ask
from tests.controlplane.component import Component
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.reviews import review
from tests.serving_certificates import NAME, key_pem, make, pem, rejected_authorities

POLICED = "policed"
CORP = "corp-tls"
INJECTED = f"{RELEASE}-webhook-cert-manager"

BY_SECRET = ("certificates.mode=secret", f"certificates.secretName={CORP}")
BY_CERT_MANAGER = ("certificates.mode=cert-manager",)


@contextmanager
def installed(lab: Lab, settings: tuple[str, ...], **options: tuple[str, ...]) -> Iterator[Cluster]:
    """Sekisho with these values and options of its processes, and the namespace POLICED under a policy."""
    sekisho = Sekisho(lab.plane, settings, options=options)
    try:
        sekisho.install()
        cluster = Cluster(lab.plane, sekisho)
        with enforced_policy(cluster, POLICED):
            yield cluster
    finally:
        sekisho.stop()
        sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")


@pytest.fixture(scope="module", autouse=True)
def namespaces(lab: Lab) -> None:
    for name in (POLICED, NAMESPACE):
        if lab.plane.call("GET", f"/api/v1/namespaces/{name}").status == 404:
            lab.plane.create_namespace(name)


def kubectl_in(lab: Lab) -> Kubectl:
    return lab.plane.kubectl.in_namespace(POLICED)


def put(lab: Lab, name: str, pair: KeyPair, *authorities: KeyPair) -> None:
    """Fill a Secret, as an administrator or cert-manager does."""
    trusted = b"".join(authority.certificate_pem for authority in authorities)
    put_texts(lab, name, pair.certificate_pem, pair.key_pem, trusted)


def put_texts(lab: Lab, name: str, certificate: bytes, key: bytes, authorities: bytes) -> None:
    texts = {"tls.crt": certificate, "tls.key": key, "ca.crt": authorities}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {key: text.decode() for key, text in texts.items()},
    }
    lab.plane.kubectl.check("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(secret))


def patch(lab: Lab, name: str, data: dict[str, str | None]) -> None:
    lab.plane.kubectl.check(
        *("patch", "secret", name, f"--namespace={NAMESPACE}", "--type=merge"),
        *("--patch", json.dumps({"stringData": data})),
    )


def signed(authority: KeyPair, age: timedelta = timedelta()) -> KeyPair:
    return new_serving(authority, ("127.0.0.1",), datetime.now(UTC) - age)


def written_by(lab: Lab, process: Component) -> set[str]:
    """What a process wrote, by resource."""
    return {write.resource for write in lab.audit.writes(credential_of(token_of(process)))}


# A Secret that somebody else fills.


@pytest.fixture
def by_secret(lab: Lab) -> Iterator[tuple[Cluster, KeyPair]]:
    authority = new_authority(datetime.now(UTC))
    put(lab, CORP, signed(authority), authority)
    options = ("--certificates=secret", f"--certificate-secret={CORP}")
    with installed(lab, BY_SECRET, controller=options, webhook=(f"--certificate-secret={CORP}",)) as cluster:
        yield cluster, authority
    lab.plane.call("DELETE", f"{SECRETS}/{CORP}")


def test_a_provided_secret_is_served_and_trusted_and_never_written(
    lab: Lab, by_secret: tuple[Cluster, KeyPair]
) -> None:
    cluster, first = by_secret
    kubectl = kubectl_in(lab)
    assert bundles(cluster) == {first.certificate_pem}
    assert judges(kubectl)

    for path in CONFIGURATIONS:
        clobber(cluster, path, new_authority(datetime.now(UTC)).certificate_pem)
    wait_until(lambda: bundles(cluster) == {first.certificate_pem}, SOON, "the caBundles are repaired")
    wait_until(lambda: judges(kubectl), SOON, "the API server uses them")

    with Traffic(lab.plane, POLICED):
        renewed = signed(first)
        put(lab, CORP, renewed, first)
        wait_until(lambda: served(cluster) == renewed.certificate_pem, SOON, "the renewed certificate is served")

        second = new_authority(datetime.now(UTC))
        put(lab, CORP, renewed, second, first)
        both = second.certificate_pem + first.certificate_pem
        wait_until(lambda: bundles(cluster) == {both}, SOON, "both authorities are trusted")
        changed = signed(second)
        put(lab, CORP, changed, second, first)
        wait_until(lambda: served(cluster) == changed.certificate_pem, SOON, "the second one's certificate is served")
        put(lab, CORP, changed, second)
        wait_until(lambda: bundles(cluster) == {second.certificate_pem}, SOON, "only the second one is trusted")

        patch(lab, CORP, {"tls.key": "-----BEGIN PRIVATE KEY-----\nrubbish"})
        lab.plane.kubectl.check("delete", "secret", CORP, "--namespace", NAMESPACE)
        wait_until(lambda: "CertificateInvalid" in events(lab), SOON, "the loss is reported")
        assert served(cluster) == changed.certificate_pem
        assert bundles(cluster) == {second.certificate_pem}
        put(lab, CORP, changed, second)
    assert judges(kubectl)
    assert not written_by(lab, cluster.sekisho.controller) & {"secrets"}
    assert {"validatingwebhookconfigurations", "leases"} <= written_by(lab, cluster.sekisho.controller)


def events(lab: Lab) -> str:
    """What `kubectl events` shows for the Secret."""
    return lab.plane.kubectl.check("events", f"--for=secret/{CORP}", f"--namespace={NAMESPACE}")


def event_answers(lab: Lab, cluster: Cluster) -> set[int]:
    """How the API server answered the controller's Events."""
    writes = lab.audit.writes(credential_of(token_of(cluster.sekisho.controller)))
    return {write.status for write in writes if write.resource == "events"}


def test_a_provided_certificate_that_expires_soon_is_reported_on_its_secret(
    lab: Lab, by_secret: tuple[Cluster, KeyPair]
) -> None:
    cluster, authority = by_secret
    assert "CertificateExpiring" not in events(lab)
    old = signed(authority, timedelta(days=350))
    put(lab, CORP, old, authority)
    wait_until(lambda: "CertificateExpiring" in events(lab), SOON, "the end is reported")
    assert f"expires at {old.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}" in events(lab)

    cluster.sekisho.controller.restart()
    wait_until(lambda: 409 in event_answers(lab, cluster), SOON, "the next leader would tell it again")
    assert events(lab).count("CertificateExpiring") == 1


UNUSABLE: list[tuple[dict[str, str | None], str]] = [
    ({"ca.crt": ""}, "ca.crt: the certificate is missing"),
    ({"ca.crt": "rubbish"}, "ca.crt: the certificate is corrupt"),
    (
        {"ca.crt": new_authority(datetime.now(UTC)).certificate_pem.decode()},
        "no certificate in ca.crt is the authority",
    ),
    ({"tls.crt": "rubbish"}, "tls.crt: the certificate is corrupt"),
]


def test_an_unusable_provided_secret_changes_nothing_and_is_reported(
    lab: Lab, by_secret: tuple[Cluster, KeyPair]
) -> None:
    cluster, authority = by_secret
    for data, problem in UNUSABLE:
        before = served(cluster)
        with Traffic(lab.plane, POLICED):
            patch(lab, CORP, data)
            wait_until(lambda: problem in events(lab), SOON, f"it is reported: {problem}")  # noqa: B023 - called here
        assert served(cluster) == before
        assert bundles(cluster) == {authority.certificate_pem}
        put_and_wait(lab, cluster, signed(authority), authority)


def put_and_wait(lab: Lab, cluster: Cluster, pair: KeyPair, authority: KeyPair) -> None:
    """Fill the Secret, and return once the webhook serves its certificate."""
    put(lab, CORP, pair, authority)
    wait_until(lambda: served(cluster) == pair.certificate_pem, SOON, "the new certificate is served")


REJECTED = {
    "brainpool": "no certificate in the caBundle is its authority",
    "secp256k1": "no certificate in the caBundle is its authority",
    "no keyCertSign": "its key usage does not include keyCertSign",
    "name constraints": "its name constraints do not permit",
}
"""What the Event says. The same is said in one Event a day."""


def is_rejected(lab: Lab, log: Path, seen: int, problem: str) -> bool:
    """Whether the webhook says so in the later part of its log, and an Event of the controller says why."""
    return "cannot serve" in log.read_text()[seen:] and problem in events(lab)


def test_authorities_that_the_api_server_rejects_are_neither_served_nor_published(
    lab: Lab, by_secret: tuple[Cluster, KeyPair]
) -> None:
    cluster, authority = by_secret
    log = cluster.sekisho.webhook.log
    with Traffic(lab.plane, POLICED):
        for label, bad in rejected_authorities().items():
            before, seen = served(cluster), len(log.read_text())
            pair = make(bad, names=["127.0.0.1"] if label != "name constraints" else [NAME, "127.0.0.1"])
            put_texts(lab, CORP, pem(pair), key_pem(pair), pem(bad))
            wait_until(partial(is_rejected, lab, log, seen, REJECTED[label]), SOON, f"{label}: log and Event say so")
            assert served(cluster) == before
            assert bundles(cluster) == {authority.certificate_pem}
            put_and_wait(lab, cluster, signed(authority), authority)


# cert-manager.


def inject(cluster: Cluster, bundle: bytes) -> None:
    """What cert-manager's CA injector does, to configurations that ask for it."""
    for path in CONFIGURATIONS:
        annotations = get(cluster, path)["metadata"]["annotations"]
        assert annotations["cert-manager.io/inject-ca-from"] == f"{NAMESPACE}/{RELEASE}-webhook"
        clobber(cluster, path, bundle)


def inject_into_new(lab: Lab, bundle: bytes) -> None:
    """Inject a bundle into the webhook configurations, as soon as there are any."""

    def are_there() -> bool:
        return all(lab.plane.call("GET", path).status == 200 for path in CONFIGURATIONS)

    wait_until(are_there, SOON, "there are webhook configurations")
    inject(Cluster(lab.plane, Sekisho(lab.plane)), bundle)


@pytest.fixture
def by_cert_manager(lab: Lab) -> Iterator[tuple[Cluster, KeyPair]]:
    for file in definitions():
        lab.plane.kubectl.check("apply", "--server-side", "-f", str(file))
    lab.plane.kubectl.check("wait", "--for=condition=Established", "crd/certificates.cert-manager.io", "--timeout=30s")
    authority = new_authority(datetime.now(UTC))
    put(lab, INJECTED, signed(authority), authority)
    options = {
        "controller": ("--certificates=cert-manager",),
        "webhook": (f"--certificate-secret={INJECTED}", f"--path-secret={RELEASE}-webhook-path"),
    }
    injector = threading.Thread(target=inject_into_new, args=(lab, authority.certificate_pem))
    injector.start()
    with installed(lab, BY_CERT_MANAGER, **options) as cluster:
        injector.join(SOON)
        yield cluster, authority
    lab.plane.call("DELETE", f"{SECRETS}/{INJECTED}")


def test_the_controller_does_not_write_what_cert_manager_owns(
    lab: Lab, by_cert_manager: tuple[Cluster, KeyPair]
) -> None:
    cluster, first = by_cert_manager
    kubectl = kubectl_in(lab)
    assert judges(kubectl)
    spec = get(cluster, f"/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/certificates/{RELEASE}-webhook")["spec"]
    assert (spec["secretName"], spec["ipAddresses"]) == (INJECTED, ["127.0.0.1"])

    with Traffic(lab.plane, POLICED):
        renewed = signed(first)
        put(lab, INJECTED, renewed, first)
        wait_until(lambda: served(cluster) == renewed.certificate_pem, SOON, "the renewed certificate is served")
    second = new_authority(datetime.now(UTC))
    put(lab, INJECTED, signed(second), second)
    inject(cluster, second.certificate_pem)
    wait_until(lambda: judges(kubectl), SOON, "the API server uses the new authority")

    cluster.sekisho.controller.restart()
    with enforced_policy(cluster, "default"):  # it leads, and does the rest of its work
        pass
    assert bundles(cluster) == {second.certificate_pem}
    proofs = {"pods", "podpolicies", "events"}  # dry runs, and Events about them
    assert written_by(lab, cluster.sekisho.controller) - proofs == {"leases", "clusterpodpolicies/status"}


def test_helm_makes_the_path_that_only_the_api_server_knows_and_an_upgrade_keeps_it(
    lab: Lab, by_cert_manager: tuple[Cluster, KeyPair]
) -> None:
    cluster, _ = by_cert_manager
    part = contents(cluster, f"{RELEASE}-webhook-path")["path"].decode()
    assert re.fullmatch("[0-9a-f]{32}", part)
    upgraded = ("upgrade", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--reuse-values")
    for more in ((), ("--set", "webhook.timeoutSeconds=7"), ("--server-side=false",)):
        cluster.sekisho.helm(*upgraded, *more)
        called = [
            webhook["clientConfig"]["url"] for path in CONFIGURATIONS for webhook in get(cluster, path)["webhooks"]
        ]
        assert {url.rpartition("/")[2] for url in called} == {part}
        assert get(cluster, CONFIGURATIONS[0])["metadata"]["ownerReferences"][0]["name"] == NAMESPACE

    webhook = cluster.sekisho.webhook
    before = cluster.sekisho.metric("sekisho_unknown_sender_reviews_total")
    assert judges(kubectl_in(lab))
    assert cluster.sekisho.metric("sekisho_unknown_sender_reviews_total") == before
    context = ssl.create_default_context(cadata=min(bundles(cluster)).decode())
    for path in ("/validate", f"/validate/{'0' * 32}"):
        port = int(option(webhook, "--port"))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5.0, context=context)
        assert ask(connection, "POST", path, review(BAD_POD)).status == 200
    assert cluster.sekisho.metric("sekisho_unknown_sender_reviews_total") == before + 2


def test_the_chart_is_valid_by_the_schemas_of_cert_manager(lab: Lab, by_cert_manager: Any) -> None:
    cluster, _ = by_cert_manager
    for more in ((), ("certificates.issuerRef.name=corp",), ("webhook.url=https://webhook.example",)):
        values = ("image.repository=registry.example/sekisho", "crds.install=false", *BY_CERT_MANAGER, *more)
        settings = [argument for value in values for argument in ("--set", value)]
        rendered = cluster.sekisho.helm(
            "template", "another", str(CHART), "--skip-tests", "--namespace", NAMESPACE, *settings
        )
        answer = dry_run(lab.plane, rendered)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert "certificate.cert-manager.io/another-sekisho-webhook created" in answer.stdout


# The authority of clients.


@pytest.fixture
def guarded(lab: Lab, tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    """Sekisho with a webhook that accepts only the API server, and the file with the authority of clients."""
    file = tmp_path / "clients.crt"
    file.write_bytes(lab.callers.pem)
    options = (f"--client-ca-file={file}", f"--client-name={APISERVER}")
    with installed(lab, (), webhook=options) as cluster:
        yield cluster, file


def test_a_webhook_with_a_client_ca_answers_the_api_server_only(
    lab: Lab, guarded: tuple[Cluster, Path], tmp_path: Path
) -> None:
    cluster, _ = guarded
    assert judges(kubectl_in(lab))
    assert answer_to(cluster, lab.callers.issue(APISERVER), tmp_path) == 400  # an empty body is not a review
    assert answer_to(cluster, lab.callers.issue("somebody else"), tmp_path) == 403
    assert answer_to(cluster, ClientAuthority().issue(APISERVER), tmp_path) == 0
    assert answer_to(cluster, None, tmp_path) == 0
    assert cluster.sekisho.webhook.ready  # probes take no certificate


def test_a_changed_client_ca_applies_without_a_restart(lab: Lab, guarded: tuple[Cluster, Path], tmp_path: Path) -> None:
    cluster, file = guarded
    other = ClientAuthority()
    ours, others = lab.callers.issue(APISERVER), other.issue(APISERVER)

    def are_accepted() -> tuple[bool, bool]:
        return answer_to(cluster, ours, tmp_path) != 0, answer_to(cluster, others, tmp_path) != 0

    assert are_accepted() == (True, False)
    with Traffic(lab.plane, POLICED):
        rewrite(file, lab.callers.pem + other.pem)
        wait_until(lambda: are_accepted() == (True, True), SOON, "both are accepted")
        rewrite(file, b"rubbish")
        wait_until(
            lambda: "authority of clients cannot be used" in cluster.sekisho.webhook.log.read_text(), SOON, "said"
        )
        assert are_accepted() == (True, True)
        rewrite(file, lab.callers.pem)
        wait_until(lambda: are_accepted() == (True, False), SOON, "the other one is no longer accepted")
    rewrite(file, other.pem)
    wait_until(lambda: are_accepted() == (False, True), SOON, "the API server is no longer accepted")


def rewrite(file: Path, text: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(text)
    fresh.rename(file)


def answer_to(cluster: Cluster, pair: tuple[bytes, bytes] | None, folder: Path) -> int:
    """The HTTP status that a client gets; 0 when it does not get as far."""
    context = ssl.create_default_context(cadata=min(bundles(cluster)).decode())
    if pair is not None:
        for file, text in zip(("client.crt", "client.key"), pair, strict=True):
            (folder / file).write_bytes(text)
        context.load_cert_chain(folder / "client.crt", folder / "client.key")
    port = int(option(cluster.sekisho.webhook, "--port"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5.0, context=context)
    return ask(connection, "POST", "/validate", "").status

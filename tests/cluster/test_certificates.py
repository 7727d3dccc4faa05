"""Certificates of Sekisho's own making on the real control plane: whatever is lost or damaged comes back.

Meanwhile pods keep coming. None gets in that should not, and as long as the replica has a good certificate in memory
none is denied that should not.
"""

import contextlib
import http.client
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sekisho.cluster.replicas import AUTHORITY_ANNOTATION
from sekisho.operator.certificates import KeyPair, load_certificate, load_pair, new_authority, new_serving
from sekisho.timestamps import rfc3339
from tests.cluster import skewed_controller
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import (
    AUTHORITY,
    CONFIGURATIONS,
    LEASE_SECONDS,
    LEASES,
    SERVING,
    SOON,
    bundles,
    clobber,
    contents,
    enforced_policy,
    expected_bundle,
    get,
    judges,
    option,
    served,
)
from tests.cluster.traffic import Traffic
from tests.controlplane.answers import ask
from tests.controlplane.component import Component
from tests.controlplane.installed import NAMESPACE, RELEASE
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.load.replicas import start_beside
from tests.logs import complete_lines

SETTLED = 40.0
"""Within this a rotation is over, the time included that API servers are given to take up a new caBundle."""


@pytest.fixture
def policy(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A policy on the test's namespace that denies BAD_POD, and that every replica enforces."""
    with enforced_policy(cluster, namespace):
        yield namespace


def patch_secret(cluster: Cluster, name: str, patch: dict[str, Any]) -> None:
    cluster.plane.kubectl.check(
        "patch", "secret", name, "--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps(patch)
    )


def delete_secrets(cluster: Cluster, *names: str) -> None:
    cluster.plane.kubectl.check("delete", "secret", *names, "--namespace", NAMESPACE)


def is_at_rest(cluster: Cluster) -> bool:
    """Whether the webhook serves the stored certificate, and every caBundle is the one that goes with it."""
    stored = contents(cluster, SERVING)
    return (
        set(stored) == {"tls.crt", "tls.key", "ca.crt"}
        and served(cluster) == stored["tls.crt"]
        and bundles(cluster) == {expected_bundle(cluster)}
        and expected_bundle(cluster).startswith(stored["ca.crt"])
    )


def wait_renewed(cluster: Cluster, old: dict[str, bytes], within: float = SOON) -> None:
    wait_until(
        lambda: contents(cluster, SERVING).get("tls.crt", old["tls.crt"]) != old["tls.crt"] and is_at_rest(cluster),
        within,
        "the webhook serves another certificate, which the API server trusts",
    )


# The caBundle.

STRANGER = new_authority(datetime.now(UTC)).certificate_pem


@pytest.mark.parametrize("path", CONFIGURATIONS)
@pytest.mark.parametrize(
    "clobbered",
    [
        lambda bundle: STRANGER,
        lambda bundle: STRANGER + bundle,
        lambda bundle: bundle + STRANGER,
        lambda bundle: b"",
        lambda bundle: None,
    ],
    ids=["replaced", "another before it", "another after it", "emptied", "removed"],
)
def test_an_overwritten_ca_bundle_is_repaired(
    cluster: Cluster, kubectl: Kubectl, policy: str, path: str, clobbered: Callable[[bytes], bytes | None]
) -> None:
    before = bundles(cluster)
    assert before == {expected_bundle(cluster)}
    with Traffic(cluster.plane, policy, outage=True):
        clobber(cluster, path, clobbered(*before))
        wait_until(lambda: bundles(cluster) == before, SOON, "every webhook has the caBundle again")
        wait_until(lambda: judges(kubectl), SOON, "the API server uses it")


# The Secrets.


def corrupt_key(cluster: Cluster, secret: str, key: str) -> None:
    patch_secret(cluster, secret, {"stringData": {key: "-----BEGIN PRIVATE KEY-----\nrubbish"}})


DAMAGE_TO_SERVING: dict[str, Callable[[Cluster], None]] = {
    "deleted": lambda cluster: delete_secrets(cluster, SERVING),
    "emptied": lambda cluster: patch_secret(cluster, SERVING, {"data": None}),
    "corrupt key": lambda cluster: corrupt_key(cluster, SERVING, "tls.key"),
    "another's key": lambda cluster: patch_secret(
        cluster, SERVING, {"stringData": {"tls.key": new_authority(datetime.now(UTC)).key_pem.decode()}}
    ),
    "corrupt certificate": lambda cluster: patch_secret(cluster, SERVING, {"stringData": {"tls.crt": "rubbish"}}),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_SERVING.values(), ids=DAMAGE_TO_SERVING)
def test_a_damaged_serving_secret_is_replaced_without_a_failed_request(
    cluster: Cluster, kubectl: Kubectl, policy: str, damage: Callable[[Cluster], None]
) -> None:
    authority, old = contents(cluster, AUTHORITY), contents(cluster, SERVING)
    with Traffic(cluster.plane, policy):
        damage(cluster)
        wait_renewed(cluster, old)
    assert contents(cluster, AUTHORITY)["ca.crt"] == authority["ca.crt"]
    assert judges(kubectl)


DAMAGE_TO_AUTHORITY: dict[str, Callable[[Cluster], None]] = {
    "deleted": lambda cluster: delete_secrets(cluster, AUTHORITY),
    "corrupt key": lambda cluster: corrupt_key(cluster, AUTHORITY, "ca.key"),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_AUTHORITY.values(), ids=DAMAGE_TO_AUTHORITY)
def test_a_lost_authority_is_replaced_without_a_failed_request(
    cluster: Cluster, policy: str, damage: Callable[[Cluster], None]
) -> None:
    old = contents(cluster, SERVING)
    seen: list[tuple[bytes, bytes]] = []

    def is_replaced() -> bool:
        served_now, bundle = served(cluster), min(bundles(cluster))
        seen.append((served_now, bundle))
        return served_now != old["tls.crt"] and is_at_rest(cluster)

    with Traffic(cluster.plane, policy):
        damage(cluster)
        wait_until(is_replaced, SETTLED, "the webhook serves a certificate of the new authority")
    new = contents(cluster, SERVING)
    assert new["ca.crt"] != old["ca.crt"]
    for certificate, bundle in seen:  # what is served is trusted, at any time
        assert (old if certificate == old["tls.crt"] else new)["ca.crt"] in bundle
    assert any(certificate == old["tls.crt"] and new["ca.crt"] in bundle for certificate, bundle in seen)
    assert old["ca.crt"] in seen[-1][1]  # for the replicas that may not have heard yet


def test_deleted_secrets_are_both_replaced_without_a_failed_request(cluster: Cluster, policy: str) -> None:
    old = contents(cluster, SERVING)
    with Traffic(cluster.plane, policy):
        delete_secrets(cluster, SERVING, AUTHORITY)
        wait_renewed(cluster, old, SETTLED)
    assert contents(cluster, SERVING)["ca.crt"] != old["ca.crt"]


# Times.


def serving_secret(pair: KeyPair, authority: bytes) -> dict[str, Any]:
    texts = {"tls.crt": pair.certificate_pem, "tls.key": pair.key_pem, "ca.crt": authority}
    return {"stringData": {name: text.decode() for name, text in texts.items()}}


@pytest.mark.parametrize(
    ("age", "is_taken_up"),
    [(timedelta(days=250), True), (timedelta(days=400), False), (timedelta(days=-100), False)],
    ids=["past two thirds of its life", "past its end", "not valid yet"],
)
def test_a_certificate_of_another_time_is_replaced_and_served_only_if_valid(
    cluster: Cluster, policy: str, age: timedelta, is_taken_up: bool
) -> None:
    authority = contents(cluster, AUTHORITY)
    pair = load_pair(authority["ca.crt"], authority["ca.key"])
    aged = new_serving(pair, ("127.0.0.1",), datetime.now(UTC) - age)
    before, lines = served(cluster), len(webhook_log(cluster))
    with Traffic(cluster.plane, policy):
        cluster.sekisho.controller.stop()  # else it may replace the certificate before the webhook has read it
        try:
            patch_secret(cluster, SERVING, serving_secret(aged, authority["ca.crt"]))
            wait_until(
                lambda: any("new certificate" in line["message"] for line in webhook_log(cluster)[lines:]),
                SOON,
                "the webhook has read it",
            )
            assert served(cluster) == (aged.certificate_pem if is_taken_up else before)
        finally:
            cluster.sekisho.controller.start()
        wait_renewed(cluster, {"tls.crt": aged.certificate_pem})
    taken_up = [
        line["expires"] for line in webhook_log(cluster)[lines:] if line["message"] == "serving a new certificate"
    ]
    assert (rfc3339(aged.certificate.not_valid_after_utc) in taken_up) == is_taken_up
    assert contents(cluster, AUTHORITY)["ca.crt"] == authority["ca.crt"]


def webhook_log(cluster: Cluster) -> list[dict[str, Any]]:
    return [json.loads(line) for line in complete_lines(cluster.sekisho.webhook.log)]


@pytest.fixture
def skewed(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[int], Component]]:
    """Replaces the controller by one whose clock is a number of days ahead."""
    right = cluster.sekisho.controller
    started: list[Component] = []

    def replace(days: int) -> Component:
        right.stop()
        module = skewed_controller.__file__
        arguments = right.command[right.command.index("controller") + 1 :]
        wrong = Component(
            "skewed-controller", (sys.executable, module, str(days), *arguments), tmp_path / "skewed.log", lambda: True
        )
        started.append(wrong)
        wrong.start()
        return wrong

    yield replace
    for component in started:
        component.stop()
    if not right.running:
        right.start()


@pytest.mark.parametrize(
    ("days", "is_authority_replaced"), [(300, False), (400, False), (20 * 365, True)], ids=lambda value: f"{value}"
)
def test_a_controller_whose_clock_jumps_ahead_and_back_causes_no_denials(
    cluster: Cluster,
    kubectl: Kubectl,
    policy: str,
    skewed: Callable[[int], Component],
    days: int,
    is_authority_replaced: bool,
) -> None:
    old = contents(cluster, SERVING)
    with Traffic(cluster.plane, policy):
        wrong = skewed(days)
        wait_until(
            lambda: contents(cluster, SERVING)["tls.crt"] != old["tls.crt"],
            LEASE_SECONDS + SETTLED,
            "the controller made a certificate of the future",
        )
        future = load_certificate(contents(cluster, SERVING)["tls.crt"])
        assert future.not_valid_before_utc > datetime.now(UTC)
        assert (contents(cluster, SERVING)["ca.crt"] != old["ca.crt"]) == is_authority_replaced
        assert served(cluster) == old["tls.crt"]
        assert judges(kubectl)

        wrong.stop()
        cluster.sekisho.controller.start()
        wait_until(
            lambda: served(cluster) != old["tls.crt"] and is_at_rest(cluster),
            LEASE_SECONDS + SETTLED,
            "the webhook serves a certificate of the present",
        )
    present = load_certificate(contents(cluster, SERVING)["tls.crt"])
    assert present.not_valid_before_utc < datetime.now(UTC) < present.not_valid_after_utc
    assert judges(kubectl)


# More replicas than one.


def reported_authority(cluster: Cluster, replica: Component) -> str:
    """The key id of the authority that a replica says it serves a certificate of."""
    metadata = get(cluster, f"{LEASES}/sekisho-webhook-{option(replica, '--replica')}").get("metadata", {})
    reported: str = metadata.get("annotations", {}).get(AUTHORITY_ANNOTATION, "")
    return reported


def test_an_authority_stays_trusted_until_the_last_of_three_replicas_serves_another(
    cluster: Cluster, kubectl: Kubectl, policy: str, skewed: Callable[[int], Component], tmp_path: Path
) -> None:
    old = contents(cluster, SERVING)
    with contextlib.ExitStack() as running:
        others = []
        for name in ("second", "third"):
            others.append(start_beside(cluster.sekisho.webhook, name, tmp_path, cluster.plane.logs))
            running.callback(others[-1].stop)
        second, third = others
        wait_until(
            lambda: all(reported_authority(cluster, replica) for replica in others), SOON, "both report what they serve"
        )
        reported = reported_authority(cluster, third)

        third.pause()
        delete_secrets(cluster, AUTHORITY)
        wait_until(
            lambda: is_at_rest(cluster) and reported_authority(cluster, second) not in ("", reported),
            SETTLED,
            "two replicas serve a certificate of the new authority",
        )
        skewed(1)  # by whose clock the time that the old one is kept in any case is over
        for path in CONFIGURATIONS:
            clobber(cluster, path, None)
        wait_until(lambda: b"" not in bundles(cluster), LEASE_SECONDS + SETTLED, "the caBundle is restored")
        assert bundles(cluster) == {contents(cluster, AUTHORITY)["ca.crt"] + old["ca.crt"]}

        third.resume()
        wait_until(
            lambda: reported_authority(cluster, third) != reported, SOON, "the third one has taken the new one up"
        )
        for path in CONFIGURATIONS:
            clobber(cluster, path, None)
        wait_until(
            lambda: bundles(cluster) == {contents(cluster, AUTHORITY)["ca.crt"]}, SETTLED, "the old one is not trusted"
        )
        assert judges(kubectl)


# Reports.


def test_both_processes_report_when_the_certificate_expires(cluster: Cluster, policy: str) -> None:
    def end(secret: str, certificate: str) -> float:
        return load_certificate(contents(cluster, secret)[certificate]).not_valid_after_utc.timestamp()

    def reported_ends() -> tuple[float | None, ...]:
        of_webhook, of_controller = metrics(cluster.sekisho.webhook), metrics(cluster.sekisho.controller)
        family = "sekisho_controller_certificate_expiry_timestamp_seconds"
        return (
            of_webhook.get("sekisho_certificate_expiry_timestamp_seconds"),
            of_controller.get(f'{family}{{certificate="serving"}}'),
            of_controller.get(f'{family}{{certificate="authority"}}'),
        )

    wait_until(
        lambda: reported_ends() == (end(SERVING, "tls.crt"), end(SERVING, "tls.crt"), end(AUTHORITY, "ca.crt")),
        SOON,
        lambda: f"both report the ends of what is stored; they report {reported_ends()}",
    )


def metrics(component: Component) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", int(option(component, "--metrics-port")), timeout=5.0)
    lines = ask(connection, "GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_a_report_is_deleted_with_the_account_of_its_replica(cluster: Cluster, policy: str) -> None:
    replica = option(cluster.sekisho.webhook, "--replica")
    metadata = get(cluster, f"{LEASES}/sekisho-webhook-{replica}")["metadata"]
    account = get(cluster, f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{RELEASE}-webhook")["metadata"]
    assert [(owner["kind"], owner["name"], owner["uid"]) for owner in metadata["ownerReferences"]] == [
        ("ServiceAccount", account["name"], account["uid"])
    ]

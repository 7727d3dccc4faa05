"""What the Secrets should hold: bootstrap, damage, and a rotation step by step."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509 import Certificate

from sekisho.operator.certificates import (
    KeyPair,
    is_issued_by,
    key_id,
    load_certificate,
    new_authority,
    new_serving,
    renewal_time,
)
from sekisho.operator.rotation import (
    MAX_PREVIOUS,
    OVERLAP,
    PREVIOUS_CA,
    REPORT_INTERVAL,
    Rotation,
    SecretContents,
    plan_rotation,
)

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("127.0.0.1",)


class Cluster:
    """The two Secrets, and a keeper that takes every step at once."""

    def __init__(self) -> None:
        self.ca: SecretContents = {}
        self.tls: SecretContents = {}
        self.now = NOW
        self.names: tuple[str, ...] = NAMES
        self.in_use: set[str] = set()
        self.published: tuple[bytes, ...] = ()

    def plan_rotation(self) -> Rotation:
        return plan_rotation(self.ca, self.tls, self.published, self.in_use, self.names, self.now)

    def settle(self) -> Rotation:
        rotation = self.plan_rotation()
        self.ca = rotation.authority_contents
        if rotation.why_new_serving is not None:
            self.tls = rotation.serving_contents(self.names, self.now)
        return self.plan_rotation()

    @property
    def authority(self) -> Certificate:
        return load_certificate(self.ca["ca.crt"])

    @property
    def serving(self) -> Certificate:
        return load_certificate(self.tls["tls.crt"])


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.settle()
    return cluster


def at_rest(cluster: Cluster) -> bool:
    rotation = cluster.plan_rotation()
    return (
        rotation.why_new_authority is None
        and rotation.why_new_serving is None
        and rotation.authority_contents == cluster.ca
        and rotation.bundle == cluster.ca["ca.crt"]
    )


def test_empty_secrets_are_filled_once() -> None:
    cluster = Cluster()
    first = cluster.plan_rotation()
    assert first.why_new_authority == first.why_new_serving == "the certificate is missing"
    assert first.previous == ()
    cluster.settle()
    assert is_issued_by(cluster.serving, cluster.authority)
    assert cluster.tls["ca.crt"] == cluster.ca["ca.crt"]
    assert at_rest(cluster)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ({}, "the certificate is missing"),
        ({"tls.key": b"rubbish"}, "the key is corrupt"),
        ({"tls.key": new_authority(NOW).key_pem}, "the key is not the certificate's"),
        ({"tls.crt": b""}, "the certificate is missing"),
        ({"ca.crt": new_authority(NOW).certificate_pem}, "ca.crt beside it is another authority"),
    ],
)
def test_a_damaged_serving_secret_is_replaced_by_the_same_authority(
    cluster: Cluster, damage: SecretContents | None, why: str
) -> None:
    before = cluster.ca
    cluster.tls = {**cluster.tls, **damage} if damage else {}
    assert cluster.plan_rotation().why_new_serving == why
    assert cluster.plan_rotation().bundle == before["ca.crt"]
    cluster.settle()
    assert cluster.ca == before
    assert at_rest(cluster)


@pytest.mark.parametrize("damage", [None, {"ca.key": b"rubbish"}, {"ca.crt": b"rubbish"}, {"ca.key": b""}])
def test_when_the_authority_is_lost_the_certificate_in_use_stays_trusted(
    cluster: Cluster, damage: SecretContents | None
) -> None:
    old = cluster.authority
    cluster.ca = {**cluster.ca, **damage} if damage else {}
    rotation = cluster.plan_rotation()
    assert rotation.why_new_authority is not None
    assert rotation.why_new_serving == "another authority signed it"
    assert rotation.previous == (old,)
    assert rotation.bundle == rotation.authority.certificate_pem + rotation.authority_contents[PREVIOUS_CA]


def test_rotation_keeps_both_authorities_until_an_hour_after_the_new_certificate(cluster: Cluster) -> None:
    old = cluster.authority
    cluster.now = renewal_time(old)
    cluster.tls = {
        "tls.crt": (
            pair := new_serving(judge_authority(cluster), NAMES, cluster.now - timedelta(days=1))
        ).certificate_pem,
        "tls.key": pair.key_pem,
        "ca.crt": cluster.ca["ca.crt"],
    }

    rotation = cluster.plan_rotation()
    assert rotation.why_new_authority == "two thirds of its lifetime have passed"
    cluster.ca = rotation.authority_contents  # the keeper dies here, and another goes on from the Secret
    again = cluster.plan_rotation()
    assert again.why_new_authority is None
    assert again.bundle == rotation.bundle
    assert again.previous == (old,)

    cluster.tls = again.serving_contents(NAMES, cluster.now)
    both = cluster.plan_rotation()
    assert both.why_new_serving is None
    assert both.bundle == rotation.bundle
    assert both.next_check(cluster.now) == OVERLAP

    cluster.now += OVERLAP - timedelta(seconds=1)
    assert cluster.plan_rotation().bundle == rotation.bundle
    cluster.now += timedelta(seconds=1)
    cluster.settle()
    assert PREVIOUS_CA not in cluster.ca
    assert at_rest(cluster)


def judge_authority(cluster: Cluster) -> KeyPair:
    return plan_rotation(cluster.ca, cluster.tls, (), set(), cluster.names, NOW).authority


def test_renewing_the_certificate_leaves_the_authority_alone(cluster: Cluster) -> None:
    before = cluster.ca
    cluster.now = renewal_time(cluster.serving)
    assert cluster.plan_rotation().why_new_serving == "two thirds of its lifetime have passed"
    cluster.settle()
    assert cluster.ca == before
    assert at_rest(cluster)


def test_a_new_name_renews_the_certificate(cluster: Cluster) -> None:
    cluster.names = ("127.0.0.1", "webhook.example")
    assert cluster.plan_rotation().why_new_serving == "the names of the webhook changed"
    cluster.settle()
    assert at_rest(cluster)


def lost_authority(cluster: Cluster) -> None:
    """The rotation that follows when the authority is lost, to its end."""
    cluster.ca = {}
    cluster.settle()


def test_a_previous_authority_stays_for_as_long_as_a_replica_serves_its_certificate(cluster: Cluster) -> None:
    old = cluster.authority
    cluster.in_use = {key_id(old), "of another webhook"}
    lost_authority(cluster)
    cluster.now += timedelta(days=1)
    cluster.settle()
    rotation = cluster.plan_rotation()
    assert rotation.previous == (old,)
    assert rotation.why_new_serving is None
    assert rotation.next_check(cluster.now) == REPORT_INTERVAL

    cluster.in_use = {key_id(cluster.authority), "of another webhook"}
    cluster.settle()
    assert at_rest(cluster)


@pytest.mark.parametrize("tls", [{}, {"ca.crt": new_authority(NOW).certificate_pem, "tls.crt": b"rubbish"}])
def test_when_both_secrets_are_lost_what_the_webhooks_trust_stays_trusted_while_it_is_served(
    cluster: Cluster, tls: SecretContents
) -> None:
    old, stranger = cluster.authority, new_authority(NOW)
    cluster.in_use = {key_id(old)}
    cluster.published = (b"", b"rubbish", stranger.certificate_pem + cluster.plan_rotation().bundle)
    cluster.ca, cluster.tls = {}, tls
    assert cluster.plan_rotation().previous == (old,)

    cluster.in_use = set()
    assert cluster.plan_rotation().previous == ()


def test_two_rotations_in_a_row_keep_every_authority_that_is_in_use(cluster: Cluster) -> None:
    first = cluster.authority
    cluster.in_use = {key_id(first)}
    lost_authority(cluster)
    second = cluster.authority
    cluster.ca = {**cluster.ca, "ca.key": b"rubbish"}
    cluster.settle()
    assert cluster.plan_rotation().previous == (second, first)

    cluster.now += OVERLAP
    cluster.settle()
    assert cluster.plan_rotation().previous == (first,)


def test_the_authorities_that_are_kept_are_bounded(cluster: Cluster) -> None:
    for _ in range(2 * MAX_PREVIOUS):
        cluster.in_use.add(key_id(cluster.authority))
        cluster.ca = {**cluster.ca, "ca.key": b"rubbish"}
        cluster.settle()
    assert len(cluster.plan_rotation().previous) == MAX_PREVIOUS


def test_an_expired_authority_is_replaced_and_stays_trusted_for_what_is_served(cluster: Cluster) -> None:
    old = cluster.authority
    cluster.now = old.not_valid_after_utc + timedelta(days=1)
    rotation = cluster.plan_rotation()
    assert rotation.why_new_authority == "two thirds of its lifetime have passed"
    assert rotation.previous == (old,)


def test_after_a_clock_jump_into_the_future_and_back_what_is_served_is_trusted_throughout(cluster: Cluster) -> None:
    """The replicas' clocks are right: they never take up the certificates of the future."""
    old = cluster.authority
    cluster.in_use = {key_id(old)}
    cluster.now = NOW + timedelta(days=20 * 365)
    cluster.settle()
    assert cluster.plan_rotation().why_new_serving is None
    assert old in cluster.plan_rotation().previous
    cluster.now += 2 * OVERLAP
    cluster.settle()
    assert old in cluster.plan_rotation().previous

    cluster.now = NOW
    rotation = cluster.plan_rotation()
    assert rotation.why_new_authority == "it is not valid yet: a clock was set back"
    assert old in rotation.previous
    cluster.settle()
    assert old in cluster.plan_rotation().previous

    cluster.in_use = {key_id(cluster.authority)}
    cluster.now += OVERLAP
    cluster.settle()
    assert at_rest(cluster)


def test_an_authority_that_signed_nothing_in_use_is_not_trusted(cluster: Cluster) -> None:
    stranger = new_authority(NOW)
    cluster.ca = {**cluster.ca, PREVIOUS_CA: stranger.certificate_pem}
    cluster.now += 2 * OVERLAP
    rotation = cluster.plan_rotation()
    assert rotation.bundle == cluster.ca["ca.crt"]
    cluster.settle()
    assert PREVIOUS_CA not in cluster.ca


def test_the_next_change_is_the_renewal_of_the_certificate(cluster: Cluster) -> None:
    assert cluster.plan_rotation().next_check(NOW) == renewal_time(cluster.serving) - NOW

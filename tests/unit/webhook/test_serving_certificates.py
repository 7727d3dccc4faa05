"""The serving certificate: what is accepted, and how it is swapped under connections."""

import asyncio
import base64
import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sekisho.cluster.server_certificates import CertificateError
from sekisho.webhook.certificates import (
    Pair,
    ServingCertificate,
    check_pair,
    decode_pair,
    read_pair,
)
from sekisho.webhook.clients import names_in
from tests.client_authority import ClientAuthority
from tests.reviews import review
from tests.serving_certificates import NAME, Signer, make, pem
from tests.unit.webhook.pairs import make_pair, write_pair
from tests.unit.webhook.serving_reviews import GOOD, Served, pod, serving_reviews

NOW = datetime.now(UTC)


def test_good_pair_is_accepted_with_its_expiry() -> None:
    for kind in ("ec", "rsa"):
        checked = check_pair(make_pair(days=3, kind=kind), NOW)
        assert timedelta(days=2) < checked.expires - NOW < timedelta(days=4)


def test_chain_is_reported_by_its_first_certificate() -> None:
    leaf, authority = make_pair("leaf", days=1), make_pair("authority", days=100)
    checked = check_pair(Pair(leaf.certificate + authority.certificate, leaf.key), NOW)
    assert checked.expires - NOW < timedelta(days=2)


GOOD_PAIR = make_pair()
BAD_PAIRS = [
    (make_pair(days=-1), "the certificate expired at 20"),
    (Pair(GOOD_PAIR.certificate, make_pair().key), "the private key does not belong to the certificate"),
    (Pair(GOOD_PAIR.certificate, make_pair(kind="rsa").key), "the private key "),
    (make_pair(password=b"secret"), "the private key cannot be read as an unencrypted PEM key"),
    (
        Pair(GOOD_PAIR.certificate, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        "the private key ",
    ),
    (Pair(GOOD_PAIR.certificate, b"nonsense"), "the private key cannot be read"),
    (Pair(b"nonsense", GOOD_PAIR.key), "the certificate is not PEM"),
    (Pair(GOOD_PAIR.certificate[:300], GOOD_PAIR.key), "the certificate is not PEM"),
    (Pair(b"", b""), "not complete"),
    (Pair(GOOD_PAIR.certificate, b""), "not complete"),
]


@pytest.mark.parametrize(("pair", "problem"), BAD_PAIRS)
def test_bad_pair_is_named_and_the_old_one_stays(pair: Pair, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    certificate = ServingCertificate()
    certificate.offer(GOOD_PAIR)
    expires = certificate.expires
    certificate.offer(pair)
    assert problem in certificate.problem
    assert certificate.expires == expires
    certificate.offer(pair)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert problem in warning.getMessage()
    assert "PRIVATE KEY" not in caplog.text
    certificate.offer(GOOD_PAIR)
    assert certificate.problem == ""


def test_nothing_is_served_at_first() -> None:
    certificate = ServingCertificate()
    assert certificate.expires is None
    assert certificate.problem == "there is no certificate yet"
    certificate.offer(make_pair(days=-1))
    assert certificate.expires is None


def test_pair_comes_from_a_secret() -> None:
    data = {
        "tls.crt": base64.b64encode(GOOD_PAIR.certificate).decode(),
        "tls.key": base64.b64encode(GOOD_PAIR.key).decode(),
        "ca.crt": "",
    }
    assert decode_pair(json.dumps({"data": data}).encode()) == GOOD_PAIR
    assert decode_pair(b'{"metadata":{}}') == Pair()
    assert decode_pair(b'{"data":null}') == Pair()
    with pytest.raises(ValueError, match="base64"):
        decode_pair(b'{"data":{"tls.crt":"%%%"}}')


def test_pair_comes_from_files(tmp_path: Path) -> None:
    files = write_pair(GOOD_PAIR, tmp_path)
    assert read_pair(*files) == GOOD_PAIR
    files[1].unlink()
    with pytest.raises(CertificateError, match=r"tls\.key cannot be read: No such file"):
        read_pair(*files)


async def serial(port: int) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize(("old", "new"), [("ec", "ec"), ("rsa", "ec"), ("ec", "rsa")])
async def test_swap_shows_the_new_certificate_and_keeps_connections(old: str, new: str) -> None:
    async with serving_reviews() as served:
        served.pair = make_pair(kind=old)
        served.certificate.offer(served.pair)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trust())
        first = await serial(served.port)
        body = json.dumps(review(pod(GOOD))).encode()
        head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100])
        await writer.drain()

        served.pair = make_pair(kind=new)
        served.certificate.offer(served.pair)

        assert await serial(served.port) != first
        writer.write(body[100:])
        assert b" 200 " in await reader.readline()
        writer.close()
        assert await served.allowed(review(pod(GOOD)))


def test_a_pair_that_is_not_valid_yet_waits_until_it_is(caplog: pytest.LogCaptureFixture) -> None:
    now = NOW
    served: list[str] = []
    certificate = ServingCertificate(lambda: now, on_served=served.append)
    certificate.offer(GOOD_PAIR)
    present = certificate.expires
    coming = make_pair(days=300, age=-100)
    certificate.offer(coming)
    assert certificate.problem.startswith("it is not valid before 20")
    assert certificate.expires == present
    certificate.offer(coming)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1

    now += timedelta(days=101)
    handshake(certificate.context)
    assert certificate.expires != present
    assert certificate.problem == ""
    assert len(served) == 2


def handshake(server: ssl.SSLContext) -> None:
    """A TLS handshake in memory, up to the server's first message."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
    for context, incoming, outgoing, side in ((trusting, answer, hello, "x"), (server, hello, answer, None)):
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(incoming, outgoing, server_side=side is None, server_hostname=side).do_handshake()


def test_a_replica_that_starts_waits_for_a_pair_that_is_not_valid_yet() -> None:
    now = NOW
    certificate = ServingCertificate(lambda: now)
    certificate.offer(make_pair(days=300, age=-100))
    assert certificate.problem.startswith("it is not valid before 20")
    assert certificate.expires is None
    now += timedelta(days=101)
    certificate.advance()
    assert (certificate.problem, certificate.expires is None) == ("", False)


def pair_of(leaf: Signer, *authorities: Signer) -> Pair:
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(pem(leaf), key, pem(*authorities))


ROOT = make(ca=True, subject="root")
SIGNS_NOTHING = make(ca=True, cert_sign=False, subject="signs nothing")
ON_BRAINPOOL = make(ca=True, key=ec.generate_private_key(ec.BrainpoolP256R1()), subject="brainpool")
ON_SECP256K1 = make(ROOT, names=[NAME], key=ec.generate_private_key(ec.SECP256K1()))
NARROW = make(ca=True, permitted=["example.com"], subject="narrow")


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (pair_of(make(ROOT, names=["other.svc"]), ROOT), f"it is not valid for {NAME}, only for other.svc"),
        (pair_of(make(ROOT, names=[NAME]), NARROW), "no certificate in the caBundle is its authority"),
        (pair_of(make(SIGNS_NOTHING, names=[NAME]), SIGNS_NOTHING), "its key usage does not include keyCertSign"),
        (pair_of(make(ON_BRAINPOOL, names=[NAME]), ON_BRAINPOOL), "no certificate in the caBundle is its authority"),
        (pair_of(ON_SECP256K1, ROOT), "its key has the curve secp256k1, which the API server does not support"),
        (pair_of(make(NARROW, names=[NAME]), NARROW), f"its name constraints do not permit {NAME}"),
    ],
)
def test_a_pair_that_the_api_server_would_reject_is_not_served(pair: Pair, problem: str) -> None:
    certificate = ServingCertificate(names=[NAME])
    certificate.offer(pair)
    assert certificate.expires is None
    assert f"the API server would reject it: {problem}" in certificate.problem.replace(
        "its authority cannot be used: ", ""
    )
    good = make(ROOT, names=[NAME])
    certificate.offer(pair_of(good, ROOT))
    assert certificate.problem == ""
    certificate.offer(pair)
    assert certificate.expires == good.certificate.not_valid_after_utc


def test_a_pair_that_is_not_valid_yet_is_better_than_an_expired_one() -> None:
    now = NOW
    certificate = ServingCertificate(lambda: now)
    certificate.offer(make_pair(days=1))
    now += timedelta(days=2)
    certificate.offer(make_pair(days=300, age=-100))
    assert certificate.problem == ""


def test_a_pair_made_by_a_clock_that_was_set_back_since_gives_way() -> None:
    certificate = ServingCertificate()
    certificate.offer(GOOD_PAIR)
    certificate.offer(make_pair(days=300, age=-100))
    better = make_pair(days=5)
    certificate.offer(better)
    assert certificate.problem == ""
    assert check_pair(better, NOW).expires == certificate.expires


# The authority of clients.


def client_context(served: Served, pair: tuple[bytes, bytes] | None, folder: Path) -> ssl.SSLContext:
    context = served.trust()
    if pair is not None:
        folder.mkdir(exist_ok=True)
        context.load_cert_chain(*write_pair(Pair(*pair), folder))
    return context


async def is_accepted(served: Served, context: ssl.SSLContext) -> bool:
    """Whether a review is answered on a new connection."""
    body = json.dumps(review(pod(GOOD))).encode()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
        head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readline()
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    return answer.startswith(b"HTTP/1.1 200 ")


async def test_clients_are_accepted_by_the_present_authority(tmp_path: Path) -> None:
    first, second = ClientAuthority(), ClientAuthority()
    async with serving_reviews(client_ca=first.pem) as served:
        ours = client_context(served, first.issue("a"), tmp_path / "first")
        others = client_context(served, second.issue("a"), tmp_path / "second")
        nobody = client_context(served, None, tmp_path)
        assert [await is_accepted(served, client) for client in (ours, others, nobody)] == [True, False, False]

        served.certificate.know_clients((first.pem + second.pem).decode())
        assert [await is_accepted(served, client) for client in (ours, others, nobody)] == [True, True, False]

        served.certificate.know_clients(second.pem.decode())
        assert [await is_accepted(served, client) for client in (ours, others, nobody)] == [False, True, False]


async def test_a_new_serving_certificate_keeps_the_authority_of_clients(tmp_path: Path) -> None:
    authority = ClientAuthority()
    async with serving_reviews(client_ca=authority.pem) as served:
        served.pair = make_pair(kind="rsa")
        served.certificate.offer(served.pair)
        assert await is_accepted(served, client_context(served, authority.issue("a"), tmp_path))
        assert not await is_accepted(served, client_context(served, None, tmp_path))


async def test_an_old_protocol_and_an_earlier_session_open_no_connection(tmp_path: Path) -> None:
    authority = ClientAuthority()
    async with serving_reviews(client_ca=authority.pem) as served:
        context = client_context(served, authority.issue("a"), tmp_path)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readline()
        assert not writer.get_extra_info("ssl_object").session.has_ticket
        writer.close()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not await is_accepted(served, context)


async def test_without_an_authority_of_clients_everybody_is_accepted(tmp_path: Path) -> None:
    async with serving_reviews() as served:
        for pair in (None, ClientAuthority().issue("a")):
            assert await is_accepted(served, client_context(served, pair, tmp_path))


@pytest.mark.parametrize(("name", "is_allowed"), [("apiserver", True), ("apiserver2", False), ("", False)])
async def test_only_a_client_with_an_allowed_name_gets_verdicts(name: str, is_allowed: bool, tmp_path: Path) -> None:
    authority = ClientAuthority()
    async with serving_reviews(client_ca=authority.pem, client_names=("other", "apiserver")) as served:
        pair = authority.issue(name or "x")
        assert await is_accepted(served, client_context(served, pair, tmp_path)) == is_allowed


def test_names_are_common_and_alternative_ones_and_no_other_part_of_the_subject() -> None:
    certificate = {
        "subject": ((("organizationName", "org"),), (("commonName", "cn"),)),
        "subjectAltName": (("DNS", "dns.example"), ("IP Address", "192.0.2.1"), ("URI", "spiffe://a/b")),
    }
    assert names_in(certificate) == {"cn", "dns.example", "192.0.2.1", "spiffe://a/b"}
    assert names_in({}) == set()

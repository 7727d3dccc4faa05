"""The serving certificate: what is accepted, and how it is swapped under connections."""

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from pairs import make_pair, write_pair
from serving_reviews import GOOD, pod, review, serving_reviews

from sekisho.webhook.certificates import (
    CertificateError,
    Pair,
    ServingCertificate,
    check_pair,
    decode_pair,
    read_pair,
)

NOW = datetime.now(UTC)


def test_good_pair_is_accepted_with_its_expiry() -> None:
    for kind in ("ec", "rsa"):
        checked = check_pair(make_pair(days=3, kind=kind), NOW)
        assert timedelta(days=2) < checked.expires - NOW < timedelta(days=4)


def test_chain_is_told_by_its_first_certificate() -> None:
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
    assert certificate.problem == "no certificate has been given yet"
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

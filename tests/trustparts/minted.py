"""Keyless signatures made in Python, at any time and by any authority: what the real Sigstore can't be made to make."""

import hashlib
import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.trustparts.issuer import signed_certificate_timestamp
from tests.trustparts.issuing import FAR, LONG_AGO, key_usage, new_issuing
from tests.trustparts.registries import BUNDLE
from tests.trustparts.sigstore import RELEASE

CI: Final = "https://token.actions.githubusercontent.com"
SIGN: Final = "https://sigstore.dev/cosign/sign/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_ORIGIN: Final = "rekor.minted.test - 1"
_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_OLDER_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_POISON: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.3")
_PROMISES: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_CERTIFICATE_MINUTES: Final = 10


class Validity(msgspec.Struct, frozen=True):
    """From when until when parts of a Sigstore are valid; None for no end.

    authority, log, certificate_log: what the trusted root says of them.
    intermediate: the certificate that signs others.
    """

    authority: tuple[datetime, datetime | None] = (LONG_AGO, None)
    intermediate: tuple[datetime, datetime] = (LONG_AGO, FAR)
    log: tuple[datetime, datetime | None] = (LONG_AGO, None)
    certificate_log: tuple[datetime, datetime | None] = (LONG_AGO, None)


class MintedSigstore:
    """The keys of a Sigstore with a transparency log of the first version, which proves the time."""

    def __init__(self, validity: Validity | None = None) -> None:
        self._validity = validity or Validity()
        self._log = ec.generate_private_key(ec.SECP256R1())
        self._certificate_log = ec.generate_private_key(ec.SECP256R1())
        self._issuing = new_issuing("minted.test", self._validity.intermediate)

    def trusted_root(self) -> dict[str, Any]:
        """What verifiers trust, as TrustedRoot's JSON."""
        chain = [
            {"rawBytes": _base64(one.public_bytes(Encoding.DER))}
            for one in (self._issuing.certificate, self._issuing.root)
        ]
        authority = {
            "subject": {"organization": "minted.test", "commonName": "intermediate"},
            "uri": "https://fulcio.minted.test",
            "certChain": {"certificates": chain},
            "validFor": _range(self._validity.authority),
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_described("https://rekor.minted.test", self._log, self._validity.log)],
            "certificateAuthorities": [authority],
            "ctlogs": [_described("https://ct.minted.test", self._certificate_log, self._validity.certificate_log)],
            "timestampAuthorities": [],
        }

    def bundle(
        self,
        digest: str,
        at: datetime,
        identity: str = RELEASE,
        issuer: str = CI,
        *,
        predicate_type: str = SIGN,
        predicate: Mapping[str, Any] | None = None,
        promised: bool = True,
        logged: bool = True,
        certificate_at: datetime | None = None,
        entry_of: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A signed statement about an image, as a bundle's JSON.

        at: the time that the log proves.
        predicate: of the statement; None for an empty one.
        certificate_at: when the certificate begins, which lasts 10 minutes; None for `at`.
        promised: whether the certificate has the promise of the certificate log.
        logged: whether there is an entry in the log.
        entry_of: another bundle, whose entry is used; None for an entry of its own.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(key, identity, issuer, certificate_at or at, promised=promised)
        algorithm, _, value = digest.partition(":")
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {algorithm: value}}],
                "predicateType": predicate_type,
                "predicate": predicate or {},
            }
        ).encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(statement), statement)
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        entry = entry_of["verificationMaterial"]["tlogEntries"][0] if entry_of else None
        entries = [entry or self._entry(certificate, statement, signature, at)] if logged else []
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _base64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": entries,
            },
            "dsseEnvelope": {
                "payload": _base64(statement),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _base64(signature)}],
            },
        }

    def _certificate(
        self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str, begins: datetime, *, promised: bool
    ) -> x509.Certificate:
        ends = begins + timedelta(minutes=_CERTIFICATE_MINUTES)
        name = x509.RFC822Name(identity) if "://" not in identity else x509.UniformResourceIdentifier(identity)
        text, signing = issuer.encode(), self._issuing.key
        builder = (
            x509.CertificateBuilder(
                self._issuing.certificate.subject,
                x509.Name([]),
                key.public_key(),
                x509.random_serial_number(),
                begins,
                ends,
            )
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_OLDER_ISSUER, text), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, _tagged(0x0C, text)), critical=False)
        )
        if promised:
            poisoned = builder.add_extension(x509.UnrecognizedExtension(_POISON, b"\x05\x00"), critical=True)
            promise = signed_certificate_timestamp(
                self._certificate_log,
                poisoned.sign(signing, hashes.SHA256()),
                self._issuing.certificate,
                begins.timestamp(),
            )
            promises = x509.UnrecognizedExtension(_PROMISES, _promise_list(promise))
            builder = builder.add_extension(promises, critical=False)
        return builder.sign(signing, hashes.SHA256())

    def _entry(self, certificate: x509.Certificate, statement: bytes, signature: bytes, at: datetime) -> dict[str, Any]:
        """An entry of kind dsse, alone in a log that has numbered others before."""
        pem = certificate.public_bytes(Encoding.PEM)
        spec = {
            # Nobody can recompute this hash from a bundle, which has the envelope in another form.
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(statement + signature).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()},
            "signatures": [{"signature": _base64(signature), "verifier": _base64(pem)}],
        }
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        log_id, time, index = _key_id(self._log), int(at.timestamp()), 1_000_007
        promise = _canonical({"body": _base64(body), "integratedTime": time, "logID": log_id.hex(), "logIndex": index})
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{_ORIGIN}\n1\n{_base64(root)}\n"
        signed_note = _base64(log_id[:4] + self._sign(note.encode()))
        return {
            "logIndex": str(index),
            "logId": {"keyId": _base64(log_id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": _base64(self._sign(promise))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _base64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\N{EM DASH} {_ORIGIN.split()[0]} {signed_note}\n"},
            },
            "canonicalizedBody": _base64(body),
        }

    def _sign(self, content: bytes) -> bytes:
        return self._log.sign(content, ec.ECDSA(hashes.SHA256()))


def _described(url: str, key: ec.EllipticCurvePrivateKey, valid: tuple[datetime, datetime | None]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(_spki(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": _range(valid),
        },
        "logId": {"keyId": _base64(_key_id(key))},
    }


def _range(valid: tuple[datetime, datetime | None]) -> dict[str, str]:
    bounds = zip(("start", "end"), valid, strict=True)
    return {name: bound.strftime("%Y-%m-%dT%H:%M:%SZ") for name, bound in bounds if bound is not None}


def _promise_list(promise: Mapping[str, Any]) -> bytes:
    """The value of the certificate's extension: a TLS list of one promise, in an OCTET STRING (RFC 6962)."""
    one = struct.pack(">B32sQH", 0, b64decode(promise["id"]), promise["timestamp"], 0) + b64decode(promise["signature"])
    return _tagged(0x04, struct.pack(">HH", len(one) + 2, len(one)) + one)


def _tagged(tag: int, content: bytes) -> bytes:
    """DER of at most 255 bytes."""
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def _canonical(value: Mapping[str, Any]) -> bytes:
    """RFC 8785, for the ASCII strings and small numbers that are used here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _base64(content: bytes) -> str:
    return b64encode(content).decode()

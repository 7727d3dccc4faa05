"""cosign as its users run it, without internet."""

import subprocess
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.controlplane.component import base_environment
from tests.controlplane.kubectl import SHORT_LIVED
from tests.controlplane.pki import write_private
from tests.trustparts.registries import PASSWORD, USER, Image, basic

_LONGEST: Final = 120.0
_OLDER: Final = ("--use-signing-config=false", "--new-bundle-format=false")


class CosignError(Exception):
    """cosign failed; the message is its own."""


class KeyKind(Enum):
    """The keys that cosign signs with."""

    P256 = "P-256"
    P384 = "P-384"
    P521 = "P-521"
    RSA = "RSA"
    ED25519 = "Ed25519"


class Key(msgspec.Struct, frozen=True):
    """A key of cosign's: the private file has an empty password, `plain` is the same key in PKCS#8 (PEM)."""

    private: Path
    public: Path
    plain: bytes

    @property
    def pem(self) -> str:
        """The public key, PEM."""
        return self.public.read_text()


class Cosign:
    """cosign with a home of its own in `folder`, which trusts the registries' authority `ca`."""

    def __init__(self, binary: Path, folder: Path, ca: Path) -> None:
        self.binary = binary
        self._folder = folder
        self.environment = base_environment() | {
            **SHORT_LIVED,
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder),
            "COSIGN_PASSWORD": "",
            "SSL_CERT_FILE": str(ca),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self._no_services = folder / "no-services.json"
        self.run("signing-config", "create", "--out", str(self._no_services))

    def run(self, *arguments: str) -> str:
        """Run it; gives its standard output. Raises CosignError."""
        done = subprocess.run(
            (str(self.binary), *arguments),
            cwd=self._folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
        )
        if done.returncode != 0:
            raise CosignError(f"cosign {' '.join(arguments)}\n{done.stderr.strip()}")
        return done.stdout

    def log_in(self, host: str, user: str = USER, password: str = PASSWORD) -> None:
        """Use these credentials for a registry."""
        encoded = basic(user, password).removeprefix("Basic ")
        (self._folder / "config.json").write_text(f'{{"auths":{{"{host}":{{"auth":"{encoded}"}}}}}}')

    def new_key(self, name: str, kind: KeyKind = KeyKind.P256) -> Key:
        """A new key, in files of this name."""
        plain = _made(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(self._folder / f"{name}.pem", plain)
        self.run("import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name, "-y")
        return Key(self._folder / f"{name}.key", self._folder / f"{name}.pub", plain)

    def sign(self, image: Image, key: Key, *options: str) -> None:
        """Sign by key; a v0.3 bundle as referrer, in the fallback tag where the registry has no referrers API."""
        self.run("sign", "-y", "--key", str(key.private), *self._offline, *options, image.reference)

    def sign_older(self, image: Image, key: Key, *options: str) -> None:
        """Sign by key in the older format, tag sha256-HEX.sig."""
        self.run("sign", "-y", "--key", str(key.private), "--tlog-upload=false", *_OLDER, *options, image.reference)

    def attest(self, image: Image, key: Key, kind: str, predicate: Path, *options: str) -> None:
        """Attach a signed statement of a type (vuln, cyclonedx, slsaprovenance1, a URI)."""
        options = (*self._offline, "--type", kind, "--predicate", str(predicate), *options)
        self.run("attest", "-y", "--key", str(key.private), *options, image.reference)

    def attest_older(self, image: Image, key: Key, kind: str, predicate: Path) -> None:
        """Attach a signed statement of a type in the older format, tag sha256-HEX.att."""
        options = ("--tlog-upload=false", *_OLDER, "--type", kind, "--predicate", str(predicate))
        self.run("attest", "-y", "--key", str(key.private), *options, image.reference)

    def verifies(self, image: Image, key: Key, *options: str) -> bool:
        """What cosign itself says of the image: signed by this key?"""
        try:
            self.run("verify", "--key", str(key.public), "--insecure-ignore-tlog=true", *options, image.reference)
        except CosignError:
            return False
        return True

    def verifies_older(self, image: Image, key: Key) -> bool:
        """Whether cosign verifies an image by a key in the older format."""
        return self.verifies(image, key, "--new-bundle-format=false")

    @property
    def _offline(self) -> tuple[str, ...]:
        return ("--signing-config", str(self._no_services))


def _made(kind: KeyKind) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    match kind:
        case KeyKind.P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyKind.P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyKind.P521:
            return ec.generate_private_key(ec.SECP521R1())
        case KeyKind.RSA:
            return rsa.generate_private_key(65537, 2048)
        case KeyKind.ED25519:
            return ed25519.Ed25519PrivateKey.generate()

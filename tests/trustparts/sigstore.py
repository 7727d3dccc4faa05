"""A whole Sigstore without internet: Fulcio, Rekor and a timestamp server, real; issuer and certificate log our own."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.controlplane.component import Component
from tests.controlplane.ports import start_on_free_ports
from tests.trustparts.build import TrustBinaries
from tests.trustparts.cosign import Cosign
from tests.trustparts.issuer import CLIENT, IssuerAndLog, IssuerKind
from tests.trustparts.issuing import FAR, LONG_AGO, new_issuing
from tests.trustparts.registries import Image

CI_PROVIDERS: Final = {
    "ci": "{{ .sub }}",
    "github": "https://github.com/{{ .job_workflow_ref }}",
    "gitlab": "https://{{ .ci_config_ref_uri }}",
}
"""The identity in certificates by what a token claims, for each provider; those of GitHub and GitLab as in
https://github.com/sigstore/fulcio/blob/v1.8.8/config/identity/config.yaml"""
RELEASE: Final = "https://github.com/acme/pay/.github/workflows/release.yml@refs/tags/v1.2.3"
"""An identity as a CI provider states it."""
_LOG: Final = "rekor.test"
_PORTS: Final = (
    "issuer",
    "fulcio",
    "fulcio-grpc",
    "fulcio-metrics",
    "rekor",
    "rekor-grpc",
    "rekor-metrics",
    "timestamps",
)


class Sigstore:
    """A running Sigstore. `signing_config` and `trusted_root` are the files that cosign takes."""

    def __init__(self, folder: Path, cosign: Cosign, issuer: IssuerAndLog, timestamps: int) -> None:
        self.signing_config = folder / "signing-config.json"
        self.trusted_root = folder / "trusted-root.json"
        self.issuer = issuer.issuer(IssuerKind.CI)
        self.timestamps = timestamps
        """The port of its timestamp server."""
        self._folder = folder
        self._cosign = cosign
        self._issuer = issuer

    def issuer_of(self, kind: IssuerKind) -> str:
        """The URL of an issuer."""
        return self._issuer.issuer(kind)

    def sign(self, image: Image, *options: str, identity: str = RELEASE, issuer: IssuerKind = IssuerKind.CI) -> None:
        """Sign an image without a key, as this identity: `cosign sign`."""
        self._cosign.run("sign", *self.keyless(identity, issuer), *options, image.reference)

    def attest(
        self,
        image: Image,
        kind: str,
        predicate: Path,
        *options: str,
        identity: str = RELEASE,
        issuer: IssuerKind = IssuerKind.CI,
    ) -> None:
        """Attach a statement of a type without a key, as this identity: `cosign attest`."""
        stated = ("--type", kind, "--predicate", str(predicate), *options)
        self._cosign.run("attest", *self.keyless(identity, issuer), *stated, image.reference)

    def sign_blob(self, content: bytes, identity: str = RELEASE) -> bytes:
        """Sign any bytes; gives the bundle."""
        blob, bundle = self._folder / "blob", self._folder / "blob.sigstore.json"
        blob.write_bytes(content)
        arguments = (*self.keyless(identity, IssuerKind.CI), "--bundle", str(bundle), str(blob))
        self._cosign.run("sign-blob", *arguments)
        return bundle.read_bytes()

    def keyless(self, identity: str, issuer: IssuerKind = IssuerKind.CI) -> tuple[str, ...]:
        """Options by which cosign signs without a key, as this identity, with these services."""
        token = self._issuer.token(identity, issuer)
        files = ("--signing-config", str(self.signing_config), "--trusted-root", str(self.trusted_root))
        return ("-y", "--identity-token", token, *files)


class Certifying(msgspec.Struct, frozen=True):
    """How Fulcio certifies.

    ends: when the certificate that it signs others with ends.
    is_logged: whether it has its certificates promised by the log of certificates.
    """

    ends: datetime = FAR
    is_logged: bool = True


def with_validity(root: dict[str, Any], kind: str, start: datetime, end: datetime | None) -> dict[str, Any]:
    """A trusted root whose parts of a kind, such as `tlogs`, are valid at another time; None for no end."""
    written = {"start": _written(start)} | ({} if end is None else {"end": _written(end)})
    parts = [
        part | {"publicKey": part["publicKey"] | {"validFor": written}}
        if "publicKey" in part
        else part | {"validFor": written}
        for part in root[kind]
    ]
    return root | {kind: parts}


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def running_sigstore(
    binaries: TrustBinaries,
    cosign: Cosign,
    folder: Path,
    certifying: Certifying | None = None,
    beside: Sigstore | None = None,
) -> Iterator[Sigstore]:
    """A Sigstore of its own keys, stopped at the end. Raises ComponentError where a server does not start.

    certifying: None for the usual way.
    beside: one that runs already, whose timestamp server it uses: only one can run, because the port of its metrics is
        fixed. None for a timestamp server of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        timestamps = None if beside is None else beside.timestamps
        servers = _Servers(binaries, folder, certifying or Certifying(), timestamps)
        stack.callback(servers.stop)
        start_on_free_ports(folder / "ports.json", _PORTS, servers.start, servers.stop)
        sigstore = Sigstore(folder, cosign, servers.issuer, servers.timestamps)
        servers.write_configuration(cosign, sigstore)
        # The JSON of the log's first entry leaves out its index, 0, which sigstore-python requires.
        sigstore.sign_blob(b"first")
        yield sigstore


class _Servers:
    def __init__(self, binaries: TrustBinaries, folder: Path, certifying: Certifying, timestamps: int | None) -> None:
        self._binaries = binaries
        self._certifying = certifying
        self._timestamps = timestamps
        self._folder = folder
        self._ports: Mapping[str, int] = {}
        self._components: list[Component] = []
        self._serving = ExitStack()
        self._rekor_key = ed25519.Ed25519PrivateKey.generate()
        self.issuer = IssuerAndLog(0)

    @property
    def timestamps(self) -> int:
        """The port of the timestamp server."""
        return self._ports["timestamps"]

    def start(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports) | ({} if self._timestamps is None else {"timestamps": self._timestamps})
        self.issuer = IssuerAndLog(ports["issuer"])
        self._serving.enter_context(self.issuer.serving())
        self._components = [self._fulcio(), self._rekor()]
        if self._timestamps is None:
            self._components.append(self._timestamp_server())
        for component in self._components:
            component.spawn()
        for component in self._components:
            component.wait_ready()

    def stop(self) -> None:
        for component in self._components:
            component.stop()
        self._serving.close()

    def write_configuration(self, cosign: Cosign, sigstore: Sigstore) -> None:
        """Have cosign write where the services are, and which keys they have."""
        fulcio, timestamps, rekor = (self._url(name) for name in ("fulcio", "timestamps", "rekor"))
        timestamp_chain, log_key = self._folder / "timestamps.pem", self._folder / "rekor.pub"
        timestamp_chain.write_bytes(_get(self.timestamps, "/api/v1/timestamp/certchain"))
        log_key.write_bytes(self._rekor_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        since = _written(datetime.now(UTC) - timedelta(hours=1))
        services = f"start-time={since},operator=test"
        cosign.run(
            *("signing-config", "create", "--out", str(sigstore.signing_config)),
            *("--fulcio", f"url={fulcio},api-version=1,{services}"),
            *("--rekor", f"url={rekor},api-version=2,{services}", "--rekor-config", "ANY"),
            *("--oidc-provider", f"url={sigstore.issuer},api-version=1,{services}"),
            *("--tsa", f"url={timestamps}/api/v1/timestamp,api-version=1,{services}", "--tsa-config", "ANY"),
        )
        cosign.run(
            *("trusted-root", "create", "--out", str(sigstore.trusted_root)),
            *("--fulcio", f"url={fulcio},certificate-chain={self._folder / 'fulcio.pem'},start-time={since}"),
            *("--rekor", f"url=http://{_LOG},public-key={log_key},start-time={since},origin={_LOG}"),
            *("--tsa", f"url={timestamps},certificate-chain={timestamp_chain},start-time={since}"),
            *("--ctfe", f"url={self.issuer.log_url},public-key={self._folder / 'ct.pub'},start-time={since}"),
        )

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def _fulcio(self) -> Component:
        uris = {
            name: {
                "default-template-values": {},
                "subject-alternative-name-template": template,
                "extension-templates": {},
            }
            for name, template in CI_PROVIDERS.items()
        }
        issuers: dict[str, Any] = {}
        for kind in IssuerKind:
            url = self.issuer.issuer(kind)
            provider = {"type": "ci-provider", "ci-provider": kind.value if kind.value in CI_PROVIDERS else "ci"}
            provided = {"type": "email"} if kind is IssuerKind.PEOPLE else provider
            issuers[url] = {"issuer-url": url, "client-id": CLIENT, **provided}
        config = self._folder / "fulcio.yaml"
        config.write_text(yaml.safe_dump({"oidc-issuers": issuers, "ci-issuer-metadata": uris}))
        (self._folder / "ct.pub").write_bytes(self.issuer.log_pem)
        certificates, key = self._folder / "fulcio.pem", self._folder / "fulcio.key"
        # Not Fulcio's throw-away authority: its country of three letters is a warning in Python's library.
        issuing = new_issuing("fulcio.test", (LONG_AGO, self._certifying.ends))
        certificates.write_bytes(issuing.pem)
        key.write_bytes(issuing.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        command = (
            *(str(self._binaries.fulcio), "serve", "--config-path", str(config), "--ca", "fileca"),
            *("--fileca-cert", str(certificates), "--fileca-key", str(key), "--fileca-key-passwd", "none"),
            "--fileca-watch=false",
            *("--ct-log-url", self.issuer.log_url if self._certifying.is_logged else ""),
            *("--ct-log-public-key-path", str(self._folder / "ct.pub")),
            *("--host", "127.0.0.1", "--port", str(self._ports["fulcio"]), "--grpc-host", "127.0.0.1"),
            *("--grpc-port", str(self._ports["fulcio-grpc"]), "--metrics-port", str(self._ports["fulcio-metrics"])),
            # Of its own for each try: one that could not bind a port leaves its socket behind.
            *("--legacy-unix-domain-socket", str(self._folder / f"fulcio-{self._ports['fulcio']}.socket")),
        )
        return self._component("fulcio", command, "/api/v2/trustBundle")

    def _rekor(self) -> Component:
        key = self._folder / "rekor.pem"
        key.write_bytes(self._rekor_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        command = (
            *(str(self._binaries.rekor_server), "serve", "--hostname", _LOG, "--signer-filepath", str(key)),
            *("--http-port", str(self._ports["rekor"]), "--grpc-port", str(self._ports["rekor-grpc"])),
            *("--http-metrics-port", str(self._ports["rekor-metrics"]), "--storage-dir", str(self._folder / "rekor")),
            *("--checkpoint-interval", "200ms", "--batch-max-age", "50ms"),
        )
        return self._component("rekor", command, "/healthz")

    def _timestamp_server(self) -> Component:
        command = (
            *(str(self._binaries.timestamp_server), "serve", "--host", "127.0.0.1"),
            *("--port", str(self._ports["timestamps"]), "--disable-ntp-monitoring"),
        )
        return self._component("timestamps", command, "/api/v1/timestamp/certchain")

    def _component(self, name: str, command: tuple[str, ...], ready_at: str) -> Component:
        port = self._ports[name]
        return Component(name, command, self._folder / f"{name}.log", lambda: bool(_get(port, ready_at)), port)


def _get(port: int, path: str) -> bytes:
    """The body of an answer 200 on loopback, else nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return body or b"ready" if response.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()

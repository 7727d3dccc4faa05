"""A registry over HTTPS on loopback that holds what tests put into it, and that can be made to misbehave."""

import base64
import hashlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from ipaddress import ip_network
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct, structs

from sekisho.registry import RegistryClient, Repository, Settings
from sekisho.registry.authentication import Credentials
from sekisho.registry.candidates import BUNDLE, SIMPLE_SIGNING
from sekisho.registry.client import anonymous
from sekisho.registry.http import tls_context
from sekisho.registry.manifests import OCI_INDEX, OCI_MANIFEST
from tests.serving_certificates import Signer, make, pem

Json = dict[str, Any]
Misbehaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
BUNDLE_V3 = f"{BUNDLE}.v0.3+json"
NAME = "acme/pay"
LOOPBACK = ip_network("127.0.0.0/8")
CA = make(ca=True, cert_sign=True, subject="registries")
SERVER = make(CA, names=["127.0.0.1", "localhost"])
TRUST = tls_context(pem(CA).decode())
EMPTY = b"{}"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def descriptor(content: bytes, media_type: str, **annotations: str) -> Json:
    made: Json = {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
    return made | ({"annotations": annotations} if annotations else {})


class ReceivedRequest(Struct, frozen=True):
    """A request as the server saw it."""

    method: str
    path: str
    authorization: str | None


class Registry:
    """One registry. `requests` has what was asked; `misbehave` takes requests by method and path."""

    def __init__(self) -> None:
        self.port = 0
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.referrers: dict[str, list[Json]] = {}
        self.has_referrers = True
        self.page = 1000
        self.sends_digests = True
        self.scheme = ""
        self.users: dict[str, str] = {}
        self.token_service = ""
        self.tokens: set[str] = set()
        self.requests: list[ReceivedRequest] = []
        self.misbehave: dict[tuple[str, str], Misbehaviour] = {}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def repository(self) -> Repository:
        return Repository(self.host, NAME)

    def push(self, manifest: Json | bytes, *references: str, media_type: str = OCI_MANIFEST) -> str:
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        for reference in (digest_of(content), *references):
            self.manifests[NAME, reference] = (media_type, content)
        return digest_of(content)

    def image(self, *tags: str) -> str:
        """Push an image and give its digest."""
        return self.push(self.manifest_of([(b"layer", "application/vnd.oci.image.layer.v1.tar", {})]), *tags)

    def manifest_of(self, layers: Sequence[tuple[bytes, str, Mapping[str, str]]], **more: Any) -> Json:
        self.blobs.update({digest_of(content): content for content in (EMPTY, *(layer[0] for layer in layers))})
        listed = [descriptor(content, media_type, **annotations) for content, media_type, annotations in layers]
        config = descriptor(EMPTY, "application/vnd.oci.empty.v1+json")
        return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": listed} | more

    def attach(
        self, image: str, payload: bytes, *, predicate: str = "", media_type: str = BUNDLE_V3, created: str = ""
    ) -> str:
        """Attach a bundle to an image by the referrers API, or by the fallback tag where there is none."""
        subject = {"mediaType": OCI_MANIFEST, "digest": image, "size": 2}
        both = (("dev.sigstore.bundle.predicateType", predicate), ("org.opencontainers.image.created", created))
        annotations = {name: text for name, text in both if text}
        manifest = self.manifest_of([(payload, media_type, {})], subject=subject, annotations=annotations)
        digest = self.push(manifest)
        listed = {**descriptor(self.manifests[NAME, digest][1], OCI_MANIFEST), "annotations": annotations}
        self.referrers.setdefault(image, []).append(listed)
        if not self.has_referrers:
            self.push_fallback(image)
        return digest

    def push_fallback(self, image: str) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.referrers[image]}
        self.push(index, image.replace(":", "-"), media_type=OCI_INDEX)

    def attach_tag(self, image: str, *signatures: str, payload: bytes = b"simple", suffix: str = "sig") -> str:
        """Attach signatures by the older tag: layers of one payload that differ in their annotations."""
        layers = [(payload, SIMPLE_SIGNING, {"dev.cosignproject.cosign/signature": text}) for text in signatures]
        return self.push(self.manifest_of(layers), f"{image.replace(':', '-')}.{suffix}")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(ReceivedRequest(request.method, request.path_qs, request.headers.get("Authorization")))
        if (answer := self.misbehave.get((request.method, request.path))) is not None:
            return await answer(request)
        if request.path == "/token":
            return self._token(request)
        if not self._is_allowed(request):
            return web.json_response({"errors": []}, status=401, headers={"WWW-Authenticate": self._challenge()})
        return self._content(request)

    def _content(self, request: web.Request) -> web.Response:
        name, kind, reference = request.path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "blobs" and reference in self.blobs:
            return web.Response(body=self.blobs[reference], content_type="application/octet-stream")
        if kind == "manifests" and (name, reference) in self.manifests:
            media_type, content = self.manifests[name, reference]
            headers = {"Docker-Content-Digest": digest_of(content)} if self.sends_digests else {}
            return web.Response(body=content, content_type=media_type, headers=headers)
        if kind == "referrers" and self.has_referrers:
            return self._referrers(reference, int(request.query.get("from", "0")))
        return web.json_response({"errors": [{"code": "NOT_FOUND"}]}, status=404)

    def _referrers(self, image: str, start: int) -> web.Response:
        listed = self.referrers.get(image, [])
        page = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed[start : start + self.page]}
        headers = {}
        if start + self.page < len(listed):
            headers["Link"] = f'</v2/{NAME}/referrers/{image}?from={start + self.page}>; rel="next"'
        return web.Response(body=json.dumps(page).encode(), content_type=OCI_INDEX, headers=headers)

    def _is_allowed(self, request: web.Request) -> bool:
        authorization = request.headers.get("Authorization", "")
        if self.scheme == "basic":
            return self._user(authorization) is not None
        return self.scheme == "" or authorization.removeprefix("Bearer ") in self.tokens

    def _challenge(self) -> str:
        if self.scheme == "basic":
            return 'Basic realm="a, \\"quoted\\" realm"'
        realm = self.token_service or f"https://{self.host}/token"
        return f'Bearer realm="{realm}",service="registry",scope="repository:{NAME}:pull"'

    def _user(self, authorization: str) -> str | None:
        scheme, _, encoded = authorization.partition(" ")
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user if scheme == "Basic" and user in self.users and self.users[user] == password else None

    def _token(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization")
        user = self._user(authorization) if authorization else "anonymous"
        if user is None or (user == "anonymous" and self.users):
            return web.json_response({}, status=401)
        token = f"token-of-{user}-{len(self.tokens)}"
        self.tokens.add(token)
        return web.json_response({"token": token, "expires_in": 300})

    def paths(self, method: str = "") -> list[str]:
        """The paths that were asked for, after /v2/NAME/."""
        return [one.path.removeprefix(f"/v2/{NAME}/") for one in self.requests if method in ("", one.method)]


@cache
def _server_context(certificate: Signer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write(pem(certificate) + key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@asynccontextmanager
async def serving(registry: Registry, certificate: Signer = SERVER) -> AsyncIterator[None]:
    """Serve a registry on a free port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", registry.port, ssl_context=_server_context(certificate))
        await site.start()
        registry.port = runner.addresses[0][1]
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(
    credentials: Credentials = anonymous, settings: Settings | None = None
) -> AsyncIterator[RegistryClient]:
    """A client that trusts the tests' authority and may connect to loopback."""
    client = RegistryClient(settings or settings_for_tests(), credentials)
    try:
        yield client
    finally:
        await client.close()


def settings_for_tests(**changes: Any) -> Settings:
    return structs.replace(Settings((LOOPBACK,), TRUST, {}), **changes)

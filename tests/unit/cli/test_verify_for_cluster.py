"""`sekisho verify --cluster`: policies, authorities and their keys from a cluster."""

import asyncio
import sys
from base64 import b64encode
from pathlib import Path

from aiohttp import web

from sekisho.cluster.live_namespaces import PODS_WEBHOOK, WEBHOOKS
from tests.unit.cluster_server import ClusterServer
from tests.unit.images.signing import P256, pem

BASE = "/apis/sekisho.dev/v1alpha1"
SECRET = "/api/v1/namespaces/ours/secrets/release-key"
IMAGE = f"127.0.0.1:1/acme/pay@sha256:{'a' * 64}"


class Release(ClusterServer):
    """A cluster with an authority whose key is in a Secret, which it has or not."""

    def __init__(self, *, has_secret: bool) -> None:
        super().__init__()
        client = {"service": {"namespace": "ours", "name": "sekisho"}}
        self.put(WEBHOOKS, [{"metadata": {}, "webhooks": [{"name": PODS_WEBHOOK, "clientConfig": client}]}])
        for plural in ("namespaces", "limitranges", "serviceaccounts"):
            self.put(f"/api/v1/{plural}", [])
        keys = [{"secret": {"name": "release-key"}}]
        self.put(f"{BASE}/imageauthorities", [{"metadata": {"name": "release"}, "spec": {"keys": keys}}])
        rule = {"images": ["127.0.0.1:1"], "by": {"anyOf": ["release"]}}
        signed = {"controls": {"images": {"signatures": [rule]}}}
        self.put(f"{BASE}/clusterpodpolicies", [{"metadata": {"name": "signed"}, "spec": signed}])
        self._has_secret = has_secret

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == SECRET and self._has_secret:
            data = {"cosign.pub": b64encode(pem(P256).encode()).decode()}
            return web.json_response(
                {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "release-key"}, "data": data}
            )
        return await super().handle(request)


async def verify(release: Release, folder: Path) -> str:
    """What the command says on both of its outputs; nobody listens at the image's registry."""
    async with release.serve(folder) as kubeconfig:
        command = (sys.executable, "-m", "sekisho", "verify", "--cluster", "--kubeconfig", kubeconfig, IMAGE)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        said, _ = await process.communicate()
    assert process.returncode == 2, said
    return said.decode()


async def test_key_in_a_secret_of_the_cluster_is_used(tmp_path: Path) -> None:
    said = await verify(Release(has_secret=True), tmp_path)
    assert "requires an image signed by release, and the image cannot be verified: registry 127.0.0.1:1" in said
    assert "unusable" not in said


async def test_secret_that_the_cluster_does_not_have_is_named(tmp_path: Path) -> None:
    said = await verify(Release(has_secret=False), tmp_path)
    assert "note: Secret release-key of namespace ours does not exist" in said
    assert "note: ImageAuthority release is unusable" in said

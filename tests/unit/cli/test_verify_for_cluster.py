"""`sekisho verify --cluster` and `check --cluster`: policies, authorities and their keys from a cluster."""

import asyncio
import json
import sys
from base64 import b64encode
from pathlib import Path

import pytest
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
        self.secrets_read = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == SECRET:
            self.secrets_read += 1
            if self._has_secret:
                data = {"cosign.pub": b64encode(pem(P256).encode()).decode()}
                secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "release-key"}, "data": data}
                return web.json_response(secret)
        return await super().handle(request)


async def said_by(release: Release, folder: Path, *command: str) -> str:
    """What a command says on both of its outputs; nobody listens at the registries of images."""
    async with release.serve(folder) as kubeconfig:
        options = ("--cluster", "--kubeconfig", kubeconfig)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sekisho", *command, *options, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
    return said.decode()


@pytest.mark.parametrize("has_secret", [True, False])
async def test_verify_uses_a_key_in_a_secret_of_the_cluster_or_says_that_it_is_not_there(
    tmp_path: Path, has_secret: bool
) -> None:
    said = await said_by(Release(has_secret=has_secret), tmp_path, "verify", IMAGE)
    assert ("the image cannot be verified: registry 127.0.0.1:1 cannot be reached" in said) is has_secret
    assert ("note: Secret release-key of namespace ours does not exist" in said) is not has_secret
    assert ("note: ImageAuthority release is unusable" in said) is not has_secret


@pytest.mark.parametrize("has_secret", [True, False])
async def test_check_uses_a_key_in_a_secret_of_the_cluster_only_to_verify_images(
    tmp_path: Path, has_secret: bool
) -> None:
    pod = tmp_path / "pod.json"
    containers = [{"name": "app", "image": IMAGE}]
    pod.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": containers}}))
    release = Release(has_secret=has_secret)
    said = await said_by(release, tmp_path, "check", "--verify-images", str(pod))
    assert ("which cannot be verified: registry 127.0.0.1:1 cannot be reached" in said) is has_secret
    assert ('ImageAuthority "release" is unusable' in said) is not has_secret
    assert release.secrets_read == 1
    assert "were not judged" in await said_by(release, tmp_path, "check", str(pod))
    assert release.secrets_read == 1

"""The Secrets and ConfigMaps of a release, as commands read them."""

from pathlib import Path
from typing import Any

import pytest

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_namespaces import PODS_WEBHOOK, WEBHOOKS
from sekisho.cluster.live_release import ReleaseObjects, read_release
from tests.unit.cluster_server import ClusterServer

SERVICE: dict[str, Any] = {"service": {"namespace": "ours", "name": "sekisho"}}
URL = {"url": "https://127.0.0.1:9443/validate"}
HELM = {"meta.helm.sh/release-namespace": "ours"}
NOWHERE = "no webhook of Sekisho says where it is installed: Secrets and ConfigMaps of authorities are not read"


def configuration(client: object, name: str = PODS_WEBHOOK, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "sekisho", "annotations": annotations}
    return {"metadata": metadata, "webhooks": [{"name": name, "clientConfig": client}]}


def cluster(*configurations: dict[str, Any]) -> ClusterServer:
    server = ClusterServer()
    server.put(WEBHOOKS, configurations)
    for namespace in ("ours", "theirs"):
        server.put(f"/api/v1/namespaces/{namespace}/secrets/there", [{"metadata": {"namespace": namespace}}])
    return server


async def read(server: ClusterServer, folder: Path, *wanted: tuple[str, str]) -> ReleaseObjects:
    async with server.serve(folder) as kubeconfig:
        api = await ApiClient.connect(Path(kubeconfig))
        try:
            return await read_release(api, wanted)
        finally:
            await api.close()


OTHER = configuration({"service": {"namespace": "theirs", "name": "x"}}, "validate.example.com")
INSTALLED = {
    "by a Service": ((OTHER, configuration(SERVICE)), True),
    "by a URL": ((configuration(URL, **HELM),), True),
    "by a URL, without Helm": ((configuration(URL),), False),
    "nowhere": ((OTHER,), False),
}


@pytest.mark.parametrize("name", INSTALLED)
async def test_objects_are_read_where_sekisho_is_installed(tmp_path: Path, name: str) -> None:
    configurations, is_known = INSTALLED[name]
    release = await read(cluster(*configurations), tmp_path, ("Secret", "there"))
    assert release.problems == (() if is_known else (NOWHERE,))
    assert ['"ours"' in text for kind, text in release.objects if kind == "Secret"] == ([True] if is_known else [])


async def test_what_cannot_be_read_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    server = cluster(configuration(SERVICE))
    server.statuses["/api/v1/namespaces/ours/secrets/hidden"] = 403
    release = await read(server, tmp_path, ("Secret", "there"), ("Secret", "hidden"), ("ConfigMap", "root"))
    assert [kind for kind, _ in release.objects] == ["Secret"]
    assert release.problems == (
        "ConfigMap root of namespace ours does not exist",
        "Secret hidden of namespace ours may not be read",
    )
    assert "/api/v1/namespaces/ours/secrets" not in server.requests  # others have private keys
    server.statuses["/api/v1/namespaces/ours/secrets/hidden"] = 500
    with pytest.raises(ApiError):
        await read(server, tmp_path, ("Secret", "hidden"))


async def test_nothing_is_read_where_webhooks_may_not_be_read(tmp_path: Path) -> None:
    server = cluster(configuration(SERVICE))
    server.statuses[WEBHOOKS] = 403
    assert await read(server, tmp_path, ("Secret", "there")) == ReleaseObjects((), (NOWHERE,))
    server.statuses[WEBHOOKS] = 500
    with pytest.raises(ApiError):
        await read(server, tmp_path, ("Secret", "there"))

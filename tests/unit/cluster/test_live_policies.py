"""What is applied in a cluster, as commands read it."""

from pathlib import Path

import pytest

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_policies import applied_policies
from tests.unit.cluster_server import ClusterServer
from tests.unit.images.signing import P256, pem

BASE = "/apis/sekisho.dev/v1alpha1"
POLICY = {"metadata": {"name": "signed"}, "spec": {"podSecurityStandard": {"level": "baseline"}}}
AUTHORITY = {"metadata": {"name": "release"}, "spec": {"keys": [{"pem": pem(P256)}]}}


async def names(server: ClusterServer, folder: Path) -> list[str]:
    async with server.serve(folder) as kubeconfig:
        api = await ApiClient.connect(Path(kubeconfig))
        try:
            policies, problems = await applied_policies(api)
        finally:
            await api.close()
    assert problems == []
    return [one.metadata.name for one in policies]


async def test_authorities_are_read_where_that_is_permitted(tmp_path: Path) -> None:
    server = ClusterServer()
    server.put(f"{BASE}/clusterpodpolicies", [POLICY])
    assert await names(server, tmp_path) == ["signed"]
    server.put(f"{BASE}/imageauthorities", [AUTHORITY])
    assert await names(server, tmp_path) == ["signed", "release"]
    server.statuses[f"{BASE}/imageauthorities"] = 403
    assert await names(server, tmp_path) == ["signed"]
    server.statuses[f"{BASE}/clusterpodpolicies"] = 403
    with pytest.raises(ApiError):
        await names(server, tmp_path)

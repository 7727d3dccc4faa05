"""Many policies that change: every status comes to rest, and the cost does not grow with the number of policies."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.cluster.api import ApiClient
from tests.cluster.audit import credential_of
from tests.cluster.conftest import Lab
from tests.cluster.release_helpers import token_of
from tests.controlplane.component import Component
from tests.controlplane.installed import NAMESPACE, RELEASE, Sekisho
from tests.load import changes
from tests.load.changes import Spent
from tests.load.replicas import start_beside

SETTLED = 60.0
POLICIES, CHANGES, REPLICAS = 50, 10, 2


@pytest.fixture
def sekisho(lab: Lab) -> Iterator[Sekisho]:
    """Sekisho in the plane that writes down who asked for what."""
    installed = Sekisho(lab.plane)
    try:
        installed.install()
        yield installed
    finally:
        lab.plane.kubectl("delete", "clusterpodpolicies", "--all", "--wait=false")
        installed.stop()
        installed.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")


@pytest.fixture
def second(lab: Lab, sekisho: Sekisho, tmp_path: Path) -> Iterator[Component]:
    """Another replica beside the release's own."""
    made = start_beside(sekisho.webhook, "second", tmp_path, lab.plane.logs)
    yield made
    made.stop()


@pytest.mark.usefixtures("second")
def test_a_change_among_many_policies_costs_few_requests_and_its_status_settles(lab: Lab, sekisho: Sekisho) -> None:
    credentials = (credential_of(token_of(sekisho.controller)), credential_of(token_of(sekisho.webhook)))

    async def changed() -> Spent:
        api = await ApiClient.connect(lab.plane.kubeconfig)
        try:
            names = await changes.make(api, POLICIES, REPLICAS, SETTLED)
            return await changes.measure(api, lab.audit, credentials, names, REPLICAS, CHANGES, 0.3, SETTLED)
        finally:
            await api.close()

    spent = asyncio.run(changed())
    assert spent.excesses() == []
    assert spent.controller[("patch", "clusterpodpolicies/status")] >= CHANGES

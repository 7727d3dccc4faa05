"""Fixtures on a real control plane: one a process with Sekisho in it, and a namespace a test.

Control planes live for as long as tests of this folder follow: each that nobody uses takes a twentieth of a core.
"""

import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.client_authority import ClientAuthority
from tests.cluster.audit import Audit
from tests.cluster.callers import APISERVER, write_admission_configuration
from tests.controlplane import build
from tests.controlplane.build import Binaries, NodeBinaries, control_plane_binaries
from tests.controlplane.component import Component, base_environment, tail
from tests.controlplane.forks import ForkServer
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import Completed, Kubectl, run
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress

_logs = pytest.StashKey[list[Path]]()


class Cluster(msgspec.Struct, frozen=True):
    """A control plane, and Sekisho in it: `sekisho.webhook` and `sekisho.controller` are its processes."""

    plane: ControlPlane
    sekisho: Sekisho

    def sekisho_cli(self, *args: str) -> Completed:
        """Run the command `sekisho`, without a kubeconfig."""
        return run((sys.executable, "-m", "sekisho", *args), base_environment())


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Binaries:
    """The control plane's binaries. Building them takes minutes, so its progress goes past pytest's capture."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return control_plane_binaries(Progress())


@pytest.fixture(scope="session")
def node_binaries(pytestconfig: pytest.Config) -> NodeBinaries:
    """The scheduler and kwok, built in the same way."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return build.node_binaries(Progress())


@pytest.fixture(scope="session")
def fork_servers() -> Iterator[None]:
    """Processes of Sekisho start without their imports; two replicas have different seeds of their hashes."""
    servers = [ForkServer(base_environment()) for _ in range(2)]
    Component.fork_servers.extend(servers)
    yield
    Component.fork_servers.clear()
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def new_plane(
    binaries: Binaries,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    fork_servers: None,
) -> Callable[..., ControlPlane]:
    """Makes control planes, not started, in folders of their own; a failing test's report names their logs.

    Its arguments are more flags for the API server.
    """

    def make(*apiserver_options: str) -> ControlPlane:
        plane = ControlPlane(tmp_path_factory.mktemp("plane"), binaries, apiserver_options=apiserver_options)
        pytestconfig.stash.setdefault(_logs, []).append(plane.logs)
        return plane

    return make


@pytest.fixture(scope="package")
def bare_plane(new_plane: Callable[..., ControlPlane]) -> Iterator[ControlPlane]:
    """A control plane without Sekisho, beside the one that has it."""
    with new_plane() as plane:
        yield plane


class Lab(msgspec.Struct, frozen=True):
    """A control plane that writes down who wrote what, and shows webhooks a certificate of `callers`.

    Tests install Sekisho in it as they like.
    """

    plane: ControlPlane
    audit: Audit
    callers: ClientAuthority


@pytest.fixture(scope="package")
def lab(new_plane: Callable[..., ControlPlane], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane beside the one that all other tests share."""
    folder = tmp_path_factory.mktemp("lab")
    audit, callers = Audit(folder), ClientAuthority()
    admission = f"--admission-control-config-file={write_admission_configuration(folder, callers, APISERVER)}"
    with new_plane(*audit.options, admission) as plane:
        yield Lab(plane, audit, callers)


@pytest.fixture(scope="package")
def cluster(new_plane: Callable[..., ControlPlane]) -> Iterator[Cluster]:
    """A control plane with Sekisho installed and live."""
    with new_plane() as plane:
        sekisho = Sekisho(plane, say=print)
        try:
            sekisho.install()
            yield Cluster(plane, sekisho)
        finally:
            sekisho.stop()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace, whose deletion nobody waits for, in a cluster whose processes serve.

    What an earlier test left dead, or what gave up its Lease on a slow machine, is started again, as a kubelet would.
    """
    cluster.sekisho.repair()
    name = f"test-{uuid.uuid4().hex[:12]}"
    cluster.plane.create_namespace(name)
    yield name
    cluster.plane.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """kubectl as the administrator, in the test's namespace unless a call names another."""
    return cluster.plane.kubectl.in_namespace(namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for logs in item.config.stash.get(_logs, []):
            ends = "\n".join(f"-- {log.name}\n{tail(log, 2048)}" for log in sorted(logs.glob("*.log")))
            report.sections.append((f"control plane logs in {logs}", ends))
    return report

"""Fixtures for all tests. Each process of a test session starts a server when a test first needs it."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.progress import Progress
from tests.trustparts.authority import ServerTls, write_server_tls
from tests.trustparts.build import TrustBinaries, odd_registry_binary, trust_binaries
from tests.trustparts.cosign import Cosign
from tests.trustparts.odd import OddRegistry, start_odd_registry
from tests.trustparts.registries import Registry, start_distribution
from tests.trustparts.sigstore import Sigstore, running_sigstore


@pytest.fixture(scope="session")
def trust_parts(pytestconfig: pytest.Config) -> TrustBinaries:
    """The binaries. Building them takes minutes, so its progress goes past pytest's capture."""
    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return trust_binaries(Progress())


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """The authority of all registries of this test session, and the certificate that they present."""
    return write_server_tls(tmp_path_factory.mktemp("server-tls"))


@pytest.fixture(scope="session")
def odd_registry(tmp_path_factory: pytest.TempPathFactory, server_tls: ServerTls) -> Iterator[OddRegistry]:
    """Our own registry, with the referrers API; change its behavior only for a repository of your own."""
    registry = start_odd_registry(odd_registry_binary(Progress()), tmp_path_factory.mktemp("odd-registry"), server_tls)
    yield registry
    registry.component.stop()


@pytest.fixture
def new_odd_registry(tmp_path: Path, server_tls: ServerTls) -> Iterator[Callable[[], OddRegistry]]:
    """Starts one more of our own registry, for a test that changes the behavior of all of it or stops it."""
    started: list[OddRegistry] = []

    def start() -> OddRegistry:
        folder = tmp_path / f"odd-registry-{len(started)}"
        started.append(start_odd_registry(odd_registry_binary(Progress()), folder, server_tls))
        return started[-1]

    yield start
    for registry in started:
        registry.component.stop()


@pytest.fixture(scope="session")
def distribution(
    trust_parts: TrustBinaries, tmp_path_factory: pytest.TempPathFactory, server_tls: ServerTls
) -> Iterator[Registry]:
    """distribution's registry, without the referrers API."""
    registry = start_distribution(trust_parts.registry, tmp_path_factory.mktemp("distribution"), server_tls)
    yield registry
    registry.component.stop()


@pytest.fixture(scope="session")
def distribution_with_login(
    trust_parts: TrustBinaries, tmp_path_factory: pytest.TempPathFactory, server_tls: ServerTls
) -> Iterator[Registry]:
    """distribution's registry that wants a user and a password."""
    folder = tmp_path_factory.mktemp("distribution-with-login")
    registry = start_distribution(trust_parts.registry, folder, server_tls, login=True)
    yield registry
    registry.component.stop()


@pytest.fixture(scope="session")
def cosign(trust_parts: TrustBinaries, tmp_path_factory: pytest.TempPathFactory, server_tls: ServerTls) -> Cosign:
    """cosign, which trusts all registries of this test session."""
    return Cosign(trust_parts.cosign, tmp_path_factory.mktemp("cosign"), server_tls.ca)


@pytest.fixture(scope="session")
def sigstore(
    trust_parts: TrustBinaries, cosign: Cosign, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sigstore]:
    """A Sigstore for keyless signatures."""
    with running_sigstore(trust_parts, cosign, tmp_path_factory.mktemp("sigstore")) as running:
        yield running


@pytest.fixture
def repository_name() -> str:
    """A repository that no other test uses, without the registry's host."""
    return f"test-{uuid.uuid4().hex[:12]}/app"

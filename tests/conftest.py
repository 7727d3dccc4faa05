"""How tests are distributed over processes, how many examples property tests try, and fixtures for all tests."""

import gc
import logging
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.trustparts.fixtures import (  # noqa: F401 - fixtures for all tests
    cosign,
    distribution,
    distribution_with_login,
    new_odd_registry,
    odd_registry,
    repository_name,
    server_tls,
    sigstore,
    trust_parts,
)

_ROOT = Path(__file__).parents[1]
_SLOW_EXAMPLES = (HealthCheck.too_slow, HealthCheck.filter_too_much)
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=_SLOW_EXAMPLES)
settings.register_profile("thorough", max_examples=1000, deadline=None, suppress_health_check=_SLOW_EXAMPLES)
settings.load_profile("quick")

_OF_THE_LAB = ("certificate_modes", "image_verification", "life_cycle", "policy_changes", "succession")
_OF_THE_INSTALLATION = (
    *("api_versions", "certificates", "chart", "check_for_cluster", "controller", "controlplane", "helm_test"),
    *("pod_defaults", "policy_status", "proof"),
)
_ALONE = ("build", "drills")
_GROUPS = (
    {f"tests/cluster/test_{name}.py": "lab" for name in _OF_THE_LAB}
    # What stops, damages or replaces Sekisho, or needs none, takes as long as all that only uses it.
    | {f"tests/cluster/test_{name}.py": "installation" for name in _OF_THE_INSTALLATION}
    | {f"tests/cluster/test_{name}.py": f"alone: {name}" for name in _ALONE}
)
"""The group of a file by its path; the tests of a group run in one process."""
_ONLY_IN_THE_LAB = frozenset({"lab", "sigstore"})
"""Fixtures that one process may have: only one timestamp server can run, because its port for metrics is fixed."""


def _group_of(file: str) -> str:
    if file in _GROUPS:
        return _GROUPS[file]
    if file.startswith("tests/trustparts/"):
        return "lab"
    return "cluster" if file.startswith("tests/cluster/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fails where a group's file is gone, or a file uses what only the lab's process may have."""
    gone = [file for file in _GROUPS if not (_ROOT / file).exists()]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py names files that do not exist: {', '.join(gone)}")
    for item in items:
        file = item.nodeid.partition("::")[0]
        fixtures = _ONLY_IN_THE_LAB.intersection(getattr(item, "fixturenames", ()))
        if fixtures and _group_of(file) != "lab":
            raise pytest.UsageError(f"{file} uses {', '.join(fixtures)}: add it to _OF_THE_LAB in tests/conftest.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are found, and stay: looking through them for garbage takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of this project's own."""
    parser.addoption("--whole", action="store_true", help="every workload in every variant, where tests have a corpus")


class _ByWhatTheyShare(LoadScopeScheduling):
    """Tests that share a control plane or a Sigstore go to one process, and so do those of any other file."""

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Decides which process runs which tests, in the order of `testpaths`: what takes minutes begins first.

    xdist would begin with the files of the most tests, and the drills, which are few and long, would be last.
    """
    config.option.loadscopereorder = False
    return _ByWhatTheyShare(config, log)


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """Restores the root logger after a test that runs a command, which configures it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)

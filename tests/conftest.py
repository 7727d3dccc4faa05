"""How tests are distributed over processes, how many examples property tests try, and fixtures for all tests."""

import logging
from collections.abc import Iterator

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

_SLOW_EXAMPLES = (HealthCheck.too_slow, HealthCheck.filter_too_much)
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=_SLOW_EXAMPLES)
settings.register_profile("thorough", max_examples=1000, deadline=None, suppress_health_check=_SLOW_EXAMPLES)
settings.load_profile("quick")

_OF_THE_LAB = tuple(
    f"tests/cluster/test_{name}.py"
    for name in ("certificate_modes", "image_verification", "life_cycle", "policy_changes", "succession")
)
_OF_THE_INSTALLATION = tuple(
    f"tests/cluster/test_{name}.py"
    for name in (
        *("api_versions", "certificates", "chart", "controller", "controlplane", "helm_test", "pod_defaults"),
        *("policy_status", "proof"),
    )
)
_ALONE = tuple(f"tests/cluster/test_{name}.py" for name in ("build", "drills"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of this project's own."""
    parser.addoption("--whole", action="store_true", help="every workload in every variant, where tests have a corpus")


class _ByWhatTheyShare(LoadScopeScheduling):
    """Tests that share a control plane or a Sigstore go to one process, and so do those of any other file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        # Only one timestamp server can run, because its port for metrics is fixed.
        if file in _OF_THE_LAB or file.startswith("tests/trustparts/"):
            return "lab"
        # What stops, damages or replaces Sekisho, or needs none, takes as long as all that only uses it.
        if file in _OF_THE_INSTALLATION:
            return "installation"
        return "cluster" if file.startswith("tests/cluster/") and file not in _ALONE else file


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

"""How the tests are shared out where several processes run them, and what tests of all kinds share."""

import logging
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class _ByWhatTheyShare(LoadScopeScheduling):
    """All tests on a control plane go to one process, for they share it; of the others, a file's go to one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return "cluster" if file.startswith("tests/cluster/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Which process runs which tests."""
    return _ByWhatTheyShare(config, log)


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """A command that is invoked in this process sets up its log; no later test shall write with that."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)

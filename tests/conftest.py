"""How the tests are shared out where several processes run them."""

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

"""How the tests are shared out where several processes run them (`--dist=loadgroup`)."""

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests on a control plane go to one process, for they share it; of the others, a file's go to one."""
    for item in items:
        file, _, _ = item.nodeid.partition("::")
        item.add_marker(pytest.mark.xdist_group("cluster" if file.startswith("tests/cluster/") else file))

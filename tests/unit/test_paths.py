"""Paths of a node that lead to the same file are the same path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.paths import node_path, process_folder

SAME = [
    ("/run/docker.sock", "/run/docker.sock"),
    ("//run//docker.sock/", "/run/docker.sock"),
    ("/./run/./docker.sock", "/run/docker.sock"),
    ("/etc/../run/docker.sock", "/run/docker.sock"),
    ("/../../run", "/run"),
    ("/var/run/docker.sock", "/run/docker.sock"),
    ("/var/./run", "/run"),
    ("/proc/1/root/run/docker.sock", "/run/docker.sock"),
    ("/proc/self/root", "/"),
    ("/proc/thread-self/cwd/etc", "/etc"),
    ("/proc/1/task/1/root/etc", "/etc"),
    ("/proc/1/root/proc/2/root/var/run", "/run"),
    ("/proc/1/root/../etc", "/etc"),
    ("", "/"),
]
DIFFERENT = ["/var/run2", "/data/var/run", "/proc/root", "/proc/x/root", "/srv/proc/1/root", "/proc/1/environ", "/root"]


@pytest.mark.parametrize(("path", "resolved"), SAME)
def test_path_is_resolved_as_the_node_does(path: str, resolved: str) -> None:
    assert node_path(path) == resolved


@pytest.mark.parametrize("path", DIFFERENT)
def test_similar_path_is_not_changed(path: str) -> None:
    assert node_path(path) == path


@pytest.mark.parametrize(
    ("path", "reaches"),
    [
        ("/proc", True),
        ("/proc/1", True),
        ("/proc/self", True),
        ("/proc/1/task", True),
        ("/proc/1/task/7", True),
        ("/proc/1/fd", True),
        ("/proc/1/fd/3", True),
        ("/proc/1/task/1/fd", True),
        ("/proc/1/task/1/fd/3/run", True),
        ("/proc/1/task/1/maps", False),
        ("/proc/sys", False),
        ("/proc/1/environ", False),
        ("/proc2", False),
        ("/", False),
    ],
)
def test_folder_that_leads_to_the_root_of_a_process(path: str, reaches: bool) -> None:
    assert process_folder(path) is reaches


PARTS = st.lists(st.sampled_from(["", ".", "..", "proc", "1", "self", "root", "cwd", "task", "var", "run", "a"]))


@given(PARTS)
def test_resolved_path_is_absolute_and_resolves_to_itself(parts: list[str]) -> None:
    resolved = node_path("/" + "/".join(parts))
    assert resolved.startswith("/")
    assert "//" not in resolved
    assert not {".", ".."} & set(resolved.split("/"))
    assert node_path(resolved) == resolved


@given(PARTS, PARTS)
def test_detours_change_nothing(before: list[str], after: list[str]) -> None:
    start, rest = "/" + "/".join(before), "/".join(after)
    for detour in ("//", "/./", "/b/../"):
        assert node_path(f"{start}{detour}{rest}") == node_path(f"{start}/{rest}")
    assert node_path(f"/proc/1/root/{rest}") == node_path(f"/{rest}")

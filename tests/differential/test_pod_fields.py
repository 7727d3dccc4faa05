"""Every field of a pod's spec is read by something, or somebody decided why it need not be."""

import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from sekisho.controls import CONTROLS
from sekisho.pods import PodSpec
from tests.controlplane.build import GoModule, built
from tests.controlplane.progress import Progress

FOLDER: Final = Path(__file__).parent
TABLE: Final = FOLDER / "pod_fields.toml"
READ_BY_OTHERS: Final = (
    "the engine:",
    "messages,",
    "waivers",
    "matching:",
    "defaults:",
    "pod_defaults:",
    "every control",
)

ONLY_THERE: Final = {"imagePullSecrets[].name"}
"""Paths that are declared although the table says that their field is unread: nothing reads it at its other paths."""


OF_PROBES: Final = {
    *(f"HTTPGetAction.{name}" for name in ("path", "port", "scheme", "httpHeaders", "protocol")),
    *("HTTPHeader.name", "HTTPHeader.value", "TCPSocketAction.port", "ExecAction.command"),
}
"""Fields that lifecycle hooks have too, where nothing reads them: only probes are compared with each other."""


class Table(msgspec.Struct, frozen=True):
    """The table: what reads a field, and why nothing needs to."""

    read: dict[str, str]
    unread: dict[str, str]


@pytest.fixture(scope="module")
def paths() -> Mapping[str, str]:
    """The API's own fields: type and name by path."""
    module = GoModule(
        folder=FOLDER, versioned="k8s.io/api", commands={"fieldpaths": "sekisho.dev/differential/fieldpaths"}
    )
    binary = built(module, set(module.commands), Progress())["fieldpaths"]
    lines = subprocess.run((binary,), capture_output=True, check=True, text=True).stdout.splitlines()
    return dict(line.split("\t") for line in lines)


@pytest.fixture(scope="module")
def table() -> Table:
    written = tomllib.loads(TABLE.read_text())
    unread = [(field, group["because"]) for group in written["unread"] for field in group["fields"]]
    assert len(unread) == len(dict(unread)), "a field is in two groups"
    return Table(written["read"], dict(unread))


def test_every_field_of_the_api_is_in_the_table_once(paths: Mapping[str, str], table: Table) -> None:
    fields = set(paths.values())
    undecided = sorted(fields - table.read.keys() - table.unread.keys())
    assert undecided == [], "decide: what reads them, or why nothing must"
    assert sorted((table.read.keys() | table.unread.keys()) - fields) == [], "gone from the API"
    assert sorted(table.read.keys() & table.unread.keys()) == []


def test_fields_that_are_read_are_declared_and_no_others(paths: Mapping[str, str], table: Table) -> None:
    declared = set(declared_paths(PodSpec))
    undeclared = {path: field for path, field in paths.items() if field in table.read and path not in declared}
    assert {field for path, field in undeclared.items() if ".lifecycle." in path} == OF_PROBES
    assert [path for path in undeclared if ".lifecycle." not in path] == []
    # An ephemeral container has the type of any container, and fields that the API server rejects in it.
    of_its_own = [path for path in declared if not path.startswith("ephemeralContainers[].")]
    unlisted = sorted(path for path in of_its_own if paths.get(path) not in table.read)
    assert unlisted == sorted(ONLY_THERE), f"say in [read] of {TABLE.name} what reads them"


def test_what_reads_a_field_exists(table: Table) -> None:
    for field, readers in table.read.items():
        if not readers.startswith(READ_BY_OTHERS):
            names = readers.partition(":")[0].split(", ")
            assert [n for n in names if n not in CONTROLS and n not in ("waivers", "pod_defaults")] == [], field


def declared_paths(of: Any, path: str = "") -> Iterator[str]:
    """The paths that the types in `sekisho.pods` declare, written as the Go program writes them."""
    if get_origin(of) in (Union, UnionType):
        of = next(member for member in get_args(of) if member is not type(None))
    if get_origin(of) is list:
        of, path = get_args(of)[0], f"{path}[]"
    elif get_origin(of) is dict:
        of, path = get_args(of)[1], f"{path}{{}}"
    if path:
        yield path
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        hints = get_type_hints(of)
        for field in msgspec.structs.fields(of):
            yield from declared_paths(hints[field.name], f"{path}.{field.encode_name}".removeprefix("."))

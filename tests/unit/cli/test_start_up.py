"""What a small run of a command loads: each module that it does not need would make it start later."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import GOOD_POD

LISTING = """
import sys
from sekisho.cli import main
try:
    main()
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""
NEEDLESS = frozenset(
    {
        "aiohttp",
        "asyncio",
        "concurrent.futures",
        "cryptography",
        "difflib",
        "jsonschema",
        "kopf",
        "kubernetes",
        "multiprocessing",
        "rich",
        "sekisho.cli.reports.sarif",
        "sekisho.cluster",
        "sekisho.operator",
        "sekisho.registry",
        "sekisho.webhook",
        "sigstore",
        "tomllib",
        "xml",
    }
)
"""Modules for other commands, other options, large inputs or errors."""


@pytest.mark.parametrize("command", ["check", "explain", "fix"])
def test_a_command_without_a_cluster_loads_only_what_it_needs(command: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(GOOD_POD)
    arguments = [command, "--standard", "baseline", str(tmp_path / "pod.yaml")]
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split("\n"))
    assert "sekisho.admission" in loaded
    assert loaded & NEEDLESS == set()

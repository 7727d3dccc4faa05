"""kopf's watch of policies, against a server that takes the CRDs away."""

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.policies.crd import RESOURCES

PROGRAM = Path(__file__).parent / "watch_program.py"


def told(*action: str) -> list[str]:
    done = subprocess.run((sys.executable, PROGRAM, *action), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("plural", [resource.plural for resource in RESOURCES.values()])
def test_a_watch_that_dies_ends_the_work_soon(plural: str) -> None:
    started, ended, seconds = told("remove", plural)
    assert (started, ended) == ("started", "ended: kopf no longer watches every kind of policy")
    assert float(seconds) < 5


def test_a_watch_that_lives_ends_when_cancelled() -> None:
    started, ended, seconds = told("cancel", "")
    assert (started, ended) == ("started", "cancelled")
    assert float(seconds) < 5

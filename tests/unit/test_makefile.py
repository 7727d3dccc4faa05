"""What the Makefile runs explains itself, and starts nothing when it does."""

import re
import runpy
import sys
from pathlib import Path

import pytest

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text()
OWN = sorted(set(re.findall(r"-m ((?:tests|tools)\.[a-z_.]+)", MAKEFILE)) | {"tests.peers"})


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", OWN)
def test_every_module_that_make_runs_says_what_it_does(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert ended.value.code == 0
    first, *described = capsys.readouterr().out.splitlines()
    assert first.lower().startswith("usage: ")
    assert any(line.strip() for line in described)

"""`sekisho completion`: what it writes for each shell, and that bash completes with it."""

import os
import subprocess
import sys
from shutil import which

import pytest

from tests.unit.cli.sekisho_command import sekisho


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written_for_each_shell(shell: str) -> None:
    script = sekisho("completion", shell).stdout
    assert f"_SEKISHO_COMPLETE={shell}_complete" in script
    assert "sekisho" in script
    if path := which(shell):
        subprocess.run([path, "-n"], input=script, text=True, check=True)


def test_bash_completes_commands_and_options() -> None:
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'sekisho'\nfrom sekisho.cli import main; main()"]
    for words, expected in (("sekisho che", "plain,check"), ("sekisho check --fail", "plain,--fail-on")):
        environment = {"_SEKISHO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        assert expected in done.stdout.splitlines(), done.stderr

"""The examples of docs/cli.md. `python -m tests.unit.cli.cli_page` writes below each what it gives now."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/cli.md"
_EXAMPLES = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def refreshed(page: str) -> str:
    """The page with the output of each command as it is now."""
    return _EXAMPLES.sub(lambda example: "".join(map(_run, re.findall(r"^\$ (.*)\n", example[0], re.MULTILINE))), page)


def _run(command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = ["bash", "-c", command]
    done = subprocess.run(
        shell, cwd=ROOT, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return f"$ {command}\n{done.stdout}"


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text()))

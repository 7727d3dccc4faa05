"""Resolves the dependencies for all supported Python versions and pins them with hashes in requirements/*.txt."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))
RESOLVE = "--universal --python-version 3.11 --upgrade --quiet"
PRINT = "--generate-hashes --no-annotate --no-header --no-emit-index-url"
LOCKS = {
    "runtime": ["--extra", "keyless", "pyproject.toml"],
    "dev": ["--extra", "dev", "--constraint", "requirements/runtime.txt", "pyproject.toml"],
    "build": ["--constraint", "requirements/dev.txt", "requirements/build.in"],
}

for name, sources in LOCKS.items():
    lock = f"requirements/{name}.txt"
    command = [UV, "pip", "compile", *RESOLVE.split(), *PRINT.split(), *sources, "--output-file", lock]
    subprocess.run(command, cwd=ROOT, check=True)

"""Resolves the dependencies for all supported Python versions and pins them with hashes in requirements/*.txt."""

import re
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
UV = str(Path(sys.executable).with_name("uv"))
RESOLVE = "--universal --python-version 3.11 --upgrade --quiet"
PRINT = "--no-strip-extras --generate-hashes --no-annotate --no-header --no-emit-index-url"
LOCKS = {
    "runtime": ["--extra", "keyless", "pyproject.toml"],
    "dev": ["--extra", "dev", "--constraint", "requirements/runtime.txt", "pyproject.toml"],
    "build": ["--constraint", "requirements/dev.txt", "requirements/build.in"],
}

EXTRAS = re.compile(r"^([a-z0-9-]+)\[[a-z,-]+\](==(?:.*\\\n)+.*\n)", re.MULTILINE)


def with_plain_names(lock: str) -> str:
    """The lock with a second entry, without the extras, for each package with extras: pip needs a pin for both."""
    return EXTRAS.sub(lambda entry: f"{entry[1]}{entry[2]}{entry[0]}", lock)


@click.command()
def main() -> None:
    """Resolve all dependencies again, and write requirements/*.txt."""
    for name, sources in LOCKS.items():
        lock = f"requirements/{name}.txt"
        command = [UV, "pip", "compile", *RESOLVE.split(), *PRINT.split(), *sources, "--output-file", lock]
        subprocess.run(command, cwd=ROOT, check=True)
        path = ROOT / lock
        path.write_text(with_plain_names(path.read_text()))


if __name__ == "__main__":
    main()

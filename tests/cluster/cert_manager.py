"""The definitions of cert-manager's kinds, out of its Go module; cert-manager itself needs nodes to run on."""

import json
import subprocess
from pathlib import Path

from tests.controlplane.cache import cache_folder
from tests.controlplane.progress import Progress
from tests.controlplane.toolchain import go_command

MODULE = "github.com/cert-manager/cert-manager"
VERSION = "v1.19.1"
SUM = "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY="
_GO = "1.21"
_KINDS = ("certificates", "issuers")


def definitions() -> list[Path]:
    """The files that define Certificate and Issuer, fetched where Go's module cache has them not."""
    go = go_command(_GO, cache_folder(), Progress())
    done = subprocess.run(
        (go, "mod", "download", "-json", f"{MODULE}@{VERSION}"),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    module = json.loads(done.stdout)
    assert module["Sum"] == SUM
    return [Path(module["Dir"], "deploy", "crds", f"cert-manager.io_{kind}.yaml") for kind in _KINDS]

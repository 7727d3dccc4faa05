"""The command `sekisho`, run as users run it, and small inputs for it."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sekisho.cli import main
from sekisho.documents import write_document

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "tests/manifests"
RESTRICTED = ROOT / "policies/restricted/policy.yaml"

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: app, image: trusted.io/x%s}]\n"
BAD_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {hostPID: true}\n"
GOOD_POD = BAD_POD.replace("true", "false").replace("bad", "good")


def sekisho(*args: str | Path, text: str | bytes | None = None) -> Result:
    """Run a command; `text` is its standard input."""
    result = CliRunner().invoke(main, [*map(str, args)], input=text)
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    return result


def policy_file(folder: Path, name: str = "p", **spec: Any) -> Path:
    """A file with one policy."""
    path = folder / f"policy-{name}.yaml"
    head = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": name}}
    path.write_text(write_document(head | {"spec": spec}))
    return path

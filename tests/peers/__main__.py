"""`python -m tests.peers KYVERNO GATEKEEPER KUBEWARDEN`: tries the rows of the tables on their authors' own examples.

The arguments are checkouts of kyverno/policies, open-policy-agent/gatekeeper-library and kubewarden/policies at the
commits that the tables name. What agrees is counted and written into the tables; what does not agree is printed. The
run fails for a policy that is in no row. Nothing of theirs is kept.
"""

import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml

import sekisho
from sekisho.documents import write_document
from sekisho.manifests import Checker, Namespaces, Source
from sekisho.manifests.fixes import fix_source
from tests.peers.cases import Case, gatekeeper_cases, kyverno_cases, samples_without_row
from tests.peers.kubewarden import kubewarden_cases, settings_without_row

TABLES = Path(__file__).parent
CHECKOUT = click.Path(exists=True, file_okay=False, path_type=Path)
_KYVERNO_FOLDERS = ("best-practices", "pod-security", "psp-migration")
POLICY_FILES = {
    "kyverno": tuple(f"{folder}/**/artifacthub-pkg.yml" for folder in _KYVERNO_FOLDERS),
    "gatekeeper": ("library/**/suite.yaml",),
    "kubewarden": ("policies/*/metadata.yml",),
}
"""One file of each policy, in the folder that is its name."""
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"

Cases = Callable[[Path, dict[str, Any]], Iterator[Case]]


def policies_of(row: dict[str, Any]) -> sekisho.PolicySet:
    """The policy with a row's `spec`, and the waiver in its `waiver`."""
    objects = [_object("ClusterPodPolicy", yaml.safe_load(row["spec"]))]
    if "waiver" in row:
        required = {"policies": ["tried"], "expires": "2999-01-01T00:00:00Z", "reason": "tried"}
        objects.append(_object("PolicyWaiver", required | yaml.safe_load(row["waiver"])))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "policies.yaml")
        file.write_text(yaml.safe_dump_all(objects))
        return sekisho.load_policies(file)


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": "tried"}, "spec": spec}


def trials(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row, and one like it for each of the settings and specs in its `also`."""
    return [row, *(row | {"settings": settings, "spec": spec} for settings, spec in row.get("also", ()))]


def agreement(row: dict[str, Any], cases: Iterable[Case]) -> tuple[int, int]:
    """How many of the cases agree, and of how many; prints the others. Objects without pods do not count."""
    policies = policies_of(row)
    agree = total = 0
    for case in cases:
        problem = _difference(case, _as_pod(case.document) if row.get("as_pod") else case.document, policies)
        if problem is not None:
            agree, total = agree + (not problem), total + 1
        if problem:
            name = case.document["metadata"].get("name")
            settings = f" with {row['settings']}" if "settings" in row else ""
            print(f"{row['name']}{settings}: {case.file}: {case.document['kind']} {name}: {problem}")
    return agree, total


def _difference(case: Case, document: dict[str, Any], policies: sekisho.PolicySet) -> str | None:
    """What differs between our verdict and theirs, empty if nothing does; None for an object without pods."""
    try:
        checked = sekisho.check(document, policies)
    except sekisho.ManifestError as error:
        return f"we reject: {error}"[:200] if case.admitted else ""
    if not checked:
        return None
    if any(one.is_denied for one in checked) == case.admitted:
        return "we deny" if case.admitted else "we admit"
    if case.mutated is not None and _with_defaults(document, policies) != _with_apparmor_fields(case.mutated):
        return "we set other fields"
    return ""


def _as_pod(document: dict[str, Any]) -> dict[str, Any]:
    """A pod with the labels and annotations of another object."""
    spec = {"containers": [{"name": "tried", "image": "registry.example.com/tried:1.0"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": spec}


def _with_defaults(document: dict[str, Any], policies: sekisho.PolicySet) -> Any:
    source = Source("tried", 0, write_document(document))
    return yaml.safe_load(fix_source(source, Checker(policies, Namespaces({}), "default"), apply_changes=False).text)


def _with_apparmor_fields(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod with fields in place of AppArmor's annotations, which Kubernetes has replaced by them."""
    metadata = {key: value for key, value in pod["metadata"].items() if key != "annotations"}
    annotations = dict(pod["metadata"].get("annotations", {}))
    containers = []
    for container in pod["spec"]["containers"]:
        if annotations.pop(_APPARMOR + container["name"], None) == "runtime/default":
            context = container.get("securityContext", {}) | {"appArmorProfile": {"type": "RuntimeDefault"}}
            container = container | {"securityContext": context}
        containers.append(container)
    if annotations:
        metadata["annotations"] = annotations
    return pod | {"metadata": metadata, "spec": pod["spec"] | {"containers": containers}}


def try_table(name: str, checkout: Path, cases: Cases) -> None:
    """Try every row with a spec, and write what agrees into the table.

    Raises ClickException for a policy without a row, and for a row without a policy.
    """
    table = TABLES / f"{name}.toml"
    text = table.read_text()
    rows = tomllib.loads(text)["row"]
    _require_rows(name, checkout, tomllib.loads(text))
    blocks = text.split("\n[[row]]\n")
    for index, row in enumerate(rows, start=1):
        if "spec" in row and "untried" not in row:
            counts = [agreement(trial, cases(checkout, trial)) for trial in trials(row)]
            agree, total = (sum(column) for column in zip(*counts, strict=True))
            kept = re.sub(r'^agree = ".*"\n', "", blocks[index].rstrip("\n") + "\n", flags=re.MULTILINE)
            blocks[index] = f'{kept}agree = "{agree} of {total}"\n'
    table.write_text("\n[[row]]\n".join(blocks))


def _require_rows(name: str, checkout: Path, table: dict[str, Any]) -> None:
    named = {row["name"] for row in table["row"]} | set(table.get("others", ()))
    files = [file for pattern in POLICY_FILES[name] for file in checkout.glob(pattern)]
    folders = {str(file.parent.relative_to(checkout)) for file in files if ".chainsaw-test" not in file.parts}
    missing = sorted(folders ^ named)
    if name == "gatekeeper" and not missing:
        missing = samples_without_row(checkout, table["row"])
    if name == "kubewarden" and not missing:
        missing = settings_without_row(checkout, table["row"])
    if missing:
        raise click.ClickException(f"in {name}.toml or in {checkout}, and not in both:\n" + "\n".join(missing))


@click.command()
@click.argument("kyverno", type=CHECKOUT)
@click.argument("gatekeeper", type=CHECKOUT)
@click.argument("kubewarden", type=CHECKOUT)
def main(kyverno: Path, gatekeeper: Path, kubewarden: Path) -> None:
    """Try every row with a spec on its author's examples, and write what agrees into the tables."""
    try_table("kyverno", kyverno, kyverno_cases)
    try_table("gatekeeper", gatekeeper, gatekeeper_cases)
    try_table("kubewarden", kubewarden, kubewarden_cases)


if __name__ == "__main__":
    main()

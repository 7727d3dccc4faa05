"""`python -m tests.peers KYVERNO GATEKEEPER`: tries the rows of both tables on their authors' good and bad resources.

The arguments are checkouts of kyverno/policies and open-policy-agent/gatekeeper-library at the commits that the tables
name. What agrees is counted and written into the tables; what does not agree is printed. Nothing of theirs is kept.
"""

import re
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

import sekisho

TABLES = Path(__file__).parent
CHECKOUT = click.Path(exists=True, file_okay=False, path_type=Path)


def kyverno_cases(checkout: Path, row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The resources of a policy's test, each with its place and whether Kyverno admits it."""
    file = checkout / row["name"] / ".chainsaw-test/chainsaw-test.yaml"
    if not file.exists():
        yield from _cases_of_the_command_line(checkout / row["name"] / ".kyverno-test")
        return
    for test in yaml.safe_load_all(file.read_text()):
        tries = [attempt for step in test["spec"]["steps"] for attempt in step["try"]]
        for applied in [attempt.get("apply") or attempt.get("create") or {} for attempt in tries]:
            manifest = (file.parent / applied.get("file", ".")).resolve()
            if manifest.is_file() and manifest.parent == file.parent.resolve():
                admitted = "!= null" not in str(applied.get("expect"))
                yield from ((manifest.name, document, admitted) for document in documents(manifest))


def _cases_of_the_command_line(folder: Path) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The same from a test of Kyverno's command line, which names resources and results."""
    test = yaml.safe_load((folder / "kyverno-test.yaml").read_text())
    admitted = {name: result["result"] == "pass" for result in test["results"] for name in result["resources"]}
    for manifest in test["resources"]:
        for document in documents(folder / manifest):
            yield manifest, document, admitted[document["metadata"]["name"]]


def gatekeeper_cases(checkout: Path, row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The same for a template of Gatekeeper's library; with `sample`, for one sample of it only."""
    folder = checkout / row["name"]
    for test in yaml.safe_load((folder / "suite.yaml").read_text())["tests"]:
        if re.fullmatch(f"samples/{row.get('sample', '[^/]*')}/constraint.yaml", test["constraint"]):
            for case in test["cases"]:
                admitted = case["assertions"][0].get("violations") in (False, "no", 0)
                yield from ((case["object"], document, admitted) for document in documents(folder / case["object"]))


def documents(file: Path) -> list[dict[str, Any]]:
    """The objects in a file; not those of a request to update, which is no manifest."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document and "request" not in document]


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


def agreement(row: dict[str, Any], cases: Iterator[tuple[str, dict[str, Any], bool]]) -> str:
    """How many of the cases agree, such as `7 of 8`; prints the others."""
    policies = policies_of(row)
    agree = total = 0
    for place, document, admitted in cases:
        try:
            same = any(checked.is_denied for checked in sekisho.check(document, policies)) != admitted
            problem = "we deny" if admitted else "we admit"
        except sekisho.ManifestError as error:
            same, problem = not admitted, f"we reject: {error}"[:200]
        agree, total = agree + same, total + 1
        if not same:
            print(f"{row['name']}: {place}: {document['kind']} {document['metadata'].get('name')}: {problem}")
    return f"{agree} of {total}"


@click.command()
@click.argument("kyverno", type=CHECKOUT)
@click.argument("gatekeeper", type=CHECKOUT)
def main(kyverno: Path, gatekeeper: Path) -> None:
    """Try every row with a spec on its author's resources, and write what agrees into the tables."""
    for name, cases, checkout in (("kyverno", kyverno_cases, kyverno), ("gatekeeper", gatekeeper_cases, gatekeeper)):
        table = TABLES / f"{name}.toml"
        text = table.read_text()
        blocks = text.split("\n[[row]]\n")
        for place, row in enumerate(tomllib.loads(text)["row"], start=1):
            if not (checkout / row["name"]).is_dir():
                raise click.ClickException(f"{checkout} has no folder {row['name']}")
            if "spec" in row:
                agree = agreement(row, cases(checkout, row))
                kept = re.sub(r'^agree = ".*"\n', "", blocks[place].rstrip("\n") + "\n", flags=re.MULTILINE)
                blocks[place] = f'{kept}agree = "{agree}"\n'
        table.write_text("\n[[row]]\n".join(blocks))


if __name__ == "__main__":
    main()

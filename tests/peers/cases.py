"""The examples of Kyverno's and Gatekeeper's policies, with what their authors expect of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Case:
    """An object, the file that it is in, and whether the other engine admits it.

    mutated: what the other engine makes of it; None if its policy changes nothing.
    """

    file: str
    document: dict[str, Any]
    admitted: bool
    mutated: dict[str, Any] | None = None


def kyverno_cases(checkout: Path, row: dict[str, Any]) -> Iterator[Case]:
    """The resources of a policy's test; those that it mutates are in a test of Kyverno's command line."""
    folder = checkout / row["name"]
    file = folder / ".chainsaw-test/chainsaw-test.yaml"
    if not file.exists() or "defaults" in yaml.safe_load(row["spec"]):
        yield from _cases_of_the_command_line(folder / ".kyverno-test")
        return
    for test in yaml.safe_load_all(file.read_text()):
        tries = [attempt for step in test["spec"]["steps"] for attempt in step["try"]]
        for applied in [attempt.get("apply") or attempt.get("create") or {} for attempt in tries]:
            manifest = (file.parent / applied.get("file", ".")).resolve()
            if manifest.is_file() and manifest.parent == file.parent.resolve():
                admitted = "!= null" not in str(applied.get("expect"))
                yield from (Case(manifest.name, document, admitted) for document in documents(manifest))


def _cases_of_the_command_line(folder: Path) -> Iterator[Case]:
    test = yaml.safe_load((folder / "kyverno-test.yaml").read_text())
    results = {name: result for result in test["results"] for name in result["resources"]}
    for manifest in test["resources"]:
        for document in documents(folder / manifest):
            result = results[document["metadata"]["name"]]
            mutated = documents(folder / result["patchedResources"])[0] if "patchedResources" in result else None
            yield Case(manifest, document, result["result"] != "fail", mutated)


def gatekeeper_cases(checkout: Path, row: dict[str, Any]) -> Iterator[Case]:
    """The objects of a template's suite; with `sample`, those of one sample, or of one constraint of a sample."""
    folder = checkout / row["name"]
    for test in _suite(folder):
        if _is_of(test, row):
            for case in test["cases"]:
                admitted = case["assertions"][0].get("violations") in (False, "no", 0)
                yield from (Case(case["object"], document, admitted) for document in documents(folder / case["object"]))


def samples_without_row(checkout: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The tests in suites that no row is about, each with its template."""
    missing = []
    for name in sorted({row["name"] for row in rows}):
        ours = [row for row in rows if row["name"] == name]
        untried = [test["name"] for test in _suite(checkout / name) if not any(_is_of(test, row) for row in ours)]
        missing += [f"{name}: {test}" for test in untried]
    return missing


def _suite(folder: Path) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load((folder / "suite.yaml").read_text())["tests"]
    return tests


def _is_of(test: dict[str, Any], row: dict[str, Any]) -> bool:
    constraint = test["constraint"].removeprefix("samples/").removesuffix("/constraint.yaml")
    if "sample" in row:
        return bool(constraint == row["sample"])
    return "because" in row or not constraint.endswith(".yaml")


def documents(file: Path) -> list[dict[str, Any]]:
    """The objects in a file; not those of a request to update, which is not a manifest."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document and "request" not in document]

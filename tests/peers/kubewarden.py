"""The examples of Kubewarden's policies: scripts that give kwctl a request and settings, and expect a verdict."""

import itertools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.peers.cases import Case


def kubewarden_cases(checkout: Path, row: dict[str, Any]) -> Iterator[Case]:
    """The objects in the requests of a policy's tests that use the row's settings, or the row's own `examples`."""
    if "examples" in row:
        for index, example in enumerate(yaml.safe_load(row["examples"])):
            yield Case(f"examples[{index}]", _pod(example["spec"]), example["admitted"])
        return
    settings = yaml.safe_load(row.get("settings", "{}"))
    yield from (case for used, case in _tests(checkout / row["name"]) if used == settings)


def settings_without_row(checkout: Path, rows: list[dict[str, Any]]) -> list[str]:
    """The settings that tests use and that no row has, each with its policy; a row without settings may say why."""
    missing = []
    for name in sorted({row["name"] for row in rows}):
        ours = [row for row in rows if row["name"] == name]
        if not any("settings" not in row and ("because" in row or "untried" in row) for row in ours):
            known = [settings for row in ours for settings in _settings_of(row)]
            missing += [f"{name}: {settings}" for settings, _ in _tests(checkout / name) if settings not in known]
    return missing


def _settings_of(row: dict[str, Any]) -> list[Any]:
    return [yaml.safe_load(text) for text in (row.get("settings", "{}"), *(also[0] for also in row.get("also", ())))]


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    """A pod whose containers get names and an image."""
    spec.setdefault("containers", [{}])
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind, ())):
            container |= {"name": f"{kind.lower()}-{index}", "image": "registry.example.com/tried:1.0"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}


def _tests(folder: Path) -> Iterator[tuple[Any, Case]]:
    """Settings and case of each call of kwctl after which the script looks for `allowed`; others are bad settings."""
    words = shlex.split((folder / "e2e.bats").read_text().replace("\\\n", " "), comments=True)
    starts = [index for index, word in enumerate(words) if word == "run" and words[index - 1] == "kwctl"]
    for start, end in itertools.pairwise([*starts, len(words)]):
        verdicts = [verdict for word in words[start:end] if (verdict := _verdict(word)) is not None]
        if verdicts:
            options = dict(zip(words[start:end], words[start + 1 : end], strict=False))
            file = options.get("--request-path") or options["-r"]
            yield _settings(folder, options), Case(file, _object(folder / file), verdicts[0])


def _verdict(word: str) -> bool | None:
    """Whether a pattern such as `.*"allowed":true.*` expects the request to be admitted; None for other words."""
    if "allowed" not in word or word.startswith("{"):
        return None
    return True if "true" in word else False if "false" in word else None


def _settings(folder: Path, options: dict[str, str]) -> Any:
    text = options.get("--settings-json", "{}")
    if "--settings-path" in options:
        text = (folder / options["--settings-path"]).read_text()
    return json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)


def _object(file: Path) -> dict[str, Any]:
    """The object of a request, with the kind that the request says."""
    request = json.loads(file.read_text())
    request = request.get("request", request)
    kind = request["kind"]
    group = f"{kind['group']}/" if kind.get("group") else ""
    return {"apiVersion": f"{group}{kind['version']}", "kind": kind["kind"], **request["object"]}

"""The chart as Helm renders it."""

import os
import re
import subprocess
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.controlplane import build
from tests.controlplane.kubectl import SHORT_LIVED
from tests.controlplane.progress import Progress

REPOSITORY = Path(__file__).parents[1]
CHART = REPOSITORY / "charts" / "sekisho"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
IMAGE = "image.repository=registry.example/sekisho"
OUTSIDE = "webhook.url=https://webhook.example:9443"
CONSTRAINT = {"topologyKey": "example.com/rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
PLATFORM_PAGES = sorted((REPOSITORY / "docs" / "platforms").glob("*.md"))
_YAML_BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

Object = dict[str, Any]


@cache
def helm_binary() -> Path:
    return build.helm_binary(Progress())


@cache
def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | SHORT_LIVED
    return subprocess.run([helm_binary(), *arguments], env=environment, capture_output=True, text=True)


def settings(values: tuple[str, ...]) -> list[str]:
    """`a.b=1` and `a.b:={"c": 1}` (JSON) as Helm's options."""
    return [
        option
        for value in values
        for option in (("--set-json", value.replace(":=", "=", 1)) if ":=" in value else ("--set", value))
    ]


def template(*values: str, release: str = "sekisho", chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    return helm("template", release, str(chart), "--namespace", "sekisho-system", "--skip-tests", *settings(values))


def render(*values: str, release: str = "sekisho", chart: Path = CHART) -> list[Object]:
    """Every object of a release, with an image set."""
    finished = template(IMAGE, *values, release=release, chart=chart)
    assert finished.returncode == 0, finished.stderr
    return manifests(finished.stdout)


def deployments(*values: str) -> dict[str, Object]:
    """The pod specs of the Deployments by name."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in render(*values)
        if manifest["kind"] == "Deployment"
    }


def manifests(text: str) -> list[Object]:
    """The documents of a YAML text that are not empty. Each call returns new objects, which a test may change."""
    documents = (msgspec.msgpack.decode(_parsed(document)) for document in f"\n{text}".split("\n---\n"))
    return [manifest for manifest in documents if manifest]


@cache
def _parsed(document: str) -> bytes:
    """Read by libyaml, which takes a tenth of the time, and once: most documents are the same with other values."""
    return msgspec.msgpack.encode(yaml.load(document, yaml.CSafeLoader))


def identity(manifest: Object) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def identities(objects: list[Object]) -> set[str]:
    return {identity(manifest) for manifest in objects}


def pick(objects: list[Object], wanted: str) -> Object:
    (manifest,) = (manifest for manifest in objects if identity(manifest) == wanted)
    return manifest


def values_and_objects(page: Path) -> tuple[str, list[str]]:
    """The block of the chart's values on the page of a platform, and the blocks of objects."""
    blocks = [textwrap.dedent(match[1]) for match in _YAML_BLOCK.finditer(page.read_text())]
    (values,) = (block for block in blocks if not block.startswith("apiVersion: "))
    return values, [block for block in blocks if block != values]

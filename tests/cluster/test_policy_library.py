"""The library in a real cluster: each policy and waiver admits its good pods and denies its bad ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.controlplane.kubectl import Kubectl
from tests.policy_library import ENTRIES, Entry, documents

SOON = "20s"  # less than kubectl's own deadline in tests
Object = dict[str, Any]


def slug(entry: Entry) -> str:
    return f"library-{entry.name.replace('/', '-')}"


def objects(entry: Entry) -> list[Object]:
    """The entry's policy and waivers under names of their own, for its own namespaces only, and its catalog."""
    loaded = [document for text in documents(entry) for document in yaml.safe_load_all(text)]
    for document in loaded:
        spec = document["spec"]
        if document["kind"] == "PolicyWaiver":
            spec["policies"] = [slug(entry)]
            spec["match"]["namespaces"] = [f"{slug(entry)}-{name}" for name in spec["match"]["namespaces"]]
            document["metadata"]["name"] = f"{slug(entry)}-{document['metadata']['name']}"
        elif document["kind"] != "ImageCatalog":
            spec["match"] = {"namespaces": [f"{slug(entry)}-*"]}
            document["metadata"]["name"] = slug(entry)
    return loaded


def moved(entry: Entry, file: Path) -> tuple[Object, Object]:
    """The pod in a file and its namespace, labelled as in the file; in a namespace of the entry's own."""
    loaded = list(yaml.safe_load_all(file.read_text()))
    (pod,) = (document for document in loaded if document["kind"] == "Pod")
    name = f"{slug(entry)}-{pod['metadata'].get('namespace', 'default')}"
    pod["metadata"]["namespace"] = name
    labels = [document["metadata"].get("labels", {}) for document in loaded if document["kind"] == "Namespace"]
    metadata = {"name": name} | ({"labels": labels[0]} if labels else {})
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, pod


def applied(kubectl: Kubectl, manifests: list[Object]) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": manifests}
    kubectl.check("apply", "--server-side", "-f", "-", input=json.dumps(items))


@pytest.fixture(scope="module")
def library(cluster: Cluster) -> Iterator[Kubectl]:
    """Everything in the library, enforced."""
    kubectl = cluster.plane.kubectl
    cluster.sekisho.repair()
    namespaces = {
        namespace["metadata"]["name"]: namespace
        for entry in ENTRIES
        for namespace, _ in (moved(entry, file) for file in entry.pods)
    }
    applied(kubectl, list(namespaces.values()))
    entries = [manifest for entry in ENTRIES for manifest in objects(entry)]
    names: dict[str, list[str]] = {}
    for kind, condition in (("ImageCatalog", "Enforced"), ("ClusterPodPolicy", "Enforced"), ("PolicyWaiver", "Active")):
        manifests = [manifest for manifest in entries if manifest["kind"] == kind]
        applied(kubectl, manifests)
        names[kind] = [f"{kind.lower()}/{manifest['metadata']['name']}" for manifest in manifests]
        kubectl.check("wait", f"--for=condition={condition}", *names[kind], f"--timeout={SOON}")
    yield kubectl
    kubectl("delete", *(name for kind in names.values() for name in kind), "--wait=false")
    kubectl("delete", "namespace", *namespaces, "--wait=false")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_good_pods_are_admitted_and_bad_ones_are_denied(entry: Entry, library: Kubectl) -> None:
    for file in entry.pods:
        _, pod = moved(entry, file)
        ephemeral = pod["spec"].pop("ephemeralContainers", None)
        answer = library("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
        if file.parent.name == "good" or ephemeral:  # a pod cannot be created with ephemeral containers
            assert answer.returncode == 0, (file, answer.stderr)
        else:
            assert answer.returncode == 1, file
            assert "sekisho.dev" in answer.stderr, (file, answer.stderr)
            assert "Fix: " in answer.stderr, (file, answer.stderr)

"""Catalogs of certified images on the real API server: a change and the clock decide at once, without a registry."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod

SOON = 30.0
A, B = (f"sha256:{letter * 64}" for letter in "ab")
PAY, LEDGER = f"ghcr.io/acme/pay@{A}", f"ghcr.io/acme/ledger@{B}"


def entry(image: str, **fields: Any) -> dict[str, Any]:
    repository, _, digest = image.partition("@")
    return {"repository": repository, "digest": digest} | fields


def from_now(**duration: float) -> str:
    return f"{datetime.now(UTC) + timedelta(**duration):%Y-%m-%dT%H:%M:%SZ}"


def apply(kubectl: Kubectl, kind: str, spec: dict[str, Any]) -> None:
    """Apply an object with the name of the test's namespace, and wait until every replica judges by it."""
    name = str(kubectl.namespace)
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    kubectl.check("apply", "-f", "-", input=json.dumps(body))
    generation = kubectl.check("get", kind.lower(), name, "-o", "jsonpath={.metadata.generation}")
    path = "jsonpath={.status.observedGeneration} {.status.conditions[?(@.type=='Enforced')].status}"
    wait_until(
        lambda: kubectl.check("get", kind.lower(), name, "-o", path) == f"{generation} True", SOON, "it is enforced"
    )


def certify(kubectl: Kubectl, *entries: dict[str, Any]) -> None:
    apply(kubectl, "ImageCatalog", {"owner": "security", "entries": list(entries)})


def dry_run(kubectl: Kubectl, image: str) -> Completed:
    pod = restricted_pod(container("app", image=image)) | {"apiVersion": "v1", "kind": "Pod"}
    return kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod | {"metadata": {"name": "app"}}))


@pytest.fixture
def certified(kubectl: Kubectl, namespace: str) -> Iterator[Kubectl]:
    """A namespace with a policy and a catalog of its name."""
    certify(kubectl, entry(PAY))
    images = {"catalogs": {"anyOf": [namespace]}}
    apply(kubectl, "ClusterPodPolicy", {"match": {"namespaces": [namespace]}, "controls": {"images": images}})
    yield kubectl
    kubectl("delete", f"clusterpodpolicy/{namespace}", f"imagecatalog/{namespace}", "--wait=false")


def test_only_certified_images_run(certified: Kubectl, namespace: str) -> None:
    admitted = dry_run(certified, PAY)
    assert admitted.returncode == 0, admitted.stderr
    assert (
        f'ImageCatalog "{namespace}" certifies other digests of ghcr.io/acme/pay'
        in dry_run(certified, PAY.replace(A, B)).stderr
    )
    assert "has no entry for ghcr.io/acme/ledger" in dry_run(certified, LEDGER).stderr
    assert "which has a mutable tag" in dry_run(certified, "ghcr.io/acme/pay:1").stderr


def test_change_of_the_catalog_and_the_clock_decide(certified: Kubectl, namespace: str) -> None:
    certify(certified, entry(PAY, withdrawn={"reason": "CVE-2026-1234"}), entry(LEDGER))
    assert f'was withdrawn in ImageCatalog "{namespace}": CVE-2026-1234' in dry_run(certified, PAY).stderr
    assert dry_run(certified, LEDGER).returncode == 0
    end = from_now(seconds=3)
    certify(certified, entry(PAY, validUntil=end))
    wait_until(lambda: f"until {end}" in dry_run(certified, PAY).stderr, SOON, "the entry ends by the clock")
    certify(certified, entry(PAY, validUntil=from_now(days=1)))
    assert dry_run(certified, PAY).returncode == 0
    certified.check("delete", "imagecatalog", namespace)
    missing = f"there is no ImageCatalog {namespace}"
    wait_until(lambda: missing in dry_run(certified, PAY).stderr, SOON, "a missing catalog denies")


def test_status_counts_and_events_warn_once_also_after_a_restart(
    cluster: Cluster, certified: Kubectl, namespace: str
) -> None:
    ends = [from_now(days=days) for days in (-1, 10, 2, 90)]
    entries = [entry(f"ghcr.io/acme/{number}@{A}", validUntil=end) for number, end in enumerate(ends)]
    certify(certified, *entries, entry(LEDGER, withdrawn={"reason": "x"}))
    row = certified.check("get", "imagecatalog", namespace, "--no-headers").split()
    assert row[1:7] == ["security", "True", "True", "5", "1", "1"]
    assert row[7] == ends[2]

    def notes() -> list[str]:
        events = certified.check("get", "events.events.k8s.io", "--namespace=default", "-o", "json")
        about = [item for item in json.loads(events)["items"] if item["regarding"]["name"] == namespace]
        assert {item["reason"] for item in about} <= {"CatalogEntriesEnding"}
        return sorted(item["note"] for item in about)

    assert [note.split(":")[0] for note in notes()] == ["1 entry ends within 14 days", "1 entry ends within 3 days"]
    before = notes()
    cluster.sekisho.controller.restart()
    certify(certified, *entries, entry(LEDGER))  # its status is written by the new process
    assert notes() == before

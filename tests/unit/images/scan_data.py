"""Scans as cosign attaches them: reports after Trivy's and Grype's own, made small, in cosign's predicate."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sekisho.images.evidence import Candidate, ImageFacts
from sekisho.images.scans import SCAN_PREDICATE, Scan
from sekisho.images.vex import VEX_PREDICATES
from sekisho.timestamps import rfc3339
from tests.unit.images.signing import IMAGE, NOW, P256, REPOSITORY, PrivateKey, bundle, candidate

HOUR = timedelta(hours=1)


def trivy_row(
    name: str = "CVE-2024-0001",
    severity: str = "CRITICAL",
    fixed: str = "3.0.13",
    package: str = "openssl",
    **rest: Any,
) -> dict[str, Any]:
    """A vulnerability as Trivy reports it; without a fix for an empty version."""
    row = {"VulnerabilityID": name, "PkgName": package, "InstalledVersion": "3.0.11", "Severity": severity}
    return row | ({"FixedVersion": fixed, "Status": "fixed"} if fixed else {"Status": "affected"}) | rest


def trivy(*rows: Mapping[str, Any], digest: str = IMAGE, **rest: Any) -> dict[str, Any]:
    """A report of Trivy."""
    result = {"Target": "pay (debian 12.5)", "Class": "os-pkgs", "Type": "debian", "Packages": [{"Name": "openssl"}]}
    return {
        "SchemaVersion": 2,
        "ArtifactName": f"{REPOSITORY}@{digest}",
        "ArtifactType": "container_image",
        "Metadata": {"OS": {"Family": "debian", "Name": "12.5"}, "RepoDigests": [f"{REPOSITORY}@{digest}"]},
        "Results": [result | ({"Vulnerabilities": list(rows)} if rows else {})],
    } | rest


def suppressed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What Trivy writes with --show-suppressed of a vulnerability that .trivyignore names."""
    return {"Type": "vulnerability", "Status": "ignored", "Statement": "", "Source": ".trivyignore", "Finding": row}


def grype_match(
    name: str = "CVE-2024-0001",
    severity: str = "Critical",
    fixed: Iterable[str] = ("3.0.13",),
    related: Iterable[str] = (),
) -> dict[str, Any]:
    """A match as Grype reports it; without a fix for no versions."""
    versions = list(fixed)
    fix = {"versions": versions, "state": "fixed" if versions else "not-fixed"}
    return {
        "vulnerability": {"id": name, "severity": severity, "fix": fix},
        "relatedVulnerabilities": [{"id": one} for one in related],
        "artifact": {"name": "openssl", "version": "3.0.11", "type": "deb"},
    }


def grype(*matches: Mapping[str, Any], digest: str = IMAGE, **rest: Any) -> dict[str, Any]:
    """A report of Grype."""
    target = {"manifestDigest": digest, "repoDigests": [f"{REPOSITORY}@{digest}"]}
    return {
        "matches": list(matches),
        "source": {"type": "image", "target": target},
        "descriptor": {"name": "grype", "version": "0.87.0"},
    } | rest


def scan_predicate(report: Any, finished: datetime | str = NOW - HOUR) -> dict[str, Any]:
    """cosign's predicate around a report."""
    time = finished if isinstance(finished, str) else rfc3339(finished)
    return {
        "invocation": {"parameters": None, "uri": "", "event_id": "", "builder.id": ""},
        "scanner": {"uri": "", "version": "", "db": {"uri": "", "version": ""}, "result": report},
        "metadata": {"scanStartedOn": time, "scanFinishedOn": time},
    }


def scan_statement(predicate: Any, digest: str = IMAGE, predicate_type: str = SCAN_PREDICATE) -> bytes:
    """The statement that `cosign attest --type vuln` signs."""
    algorithm, _, value = digest.partition(":")
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "subject": [{"name": REPOSITORY, "digest": {algorithm: value}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    ).encode()


def scanned_by(
    key: PrivateKey = P256, report: Any = None, finished: datetime | str = NOW - HOUR, digest: str = IMAGE
) -> Candidate:
    """A scan that somebody has attached; of Trivy without findings for None."""
    predicate = scan_predicate(trivy(digest=digest) if report is None else report, finished)
    return candidate(bundle(key, scan_statement(predicate, digest)))


def scans_of(facts: ImageFacts) -> list[Scan]:
    """The scans among the facts about an image."""
    return [one.scan for one in facts.attestations if one.scan is not None]


def vex_statement(name: Any = "CVE-2024-0001", status: str = "not_affected", **rest: Any) -> dict[str, Any]:
    """A statement of an OpenVEX document, about the image as a whole."""
    return {"vulnerability": {"name": name}, "status": status} | rest


def vex_document(*statements: Mapping[str, Any], issued: datetime = NOW - HOUR, **rest: Any) -> dict[str, Any]:
    """An OpenVEX document."""
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://acme.example/vex/1",
        "author": "Product security",
        "timestamp": rfc3339(issued),
        "version": 1,
        "statements": list(statements),
    } | rest


def vex_by(
    key: PrivateKey, *statements: Mapping[str, Any], issued: datetime = NOW - HOUR, digest: str = IMAGE
) -> Candidate:
    """A VEX document that somebody has attached."""
    document = vex_document(*statements, issued=issued)
    return candidate(bundle(key, scan_statement(document, digest, VEX_PREDICATES[0])))

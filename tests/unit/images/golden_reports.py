"""Reports as several releases of Trivy and Grype write them, made small, and what must be read of each.

The fields and their forms are those of the reports in the scanners' own tests at these releases:
https://github.com/aquasecurity/trivy/tree/main/integration/testdata and
https://github.com/anchore/grype/tree/main/grype/presenter/json. Packages and findings are made up.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from tests.unit.images.signing import IMAGE, REPOSITORY

CONFIG_DIGEST: Final = f"sha256:{'c' * 64}"


class Golden(Struct, frozen=True):
    """A report, and what is read of it.

    cells: the ids by fix and severity, as a scan has them.
    worst: the first finding that a denial would name: id, package, installed and fixed version.
    """

    report: Any
    cells: Mapping[str, str] = {}
    worst: tuple[str, str, str, str] | None = None


def _trivy(results: Any, metadata: Mapping[str, Any] | None = None, **head: Any) -> dict[str, Any]:
    image = {
        "ImageID": CONFIG_DIGEST,
        "DiffIDs": [f"sha256:{'d' * 64}"],
        "RepoTags": [f"{REPOSITORY}:1.2.3"],
        "RepoDigests": [f"{REPOSITORY}@{IMAGE}"],
        "ImageConfig": {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}},
    }
    return {
        "SchemaVersion": 2,
        "ArtifactName": f"{REPOSITORY}:1.2.3",
        "ArtifactType": "container_image",
        "Metadata": image | dict(metadata or {}),
        "Results": results,
    } | head


TRIVY: Final[dict[str, Golden]] = {
    "0.20, without class of results and status": Golden(
        _trivy(
            [
                {
                    "Target": "pay (alpine 3.14.2)",
                    "Type": "alpine",
                    "Vulnerabilities": [
                        {
                            "VulnerabilityID": "CVE-2021-0001",
                            "PkgName": "libssl1.1",
                            "InstalledVersion": "1.1.1k-r0",
                            "FixedVersion": "1.1.1l-r0",
                            "Layer": {"DiffID": f"sha256:{'d' * 64}"},
                            "SeveritySource": "nvd",
                            "PrimaryURL": "https://avd.example/cve-2021-0001",
                            "Title": "made up",
                            "Severity": "CRITICAL",
                            "CweIDs": ["CWE-787"],
                            "CVSS": {"nvd": {"V2Vector": "AV:N/AC:L/Au:N/C:P/I:P/A:P", "V2Score": 7.5}},
                            "References": ["https://advisories.example/1"],
                            "PublishedDate": "2021-08-24T15:15:00Z",
                        },
                        {
                            "VulnerabilityID": "CVE-2021-0002",
                            "PkgName": "busybox",
                            "InstalledVersion": "1.33.1-r3",
                            "Severity": "MEDIUM",
                        },
                    ],
                }
            ],
            {"OS": {"Family": "alpine", "Name": "3.14.2", "EOSL": True}},
        ),
        {"fixable critical": "CVE-2021-0001", "unfixable medium": "CVE-2021-0002"},
        ("CVE-2021-0001", "libssl1.1", "1.1.1k-r0", "1.1.1l-r0"),
    ),
    "0.38, all packages listed, those of a language, a misconfiguration and a secret": Golden(
        _trivy(
            [
                {
                    "Target": "pay (debian 11.6)",
                    "Class": "os-pkgs",
                    "Type": "debian",
                    "Packages": [{"ID": "adduser@3.118", "Name": "adduser", "Version": "3.118"}],
                },
                {
                    "Target": "app/package-lock.json",
                    "Class": "lang-pkgs",
                    "Type": "npm",
                    "Vulnerabilities": [
                        {
                            "VulnerabilityID": "GHSA-aaaa-bbbb-cccc",
                            "PkgID": "parser@2.0.0",
                            "PkgName": "parser",
                            "PkgPath": "app/node_modules/parser/package.json",
                            "InstalledVersion": "2.0.0",
                            "FixedVersion": "2.0.1, 1.9.7",
                            "DataSource": {"ID": "ghsa", "Name": "GitHub Security Advisory npm"},
                            "Severity": "HIGH",
                        }
                    ],
                },
                {
                    "Target": "Dockerfile",
                    "Class": "config",
                    "Type": "dockerfile",
                    "MisconfSummary": {"Successes": 20, "Failures": 1, "Exceptions": 0},
                    "Misconfigurations": [{"ID": "DS002", "Severity": "HIGH", "Status": "FAIL"}],
                },
                {"Target": "/key.pem", "Class": "secret", "Secrets": [{"RuleID": "private-key", "Severity": "HIGH"}]},
            ],
            {"OS": {"Family": "debian", "Name": "11.6"}},
        ),
        {"fixable high": "GHSA-aaaa-bbbb-cccc"},
        ("GHSA-aaaa-bbbb-cccc", "parser", "2.0.0", "2.0.1, 1.9.7"),
    ),
    "0.50, with status, ids of the vendor and the time": Golden(
        _trivy(
            [
                {
                    "Target": "pay (debian 12.5)",
                    "Class": "os-pkgs",
                    "Type": "debian",
                    "Vulnerabilities": [
                        {
                            "VulnerabilityID": "CVE-2024-0001",
                            "VendorIDs": ["DSA-5678-1"],
                            "PkgID": "libc6@2.36-9",
                            "PkgName": "libc6",
                            "PkgIdentifier": {"PURL": "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12.5"},
                            "InstalledVersion": "2.36-9",
                            "FixedVersion": "2.36-9+deb12u7",
                            "Status": "fixed",
                            "VendorSeverity": {"debian": 3, "nvd": 4},
                            "Severity": "HIGH",
                        },
                        {
                            "VulnerabilityID": "CVE-2024-0002",
                            "PkgName": "tar",
                            "InstalledVersion": "1.34",
                            "Status": "will_not_fix",
                            "Severity": "LOW",
                        },
                        {
                            "VulnerabilityID": "TEMP-0000001-AAAAAA",
                            "PkgName": "perl-base",
                            "InstalledVersion": "5.36.0-7",
                            "Status": "affected",
                            "Severity": "UNKNOWN",
                        },
                    ],
                }
            ],
            {"OS": {"Family": "debian", "Name": "12.5"}},
            CreatedAt="2026-11-26T10:59:59.123456789Z",
        ),
        {
            "fixable high": "CVE-2024-0001,DSA-5678-1",
            "unfixable low": "CVE-2024-0002",
            "unfixable high": "TEMP-0000001-AAAAAA",
        },
        ("CVE-2024-0001", "libc6", "2.36-9", "2.36-9+deb12u7"),
    ),
    "0.60, with the packages themselves and findings that were suppressed": Golden(
        _trivy(
            [
                {
                    "Target": "usr/local/bin/app",
                    "Class": "lang-pkgs",
                    "Type": "gobinary",
                    "Packages": [{"ID": "stdlib@v1.22.0", "Name": "stdlib", "Version": "v1.22.0"}],
                    "Vulnerabilities": [
                        {
                            "VulnerabilityID": "CVE-2024-0003",
                            "PkgID": "stdlib@v1.22.0",
                            "PkgName": "stdlib",
                            "InstalledVersion": "v1.22.0",
                            "FixedVersion": "1.21.11, 1.22.4",
                            "Status": "fixed",
                            "Severity": "CRITICAL",
                        }
                    ],
                    "ExperimentalModifiedFindings": [
                        {
                            "Type": "vulnerability",
                            "Status": "not_affected",
                            "Source": "vex.json",
                            "Finding": {"VulnerabilityID": "CVE-2024-0004", "Severity": "CRITICAL"},
                        }
                    ],
                }
            ],
            {"Size": 12345678, "Layers": [{"Size": 12345678, "DiffID": f"sha256:{'d' * 64}"}]},
        ),
        {"fixable critical": "CVE-2024-0003"},
        ("CVE-2024-0003", "stdlib", "v1.22.0", "1.21.11, 1.22.4"),
    ),
    "0.74, with the release of the scanner and ids of the report": Golden(
        _trivy(
            [
                {
                    "Target": "pay (debian 12.11)",
                    "Class": "os-pkgs",
                    "Type": "debian",
                    "Vulnerabilities": [
                        {
                            "VulnerabilityID": "CVE-2026-0001",
                            "PkgID": "openssl@3.0.16-1",
                            "PkgName": "openssl",
                            "PkgIdentifier": {"PURL": "pkg:deb/debian/openssl@3.0.16-1", "UID": "0123456789abcdef"},
                            "InstalledVersion": "3.0.16-1",
                            "FixedVersion": "3.0.17-1",
                            "Status": "fixed",
                            "Fingerprint": f"sha256:{'f' * 64}",
                            "Severity": "CRITICAL",
                        }
                    ],
                }
            ],
            {"OS": {"Family": "debian", "Name": "12.11"}, "Reference": f"{REPOSITORY}:1.2.3"},
            Trivy={"Version": "0.74.0"},
            ReportID="01234567-89ab-7000-8000-000000000001",
            CreatedAt="2026-11-26T10:59:59Z",
            ArtifactID=f"sha256:{'a' * 64}",
        ),
        {"fixable critical": "CVE-2026-0001"},
        ("CVE-2026-0001", "openssl", "3.0.16-1", "3.0.17-1"),
    ),
}


def _grype(*matches: Any, target: Any = None, **tail: Any) -> dict[str, Any]:
    image = {
        "userInput": f"{REPOSITORY}:1.2.3",
        "imageID": CONFIG_DIGEST,
        "manifestDigest": IMAGE,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "tags": [],
        "imageSize": 12345678,
        "layers": [],
        "repoDigests": [f"{REPOSITORY}@{IMAGE}"],
    }
    return {
        "matches": list(matches),
        "source": {"type": "image", "target": image if target is None else target},
        "distro": {"name": "debian", "version": "12", "idLike": ["debian"]},
        "descriptor": {"name": "grype", "version": "0.1.0"},
    } | tail


def _match(vulnerability: Mapping[str, Any], name: str, version: str, *related: str, **rest: Any) -> dict[str, Any]:
    return {
        "vulnerability": {"dataSource": "https://advisories.example/1", "urls": [], "cvss": []} | dict(vulnerability),
        "relatedVulnerabilities": [{"id": one, "namespace": "nvd:cpe", "severity": "High"} for one in related],
        "matchDetails": [{"type": "exact-direct-match", "matcher": "dpkg-matcher", "found": {"constraint": "< 2"}}],
        "artifact": {"name": name, "version": version, "type": "deb", "locations": [{"path": "/var/lib/dpkg/status"}]},
    } | rest


GRYPE: Final[dict[str, Golden]] = {
    "0.13, a fix without state and without related ids": Golden(
        _grype(
            _match(
                {
                    "id": "CVE-2021-0001",
                    "severity": "Critical",
                    "fix": {"versions": ["1.1.1l"], "state": ""},
                    "advisories": [],
                },
                "openssl",
                "1.1.1k",
                relatedVulnerabilities=None,
            ),
            _match(
                {"id": "CVE-2021-0002", "severity": "Negligible", "fix": {"versions": [], "state": ""}},
                "tar",
                "1.30",
            ),
        ),
        {"fixable critical": "CVE-2021-0001", "unfixable low": "CVE-2021-0002"},
        ("CVE-2021-0001", "openssl", "1.1.1k", "1.1.1l"),
    ),
    "0.30, an advisory with its CVE": Golden(
        _grype(
            _match(
                {
                    "id": "GHSA-aaaa-bbbb-cccc",
                    "namespace": "github:language:java",
                    "severity": "Critical",
                    "fix": {"versions": ["2.15.0"], "state": "fixed"},
                },
                "log4j-core",
                "2.14.1",
                "CVE-2021-44228",
            ),
            ignoredMatches=[_match({"id": "CVE-2021-0003", "severity": "Critical", "fix": {}}, "ignored", "1")],
        ),
        {"fixable critical": "GHSA-aaaa-bbbb-cccc,CVE-2021-44228"},
        ("GHSA-aaaa-bbbb-cccc", "log4j-core", "2.14.1", "2.15.0"),
    ),
    "0.60, of an archive without names, with states of fixes": Golden(
        _grype(
            _match({"id": "CVE-2023-0001", "severity": "High", "fix": {"versions": [], "state": "wont-fix"}}, "a", "1"),
            _match({"id": "CVE-2023-0002", "severity": "High", "fix": {"versions": [], "state": "fixed"}}, "b", "1"),
            _match(
                {"id": "CVE-2023-0003", "severity": "Unknown", "fix": {"versions": [], "state": "unknown"}}, "c", "1"
            ),
            target={"imageID": CONFIG_DIGEST, "tags": []},
        ),
        {"unfixable high": "CVE-2023-0001 CVE-2023-0003", "fixable high": "CVE-2023-0002"},
        ("CVE-2023-0002", "b", "1", ""),
    ),
    "0.87, with the time, and a vulnerability that the database does not describe": Golden(
        _grype(
            _match({"id": "CVE-2024-0001", "severity": "", "fix": {"versions": None, "state": ""}}, "d", "1"),
            descriptor={
                "name": "grype",
                "version": "0.87.0",
                "configuration": {"output": ["json"]},
                "db": {"built": "2026-11-26T01:32:51Z", "schemaVersion": 5, "location": "/db/5", "error": None},
                "timestamp": "2026-11-26T10:59:59.123456789Z",
            },
        ),
        {"unfixable high": "CVE-2024-0001"},
        ("CVE-2024-0001", "d", "1", ""),
    ),
    "0.99, with probability, risk, known exploits and when a fix was available": Golden(
        _grype(
            _match(
                {
                    "id": "CVE-2026-0001",
                    "severity": "Medium",
                    "epss": [{"cve": "CVE-2026-0001", "epss": 0.03, "percentile": 0.42, "date": "2026-11-25"}],
                    "knownExploited": [{"cve": "CVE-2026-0001", "knownRansomwareCampaignUse": "Known"}],
                    "fix": {
                        "versions": ["3.0.17", "3.2.5"],
                        "state": "fixed",
                        "available": [{"version": "3.0.17", "date": "2026-10-01", "kind": "advisory"}],
                    },
                    "risk": 96.25,
                },
                "openssl",
                "3.0.16",
            ),
            distro={"name": "redhat", "version": "9.4", "idLike": ["fedora"], "channels": ["eus"]},
            descriptor={
                "name": "grype",
                "version": "0.99.1",
                "timestamp": "",
                "db": {"status": {"schemaVersion": "v6.1.0", "valid": True}, "providers": {}},
            },
        ),
        {"fixable medium": "CVE-2026-0001"},
        ("CVE-2026-0001", "openssl", "3.0.16", "3.0.17, 3.2.5"),
    ),
}

OLDER_TRIVY: Final = [{"Target": "pay (alpine 3.10.2)", "Type": "alpine", "Vulnerabilities": None}]
"""What Trivy wrote before 0.20: results without a schema version."""
OLDER_GRYPE: Final = _grype(
    _match({"id": "CVE-2020-0001", "severity": "Critical", "fixedInVersion": "1.1.1d"}, "openssl", "1.1.1c")
)
"""What Grype wrote before 0.13: the version with the fix in a field of another name."""

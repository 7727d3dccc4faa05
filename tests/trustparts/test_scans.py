"""Whose scans count: reports that the real cosign attached, real registries, each case beside its near-twin."""

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sekisho.images.attested import PROVENANCE_PREDICATES, SBOM_PREDICATES, Build
from sekisho.images.evidence import MAX_PAYLOAD_BYTES, ImageFacts
from sekisho.images.reported import Severity
from sekisho.images.scans import SCAN_PREDICATE, Scan
from sekisho.images.vex import VEX_PREDICATES, Vex
from tests.controlplane.kubectl import run
from tests.trustparts.cosign import Cosign, Key
from tests.trustparts.issuer import IssuerKind
from tests.trustparts.looking_up import by_identity, by_keys, look_up
from tests.trustparts.odd import NO_REFERRERS, Behavior, OddRegistry
from tests.trustparts.registries import Image, Registry
from tests.trustparts.sigstore import RELEASE, Sigstore
from tests.trustparts.test_verify_command import authority, write
from tests.unit.admission.test_image_attestations import BOM, BUILDER, DOCUMENT, QA, SOURCE, slsa_02, slsa_1
from tests.unit.cli.sekisho_command import sekisho
from tests.unit.images.scan_data import (
    HOUR,
    grype,
    scan_predicate,
    trivy,
    trivy_row,
    vex_document,
    vex_statement,
)
from tests.unit.images.signing import NOW

PAGE = Path(__file__).parents[2] / "docs" / "scanned-images.md"
Attach = Callable[[Image, Any], None]


@pytest.fixture(scope="session")
def key(cosign: Cosign) -> Key:
    return cosign.new_key("scanner")


@pytest.fixture
def image(odd_registry: OddRegistry, repository_name: str) -> Image:
    return odd_registry.push_image(repository_name)


@pytest.fixture
def attach(cosign: Cosign, key: Key, tmp_path: Path) -> Attach:
    """Attaches a predicate as a scan of an image."""

    def attach(image: Image, predicate: Any) -> None:
        file = tmp_path / "scan.json"
        file.write_text(json.dumps(predicate))
        cosign.attest(image, key, "vuln", file)

    return attach


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def facts(image: Image, registry: Registry, key: Key) -> ImageFacts:
    return look_up(image, [by_keys("scanner", key.pem)], registry.ca, predicates=(SCAN_PREDICATE,))


def scans(image: Image, registry: Registry, key: Key) -> list[Scan]:
    return [one.scan for one in facts(image, registry, key).attestations if one.scan is not None]


def test_scan_is_read_with_and_without_the_referrers_api(
    image: Image, odd_registry: OddRegistry, distribution: Registry, repository_name: str, key: Key, attach: Attach
) -> None:
    for registry, of in ((odd_registry, image), (distribution, distribution.push_image(repository_name))):
        assert scans(of, registry, key) == []
        finished = now()
        attach(of, scan_predicate(trivy(trivy_row(), digest=of.digest), finished))
        (scan,) = scans(of, registry, key)
        assert (scan.scanner, scan.finished, scan.fixable.critical.ids) == ("trivy", finished, "CVE-2024-0001")


@pytest.mark.parametrize("report_of", [trivy, grype])
def test_own_report_of_a_scanner_is_an_empty_scan(
    image: Image, odd_registry: OddRegistry, key: Key, attach: Attach, report_of: Callable[..., Any]
) -> None:
    report = report_of(digest=image.digest)
    attach(image, report)
    image_facts = facts(image, odd_registry, key)
    assert image_facts.attestations == ()
    assert image_facts.problems[0].startswith("its scan holds no result")
    attach(image, scan_predicate(report, now()))
    assert [scan.problem for scan in scans(image, odd_registry, key)] == [""]


def test_newest_scan_counts_in_the_older_format_too(
    image: Image, odd_registry: OddRegistry, cosign: Cosign, key: Key, attach: Attach, tmp_path: Path
) -> None:
    def attach_older(finished: datetime, *rows: dict[str, Any]) -> None:
        file = tmp_path / "older.json"
        file.write_text(json.dumps(scan_predicate(trivy(*rows, digest=image.digest), finished)))
        cosign.attest_older(image, key, "vuln", file)

    newest = now()
    attach_older(newest - 3 * HOUR, trivy_row())
    assert [scan.finished for scan in scans(image, odd_registry, key)] == [newest - 3 * HOUR]
    assert facts(image, odd_registry, cosign.new_key("no-older-scanner")).attestations == ()
    attach(image, scan_predicate(trivy(digest=image.digest), newest - HOUR))
    assert [scan.finished for scan in scans(image, odd_registry, key)] == [newest - HOUR]
    attach_older(newest, trivy_row())
    (scan,) = scans(image, odd_registry, key)
    assert (scan.finished, scan.fixable.critical.ids) == (newest, "CVE-2024-0001")


def test_scan_by_another_key_does_not_count(
    image: Image, odd_registry: OddRegistry, cosign: Cosign, key: Key, attach: Attach
) -> None:
    attach(image, scan_predicate(grype(digest=image.digest), now()))
    assert scans(image, odd_registry, cosign.new_key("no-scanner")) == []
    assert len(scans(image, odd_registry, key)) == 1


def test_scan_does_not_count_where_a_newer_one_is_too_large_to_be_read(
    image: Image, odd_registry: OddRegistry, key: Key, attach: Attach
) -> None:
    attach(image, scan_predicate(trivy(digest=image.digest), now()))
    assert [scan.problem for scan in scans(image, odd_registry, key)] == [""]
    large = trivy(trivy_row(Description="x" * (MAX_PAYLOAD_BYTES * 3 // 4)), digest=image.digest)
    attach(image, scan_predicate(large, now()))
    (problem,) = (scan.problem for scan in scans(image, odd_registry, key))
    assert "a newer one may be in an attestation of more than 16,777,216 bytes" in problem
    attach(image, scan_predicate(trivy(digest=image.digest), now() + timedelta(seconds=1)))
    assert [scan.problem for scan in scans(image, odd_registry, key)] == [""]


def test_scan_of_another_image_does_not_count(
    image: Image, odd_registry: OddRegistry, key: Key, attach: Attach
) -> None:
    name = image.repository.removeprefix(f"{odd_registry.host}/")
    other = odd_registry.push_image(name, "other")
    attach(image, scan_predicate(trivy(digest=image.digest), now()))
    odd_registry.attach(other, odd_registry.bundles(image)[0])
    assert facts(other, odd_registry, key).problems == ("it is about another image",)
    assert len(scans(image, odd_registry, key)) == 1


def test_scan_of_4000_findings_counts(image: Image, odd_registry: OddRegistry, key: Key, attach: Attach) -> None:
    rows = [trivy_row(f"CVE-2024-{number}", Description="x" * 1300) for number in range(4000)]
    attach(image, scan_predicate(trivy(*rows, digest=image.digest), now()))
    assert len(odd_registry.bundles(image)[0]) > 7 << 20
    (scan,) = scans(image, odd_registry, key)
    assert (scan.problem, scan.count(Severity.CRITICAL)) == ("", 4000)


def test_newest_of_many_scans_in_a_fallback_tag_is_found(
    odd_registry: OddRegistry, repository_name: str, key: Key, attach: Attach, cosign: Cosign
) -> None:
    odd_registry.behave(Behavior(faults=(NO_REFERRERS,)), repository_name)
    image = odd_registry.push_image(repository_name)
    cosign.sign(image, key)
    attach(image, scan_predicate(trivy(digest=image.digest), now() - timedelta(days=2)))
    old = max(odd_registry.bundles(image), key=len)
    for number in range(40):
        odd_registry.attach(image, old + b" " * number)
    newest = now()
    attach(image, scan_predicate(trivy(digest=image.digest), newest))
    image_facts = facts(image, odd_registry, key)
    assert image_facts.attestations[0].scan is not None
    assert image_facts.attestations[0].scan.finished == newest
    assert image_facts.signatures


def test_keyless_scan_counts(sigstore: Sigstore, distribution: Registry, repository_name: str, tmp_path: Path) -> None:
    image = distribution.push_image(repository_name)
    root = json.loads(sigstore.trusted_root.read_text())
    file = tmp_path / "scan.json"
    for later, problem in ((timedelta(), ""), (timedelta(hours=1), "it ended after it was signed")):
        file.write_text(json.dumps(scan_predicate(trivy(digest=image.digest), now() + later)))
        sigstore.attest(image, "vuln", file)
        ci = by_identity("ci", root, sigstore.issuer_of(IssuerKind.CI), RELEASE)
        image_facts = look_up(image, [ci], distribution.ca, predicates=(SCAN_PREDICATE,))
        (newest, *_) = image_facts.attestations
        assert newest.scan is not None
        assert (newest.scan.problem, newest.signatures[0].identity) == (problem, RELEASE)
    other = by_identity("ci", root, sigstore.issuer_of(IssuerKind.CI), f"{RELEASE}.evil.test")
    image_facts = look_up(image, [other], distribution.ca, predicates=(SCAN_PREDICATE,))
    assert image_facts.attestations == ()
    assert "which no authority names" in image_facts.problems[0]


ATTESTED: dict[str, tuple[str, object, str]] = {
    "cyclonedx": ("cyclonedx", BOM, ""),
    "cyclonedx that is a scan": ("cyclonedx", trivy(), "it is not an SBOM: bomFormat is not CycloneDX"),
    "spdxjson": ("spdxjson", DOCUMENT, ""),
    "spdx": ("spdx", "SPDXVersion: SPDX-2.3\nPackageName: openssl\n", ""),
    "spdx that is none": ("spdx", "Name: openssl\n", "it is not an SBOM: it has no spdxVersion"),
    "slsaprovenance02": ("slsaprovenance02", slsa_02(), ""),
    "slsaprovenance1": ("slsaprovenance1", slsa_1(), ""),
    "another type": (QA, {"passed": True}, ""),
    "openvex": ("openvex", vex_document(vex_statement()), ""),
    "openvex that is none": ("openvex", {"statements": []}, "it is not in the form of OpenVEX: "),
}
PREDICATES = (
    QA,
    f"{QA} .passed",
    *PROVENANCE_PREDICATES,
    *(one for types in SBOM_PREDICATES.values() for one in types),
    *VEX_PREDICATES,
)


@pytest.mark.parametrize("name", ATTESTED)
def test_other_attestations_of_cosign_are_read(
    image: Image, odd_registry: OddRegistry, cosign: Cosign, key: Key, tmp_path: Path, name: str
) -> None:
    kind, predicate, problem = ATTESTED[name]
    file = tmp_path / "predicate"
    file.write_text(predicate if isinstance(predicate, str) else json.dumps(predicate))
    cosign.attest(image, key, kind, file)
    image_facts = look_up(image, [by_keys("scanner", key.pem)], odd_registry.ca, predicates=PREDICATES)
    assert (len(image_facts.attestations), bool(image_facts.problems)) == ((0, True) if problem else (1, False))
    assert all(shown.startswith(problem) for shown in image_facts.problems)
    if "slsa" in name:
        assert image_facts.attestations[0].build == Build(BUILDER, (SOURCE,))
    if name == "another type":
        assert image_facts.attestations[0].values == {".passed": "true"}
    if name == "openvex":
        assert image_facts.attestations[0].vex == Vex(NOW - HOUR, "CVE-2024-0001")


def test_verify_says_what_a_scan_shows(
    image: Image, odd_registry: OddRegistry, key: Key, attach: Attach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    rule = {
        "images": [f"{odd_registry.host}/*"],
        "by": {"anyOf": ["scanner"]},
        "vulnerabilities": {"maxAge": "7d", "maximum": {"fixable": {"critical": 0}}},
    }
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": "scanned"},
        "spec": {"controls": {"images": {"attestations": [rule]}}},
    }
    file = write(tmp_path, authority("scanner", keys=[{"pem": key.pem}]), policy)
    options = ("verify", image.reference, "-p", str(file), "--registry-ca-file", str(odd_registry.ca))
    assert "the image has no scan by scanner" in sekisho(*options).stdout
    finished = now()
    attach(image, scan_predicate(trivy(trivy_row(), digest=image.digest), finished))
    denied = sekisho(*options)
    assert denied.exit_code == 1
    shown = finished.isoformat().replace("+00:00", "Z")
    assert f"  scanned by scanner with trivy at {shown}: 1 critical, 0 high, 0 medium and 0 low\n" in denied.stdout
    assert "has 1 fixable critical vulnerability, in a scan by trivy 0 minutes ago: openssl 3.0.11 -> " in denied.stdout
    attach(image, scan_predicate(trivy(digest=image.digest), finished + timedelta(seconds=1)))
    admitted = sekisho(*options)
    assert (admitted.exit_code, "passes: requires an image scanned by scanner" in admitted.stdout) == (0, True)


def test_index_passes_where_it_or_each_platform_is_scanned(
    odd_registry: OddRegistry,
    repository_name: str,
    key: Key,
    attach: Attach,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    amd, arm, of_builder = (odd_registry.push_image(repository_name, name) for name in ("amd", "arm", "builder"))
    index = odd_registry.push_index(repository_name, (amd, arm), of_builder=(of_builder,))
    rule = {"images": [f"{odd_registry.host}/*"], "by": {"anyOf": ["scanner"]}, "vulnerabilities": {"maxAge": "7d"}}
    meta = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": "scanned"}}
    policy = meta | {"spec": {"controls": {"images": {"attestations": [rule]}}}}
    file = write(tmp_path, authority("scanner", keys=[{"pem": key.pem}]), policy)
    options = ("verify", index.reference, "-p", str(file), "--registry-ca-file", str(odd_registry.ca))
    assert "the image has no scan by scanner" in sekisho(*options).stdout
    attach(amd, scan_predicate(trivy(digest=amd.digest), now()))
    partly = sekisho(*options)
    assert partly.exit_code == 1
    assert f"the image has a platform, linux/arm64 ({arm.digest}), which has no scan by scanner" in partly.stdout
    attach(arm, scan_predicate(trivy(digest=arm.digest), now()))
    whole = sekisho(*options)
    assert whole.exit_code == 0, whole.stdout
    assert f"  platform linux/arm64, {arm.digest}: statements about it count\n" in whole.stdout
    attach(index, scan_predicate(trivy(digest=index.digest), now()))
    assert "platform" not in sekisho(*options).stdout


def blocks(language: str) -> list[str]:
    """The page's blocks of a language."""
    fences = re.findall(rf"^ *```{language}\n((?s:.*?))^ *```$", PAGE.read_text(), re.MULTILINE)
    return [textwrap.dedent(block).rstrip() for block in fences]


def test_commands_of_the_page_on_scanned_images_do_what_it_says(
    image: Image, odd_registry: OddRegistry, cosign: Cosign, tmp_path: Path
) -> None:
    """With programs in place of Trivy and Grype, which write what these would write."""

    def as_here(text: str) -> str:
        text = text.replace("ghcr.io/acme/pay", image.repository).replace("ghcr.io/acme/*", image.repository)
        text = text.replace("sekisho verify", f"sekisho verify --registry-ca-file {odd_registry.ca}")
        return re.sub(r"sha256:[0-9a-f]{64}", image.digest, text)

    reports = {"trivy": scan_predicate(trivy(digest=image.digest), now()), "grype": grype(digest=image.digest)}
    for name, written in reports.items():
        (tmp_path / f"{name}-report.json").write_text(json.dumps(written))
    (tmp_path / "trivy-cyclonedx.json").write_text(json.dumps(BOM))
    (tmp_path / "trivy-cosign-vuln.json").write_text((tmp_path / "trivy-report.json").read_text())
    (tmp_path / "trivy").write_text(
        '#!/bin/sh\nname="trivy-$3.json"\nwhile [ "$1" != --output ]; do shift; done\ncp "$name" "$2"\n'
    )
    (tmp_path / "grype").write_text("#!/bin/sh\ncat grype-report.json\n")
    for name in reports:
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scanned.yaml").write_text(as_here(blocks("yaml")[0]).replace("enforcement: Warn", "enforcement: Deny"))
    folders = (str(tmp_path), str(cosign.binary.parent), str(Path(sys.executable).parent), os.environ["PATH"])
    environment = cosign.environment | {"PATH": os.pathsep.join(folders)}
    in_blocks = [as_here(block).removeprefix("$ ").split("\n$ ") for block in blocks("console")]
    by_scanner, scan, by_grype, [make_folder, _, verify], by_security, vex, sbom = in_blocks

    def done(*commands: str) -> str:
        ran = run(("bash", "-c", f"cd {tmp_path} && {' && '.join(commands)}"), environment)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def make_key(command: str, name: str) -> None:
        """Make a key as the page does, and a file with the Secret, which the page reads from the cluster."""
        done(command)
        meta = {"name": f"{name}-key", "namespace": "sekisho-system"}
        public = {"cosign.pub": (tmp_path / f"{name}.pub").read_text()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": public}
        (tmp_path / f"trust/{name}.json").write_text(json.dumps(secret))

    done(make_folder)
    make_key(by_scanner[0], "scanner")
    shown = done(*scan, verify)
    assert ": admitted\n" in shown
    assert "scanned by scanner with trivy at " in shown
    assert "scanned by scanner with grype at " in done(*by_grype, scan[2], verify)
    rule = {"images": [image.repository], "by": {"anyOf": ["scanner"]}, "sbom": {"formats": ["cyclonedx"]}}
    policy = {"controls": {"images": {"attestations": [rule]}}}
    meta = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": "listed"}}
    (tmp_path / "sbom.yaml").write_text(json.dumps(meta | {"spec": policy}))
    listed = verify.replace("-p scanned.yaml", "-p scanned.yaml -p sbom.yaml")
    assert "has no SBOM in cyclonedx by scanner" in done(f"({listed} || [ $? -eq 1 ])")
    shown = done(*sbom, listed)
    assert "attested by scanner: https://cyclonedx.org/bom" in shown
    assert "passes: requires an image with an SBOM in cyclonedx by scanner" in shown
    make_key(by_security[0], "product-security")
    (tmp_path / "vex.json").write_text(json.dumps(vex_document(vex_statement(), issued=now())))
    (tmp_path / "vex.yaml").write_text(as_here(blocks("yaml")[1]))
    dirty = scan_predicate(trivy(trivy_row(), digest=image.digest), now() + timedelta(minutes=1))
    (tmp_path / "trivy-cosign-vuln.json").write_text(json.dumps(dirty))
    with_vex = verify.replace("-p scanned.yaml", "-p scanned.yaml -p vex.yaml")
    excluded = 'policy "scanned-with-vex" spec.controls.images.attestations[0]: passes'
    assert excluded not in done(*scan[1:], f"({with_vex} || [ $? -eq 1 ])")
    shown = done(*vex, f"({with_vex} || [ $? -eq 1 ])")
    assert excluded in shown
    assert "ids that it excludes: 1, that it calls affecting: 0" in shown

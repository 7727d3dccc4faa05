"""Scans: what is read of Trivy's and Grype's reports, and which say nothing about an image."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sekisho.images.bundles import CERTIFICATE_ANNOTATION, ENVELOPE_TYPE, MAX_BUNDLE_MARKS
from sekisho.images.evidence import MAX_ATTESTATIONS, ImageFacts
from sekisho.images.reported import MAX_ROWS, Severity
from sekisho.images.scans import MAX_ID_BYTES, MAX_SKEW, MAX_WORST, SCAN_PREDICATE, Scan, is_future, read_scan
from sekisho.images.statements import MAX_KEYS, MAX_LISTS, MAX_SIGNATURE_BYTES, NotASignatureError, verify_statement
from sekisho.images.verification import verify
from tests.unit.images.scan_data import (
    HOUR,
    grype,
    grype_match,
    scan_predicate,
    scan_statement,
    scanned_by,
    scans_of,
    suppressed,
    trivy,
    trivy_row,
)
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_IMAGE,
    OTHER_P256,
    P256,
    REPOSITORY,
    bundle,
    candidate,
    keyed,
    signed_by,
    statement,
)

SCANNER = keyed("scanner", P256)


def read(report: Any, **how: Any) -> Scan:
    return read_scan(scan_statement(scan_predicate(report, **how)), IMAGE)


def facts(*candidates: Any, predicates: tuple[str, ...] = (SCAN_PREDICATE,)) -> ImageFacts:
    return verify(REPOSITORY, IMAGE, candidates, [SCANNER], NOW, predicates=predicates)


def cells(scan: Scan) -> dict[str, str]:
    """The ids that a scan has, by severity and fix."""
    return {
        f"{kind} {severity}": getattr(of, severity).ids
        for kind, of in (("fixable", scan.fixable), ("unfixable", scan.unfixable))
        for severity in ("critical", "high", "medium", "low")
        if getattr(of, severity).count
    }


def test_report_of_trivy() -> None:
    rows = [
        trivy_row("CVE-2024-0001", "CRITICAL"),
        trivy_row("CVE-2024-0002", "HIGH", fixed=""),
        trivy_row("CVE-2024-0003", "MEDIUM", VendorIDs=["DSA-5764-1"]),
        trivy_row("CVE-2024-0004", "LOW"),
        trivy_row("CVE-2024-0005", "UNKNOWN"),
        trivy_row("CVE-2024-0001", "CRITICAL", package="libssl3"),
    ]
    scan = read(trivy(*rows))
    assert (scan.scanner, scan.finished, scan.problem) == ("trivy", NOW - HOUR, "")
    assert cells(scan) == {
        "fixable critical": "CVE-2024-0001",
        "fixable high": "CVE-2024-0005",
        "fixable medium": "CVE-2024-0003,DSA-5764-1",
        "fixable low": "CVE-2024-0004",
        "unfixable high": "CVE-2024-0002",
    }
    assert [(one.id, one.package, one.installed, one.fixed) for one in scan.worst[:3]] == [
        ("CVE-2024-0001", "libssl3", "3.0.11", "3.0.13"),
        ("CVE-2024-0001", "openssl", "3.0.11", "3.0.13"),
        ("CVE-2024-0005", "openssl", "3.0.11", "3.0.13"),
    ]


def test_report_of_grype() -> None:
    matches = [
        grype_match("GHSA-jfh8-c2jp-5v3q", "Critical", ["2.15.0"], ["CVE-2021-44228"]),
        grype_match("CVE-2024-0002", "High", []),
        grype_match("CVE-2024-0003", "Negligible", []),
        grype_match("CVE-2024-0004", "Unknown"),
        grype_match("CVE-2024-0005", "Dreadful"),
    ]
    scan = read(grype(*matches))
    assert (scan.scanner, scan.problem) == ("grype", "")
    assert cells(scan) == {
        "fixable critical": "GHSA-jfh8-c2jp-5v3q,CVE-2021-44228",
        "fixable high": "CVE-2024-0004 CVE-2024-0005",
        "unfixable high": "CVE-2024-0002",
        "unfixable low": "CVE-2024-0003",
    }


def test_what_a_scanner_was_told_to_ignore_is_read_where_the_report_has_it() -> None:
    match = grype_match("GHSA-jfh8-c2jp-5v3q", related=["CVE-2021-44228", "GHSA-jfh8-c2jp-5v3q"])
    scan = read(grype(grype_match(), ignoredMatches=[match | {"appliedIgnoreRules": [{"vulnerability": "x"}]}]))
    assert cells(scan) == {"fixable critical": "CVE-2024-0001"}
    assert (scan.ignored.count, scan.ignored.ids) == (1, "GHSA-jfh8-c2jp-5v3q,CVE-2021-44228")
    misconfiguration = {"Type": "misconfiguration", "Status": "ignored", "Finding": {"ID": "DS002", "Severity": "HIGH"}}
    report = trivy(trivy_row())
    report["Results"][0]["ExperimentalModifiedFindings"] = [suppressed(trivy_row("CVE-2021-44228")), misconfiguration]
    scan = read(report)
    assert (cells(scan), scan.ignored.ids) == ({"fixable critical": "CVE-2024-0001"}, "CVE-2021-44228")
    assert (read(grype()).ignored.ids, read(trivy()).ignored.ids) == ("", "")


UNLISTED: tuple[dict[str, Any], ...] = ({}, {"Packages": []}, {"Packages": None})
LISTED = {"Target": "Node.js", "Class": "lang-pkgs", "Type": "node-pkg", "Packages": [{"Name": "x", "Version": "1"}]}


def system_result(family: str, **fields: Any) -> dict[str, Any]:
    """What Trivy reports of the packages of an operating system."""
    return {"Target": f"pay ({family})", "Class": "os-pkgs", "Type": family} | fields


# Fields that older and newer versions write, and what they must still be read as: no findings.
CLEAN = {
    "trivy 0.20": {
        "SchemaVersion": 2,
        "ArtifactType": "container_image",
        "Metadata": {"OS": {"Family": "alpine", "Name": "3.14.2"}},
        "Results": [{"Target": "pay (alpine 3.14.2)", "Type": "alpine", "Packages": [{"Name": "musl"}]}],
    },
    "trivy 0.50, nothing but a binary": {
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-26T11:00:00.123456789+01:00",
        "ArtifactType": "container_image",
        "Metadata": {"ImageID": IMAGE},
        "Results": [{"Target": "app", "Class": "lang-pkgs", "Type": "gobinary"}],
    },
    "trivy 0.60, an operating system without vulnerabilities": {
        "SchemaVersion": 2,
        "ArtifactType": "container_image",
        "Metadata": {"OS": {"Family": "wolfi", "Name": "20230201"}},
        "Results": [
            {"Target": "pay (wolfi 20230201)", "Class": "os-pkgs", "Type": "wolfi", "Packages": [{"Name": "glibc"}]}
        ],
    },
    "trivy 0.60, of no operating system": trivy(
        Metadata={"ImageID": IMAGE, "OS": None}, Results=[{"Class": "lang-pkgs", "Type": "gobinary"}]
    ),
    "grype 0.60": {"matches": [], "source": {"type": "image", "target": {}}, "descriptor": {"name": "grype"}},
    "grype 0.99, of an archive without names": {
        "matches": [],
        "ignoredMatches": [grype_match()],
        "source": {"type": "image", "target": {"manifestDigest": "", "repoDigests": []}},
        "descriptor": {"name": "grype", "version": "0.99.1", "db": {"status": {}, "providers": {}}},
    },
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_report_of_several_versions(name: str) -> None:
    scan = read(CLEAN[name])
    assert (scan.problem, cells(scan)) == ("", {})


NO_SCANS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "its scan holds no result"),
    "unknown schema": (trivy(SchemaVersion=3), "its report has schema version 3; 2 is supported"),
    "schema in words": (trivy(SchemaVersion="two"), 'its report has schema version "two"; 2 is supported'),
    "another scanner": ({"vulnerabilities": []}, "its report is neither Trivy's nor Grype's JSON"),
    "no report": (12, "its report has another form"),
    "a list": ([1, 2], "its report is a list without a schema version"),
    "finding without id": (trivy({"Severity": "LOW"}), "its report has another form"),
    "nothing recognized": (trivy(Metadata={}, Results=None), "its report is empty, as no packages were recognized"),
    "an operating system without results": (trivy(Results=None), "its report is empty, as no packages were recognized"),
    "an operating system and secrets": (trivy(Results=[{"Class": "secret"}]), "its report is empty"),
    "an operating system whose name is hidden": (
        trivy(Metadata={"OS": {"Family": "none"}}, Results=[{"Class": "lang-pkgs", "Type": "gobinary"}]),
        "its report has nothing about the packages of the operating system",
    ),
    **{
        f"an operating system that is not compared, {family}": (
            trivy(Metadata={"OS": {"Family": family}}, Results=[system_result(family, Packages=[{"Name": "openssl"}])]),
            "its report has nothing about the packages of the operating system",
        )
        for family in ("none", "fedora", "arch", "")
    },
    **{
        f"an operating system whose packages are hidden, {packages}": (
            trivy(Results=[system_result("debian", **packages), LISTED]),
            "its report does not list the packages of the operating system",
        )
        for packages in UNLISTED
    },
    "an operating system without a name": (
        trivy(Metadata={"OS": {}}, Results=[{"Target": "x"}]),
        "its report is empty",
    ),
    "only secrets": (trivy(Metadata={}, Results=[{"Class": "secret"}]), "its report is empty"),
    "another image": (trivy(digest=OTHER_IMAGE), f'its report is about another image, "{OTHER_IMAGE}"'),
    "another image, by Grype": (grype(digest=OTHER_IMAGE), f'its report is about another image, "{OTHER_IMAGE}"'),
    "too many findings": (trivy(*[trivy_row()] * (MAX_ROWS + 1)), "its report has 20,001 findings; the maximum is"),
    "too many that are ignored": (
        grype(grype_match(), ignoredMatches=[grype_match()] * MAX_ROWS),
        "its report has 20,001 findings; the maximum is",
    ),
    **{
        f"of another kind, {kind}": (trivy(ArtifactType=kind), f'its report is about "{kind}", not an image')
        for kind in ("filesystem", "repository", "cyclonedx", "spdx", "vm")
    },
    **{
        f"of another kind by Grype, {kind}": (
            grype(source={"type": kind, "target": "/src"}),
            f'its report is about "{kind}", not an image',
        )
        for kind in ("directory", "file", "sbom-file", "purl", "unknown")
    },
    "of no kind": (trivy(ArtifactType=""), "its report does not say that it is about an image"),
    "of no kind by Grype": (grype(source=None), "its report does not say that it is about an image"),
    "ignored in another form": (grype(ignoredMatches=[{}]), "its report has another form"),
}


@pytest.mark.parametrize("name", NO_SCANS)
def test_scan_that_says_nothing_about_the_image_has_a_problem(name: str) -> None:
    report, problem = NO_SCANS[name]
    scan = read(report)
    assert scan.problem.startswith(problem)
    assert (scan.finished, cells(scan)) == (NOW - HOUR, {})


def test_scan_with_too_many_ids_has_a_problem() -> None:
    def of(count: int) -> Scan:
        return read(trivy(*[trivy_row(f"CVE-2024-{number:050}", "LOW") for number in range(count)]))

    assert of(MAX_ID_BYTES // 60).problem == ""
    assert "have 200,999 bytes; the maximum is 196,608" in of(3350).problem


def test_scan_of_4000_findings_is_read() -> None:
    rows = [trivy_row(f"CVE-2024-{number}", Description="x" * 1500) for number in range(4000)]
    attached = scanned_by(report=trivy(*rows))
    assert len(attached.payload) > 4 << 20
    (scan,) = scans_of(facts(attached))
    assert scan.count(Severity.CRITICAL) == 4000
    assert len(scan.worst) == MAX_WORST
    assert len(msgspec.json.encode(scan)) < 100 << 10


def test_moment_is_of_the_future_where_it_is_later_by_more_than_clocks_differ() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    assert not is_future(NOW + MAX_SKEW, NOW)
    assert is_future(NOW + MAX_SKEW + timedelta(seconds=1), NOW)
    assert not is_future(last, last)
    assert is_future(last, NOW)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "", "yesterday"])
def test_scan_without_a_time_does_not_count(time: str) -> None:
    with pytest.raises(NotASignatureError, match="does not say when it ended"):
        read(trivy(), finished=time)
    with pytest.raises(NotASignatureError, match="holds no result"):
        read(None, finished=time)


def test_old_report_in_a_new_statement_is_old() -> None:
    assert read(trivy(CreatedAt="2026-11-20T12:00:00Z")).finished == NOW.replace(day=20)
    timed = grype(descriptor={"name": "grype", "timestamp": "2026-11-20T13:00:00.5+01:00"})
    assert read(timed).finished == NOW.replace(day=20, microsecond=500_000)
    assert read(trivy(CreatedAt="2027-11-20T12:00:00Z")).finished == NOW - HOUR


def test_invalid_id_of_a_vulnerability_cannot_be_named_by_a_policy() -> None:
    scan = read(trivy(trivy_row("CVE-2024-1 CVE-2024-2"), trivy_row("CVE-1,CVE-2"), trivy_row("x" * 65)))
    assert scan.fixable.critical.ids.split(" ") == ["?CVE-1?CVE-2", "?CVE-2024-1?CVE-2024-2", "?" + "x" * 63]


def test_scan_by_an_authority_counts() -> None:
    image_facts = facts(scanned_by())
    assert [one.authority for one in image_facts.attestations[0].signatures] == ["scanner"]
    assert (image_facts.signatures, image_facts.others, image_facts.problems) == ((), 0, ())
    assert image_facts.is_vouched_for


def enveloped(key: Any = P256, digest: str = IMAGE, **annotations: str) -> Any:
    """A scan in the older format, from an .att tag."""
    signed = bundle(key, scan_statement(scan_predicate(trivy(trivy_row(), digest=digest)), digest))
    return candidate(signed["dsseEnvelope"], ENVELOPE_TYPE, annotations)


def test_scan_in_the_older_format_counts() -> None:
    (scan,) = scans_of(facts(enveloped()))
    assert (scan.problem, cells(scan)) == ("", {"fixable critical": "CVE-2024-0001"})
    assert facts(enveloped()).signatures == ()


@pytest.mark.parametrize("predicates", [(), (SCAN_PREDICATE,)])
def test_envelope_of_the_older_format_is_never_a_signature(predicates: tuple[str, ...]) -> None:
    signed = bundle(P256, statement())
    image_facts = facts(candidate(signed["dsseEnvelope"], ENVELOPE_TYPE), predicates=predicates)
    assert (image_facts.signatures, image_facts.others) == ((), 0)
    assert image_facts.problems == ("it is an attestation of the older format, not a signature",)
    (signature,) = facts(candidate(signed), predicates=predicates).signatures
    assert signature.authority == "scanner"


def ambiguous(digest: str = IMAGE) -> bytes:
    """A statement with a clean scan and a duplicate key."""
    made = scan_statement(scan_predicate(trivy(digest=digest)), digest)
    return made.replace(b'"invocation": {', b'"invocation": {"a": 1, "a": 2, ')


NOT_COUNTED: dict[str, tuple[Any, str]] = {
    "another key": (scanned_by(OTHER_P256), f'it is an attestation, "{SCAN_PREDICATE}", by another key'),
    "another image": (scanned_by(digest=OTHER_IMAGE), "it is about another image"),
    "another key, older format": (
        enveloped(OTHER_P256),
        f'it is an attestation, "{SCAN_PREDICATE}", by another key',
    ),
    "another image, older format": (enveloped(digest=OTHER_IMAGE), "it is about another image"),
    "keyless, older format": (
        enveloped(**{CERTIFICATE_ANNOTATION: "x"}),
        "it is a keyless attestation of the older format; attest again with cosign 3",
    ),
    "two signatures, older format": (
        candidate(
            {"payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": [{"sig": ""}] * 2},
            ENVELOPE_TYPE,
        ),
        "its envelope has 2 signatures; it must have one",
    ),
    "another type": (
        candidate(bundle(P256, scan_statement(scan_predicate(trivy()), predicate_type="https://spdx.dev/Document"))),
        'it is an attestation, "https://spdx.dev/Document", and no policy requires this type',
    ),
    "empty": (
        scanned_by(report={}, finished="0001-01-01T00:00:00Z"),
        "its scan does not say when it ended",
    ),
    "duplicate keys, by another key": (
        candidate(bundle(OTHER_P256, ambiguous())),
        'its JSON is ambiguous: an object in it has the duplicate key "a"',
    ),
    "duplicate keys, of another image": (
        candidate(bundle(P256, ambiguous(OTHER_IMAGE))),
        'its JSON is ambiguous: an object in it has the duplicate key "a"',
    ),
    "no predicate": (candidate(bundle(P256, scan_statement(7))), "it is not in the form of cosign's scans"),
}


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_attestation_that_does_not_count(name: str) -> None:
    attached, problem = NOT_COUNTED[name]
    image_facts = facts(attached)
    assert (image_facts.attestations, image_facts.signatures) == ((), ())
    assert image_facts.problems[0].startswith(problem)


def test_scans_are_read_only_where_a_policy_needs_them() -> None:
    image_facts = facts(scanned_by(), predicates=())
    assert (image_facts.attestations, image_facts.predicates) == ((), ())
    assert facts(scanned_by()).predicates == (SCAN_PREDICATE,)


def test_large_statement_by_another_key_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def verify_and_note(statement: bytes, *rest: Any) -> str:
        read.append(statement)
        return verify_statement(statement, *rest)

    monkeypatch.setattr("sekisho.images.verification.verify_statement", verify_and_note)
    rows = [trivy_row(f"CVE-2024-{number}", Description="x" * 1500) for number in range(300)]
    large = scan_statement(scan_predicate(trivy(*rows)))
    for key, problems, count in ((OTHER_P256, ("it is an attestation by another key",), 0), (P256, (), 1)):
        image_facts = facts(candidate(bundle(key, large)))
        assert (image_facts.problems, len(read), len(image_facts.attestations)) == (problems, count, count)


def large_bundle(member: str = "") -> bytes:
    """A bundle with a large scan, and with one more member at its end."""
    rows = [trivy_row(f"CVE-2024-{number}", Description="é, " * 500) for number in range(300)]
    content = json.dumps(bundle(P256, scan_statement(scan_predicate(trivy(*rows)))))
    return f"{content[:-1]}{member}}}".encode()


def _list_of(item: str, count: int) -> str:
    return ', "x": [' + ", ".join([item] * count) + "]"


TEXT = "x" * 9999
AMBIGUOUS = "its JSON is ambiguous: an object in it has the duplicate key"
LARGE_BUNDLES = {
    "lists": (_list_of("[]", MAX_BUNDLE_MARKS), "its bundle has too many values"),
    "texts": (_list_of('""', MAX_BUNDLE_MARKS), "its bundle has too many values"),
    "escapes": (', "x": "' + r"\n" * MAX_BUNDLE_MARKS + '"', "its bundle has too many values"),
    "other characters": (', "x": "é"', "its bundle has characters that are not ASCII"),
    "duplicate key": (', "mediaType": "x"', AMBIGUOUS),
    "duplicate key with a long text": (f', "mediaType": "{TEXT}"', AMBIGUOUS),
    "duplicate key after a quote": (r', "x": "\"' + TEXT + '", "x": 1', AMBIGUOUS),
}


@pytest.mark.parametrize("name", LARGE_BUNDLES)
def test_large_bundle_that_is_not_read(name: str) -> None:
    member, problem = LARGE_BUNDLES[name]
    (why,) = facts(candidate(large_bundle(member))).problems
    assert why.startswith(problem)


LARGE_TWINS = {
    "as it is": "",
    "lists": _list_of("[]", MAX_BUNDLE_MARKS // 4),
    "a long text": f', "x": "{TEXT}"',
    "a long text with structure": ', "x": "' + "{x: [], " * 999 + '"',
    "a long text after a quote": r', "x": "\"' + TEXT + '"',
}


@pytest.mark.parametrize("name", LARGE_TWINS)
def test_large_bundle_that_is_read(name: str) -> None:
    image_facts = facts(candidate(large_bundle(LARGE_TWINS[name])))
    assert (image_facts.problems, len(image_facts.attestations)) == ((), 1)


def test_statement_must_be_the_longest_text_of_a_large_bundle() -> None:
    made = bundle(P256, scan_statement(scan_predicate(trivy())))
    length = len(made["dsseEnvelope"]["payload"])
    for padding, problems in ((MAX_SIGNATURE_BYTES, ("its statement is not its longest text",)), (length - 1, ())):
        image_facts = facts(candidate(made | {"padding": "x" * padding}))
        assert (image_facts.problems, len(image_facts.attestations)) == (problems, int(not problems))


def test_large_statement_is_read_where_it_is_and_nowhere_else() -> None:
    made = bundle(P256, scan_statement(scan_predicate(trivy(Extra="x" * MAX_SIGNATURE_BYTES))))
    assert len(facts(candidate(made)).attestations) == 1
    moved = made | {"dsseEnvelope": made["dsseEnvelope"] | {"payload": ""}, "x": made["dsseEnvelope"]["payload"]}
    assert facts(candidate(moved)).problems == ("its statement is not its longest text",)


def test_number_in_a_bundle_that_has_no_meaning_is_not_read() -> None:
    content = bundle(P256, scan_statement(scan_predicate(trivy())))
    long = json.dumps(content).replace('"hint": "x"', f'"hint": {"1" * 5000}')
    assert len(facts(candidate(long.encode())).attestations) == 1


def test_statement_with_many_lists_is_not_read() -> None:
    for lists, problem in ((MAX_LISTS, "its statement has more than 1,048,576 values or 131,072 lists"), (999, "")):
        many = scan_statement(scan_predicate(trivy(Extra=[[]] * lists)))
        (scan,) = scans_of(facts(candidate(bundle(P256, many))))
        assert (scan.problem, scan.finished) == (problem, NOW - HOUR)
        assert facts(candidate(bundle(OTHER_P256, many))).attestations == ()


def test_statement_with_an_object_of_many_keys_is_not_read() -> None:
    keys = {f"k{number}": 1 for number in range(MAX_KEYS + 1)}
    problem = "its statement has an object with more than 32,768 keys"
    attached = bundle(P256, scan_statement(scan_predicate(trivy(Extra=keys))))
    assert [scan.problem for scan in scans_of(facts(candidate(attached)))] == [problem]
    for extra in (dict(list(keys.items())[:-9]), list(keys), "a: b " * MAX_KEYS, [{"a": 1, "b": 2}] * MAX_KEYS):
        attached = bundle(P256, scan_statement(scan_predicate(trivy(Extra=extra))))
        assert [scan.problem for scan in scans_of(facts(candidate(attached)))] == [""]


@pytest.mark.parametrize("made", [ambiguous(), scan_statement(scan_predicate(trivy(Extra=[[]] * MAX_LISTS)))])
def test_newest_scan_that_is_not_read_hides_an_older_one(made: bytes) -> None:
    older = scanned_by(finished=NOW - 2 * HOUR)
    newest = max(scans_of(facts(older, candidate(bundle(P256, made)))), key=lambda scan: scan.finished)
    assert newest.problem
    for other in (candidate(bundle(OTHER_P256, made)), scanned_by(finished=NOW - 3 * HOUR)):
        assert [scan.problem for scan in scans_of(facts(older, other))] == [""]


def test_names_in_a_scan_cannot_control_a_terminal() -> None:
    scan = read(trivy(trivy_row(package="a\x1b[2K\nb", fixed="1\u202e")))
    assert [(one.package, one.fixed) for one in scan.worst] == [("a\\x1b[2K\\nb", "1\\u202e")]


def test_large_signature_does_not_count_also_where_scans_may_be_large() -> None:
    padded = bundle(P256, statement()) | {"padding": "x" * MAX_SIGNATURE_BYTES}
    assert facts(candidate(padded)).signatures == ()
    assert facts(signed_by(P256)).signatures


def test_newest_scan_of_each_scanner_and_signer_is_kept() -> None:
    attached = [scanned_by(report=trivy(), finished=NOW - HOUR * age) for age in (3, 1, 2)]
    attached += [scanned_by(report=grype(), finished=NOW - HOUR * 4)]
    attached += [scanned_by(report={}, finished=NOW - HOUR * 5)]
    image_facts = facts(*attached)
    assert [(scan.scanner, (NOW - scan.finished) / HOUR) for scan in scans_of(image_facts)] == [
        ("trivy", 1),
        ("grype", 4),
        ("", 5),
    ]
    keys = {f"k{number}": keyed(f"k{number}", P256) for number in range(2)}
    both = verify(REPOSITORY, IMAGE, attached, list(keys.values()), NOW, predicates=[SCAN_PREDICATE])
    assert len(both.attestations) == 3 <= MAX_ATTESTATIONS
    assert [one.authority for one in both.attestations[0].signatures] == ["k0", "k1"]


def test_facts_are_json() -> None:
    image_facts = facts(scanned_by(report=trivy(trivy_row())))
    written = json.loads(msgspec.json.encode(image_facts.attestations[0].scan))
    assert written["fixable"]["critical"] == {"count": 1, "ids": "CVE-2024-0001"}
    assert msgspec.convert(written, Scan) == image_facts.attestations[0].scan


@pytest.mark.parametrize("place", [0, 1 << 18, -4])
def test_padding_inside_of_a_large_statement_does_not_count(place: int) -> None:
    rows = [trivy_row(f"CVE-2024-{number}", Description="x" * 1500) for number in range(300)]
    made = bundle(P256, scan_statement(scan_predicate(trivy(*rows))))
    payload = made["dsseEnvelope"]["payload"]
    assert len(payload) > 1 << 19
    assert len(facts(candidate(made)).attestations) == 1
    at = place % len(payload)
    made["dsseEnvelope"]["payload"] = payload[:at] + "eA==" + payload[at:]
    assert facts(candidate(made)).problems == ("its statement is not base64",)

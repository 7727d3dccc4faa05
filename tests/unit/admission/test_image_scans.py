"""Rules on scans of images: what they deny and admit, what must be looked up, and what they say."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from sekisho.admission import Context, Evaluation, denial_message, evaluate
from sekisho.controls.image_rules import lacks_signature, lacks_statement
from sekisho.findings import ManyFindingsError
from sekisho.images import parse
from sekisho.images.authorities import Authority, authority
from sekisho.images.evidence import MAX_VEX, Candidate, ImageFacts
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.trust import Lookup, Trust
from sekisho.images.verification import verify
from sekisho.images.vex import VEX_PREDICATES, VEX_UNREAD
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicyError, PolicySet
from sekisho.policies.image_evidence import facts_of, shared
from sekisho.timestamps import rfc3339
from tests.pods import container, restricted_pod
from tests.unit.admission.test_image_signatures import pod
from tests.unit.images.scan_data import (
    HOUR,
    grype,
    grype_match,
    scan_statement,
    scanned_by,
    suppressed,
    trivy,
    trivy_row,
    vex_by,
    vex_document,
    vex_statement,
)
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_P256,
    P256,
    REPOSITORY,
    PrivateKey,
    bundle,
    candidate,
    key_of,
    keyed,
    signed_by,
)

NAME = f"{REPOSITORY}@{IMAGE}"
SCANNER, OTHER = keyed("scanner", P256), keyed("other", OTHER_P256)
AUTHORITIES = {one.name: one for one in (SCANNER, OTHER)}
DAY = timedelta(days=1)
THIRD_P256, VENDOR = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
STRICT = {"fixable": {"critical": 0, "high": 0}, "unfixable": {"critical": 1}}


def policy(by: Any = None, **required: Any) -> ClusterPodPolicy:
    rule = {
        "images": ["ghcr.io/acme/*"],
        "by": by or {"anyOf": ["scanner"]},
        "vulnerabilities": {"maxAge": "7d"} | required,
    }
    spec = {"controls": {"images": {"attestations": [rule]}}}
    return msgspec.convert({"metadata": {"name": "scanned"}, "spec": spec}, ClusterPodPolicy)


def facts(*candidates: Candidate, authorities: Mapping[str, Authority] = AUTHORITIES) -> ImageFacts:
    read = {SCAN_PREDICATE, *VEX_PREDICATES}
    return verify(REPOSITORY, IMAGE, candidates, list(authorities.values()), NOW, predicates=read)


def judged(
    image_facts: ImageFacts | None,
    *policies: Any,
    now: datetime = NOW,
    authorities: Mapping[str, Authority] = AUTHORITIES,
) -> Evaluation:
    trust = Trust(authorities, {} if image_facts is None else {NAME: image_facts}, now)
    return evaluate(pod(), Context(PolicySet.of(policies or [policy()]), "shop", {}, trust=trust, clock=lambda: now))


def message(evaluation: Evaluation) -> str:
    return denial_message(evaluation.violations)


def is_admitted(required: ClusterPodPolicy, *rows: Mapping[str, Any], now: datetime = NOW) -> bool:
    return not judged(facts(scanned_by(report=trivy(*rows))), required, now=now).violations


@pytest.mark.parametrize(("number", "is_long"), [(500, False), (11_000, True)])
def test_going_through_a_long_scan_counts_as_many_findings(number: int, *, is_long: bool) -> None:
    rows = [trivy_row(f"CVE-2024-{index}", "CRITICAL") for index in range(number)]
    evidence = {NAME: facts(scanned_by(report=trivy(*rows)))}
    trust = Trust(AUTHORITIES, evidence, NOW)
    context = Context(PolicySet.of([policy(maximum=STRICT)]), "shop", {}, trust=trust, clock=lambda: NOW)
    with pytest.raises(ManyFindingsError) if is_long else nullcontext():
        evaluate(pod(), replace(context, max_findings=1000))
    assert len(evaluate(pod(), context).violations) == 1


@pytest.mark.parametrize(("number", "is_long"), [(500, False), (11_000, True)])
def test_looking_for_denied_ids_in_a_long_scan_counts_as_many_findings(number: int, *, is_long: bool) -> None:
    rows = [trivy_row(f"CVE-2019-{index}", "CRITICAL") for index in range(number)]
    trust = Trust(AUTHORITIES, {NAME: facts(scanned_by(report=trivy(*rows)))}, NOW)
    context = Context(PolicySet.of([policy(denied=["CVE-2019-x"])]), "shop", {}, trust=trust, clock=lambda: NOW)
    with pytest.raises(ManyFindingsError) if is_long else nullcontext():
        evaluate(pod(), replace(context, max_findings=1000))
    assert not evaluate(pod(), context).violations


def test_many_denied_ids_that_are_parts_of_others_take_little_time() -> None:
    image = facts(scanned_by(report=trivy(*(trivy_row(f"CVE-2020-1{index}") for index in range(1000)))))
    required = policy(denied=[f"VE-2020-1{index}" for index in range(128)])
    began = time.thread_time()
    for _ in range(15):
        assert not judged(image, required).violations
    assert time.thread_time() - began < 0.15


def test_image_with_a_fresh_scan_is_admitted() -> None:
    assert not judged(facts(scanned_by())).violations
    assert judged(facts()).is_denied


def test_denial_of_an_image_that_was_not_scanned_says_how_to_scan_it() -> None:
    assert message(judged(facts())) == (
        f'policy "scanned" denies container "c0" for its image "{NAME}", which has no scan by scanner '
        "(allowed: scanned by scanner in the last 7d). Fix: run trivy image -f cosign-vuln "
        "-o scan.json IMAGE, then cosign attest --key KEY --type vuln --predicate scan.json IMAGE, then "
        "kubectl rollout restart KIND/NAME. [images]"
    )


# What is attached, and what the denial says of it. Each differs from `scanned_by()`, which is admitted.
NOT_SCANNED: dict[str, tuple[Sequence[Candidate], str]] = {
    "only signed": ([signed_by(P256)], "has no scan by scanner ("),
    "by another key": ([scanned_by(OTHER_P256)], "has no scan by scanner ("),
    "empty": (
        [scanned_by(report={}, finished="0001-01-01T00:00:00Z")],
        "has no scan by scanner; one does not count: its scan does not say when it ended",
    ),
    "a week and a minute old": (
        [scanned_by(finished=NOW - 7 * DAY - timedelta(minutes=1))],
        "was last scanned 7 days ago, at 2026-11-19T11:59:00Z",
    ),
    "from the future": (
        [scanned_by(finished=NOW + timedelta(minutes=6))],
        "has a scan from the future, 2026-11-26T12:06:00Z",
    ),
    "newest one unusable": (
        [scanned_by(), scanned_by(report=trivy(SchemaVersion=3), finished=NOW)],
        "has no valid scan; that of 2026-11-26T12:00:00Z does not count: its report has schema version "
        "3; 2 is supported",
    ),
}


@pytest.mark.parametrize("name", NOT_SCANNED)
def test_image_that_was_not_scanned_as_required_is_denied(name: str) -> None:
    attached, expected = NOT_SCANNED[name]
    assert f"which {expected}" in message(judged(facts(*attached)))


def test_denial_of_an_image_without_recognized_packages_does_not_suggest_the_same_scan_again() -> None:
    text = message(judged(facts(scanned_by(report=trivy(Results=None)))))
    assert "does not count: its report is empty, as no packages were recognized (allowed: " in text
    assert "Fix: use a base image whose packages Trivy recognizes, or have an administrator waive this image." in text
    assert "trivy image" not in text


def test_scan_counts_to_the_minute() -> None:
    assert not judged(facts(scanned_by(finished=NOW - 7 * DAY))).violations
    assert not judged(facts(scanned_by(finished=NOW + timedelta(minutes=5)))).violations
    scanned = facts(scanned_by())
    for later, is_denied in ((7 * DAY - HOUR, False), (7 * DAY, True)):
        assert judged(scanned, now=NOW + later).is_denied is is_denied


@pytest.mark.parametrize(("text", "age"), [("90m", timedelta(minutes=90)), ("36h", 36 * HOUR), ("2d", 2 * DAY)])
def test_units_of_the_largest_age(text: str, age: timedelta) -> None:
    for more, is_denied in ((timedelta(), False), (timedelta(seconds=1), True)):
        scanned = facts(scanned_by(finished=NOW - age - more))
        assert judged(scanned, policy(maxAge=text)).is_denied is is_denied


def test_newest_scan_decides() -> None:
    clean, dirty = trivy(), trivy(trivy_row())
    for reports, is_denied in (((clean, dirty), True), ((dirty, clean), False)):
        older, newer = reports
        scanned = facts(scanned_by(report=newer), scanned_by(report=older, finished=NOW - 2 * HOUR))
        assert judged(scanned, policy(maximum=STRICT)).is_denied is is_denied


def test_of_scans_of_the_same_time_all_must_pass() -> None:
    clean, dirty = scanned_by(), scanned_by(report=trivy(trivy_row()))
    required = policy(maximum=STRICT)
    for attached in ((clean, dirty), (dirty, clean)):
        assert judged(facts(*attached), required).is_denied
    assert not judged(facts(clean, scanned_by(report=trivy(trivy_row(severity="LOW")))), required).violations


def test_of_scans_whose_reports_are_of_the_same_time_all_must_pass() -> None:
    created = {"CreatedAt": rfc3339(NOW - 3 * HOUR)}
    dirty = scanned_by(report=trivy(trivy_row(), **created), finished=NOW - 2 * HOUR)
    for report, is_denied in ((trivy(**created), True), (trivy(CreatedAt=rfc3339(NOW - HOUR)), False)):
        clean = scanned_by(report=report)
        for attached in ((clean, dirty), (dirty, clean)):
            assert judged(facts(*attached), policy(maximum=STRICT)).is_denied is is_denied


def test_scans_of_the_same_time_count_as_one_that_shows_all_of_them() -> None:
    for maximum, is_denied in ((20, False), (19, True)):
        rows = [trivy_row(f"CVE-{one}", "LOW") for one in range(20)]
        scanned = facts(*(scanned_by(report=trivy(row)) for row in rows))
        denied = judged(scanned, policy(maximum={"fixable": {"low": maximum}}))
        assert denied.is_denied is is_denied
        if is_denied:
            assert "has 20 fixable low vulnerabilities" in message(denied)


def test_newest_scan_of_any_of_several_authorities_decides() -> None:
    either = {"anyOf": ["scanner", "other"]}
    dirty = scanned_by(OTHER_P256, trivy(trivy_row()), NOW - 2 * HOUR)
    clean = scanned_by(P256)
    assert not judged(facts(dirty, clean), policy(either, maximum=STRICT)).violations
    assert judged(facts(dirty), policy(either, maximum=STRICT)).is_denied


def test_newest_scan_of_each_of_several_authorities_decides() -> None:
    both = {"allOf": ["scanner", "other"]}
    dirty = scanned_by(OTHER_P256, trivy(trivy_row()), NOW - 2 * HOUR)
    clean, cleaned = scanned_by(P256), scanned_by(OTHER_P256)
    assert "has no scan by other" in message(judged(facts(clean), policy(both, maximum=STRICT)))
    assert judged(facts(clean, dirty), policy(both, maximum=STRICT)).is_denied
    assert not judged(facts(clean, dirty, cleaned), policy(both, maximum=STRICT)).violations


def test_each_scanner_that_is_required_must_have_scanned() -> None:
    both = policy(scanners=["trivy", "grype"], maximum=STRICT)
    by_trivy, by_grype = scanned_by(), scanned_by(report=grype())
    assert "has no scan by scanner with grype" in message(judged(facts(by_trivy), both))
    assert "has no scan by scanner with trivy" in message(judged(facts(by_grype), both))
    assert not judged(facts(by_trivy, by_grype), both).violations
    dirty = scanned_by(report=grype(grype_match()), finished=NOW - 2 * HOUR)
    assert judged(facts(by_trivy, dirty), both).is_denied


LIMITS: dict[str, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], bool]] = {
    "no limit": ({}, [trivy_row()] * 9, True),
    "fixable critical": ({"fixable": {"critical": 0}}, [trivy_row()], False),
    "unfixable critical beside a limit for fixable ones": ({"fixable": {"critical": 0}}, [trivy_row(fixed="")], True),
    "unfixable critical": ({"unfixable": {"critical": 0}}, [trivy_row(fixed="")], False),
    "as many as allowed": ({"fixable": {"high": 1}}, [trivy_row(severity="HIGH")], True),
    "one more": ({"fixable": {"high": 1}}, [trivy_row(f"CVE-{n}", "HIGH") for n in range(2)], False),
    "one in two packages": ({"fixable": {"high": 1}}, [trivy_row(package=p, severity="HIGH") for p in "ab"], True),
    "unknown counts as high": ({"fixable": {"high": 0}}, [trivy_row(severity="UNKNOWN")], False),
    "unknown does not count as critical": ({"fixable": {"critical": 0}}, [trivy_row(severity="UNKNOWN")], True),
    "medium": ({"fixable": {"medium": 0}}, [trivy_row(severity="MEDIUM")], False),
    "low": ({"unfixable": {"low": 0}}, [trivy_row(severity="LOW", fixed="")], False),
    "another severity": ({"fixable": {"medium": 0}}, [trivy_row(severity="LOW")], True),
}


@pytest.mark.parametrize("name", LIMITS)
def test_maximum(name: str) -> None:
    maximum, rows, expected = LIMITS[name]
    assert is_admitted(policy(maximum=maximum), *rows) is expected


def test_denial_names_the_three_worst_vulnerabilities() -> None:
    rows = [
        trivy_row("CVE-2024-0007", "HIGH", "1.3.1", "zlib"),
        trivy_row("CVE-2024-0006", "HIGH", "2.4", "expat"),
        trivy_row("CVE-2024-0005", "CRITICAL", "", "perl"),
        trivy_row("CVE-2024-0004", "CRITICAL", "", "bash"),
        trivy_row("CVE-2024-0001", "CRITICAL"),
        trivy_row("CVE-2024-0009", "LOW"),
    ]
    scanned = facts(scanned_by(report=trivy(*rows), finished=NOW - 5 * HOUR))
    text = message(judged(scanned, policy(maximum=STRICT)))
    assert (
        "which has 1 fixable critical, 2 fixable high and 2 unfixable critical vulnerabilities, in a scan by trivy 5 "
        "hours ago: openssl 3.0.11 -> 3.0.13, CVE-2024-0001; bash 3.0.11, CVE-2024-0004; perl 3.0.11, CVE-2024-0005; "
        "and 2 more (allowed: at most 0 fixable critical, 0 fixable high and 1 unfixable critical). Fix: rebuild it "
        "with the fixed versions, and scan it."
    ) in text


def test_denial_of_vulnerabilities_without_a_fix() -> None:
    text = message(
        judged(facts(scanned_by(report=trivy(trivy_row(fixed="")))), policy(maximum={"unfixable": {"critical": 0}}))
    )
    assert "rebuild it without these packages, or have the ids allowed in the policy until a date" in text


def allowed(*names: str, until: str = "2026-11-27T12:00:00Z") -> ClusterPodPolicy:
    entries = [{"id": name, "until": until, "reason": "not reachable"} for name in names]
    return policy(maximum=STRICT, allowed=entries)


def test_allowed_vulnerability_counts_again_from_its_end_on() -> None:
    row = trivy_row("CVE-2024-0001")
    assert is_admitted(allowed("CVE-2024-0001"), row)
    assert is_admitted(allowed("CVE-2024-0001"), row, now=NOW + DAY - timedelta(seconds=1))
    assert not is_admitted(allowed("CVE-2024-0001"), row, now=NOW + DAY)
    assert not is_admitted(allowed("CVE-2024-0002"), row)
    assert not is_admitted(allowed("CVE-2024-0001"), row, trivy_row("CVE-2024-0002"))


def test_denied_vulnerability_is_denied_where_the_scanner_was_told_to_ignore_it_and_its_report_says_so() -> None:
    by_trivy = trivy()
    by_trivy["Results"][0]["ExperimentalModifiedFindings"] = [suppressed(trivy_row("CVE-2021-44228"))]
    match = grype_match("GHSA-jfh8-c2jp-5v3q", related=["CVE-2021-44228"])
    for report in (by_trivy, grype(ignoredMatches=[match])):
        scanned = facts_of(shared(facts(scanned_by(report=report)), NOW))
        assert (
            "which has CVE-2021-44228, which the policy denies and the scanner was told to ignore, in a scan by "
        ) in message(judged(scanned, policy(denied=["CVE-2021-44228"])))
        assert not judged(scanned, policy(denied=["CVE-2021-44229"], maximum=STRICT)).violations
    both = grype(match, ignoredMatches=[match])
    text = message(judged(facts(scanned_by(report=both)), policy(denied=["CVE-2021-44228"])))
    assert "which has CVE-2021-44228, which the policy denies, in a scan by grype" in text


def test_what_one_of_two_reports_of_the_same_time_ignores_is_denied() -> None:
    clean, ignoring = grype(), grype(ignoredMatches=[grype_match("CVE-2021-44228")])
    for reports, is_denied in (((clean, ignoring), True), ((clean, clean), False)):
        scanned = facts(*(scanned_by(report=report) for report in reports))
        assert judged(scanned, policy(denied=["CVE-2021-44228"])).is_denied is is_denied


def test_allowed_id_is_also_one_that_an_advisory_is_about_alone() -> None:
    match = grype_match("GHSA-aaaa", related=["CVE-2024-0001"])
    advisory = grype_match("ELSA-2024-1", related=["CVE-2024-0001", "CVE-2024-0002"])
    one, both = allowed("CVE-2024-0001"), allowed("CVE-2024-0001", "CVE-2024-0002")
    for vulnerability, required, is_denied in ((match, one, False), (advisory, one, True), (advisory, both, False)):
        assert judged(facts(scanned_by(report=grype(vulnerability))), required).is_denied is is_denied


def test_finding_without_another_id_counts_beside_one_with_an_allowed_one() -> None:
    alone, related = grype_match("CVE-2024-0001"), grype_match("CVE-2024-0001", related=["CVE-2024-0002"])
    required = allowed("CVE-2024-0002")
    assert not judged(facts(scanned_by(report=grype(related))), required).violations
    for matches in ((alone,), (alone, related), (related, alone)):
        assert judged(facts(scanned_by(report=grype(*matches))), required).is_denied


VEX = {"by": {"anyOf": ["other"]}}
DIRTY = scanned_by(report=trivy(trivy_row("CVE-2024-0001")))
GONE = "its Secret does not exist; create it"
# Authorities in place of `other`, and what denials say of them.
NOT_WHOLE: dict[str, tuple[Sequence[Authority], str]] = {
    "absent": ((), 'ImageAuthority "other" is unusable, it does not exist'),
    "unusable": ((authority("other", problem=GONE),), f'ImageAuthority "other" is unusable, {GONE}'),
    "ended": (
        (authority("other", [key_of(OTHER_P256, NOW - timedelta(minutes=1))]),),
        'ImageAuthority "other" is unusable, its last key ended at 2026-11-26T11:59:00Z; add the key that signs now',
    ),
    "without one of its keys": (
        (authority("other", [key_of(THIRD_P256)], key_problems=[GONE]),),
        f'a key of ImageAuthority "other" is unusable, {GONE}',
    ),
}


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_no_older_scan_counts_while_the_newest_may_be_by_an_authority_that_cannot_be_used(name: str) -> None:
    others, problem = NOT_WHOLE[name]
    either, scanner = policy({"anyOf": ["scanner", "other"]}, maximum=STRICT), policy(maximum=STRICT)
    attached = [scanned_by(finished=NOW - DAY), scanned_by(OTHER_P256, trivy(trivy_row()))]
    broken = {one.name: one for one in (SCANNER, *others)}
    assert "which has 1 fixable critical" in message(judged(facts(*attached), either))
    for known in (facts(*attached), facts(*attached, authorities=broken)):
        assert f"not verified: {problem} (allowed" in message(judged(known, either, authorities=broken))
        assert not judged(known, scanner, authorities=broken).violations
    assert not judged(facts(attached[0]), either).violations


def test_no_older_scan_counts_until_those_by_a_new_authority_are_read() -> None:
    either = policy({"anyOf": ["scanner", "other"]}, maximum=STRICT)
    known = facts(scanned_by(), authorities={"scanner": SCANNER})
    pending = judged(known, either)
    assert "still being verified, because ImageAuthority other changed" in message(pending)
    assert pending.lookups
    trust = Trust(AUTHORITIES, {NAME: known}, NOW, registries=())
    unnamed = evaluate(pod(), Context(PolicySet.of([either]), "shop", {}, trust=trust, clock=lambda: NOW))
    assert (unnamed.is_denied, unnamed.lookups) == (True, ())
    assert not judged(facts(scanned_by()), either).violations


def test_no_older_scan_counts_where_a_newer_one_was_by_a_key_that_its_authority_no_longer_has() -> None:
    either = policy({"anyOf": ["scanner", "other"]}, maximum=STRICT)
    known = facts(scanned_by(finished=NOW - DAY), scanned_by(OTHER_P256, trivy(trivy_row())))
    replaced = {"scanner": SCANNER, "other": keyed("other", THIRD_P256)}
    assert judged(known, either, authorities=replaced).is_pending
    ending = {"scanner": authority("scanner", [key_of(P256, NOW + DAY)]), "other": OTHER}
    clean = facts(scanned_by())
    assert not judged(clean, either, authorities=ending).violations
    assert not judged(clean, either, authorities=replaced).violations


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_no_vex_document_counts_while_the_newest_may_be_by_an_authority_that_cannot_be_used(name: str) -> None:
    others, problem = NOT_WHOLE[name]
    vendor = keyed("vendor", VENDOR)
    required = policy(maximum=STRICT, vex={"by": {"anyOf": ["vendor", "other"]}})
    excluding = vex_by(VENDOR, vex_statement())
    whole = {one.name: one for one in (SCANNER, OTHER, vendor)}
    broken = {one.name: one for one in (SCANNER, vendor, *others)}
    assert not judged(facts(DIRTY, excluding, authorities=whole), required, authorities=whole).violations
    known = facts(DIRTY, excluding, authorities=broken)
    assert f"; no VEX document excludes anything: {problem} (allowed" in message(
        judged(known, required, authorities=broken)
    )
    assert not judged(facts(scanned_by(), authorities=broken), required, authorities=broken).violations


def test_no_vex_document_counts_until_those_by_a_new_authority_are_read() -> None:
    required = policy(maximum=STRICT, vex={"by": {"anyOf": ["vendor", "other"]}})
    whole = AUTHORITIES | {"vendor": keyed("vendor", VENDOR)}
    attached = [DIRTY, vex_by(OTHER_P256, vex_statement())]
    assert not judged(facts(*attached, authorities=whole), required, authorities=whole).violations
    pending = judged(facts(*attached), required, authorities=whole)
    assert "still being verified, because ImageAuthority vendor changed" in message(pending)


@pytest.mark.parametrize("age", [timedelta(), HOUR])
def test_scan_does_not_count_while_one_that_may_be_newer_is_too_large_to_be_read(age: timedelta) -> None:
    read = {SCAN_PREDICATE}
    attached, authorities = [scanned_by(finished=NOW - HOUR)], list(AUTHORITIES.values())
    for unread_scan_at, is_denied in ((NOW - HOUR + age, True), (NOW - HOUR - timedelta(seconds=1), False)):
        verified = verify(REPOSITORY, IMAGE, attached, authorities, NOW, predicates=read, unread_scan_at=unread_scan_at)
        evaluation = judged(facts_of(shared(verified, NOW)))
        assert evaluation.is_denied is is_denied
        if is_denied:
            assert (
                f"which has no valid scan; that of {rfc3339(NOW - HOUR)} does not count: a newer one may be in an "
                "attestation of more than 16,777,216 bytes, or in a list or a tag that cannot be read (allowed: "
                "scanned by scanner in the last 7d). Fix: scan and attest it again, or remove what sekisho verify "
                "IMAGE says cannot be read."
            ) in message(evaluation)


@pytest.mark.parametrize("status", ["not_affected", "fixed"])
def test_vulnerability_that_a_vex_document_excludes_does_not_count(status: str) -> None:
    required = policy(maximum=STRICT, vex=VEX)
    excluded = vex_by(OTHER_P256, vex_statement("CVE-2024-0001", status))
    assert judged(facts(DIRTY), required).is_denied
    assert not judged(facts(DIRTY, excluded), required).violations
    assert judged(facts(DIRTY, excluded), policy(maximum=STRICT)).is_denied


VEX_DENIED: dict[str, Sequence[Candidate]] = {
    "affected": [vex_by(OTHER_P256, vex_statement("CVE-2024-0001", "affected"))],
    "about another vulnerability": [vex_by(OTHER_P256, vex_statement("CVE-2024-0002"))],
    "by the scanner's own authority": [vex_by(P256, vex_statement("CVE-2024-0001"))],
    "of the future": [vex_by(OTHER_P256, vex_statement("CVE-2024-0001"), issued=NOW + HOUR)],
    "older than one that says affected": [
        vex_by(OTHER_P256, vex_statement("CVE-2024-0001"), issued=NOW - 3 * HOUR),
        vex_by(OTHER_P256, vex_statement("CVE-2024-0001", "affected"), issued=NOW - 2 * HOUR),
    ],
}


@pytest.mark.parametrize("name", VEX_DENIED)
def test_vex_document_that_excludes_nothing(name: str) -> None:
    required = policy(maximum=STRICT, vex=VEX)
    assert judged(facts(DIRTY, *VEX_DENIED[name]), required).is_denied
    newest = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"), issued=NOW)
    others = [one for one in VEX_DENIED[name] if name != "of the future"]
    assert not judged(facts(DIRTY, *others, newest), required).violations


def test_vex_documents_exclude_nothing_while_another_one_may_be_unread() -> None:
    attached = [DIRTY, vex_by(OTHER_P256, vex_statement("CVE-2024-0001"))]
    for may_hide_vex in (True, False):
        verified = verify(
            REPOSITORY,
            IMAGE,
            attached,
            list(AUTHORITIES.values()),
            NOW,
            omitted=4,
            predicates={SCAN_PREDICATE, *VEX_PREDICATES},
            may_hide_vex=may_hide_vex,
        )
        denied = judged(facts_of(shared(verified, NOW)), policy(maximum=STRICT, vex=VEX))
        assert denied.is_denied is may_hide_vex
        if may_hide_vex:
            assert f"CVE-2024-0001; {VEX_UNREAD} (allowed" in message(denied)
            assert VEX_UNREAD not in message(judged(verified, policy(maximum=STRICT)))


UNREAD_VEX = {
    "an unknown status": [vex_statement(status="affected"), vex_statement("CVE-2", "whatever")],
    "too many ids": [vex_statement(f"CVE-2024-{number:06}") for number in range(1500)],
    "duplicate keys": [vex_statement() | {"note": "DUPLICATE"}],
}


@pytest.mark.parametrize("name", UNREAD_VEX)
def test_older_vex_document_does_not_count_instead_of_one_that_cannot_be_read(name: str) -> None:
    def unread(key: PrivateKey) -> Candidate:
        made = scan_statement(vex_document(*UNREAD_VEX[name]), IMAGE, VEX_PREDICATES[0])
        return candidate(bundle(key, made.replace(b'"DUPLICATE"', b'1, "note": 2')))

    older = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"), issued=NOW - 2 * HOUR)
    newer = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"), issued=NOW)
    stranger = ec.generate_private_key(ec.SECP256R1())
    required = policy(maximum=STRICT, vex=VEX)
    denied = judged(facts(DIRTY, older, unread(OTHER_P256)), required)
    assert "; the VEX document of 2026-11-26T11:00:00Z and older ones exclude nothing: " in message(denied)
    for attached in ((older, unread(stranger)), (older, unread(OTHER_P256), newer)):
        assert not judged(facts(DIRTY, *attached), required).violations


def test_older_vex_document_than_are_kept_excludes_nothing() -> None:
    newer = [vex_by(OTHER_P256, vex_statement(f"CVE-{n}"), issued=NOW - HOUR / (n + 2)) for n in range(MAX_VEX)]
    older = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"))
    required = policy(maximum=STRICT, vex=VEX)
    assert not judged(facts(DIRTY, older, *newer[1:]), required).violations
    assert judged(facts(DIRTY, older, *newer), required).is_denied


def test_vex_document_that_is_not_kept_may_say_that_another_id_affects_the_image() -> None:
    advisory = scanned_by(report=grype(grype_match("GHSA-1", related=["CVE-2024-0001"])))
    older = vex_by(OTHER_P256, vex_statement("CVE-2024-0001", "affected"), issued=NOW - 2 * HOUR)
    ids = ["GHSA-1", *(f"CVE-{number}" for number in range(1, MAX_VEX))]
    newer = [vex_by(OTHER_P256, vex_statement(one), issued=NOW - HOUR / (n + 2)) for n, one in enumerate(ids)]
    required = policy(maximum=STRICT, vex=VEX)
    assert not judged(facts(advisory, *newer), required).violations
    for kept in (newer, newer[1:], newer[:1]):
        assert judged(facts(advisory, older, *kept), required).is_denied
    both = vex_by(OTHER_P256, vex_statement("GHSA-1"), vex_statement("CVE-2024-0001"), issued=NOW)
    assert not judged(facts(advisory, older, *newer, both), required).violations


def test_vex_documents_of_the_same_time_exclude_what_none_of_them_says_otherwise() -> None:
    more = [vex_by(OTHER_P256, vex_statement(f"CVE-{number}")) for number in range(MAX_VEX + 3)]
    excluded, affecting = (
        vex_by(OTHER_P256, vex_statement("CVE-2024-0001", status)) for status in ("fixed", "affected")
    )
    required = policy(maximum=STRICT, vex=VEX)
    assert not judged(facts(DIRTY, excluded, *more), required).violations
    assert judged(facts(DIRTY, excluded, *more, affecting), required).is_denied


def test_vex_document_does_not_exclude_a_denied_vulnerability() -> None:
    excluded = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"))
    for denied, is_denied in (("CVE-2024-0001", True), ("CVE-2024-0002", False)):
        required = policy(maximum=STRICT, vex=VEX, denied=[denied])
        assert judged(facts(DIRTY, excluded), required).is_denied is is_denied


def test_allowed_and_excluded_ids_of_an_advisory_count_together() -> None:
    advisory = scanned_by(report=grype(grype_match("ELSA-2024-1", related=["CVE-2024-0001", "CVE-2024-0002"])))
    excluded = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"))
    entry = {"id": "CVE-2024-0002", "until": "2026-11-27T12:00:00Z", "reason": "not reachable"}
    assert judged(facts(advisory, excluded), policy(maximum=STRICT, vex=VEX)).is_denied
    assert not judged(facts(advisory, excluded), policy(maximum=STRICT, vex=VEX, allowed=[entry])).violations


def test_vex_documents_are_only_read_where_a_rule_names_their_authority() -> None:
    assert PolicySet.of([policy(vex=VEX)]).predicates == {SCAN_PREDICATE, *VEX_PREDICATES}
    assert PolicySet.of([policy()]).predicates == {SCAN_PREDICATE}
    before = verify(REPOSITORY, IMAGE, [DIRTY], [SCANNER, OTHER], NOW, predicates={SCAN_PREDICATE})
    assert judged(before, policy(maximum=STRICT, vex=VEX)).is_pending


def test_unusable_authority_for_vex_excludes_nothing() -> None:
    excluded = vex_by(OTHER_P256, vex_statement("CVE-2024-0001"))
    attested = facts(DIRTY, excluded)
    required = policy(maximum=STRICT, vex=VEX)
    broken = authority("other", problem="its Secret is gone")
    for others in ({"other": broken}, {}):
        denied = judged(attested, required, authorities={"scanner": SCANNER, **others})
        assert "has 1 fixable critical vulnerability" in message(denied)
        assert not denied.is_pending
        clean = facts(scanned_by())
        assert not judged(clean, required, authorities={"scanner": SCANNER, **others}).violations


def test_changed_authority_for_vex_is_pending() -> None:
    attested = facts(DIRTY, vex_by(OTHER_P256, vex_statement("CVE-2024-0001")))
    changed = {"scanner": SCANNER, "other": authority("other", [key_of(OTHER_P256, NOW + DAY)])}
    assert not judged(attested, policy(maximum=STRICT, vex=VEX), authorities=changed).violations
    moved = {"scanner": SCANNER, "other": keyed("other", P256)}
    evaluation = judged(attested, policy(maximum=STRICT, vex=VEX), authorities=moved)
    assert (evaluation.is_denied, evaluation.is_pending) == (True, True)


def test_denial_says_whose_vex_documents_count() -> None:
    text = message(judged(facts(DIRTY), policy(maximum=STRICT, vex=VEX)))
    assert "(allowed: none of these that other does not exclude)" in text


def test_denied_vulnerability_is_denied_under_each_of_its_ids() -> None:
    log4shell = policy(denied=["CVE-2021-44228"])
    match = grype_match("GHSA-jfh8-c2jp-5v3q", "Low", ["2.15.0"], ["CVE-2021-44228"])
    text = message(judged(facts(scanned_by(report=grype(match))), log4shell))
    assert (
        "which has CVE-2021-44228, which the policy denies, in a scan by grype 60 minutes ago: openssl 3.0.11 -> "
        "2.15.0, GHSA-jfh8-c2jp-5v3q (allowed: none of these). Fix: "
    ) in text
    assert is_admitted(log4shell, trivy_row("CVE-2021-442280"))
    strict = policy(denied=["CVE-2021-44228"], maximum=STRICT)
    both = message(judged(facts(scanned_by(report=trivy(trivy_row("CVE-2021-44228"), trivy_row()))), strict))
    assert "has CVE-2021-44228, which the policy denies, and 2 fixable critical vulnerabilities, in a scan" in both
    assert not is_admitted(log4shell, trivy_row("CVE-2021-44228", "LOW"))


def test_facts_from_before_the_policy_needed_scans_are_pending() -> None:
    before = verify(REPOSITORY, IMAGE, [scanned_by()], [SCANNER, OTHER], NOW)
    evaluation = judged(before)
    assert evaluation.is_pending
    assert evaluation.lookups == (Lookup(parse(NAME), ("scanner",)),)


def test_image_without_a_valid_scan_is_looked_up_again_after_a_while() -> None:
    scanned = facts(scanned_by(finished=NOW - 8 * DAY))
    assert judged(scanned).lookups == ()
    evaluation = judged(scanned, now=NOW + timedelta(seconds=15))
    assert (evaluation.lookups, evaluation.is_pending) == ((Lookup(parse(NAME), ("scanner",)),), False)
    assert judged(None).lookups == evaluation.lookups


def test_scan_by_a_key_that_ended_does_not_count() -> None:
    ending = {"scanner": authority("scanner", [key_of(P256, NOW + HOUR), key_of(OTHER_P256)])}
    scanned = facts(scanned_by(), authorities=ending)
    assert not judged(scanned, authorities=ending).violations
    assert judged(scanned, authorities=ending, now=NOW + HOUR).is_denied


def test_every_rule_applies_beside_rules_on_signatures() -> None:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["scanner"]}}
    images = {"signatures": [rule], "attestations": [rule | {"vulnerabilities": {"maxAge": "7d"}}]}
    both = msgspec.convert({"metadata": {"name": "both"}, "spec": {"controls": {"images": images}}}, ClusterPodPolicy)
    assert len(judged(facts(), both).violations) == 2
    assert len(judged(facts(scanned_by()), both).violations) == 1
    assert not judged(facts(scanned_by(), signed_by(P256)), both).violations


def test_only_a_cluster_policy_opens_a_registry() -> None:
    spec = {"controls": msgspec.to_builtins(policy())["spec"]["controls"]}
    own = msgspec.convert({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}, PodPolicy)
    assert PolicySet.of([own]).registries == frozenset()
    assert PolicySet.of([policy()]).registries == {"ghcr.io"}
    assert PolicySet.of([own]).predicates == {SCAN_PREDICATE}


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"by": {}}, "by: set either anyOf or allOf"),
    "both": ({"by": {"anyOf": ["a"], "allOf": ["b"]}}, "by: set either anyOf or allOf"),
    "twice": ({"by": {"anyOf": ["a", "a"]}}, "by: has a duplicate authority"),
    "any registry": ({"images": ["*/x"]}, "images[0]: '*/x' begins with *"),
    "allowed twice": (
        {
            "vulnerabilities": {
                "maxAge": "1d",
                "allowed": [{"id": "A", "until": "2027-01-01T00:00:00Z", "reason": "r"}] * 2,
            }
        },
        "vulnerabilities.allowed[1].id: A is a duplicate",
    ),
    "allowed and denied": (
        {
            "vulnerabilities": {
                "maxAge": "1d",
                "allowed": [{"id": "A", "until": "2027-01-01T00:00:00Z", "reason": "r"}],
                "denied": ["A"],
            }
        },
        "vulnerabilities.allowed[0].id: A is in denied, which takes precedence",
    ),
    "an authority for VEX twice": (
        {"vulnerabilities": {"maxAge": "1d", "vex": {"by": {"anyOf": ["a", "a"]}}}},
        "vulnerabilities.vex.by: has a duplicate authority",
    ),
    "a scanner twice": (
        {"vulnerabilities": {"maxAge": "1d", "scanners": ["trivy", "trivy"]}},
        "vulnerabilities.scanners: has a duplicate scanner",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_rule(name: str) -> None:
    change, problem = MALFORMED[name]
    rule = {"images": ["ghcr.io"], "by": {"anyOf": ["scanner"]}, "vulnerabilities": {"maxAge": "1d"}} | change
    spec = {"controls": {"images": {"attestations": [rule]}}}
    with pytest.raises(PolicyError) as raised:
        PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)])
    assert f"spec.controls.images.attestations[0].{problem}" in str(raised.value)


def platforms(*digests: str) -> ImageFacts:
    """The facts about an index without a scan of its own."""
    return replace(facts(signed_by(P256)), platforms={digest: f"linux/{digest[-1]}" for digest in digests})


AMD, ARM = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def judged_index(index: ImageFacts, now: datetime = NOW, **of_platforms: Candidate | None) -> Evaluation:
    evidence = {NAME: index}
    for name, made in of_platforms.items():
        digest = {"amd": AMD, "arm": ARM}[name]
        read = [] if made is None else [made]
        known = verify(REPOSITORY, digest, read, [SCANNER, OTHER], NOW, predicates={SCAN_PREDICATE, *VEX_PREDICATES})
        evidence[f"{REPOSITORY}@{digest}"] = known
    required = PolicySet.of([policy(maximum=STRICT)])
    return evaluate(pod(), Context(required, "shop", {}, trust=Trust(AUTHORITIES, evidence, now), clock=lambda: now))


def test_index_passes_where_each_platform_has_a_scan_that_passes() -> None:
    amd, arm = scanned_by(digest=AMD), scanned_by(digest=ARM)
    dirty = scanned_by(report=trivy(trivy_row(), digest=ARM), digest=ARM)
    assert not judged_index(platforms(AMD, ARM), amd=amd, arm=arm).violations
    text = message(judged_index(platforms(AMD, ARM), amd=amd, arm=None))
    assert f"which has a platform, linux/b ({ARM}), which has no scan by scanner (" in text
    text = message(judged_index(platforms(AMD, ARM), amd=amd, arm=dirty))
    assert f"which has a platform, linux/b ({ARM}), which has 1 fixable critical vulnerability, in a scan by" in text
    assert judged_index(platforms(), amd=amd, arm=arm).is_denied


def test_scan_of_an_index_itself_decides() -> None:
    amd = scanned_by(digest=AMD)
    dirty = replace(facts(scanned_by(report=trivy(trivy_row()))), platforms={AMD: "linux/amd64"})
    clean = replace(facts(scanned_by()), platforms={AMD: "linux/amd64"})
    assert judged_index(dirty, amd=amd).is_denied
    assert not judged_index(clean, amd=None).violations


def test_platform_that_is_unknown_is_looked_up() -> None:
    of_arm = parse(f"{REPOSITORY}@{ARM}")
    evaluation = judged_index(platforms(AMD, ARM), amd=scanned_by(digest=AMD))
    assert evaluation.lookups == (Lookup(of_arm, ("scanner",)),)
    later = NOW + timedelta(seconds=15)
    assert judged_index(platforms(ARM), later, arm=None).lookups == (Lookup(of_arm, ("scanner",)),)


def test_platforms_do_not_count_for_signatures() -> None:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["scanner"]}}
    spec = {"controls": {"images": {"signatures": [rule]}}}
    signed = msgspec.convert({"metadata": {"name": "signed"}, "spec": spec}, ClusterPodPolicy)
    index = replace(facts(), platforms={AMD: "linux/amd64"})
    known = verify(REPOSITORY, AMD, [signed_by(P256, AMD)], [SCANNER, OTHER], NOW)
    trust = Trust(AUTHORITIES, {NAME: index, f"{REPOSITORY}@{AMD}": known}, NOW)
    assert known.signatures
    assert evaluate(pod(), Context(PolicySet.of([signed]), "shop", {}, trust=trust)).is_denied


def test_rule_lacks_a_statement() -> None:
    rules = PolicySet.of([policy(maximum=STRICT)]).statement_rules
    trust = Trust(AUTHORITIES, {}, NOW)
    for made, lacks in (((), True), ((scanned_by(OTHER_P256),), True), ((DIRTY,), False)):
        assert lacks_statement(rules, parse(NAME), facts(*made), trust) is lacks
    assert not lacks_statement(rules, parse(f"ghcr.io/other/pay@{IMAGE}"), facts(), trust)
    assert (
        len(PolicySet.of([policy(), msgspec.structs.replace(policy(), metadata=policy().metadata)]).statement_rules)
        == 1
    )


def test_rule_lacks_a_signature() -> None:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["scanner"]}}
    spec = {"controls": {"images": {"signatures": [rule]}}}
    signed = msgspec.convert({"metadata": {"name": "signed"}, "spec": spec}, ClusterPodPolicy)
    rules, trust = PolicySet.of([signed, policy()]).signature_rules, Trust(AUTHORITIES, {}, NOW)
    for key, lacks in ((P256, False), (OTHER_P256, True)):
        known = verify(REPOSITORY, IMAGE, [signed_by(key, IMAGE)], [SCANNER, OTHER], NOW)
        assert lacks_signature(rules, parse(NAME), known, trust) is lacks
    assert not lacks_signature(rules, parse(f"ghcr.io/other/pay@{IMAGE}"), facts(), trust)
    assert lacks_signature(None, parse(NAME), facts(), trust)


def test_init_container_must_be_scanned_too() -> None:
    trust = Trust(AUTHORITIES, {NAME: facts(scanned_by())}, NOW)
    for image, is_denied in ((NAME, False), (f"{REPOSITORY}@sha256:{'ef' * 32}", True)):
        raw = restricted_pod(container("c0", image=NAME), initContainers=[container("init", image=image)])
        of = msgspec.convert(raw, type(pod()))
        assert evaluate(of, Context(PolicySet.of([policy()]), "shop", {}, trust=trust)).is_denied is is_denied

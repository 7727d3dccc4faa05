"""Which attestations of an image are kept where there are many, or several of the same time."""

from time import thread_time

from cryptography.hazmat.primitives.asymmetric import ec

from sekisho.images.attested import SLSA_1, Build
from sekisho.images.evidence import MAX_ATTESTATIONS, MAX_SCANS, Attestation, Candidate, ImageFacts, Signature
from sekisho.images.keeping import keep
from sekisho.images.reported import Severity
from sekisho.images.scans import SCAN_PREDICATE, BySeverity, Ids, Scan
from sekisho.images.verification import Verified, facts_of, verify, verify_more
from sekisho.images.vex import VEX_PREDICATES, Vex
from sekisho.timestamps import rfc3339
from tests.unit.images.scan_data import HOUR, grype, scan_statement, scanned_by, scans_of, trivy, trivy_row
from tests.unit.images.signing import IMAGE, NOW, OTHER_P256, P256, REPOSITORY, PrivateKey, bundle, candidate, keyed


def facts(*candidates: Candidate) -> ImageFacts:
    return verify(REPOSITORY, IMAGE, candidates, [keyed("scanner", P256)], NOW, predicates=[SCAN_PREDICATE])


def test_scans_of_the_same_time_count_as_one_that_shows_all() -> None:
    rows = [trivy_row(f"CVE-{number}", "LOW", VendorIDs=[f"V-{number}"]) for number in range(40)]
    dated = {"CreatedAt": rfc3339(NOW - 2 * HOUR)}
    attached = [scanned_by(report=trivy(row, **dated)) for row in rows[:20]]
    (scan,) = scans_of(facts(*attached))
    assert scan == scans_of(facts(scanned_by(report=trivy(*rows[:20], **dated))))[0]
    assert scan.count(Severity.LOW) == 20
    (broken,) = scans_of(facts(*attached, scanned_by(report=trivy(SchemaVersion=3), finished=NOW - 2 * HOUR)))
    assert broken.problem == "its report has schema version 3; 2 is supported"


def test_very_many_different_large_scans_of_the_same_time_say_nothing_in_little_time() -> None:
    by = (Signature("ci", "01" * 32),)

    def scan(number: int) -> Attestation:
        ids = " ".join(f"CVE-2020-{at + 13_000 * number}" for at in range(13_000))
        return Attestation(SCAN_PREDICATE, by, Scan(NOW - HOUR, "trivy", fixable=BySeverity(critical=Ids(13_000, ids))))

    def vex(number: int) -> Attestation:
        ids = " ".join(f"C{number}-{at:05}" for at in range(1700))
        return Attestation(VEX_PREDICATES[0], by, vex=Vex(NOW - HOUR, excluded=ids))

    attached = [make(number) for number in range(128) for make in (scan, vex)]
    started = thread_time()
    (kept_scan, kept_vex), _ = keep(attached, may_hide_vex=False)
    assert thread_time() - started < 0.1
    assert kept_scan.scan is not None
    assert kept_scan.scan.problem.startswith("the ids of 128 scans of the same time have ")
    assert kept_vex.vex is not None
    assert kept_vex.vex.problem.startswith("the ids of its VEX have ")
    (same_scan, same_vex), _ = keep([scan(1), scan(1), vex(1), vex(1)], may_hide_vex=False)
    assert (same_scan, same_vex) == (scan(1), vex(1))


def test_scans_of_many_authorities_do_not_hide_that_of_one() -> None:
    others = [ec.generate_private_key(ec.SECP256R1()) for _ in range(MAX_SCANS)]
    authorities = [keyed("scanner", P256), *(keyed(f"team-{number}", key) for number, key in enumerate(others))]
    own, newer = scanned_by(finished=NOW - 2 * HOUR), [scanned_by(key) for key in others]

    def authors(*attached: Candidate) -> tuple[set[str], tuple[str, ...]]:
        image_facts = verify(REPOSITORY, IMAGE, attached, authorities, NOW, predicates=[SCAN_PREDICATE])
        return {by.authority for one in image_facts.attestations for by in one.signatures}, image_facts.problems

    assert authors(own, *newer[1:]) == ({"scanner", *(f"team-{number}" for number in range(1, MAX_SCANS))}, ())
    # All of the same time or none: which of them is needed is unknown.
    problem = f"{MAX_SCANS + 1} of its attestations count for nothing, because too many are attached"
    assert authors(scanned_by(), *newer) == (set(), (problem,))
    many = [scanned_by(P256, grype() if number % 2 else trivy(), NOW - HOUR * number) for number in range(2, 12)]
    assert len(authors(*many, *newer[2:])[0]) == MAX_SCANS - 1


def test_large_scans_of_other_authorities_do_not_hide_that_of_one_that_a_rule_names() -> None:
    others = [ec.generate_private_key(ec.SECP256R1()) for _ in range(6)]
    authorities = [keyed("scanner", P256), *(keyed(f"team-{number}", key) for number, key in enumerate(others))]
    large = trivy(*[trivy_row(f"CVE-2024-{number:06}") for number in range(12_000)])
    attached = [scanned_by(finished=NOW - 2 * HOUR), *(scanned_by(key, large) for key in others)]
    for named, is_kept in ((["scanner"], True), (["team-0"], False)):
        nothing = Verified(REPOSITORY, IMAGE, tuple(authorities), [SCAN_PREDICATE], named)
        known = facts_of(verify_more(nothing, attached), NOW)
        assert ("scanner" in {by.authority for one in known.attestations for by in one.signatures}) is is_kept
        # The others are looked up again once a rule names them.
        assert {name for name, checked in known.checked.items() if checked} == set(named)


def test_other_attestations_of_one_authority_do_not_hide_those_of_another() -> None:
    def built(key: PrivateKey, number: int) -> Candidate:
        run = {"runDetails": {"builder": {"id": f"https://builder.example/{number}"}}}
        return candidate(bundle(key, scan_statement(run, IMAGE, SLSA_1)))

    authorities = [keyed("release", P256), keyed("team", OTHER_P256)]
    for count in (1, 31):
        attached = [built(P256, 99), *(built(OTHER_P256, number) for number in range(count))]
        image_facts = verify(REPOSITORY, IMAGE, attached, authorities, NOW, predicates=[SLSA_1])
        assert "release" in {by.authority for one in image_facts.attestations for by in one.signatures}
        assert len(image_facts.attestations) == count + 1
    (kept, (problem,)) = keep(
        [
            Attestation(SLSA_1, (Signature(name, name),), build=Build(f"https://builder.example/{number}"))
            for number in range(MAX_ATTESTATIONS)
            for name in (("team", "zeta") if number == 0 else ("team",))
        ],
        may_hide_vex=False,
    )
    assert (len(kept), problem.partition(" ")[0]) == (MAX_ATTESTATIONS, "1")
    assert "zeta" in {one.signatures[0].authority for one in kept}

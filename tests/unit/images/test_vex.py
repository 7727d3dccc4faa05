"""VEX: what is read of OpenVEX documents, and which statements are about the image."""

import time
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest

from sekisho.images.statements import NotASignatureError
from sekisho.images.vex import MAX_VEX_BYTES, VEX_PREDICATES, Exclusions, Vex, exclusions_of, read_vex, united
from tests.unit.images.scan_data import HOUR, scan_statement, vex_document, vex_statement
from tests.unit.images.signing import IMAGE, NOW, OTHER_IMAGE, REPOSITORY

CVE = "CVE-2024-0001"
NAME = REPOSITORY.rpartition("/")[2]


def read(*statements: Any, **rest: Any) -> Vex:
    return read_vex(scan_statement(vex_document(*statements, **rest), IMAGE, VEX_PREDICATES[0]), REPOSITORY, IMAGE)


@pytest.mark.parametrize(
    ("status", "is_excluded"),
    [("not_affected", True), ("fixed", True), ("affected", False), ("under_investigation", False)],
)
def test_statuses(status: str, is_excluded: bool) -> None:
    made = read(vex_statement(status=status))
    assert (made.excluded, made.affecting) == ((CVE, "") if is_excluded else ("", CVE))


def test_vulnerability_is_known_by_all_its_names() -> None:
    made = read({"vulnerability": {"name": CVE, "aliases": ["GHSA-1"]}, "status": "fixed"})
    assert made.excluded == f"{CVE} GHSA-1"
    assert read({"vulnerability": CVE, "status": "fixed"}).excluded == CVE


ABOUT: dict[str, tuple[Any, bool]] = {
    "nothing else": (None, True),
    "its digest in a package URL": (f"pkg:oci/{NAME}@{IMAGE}", True),
    "its digest, escaped": (f"pkg:oci/{NAME}@sha256%3A{IMAGE[7:]}?repository_url={REPOSITORY}", True),
    "another digest": (f"pkg:oci/{NAME}@{OTHER_IMAGE}", False),
    "its name": (f"pkg:oci/{NAME}", True),
    "its name and repository": (f"pkg:oci/{NAME}?repository_url={REPOSITORY}", True),
    "another repository": (f"pkg:oci/{NAME}?repository_url=ghcr.io/evil/{NAME}", False),
    "another name": (f"pkg:oci/{NAME}2", False),
    "its reference": (f"{REPOSITORY}@{IMAGE}", True),
    "another reference": (f"{REPOSITORY}@{OTHER_IMAGE}", False),
    "a package": ("pkg:deb/debian/openssl@3.0.11", False),
    "its hash": ({"@id": "acme", "hashes": {"sha-256": IMAGE[7:]}}, True),
    "its hash in capitals": ({"@id": "acme", "hashes": {"sha-256": IMAGE[7:].upper()}}, True),
    "another hash": ({"@id": "acme", "hashes": {"sha-256": OTHER_IMAGE[7:]}}, False),
    "an identifier": ({"@id": "acme", "identifiers": {"purl": f"pkg:oci/{NAME}@{IMAGE}"}}, True),
    "a part of it": ({"@id": f"pkg:oci/{NAME}", "subcomponents": [{"@id": "pkg:deb/debian/openssl"}]}, False),
}


@pytest.mark.parametrize("name", ABOUT)
def test_statement_is_about_the_image(name: str) -> None:
    product, is_about = ABOUT[name]
    products: dict[str, Any] = (
        {} if product is None else {"products": [product if isinstance(product, dict) else {"@id": product}]}
    )
    assert read(vex_statement(**products)).excluded == (CVE if is_about else "")


def test_statement_about_a_part_excludes_nothing_and_still_affects() -> None:
    parts: dict[str, Any] = {"subcomponents": [{"@id": "pkg:deb/debian/openssl"}]}
    assert read(vex_statement(**parts)) == Vex(NOW - HOUR)
    assert read(vex_statement(status="affected", **parts)).affecting == CVE


def test_newest_statement_of_a_document_decides() -> None:
    older, newer = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00.123456789Z"
    fixed, affected = vex_statement(status="fixed"), vex_statement(status="affected")
    assert read(fixed | {"timestamp": newer}, affected | {"timestamp": older}).excluded == CVE
    assert read(fixed | {"timestamp": older}, affected | {"timestamp": newer}).affecting == CVE
    assert read(fixed, affected).affecting == read(affected, fixed).affecting == CVE


def test_document_is_as_old_as_its_last_change() -> None:
    assert read(issued=NOW - 9 * HOUR, last_updated="2026-11-26T12:00:00Z").issued == NOW


MALFORMED: dict[str, tuple[Any, str]] = {
    "no document": ({"a": 1}, "it is not in the form of OpenVEX: "),
    "another format": (vex_document() | {"@context": "https://other.example"}, "it is not OpenVEX: "),
    "a time": (vex_document() | {"timestamp": "today"}, "its VEX has a time that is not in the form of RFC 3339"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_document_is_not_read(name: str) -> None:
    document, problem = MALFORMED[name]
    with pytest.raises(NotASignatureError, match="^" + problem.replace("(", "\\(")):
        read_vex(scan_statement(document, IMAGE, VEX_PREDICATES[0]), REPOSITORY, IMAGE)


UNREAD: dict[str, tuple[Any, str]] = {
    "a status": (vex_document(vex_statement(status="ok")), "its VEX has a status that is unknown: 'ok'"),
    "an id": (vex_document(vex_statement("CVE-1 CVE-2")), "its VEX has an id of a vulnerability that is empty or"),
    "many ids": (
        vex_document(*(vex_statement(f"CVE-2024-{number:06}") for number in range(1500))),
        f"the ids of its VEX have 23,999 bytes; the maximum is {MAX_VEX_BYTES:,}",
    ),
    "many statements": (
        vex_document(*[vex_statement()] * 20_001),
        "its VEX has 20,001 statements; the maximum is 20,000",
    ),
    "a form": (vex_document({"status": "fixed"}), "it is not in the form of OpenVEX: Object missing required field"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_document_that_cannot_be_read_has_a_problem(name: str) -> None:
    document, problem = UNREAD[name]
    vex = read_vex(scan_statement(document, IMAGE, VEX_PREDICATES[0]), REPOSITORY, IMAGE)
    assert vex.problem.startswith(problem)
    assert vex == Vex(NOW - HOUR, problem=vex.problem)


def document(issued: datetime, excluded: str = "", affecting: str = "", problem: str = "") -> Vex:
    return Vex(issued, excluded, affecting, problem)


def test_older_document_does_not_count_instead_of_one_with_a_problem() -> None:
    unread = document(NOW - HOUR, problem="its VEX is large")
    for issued, is_excluded in ((NOW, True), (NOW - HOUR, False), (NOW - 2 * HOUR, False)):
        for documents in ([unread, document(issued, CVE)], [document(issued, CVE), unread]):
            assert exclusions_of(documents, NOW).covers([CVE]) is is_excluded


def test_documents_of_the_same_time_count_as_one() -> None:
    several = [document(NOW, "CVE-1 CVE-2"), document(NOW, "CVE-3", "CVE-2"), document(NOW, affecting="CVE-4")]
    for order in permutations(several):
        assert united(order) == document(NOW, "CVE-1 CVE-3", "CVE-2 CVE-4")
        assert united([*order, document(NOW, problem="large")]) == document(NOW, problem="large")
    many = [document(NOW, " ".join(f"CVE-{part}-{number:06}" for number in range(800))) for part in range(3)]
    assert united(many[:1]).excluded
    assert united(many).problem.startswith("the ids of its VEX have ")


def test_newest_document_with_an_id_decides() -> None:
    older, newer = NOW - 2 * HOUR, NOW - HOUR
    assert exclusions_of([document(older, CVE), document(newer, "CVE-2")], NOW).covers([CVE])
    assert not exclusions_of([document(older, CVE), document(newer, affecting=CVE)], NOW).covers([CVE])
    assert exclusions_of([document(newer, CVE), document(older, affecting=CVE)], NOW).covers([CVE])


def test_of_documents_of_the_same_time_the_one_that_excludes_less_decides() -> None:
    fixed, affected, about_another = (
        document(NOW, CVE),
        document(NOW, affecting=CVE),
        document(NOW, affecting="CVE-2"),
    )
    for documents in ([fixed, affected], [affected, fixed]):
        assert not exclusions_of(documents, NOW).covers([CVE])
    for documents in ([fixed, about_another], [about_another, fixed]):
        assert exclusions_of(documents, NOW).covers([CVE])


def test_document_of_the_future_excludes_nothing_and_hides_older_ones() -> None:
    assert exclusions_of([document(NOW + HOUR / 12, CVE)], NOW).covers([CVE])
    assert not exclusions_of([document(NOW + HOUR, CVE), document(NOW, CVE)], NOW).covers([CVE])


def test_advisory_is_excluded_with_all_its_ids() -> None:
    known = Exclusions(frozenset({"CVE-1", "CVE-2"}), frozenset({"CVE-3"}))
    assert known.covers(["ELSA", "CVE-1", "CVE-2"])
    assert not known.covers(["ELSA", "CVE-1", "CVE-4"])
    assert known.covers(["ELSA", "CVE-1", "CVE-4"], frozenset({"CVE-4"}))
    assert not known.covers(["CVE-1", "CVE-3"])


def test_cost_does_not_grow_with_vulnerabilities_times_exclusions() -> None:
    known = Exclusions(frozenset(f"CVE-2023-{number}" for number in range(5000)), frozenset())
    started = time.process_time()
    assert not any(known.covers([f"CVE-2024-{number}", "CVE-2023-1", "GHSA-1"]) for number in range(12_000))
    assert known.covers(["CVE-2024-1", "CVE-2023-1", "GHSA-1"], frozenset({"GHSA-1"}))
    assert time.process_time() - started < 0.5

"""Laws of rules on scans: what the order of the registry, a further vulnerability and a further statement change.

Statements are drawn as plain values, so that a verdict can be compared with one that is worked out from these alone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from sekisho.images.evidence import MAX_VEX, Candidate, ImageFacts
from sekisho.images.scans import MAX_SKEW, SCAN_PREDICATE
from sekisho.images.verification import verify
from sekisho.images.vex import VEX_PREDICATES, Vex, exclusions_of
from sekisho.policies import ClusterPodPolicy
from sekisho.timestamps import rfc3339
from tests.unit.admission.test_image_scans import judged, policy
from tests.unit.images.scan_data import (
    HOUR,
    grype,
    grype_match,
    scanned_by,
    trivy,
    trivy_row,
    vex_by,
    vex_statement,
)
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_IMAGE,
    OTHER_P256,
    P256,
    REPOSITORY,
    PrivateKey,
    keyed,
    signed_by,
)

MAX_AGE: Final = timedelta(days=7)
KEYS: Final[dict[str, PrivateKey]] = {
    "scanner": P256,
    "other": OTHER_P256,
    "security": ec.generate_private_key(ec.SECP256R1()),
}
STRANGER: Final = ec.generate_private_key(ec.SECP256R1())
AUTHORITIES: Final = {name: keyed(name, key) for name, key in KEYS.items()}
TYPES: Final = {SCAN_PREDICATE, *VEX_PREDICATES}
LATER: Final = "2027-01-01T00:00:00Z"
BEGIN: Final = datetime.min.replace(tzinfo=UTC)
BEFORE: Final = "2026-01-01T00:00:00Z"
EXCLUDING: Final = ("not_affected", "fixed")
COUNTED_AS: Final = {"NEGLIGIBLE": "low", "UNKNOWN": "high", "": "high"}


class Vulnerability(Struct, frozen=True):
    """A vulnerability of a package, as a scanner reports it."""

    id: str
    rating: str
    is_fixable: bool
    others: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """The severity that counts."""
        return COUNTED_AS.get(self.rating, self.rating.lower())


class Scanned(Struct, frozen=True):
    """A scan: by whom, when it ended, when its report was made, and what it shows; None for a broken report."""

    by: str
    scanner: str
    ended: datetime
    reported: datetime | None
    vulnerabilities: tuple[Vulnerability, ...] | None

    @property
    def time(self) -> datetime:
        """The time that counts."""
        if self.vulnerabilities is None or self.reported is None:
            return self.ended
        return min(self.ended, self.reported)

    @property
    def candidate(self) -> Candidate:
        """It as cosign attaches it."""
        if self.vulnerabilities is None:
            report = trivy(SchemaVersion=3) if self.scanner == "trivy" else {"matches": [], "descriptor": {}}
        elif self.scanner == "trivy":
            made = {} if self.reported is None else {"CreatedAt": rfc3339(self.reported)}
            report = trivy(*map(_row, self.vulnerabilities), **made)
        else:
            timestamp = {} if self.reported is None else {"timestamp": rfc3339(self.reported)}
            report = grype(*map(_match, self.vulnerabilities), descriptor={"name": "grype", **timestamp})
        return scanned_by(KEYS[self.by], report, self.ended)


class Document(Struct, frozen=True):
    """A VEX document: by whom, when it was issued, and the status of each id; whether it cannot be read."""

    by: str
    issued: datetime
    statuses: tuple[tuple[str, str], ...]
    is_broken: bool = False

    @property
    def facts(self) -> Vex:
        """It as it is kept."""
        excluding = [name for name, status in self.statuses if status in EXCLUDING]
        others = [name for name, status in self.statuses if status not in EXCLUDING]
        if self.is_broken:
            return Vex(self.issued, problem="broken")
        return Vex(self.issued, " ".join(excluding), " ".join(others))

    @property
    def candidate(self) -> Candidate:
        """It as cosign attaches it."""
        statements = [vex_statement(name, status) for name, status in self.statuses]
        statements += [vex_statement(status="broken")] if self.is_broken else []
        return vex_by(KEYS[self.by], *statements, issued=self.issued)


class Required(Struct, frozen=True):
    """What a policy requires: `is_all` of the authorities or any, and the parameters of `vulnerabilities`."""

    by: tuple[str, ...]
    is_all: bool
    scanners: tuple[str, ...]
    limits: dict[tuple[bool, str], int]
    allowed: dict[str, str]
    denied: tuple[str, ...]

    @property
    def policy(self) -> ClusterPodPolicy:
        """It as a policy."""
        maximum = {
            name: {severity: maximum for (fixable, severity), maximum in self.limits.items() if fixable is is_fixable}
            for name, is_fixable in (("fixable", True), ("unfixable", False))
        }
        return policy(
            {"allOf" if self.is_all else "anyOf": self.by},
            maximum=maximum,
            allowed=[
                {"id": name, "until": until, "reason": "r"}
                for name, until in self.allowed.items()
                if name not in self.denied
            ],
            denied=self.denied,
            vex={"by": {"anyOf": ["security"]}},
            **({"scanners": self.scanners} if self.scanners else {}),
        )


def _row(one: Vulnerability) -> dict[str, Any]:
    return trivy_row(one.id, one.rating, "1" if one.is_fixable else "", VendorIDs=list(one.others))


def _match(one: Vulnerability) -> dict[str, Any]:
    return grype_match(one.id, one.rating.capitalize(), ["1"] if one.is_fixable else [], one.others)


RARELY: Final = (False, False, False, False, False, True)
IDS = st.sampled_from(["CVE-1", "CVE-2", "CVE-3"])
SEVERITIES: Final = ("critical", "high", "medium", "low")
RATINGS: Final = [*(one.upper() for one in SEVERITIES), *COUNTED_AS]
VULNERABILITY = st.builds(
    Vulnerability,
    IDS,
    st.sampled_from(["CRITICAL", "HIGH", *RATINGS]),
    st.booleans(),
    st.just(()) | st.lists(IDS, max_size=2, unique=True).map(tuple),
)
RECENT: Final = [NOW - HOUR, NOW - HOUR, NOW - HOUR, NOW - 2 * HOUR, NOW - 2 * HOUR, NOW - 3 * HOUR]
TIMES = st.sampled_from([*RECENT, *RECENT, NOW - MAX_AGE - HOUR, NOW + HOUR])
REPORTS = st.lists(VULNERABILITY, max_size=2).map(tuple)
SCANS = st.builds(
    Scanned,
    st.sampled_from(["scanner", "scanner", "other"]),
    st.sampled_from(["trivy", "grype"]),
    TIMES,
    st.sampled_from([None, None, None, NOW - HOUR, NOW - 2 * HOUR]),
    st.sampled_from(RARELY).flatmap(lambda is_broken: st.none() if is_broken else REPORTS),
)
DOCUMENTS = st.builds(
    Document,
    st.sampled_from(["security", "security", "security", "security", "scanner"]),
    st.sampled_from([*RECENT, NOW + HOUR]),
    st.lists(
        st.tuples(IDS, st.sampled_from(["not_affected", "fixed", "affected", "under_investigation"])),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    ).map(tuple),
    st.sampled_from((*RARELY, False, False)),
)
LIMITS = st.dictionaries(
    st.tuples(st.booleans(), st.sampled_from(["critical", "high", *SEVERITIES])),
    st.sampled_from([0, 0, 1]),
    min_size=1,
    max_size=5,
)
REQUIRED = st.builds(
    Required,
    st.sampled_from([("scanner",), ("scanner",), ("scanner", "other")]),
    st.booleans(),
    st.sampled_from([(), (), (), ("trivy",), ("grype", "trivy")]),
    LIMITS,
    st.just({}) | st.dictionaries(IDS, st.sampled_from([LATER, BEFORE]), max_size=2),
    st.sampled_from(RARELY).flatmap(lambda denies: IDS.map(lambda name: (name,)) if denies else st.just(())),
)
FEW_SCANS = st.lists(SCANS, min_size=1, max_size=4, unique=True)
SOME_SCANS = FEW_SCANS | st.lists(SCANS, min_size=7, max_size=10).map(
    lambda scans: [replace(one, ended=NOW - HOUR, reported=None) for one in scans]
)
SOME_DOCUMENTS = st.lists(DOCUMENTS, max_size=9, unique=True)
FEW_DOCUMENTS = st.lists(DOCUMENTS, max_size=4, unique=True)
MANY = st.tuples(
    st.lists(SCANS, min_size=1, max_size=12, unique=True),
    st.lists(DOCUMENTS, min_size=MAX_VEX, max_size=12, unique=True),
)

TWO_TIMES = st.sampled_from([NOW - HOUR, NOW - 2 * HOUR])
PLAIN_SCANS = st.lists(
    st.builds(
        Scanned,
        st.just("scanner"),
        st.sampled_from(["trivy", "grype"]),
        TWO_TIMES,
        st.none(),
        st.sampled_from([(), (Vulnerability("CVE-1", "CRITICAL", True),)]),
    ),
    min_size=2,
    max_size=4,
)
PLAIN_DOCUMENTS = st.lists(
    st.builds(
        Document, st.just("security"), TWO_TIMES, st.sampled_from([(("CVE-1", "fixed"),), (("CVE-1", "affected"),)])
    ),
    max_size=3,
)
NO_CRITICAL: Final = Required(("scanner",), False, (), {(True, "critical"): 0}, {}, ())


def read(candidates: Sequence[Candidate]) -> ImageFacts:
    """The facts about the image."""
    return verify(REPOSITORY, IMAGE, candidates, list(AUTHORITIES.values()), NOW, predicates=TYPES)


def all_of(scans: Sequence[Scanned], documents: Sequence[Document]) -> list[Candidate]:
    """Scans and documents as cosign attaches them."""
    return [*(one.candidate for one in scans), *(one.candidate for one in documents)]


def is_denied(required: Required, attached: Sequence[Candidate]) -> bool:
    """The verdict on a pod with the image to which these statements are attached."""
    return judged(read(attached), required.policy, authorities=AUTHORITIES).is_denied


def excluded_ids(documents: Sequence[Document]) -> tuple[frozenset[str], frozenset[str]]:
    """The ids that the newest document which has them excludes, and the other ids that documents have."""
    excluded: set[str] = set()
    affecting: set[str] = set()
    broken = {one.issued for one in documents if one.by == "security" and one.is_broken}
    by_security = [one for one in documents if one.by == "security" and not one.is_broken]
    for name in {name for one in by_security for name, _ in one.statuses}:
        having = [one for one in by_security if name in dict(one.statuses)]
        newest = max(one.issued for one in having)
        statuses = {dict(one.statuses)[name] for one in having if one.issued == newest}
        is_excluded = statuses.issubset(EXCLUDING) and newest <= NOW + MAX_SKEW and newest > max(broken, default=BEGIN)
        (excluded if is_excluded else affecting).add(name)
    return frozenset(excluded), frozenset(affecting)


def counts(one: str, others: set[str], required: Required, documents: Sequence[Document]) -> bool:
    """Whether a vulnerability with an id and other ids counts towards a limit."""
    excluded, affecting = excluded_ids(documents)
    allowed = {name for name, until in required.allowed.items() if until == LATER and name not in required.denied}
    if one in allowed or (others and others <= allowed):
        return False
    is_excused = one in excluded or bool(others and others <= excluded | allowed)
    if any(document.by == "security" and document.is_broken for document in documents):
        is_excused = {one} | others <= excluded | allowed
    return not is_excused or bool(affecting & ({one} | others) - allowed)


def passes(scan: Scanned, required: Required, documents: Sequence[Document]) -> bool:
    """Whether a scan passes, from what is drawn alone."""
    if scan.vulnerabilities is None or not timedelta(0) <= NOW + MAX_SKEW - scan.time <= MAX_AGE + MAX_SKEW:
        return False
    if any(name in (one.id, *one.others) for one in scan.vulnerabilities for name in required.denied):
        return False
    for (is_fixable, severity), maximum in required.limits.items():
        cell = [one for one in scan.vulnerabilities if (one.is_fixable, one.severity) == (is_fixable, severity)]
        others: dict[str, set[str]] = {}
        for one in cell:
            others.setdefault(one.id, set()).update(set(one.others) - {one.id} or {one.id})
        with_others = {name: of - {name} if of == {name} else of for name, of in others.items()}
        if sum(counts(name, of, required, documents) for name, of in with_others.items()) > maximum:
            return False
    return True


def expected_denied(required: Required, scans: Sequence[Scanned], documents: Sequence[Document]) -> bool:
    """The verdict, from what is drawn alone: of each group and scanner, all scans of the newest time must pass.

    Those of one authority and scanner are one that shows all that these show.
    """
    groups = [{name} for name in required.by] if required.is_all else [set(required.by)]
    for group in groups:
        for scanner in required.scanners or ("",):
            by_it = [
                one
                for one in scans
                if one.by in group and (not scanner or (one.scanner == scanner) or is_by_unknown(one))
            ]
            newest = max((one.time for one in by_it), default=None)
            if newest is None:
                return True
            kinds = {kind_of(one) for one in by_it if one.time == newest}
            united = [_united([one for one in by_it if one.time == newest and kind_of(one) == kind]) for kind in kinds]
            if not all(passes(one, required, documents) for one in united):
                return True
    return False


def _united(scans: Sequence[Scanned]) -> Scanned:
    """Scans of one kind and time as one."""
    shown: tuple[Vulnerability, ...] | None = ()
    for one in scans:
        shown = None if shown is None or one.vulnerabilities is None else (*shown, *one.vulnerabilities)
    return Scanned(scans[0].by, scans[0].scanner, scans[0].time, None, shown)


def is_by_unknown(scan: Scanned) -> bool:
    """Whether the report does not say which scanner made it."""
    return scan.vulnerabilities is None and scan.scanner != "trivy"


def kind_of(scan: Scanned) -> tuple[str, str, bool]:
    """Scans of one kind, of which the newest decides."""
    return scan.by, scan.scanner, is_by_unknown(scan)


def contents(facts: ImageFacts) -> list[bytes]:
    """What the facts say, without where it is attached, in no order."""
    return sorted(
        msgspec.json.encode(
            replace(one, signatures=tuple(replace(by, candidate="") for by in one.signatures)), order="sorted"
        )
        for one in facts.attestations
    )


@given(required=REQUIRED, scans=FEW_SCANS, documents=FEW_DOCUMENTS, data=st.data())
def test_verdict_is_that_of_the_newest_scans_and_documents(
    required: Required, scans: list[Scanned], documents: list[Document], data: st.DataObject
) -> None:
    attached = data.draw(st.permutations(all_of(scans, documents)))
    assert is_denied(required, attached) is expected_denied(required, scans, documents)


@given(scans=PLAIN_SCANS, documents=PLAIN_DOCUMENTS)
def test_verdict_where_one_vulnerability_decides(scans: list[Scanned], documents: list[Document]) -> None:
    assert is_denied(NO_CRITICAL, all_of(scans, documents)) is expected_denied(NO_CRITICAL, scans, documents)


@given(required=REQUIRED, many=MANY, data=st.data())
def test_order_of_the_registry_changes_no_fact_and_no_verdict(
    required: Required, many: tuple[list[Scanned], list[Document]], data: st.DataObject
) -> None:
    attached = all_of(*many)
    before, after = read(attached), read(data.draw(st.permutations(attached)))
    assert contents(before) == contents(after)
    turned = replace(before, attestations=tuple(data.draw(st.permutations(before.attestations))))
    verdicts = {judged(of, required.policy, authorities=AUTHORITIES).is_denied for of in (before, after, turned)}
    assert len(verdicts) == 1


@given(required=REQUIRED, scans=SOME_SCANS, documents=FEW_DOCUMENTS, vulnerability=VULNERABILITY, data=st.data())
def test_another_vulnerability_never_makes_a_denied_image_admitted(
    required: Required,
    scans: list[Scanned],
    documents: list[Document],
    vulnerability: Vulnerability,
    data: st.DataObject,
) -> None:
    place = data.draw(st.integers(0, len(scans) - 1))
    assume(scans[place].vulnerabilities is not None)
    before = scans[place].vulnerabilities or ()
    index = data.draw(st.integers(0, len(before)))
    worse = replace(scans[place], vulnerabilities=(*before[:index], vulnerability, *before[index:]))
    assume(is_denied(required, all_of(scans, documents)))
    assert is_denied(required, all_of([*scans[:place], worse, *scans[place + 1 :]], documents))


@given(required=REQUIRED, scans=FEW_SCANS, documents=FEW_DOCUMENTS, older=SCANS, data=st.data())
def test_older_scan_that_is_attached_again_changes_no_verdict(
    required: Required, scans: list[Scanned], documents: list[Document], older: Scanned, data: st.DataObject
) -> None:
    newer = [one.time for one in scans if kind_of(one) == kind_of(older)]
    assume(newer and max(newer) > older.time)
    before = is_denied(required, all_of(scans, documents))
    assert is_denied(required, data.draw(st.permutations(all_of([older, *scans], documents)))) is before


NOT_COUNTED: Final = [
    scanned_by(STRANGER, finished=NOW),
    scanned_by(P256, finished=NOW, digest=OTHER_IMAGE),
    vex_by(STRANGER, vex_statement("CVE-1"), vex_statement("CVE-2"), issued=NOW),
    vex_by(KEYS["security"], vex_statement("CVE-1"), vex_statement("CVE-2"), issued=NOW, digest=OTHER_IMAGE),
    signed_by(STRANGER),
    signed_by(P256),
]


@given(
    required=REQUIRED,
    scans=FEW_SCANS,
    documents=FEW_DOCUMENTS,
    more=st.lists(st.sampled_from(NOT_COUNTED), min_size=1, max_size=8),
    data=st.data(),
)
def test_what_strangers_attach_and_copies_change_no_verdict(
    required: Required, scans: list[Scanned], documents: list[Document], more: list[Candidate], data: st.DataObject
) -> None:
    attached = all_of(scans, documents)
    copies = [replace(one, digest=OTHER_IMAGE) for one in data.draw(st.lists(st.sampled_from(attached), max_size=8))]
    before = is_denied(required, attached)
    assert is_denied(required, data.draw(st.permutations([*attached, *copies, *more]))) is before


@given(required=REQUIRED, scans=FEW_SCANS, documents=SOME_DOCUMENTS, further=DOCUMENTS, data=st.data())
def test_vex_document_that_excludes_nothing_never_makes_a_denied_image_admitted(
    required: Required, scans: list[Scanned], documents: list[Document], further: Document, data: st.DataObject
) -> None:
    if not further.is_broken:
        further = replace(further, statuses=tuple((name, "affected") for name, _ in further.statuses))
    assume(is_denied(required, all_of(scans, documents)))
    assert is_denied(required, data.draw(st.permutations(all_of(scans, [*documents, further]))))


@given(documents=st.lists(DOCUMENTS, max_size=5), data=st.data())
def test_exclusions_are_what_the_newest_documents_say_in_any_order(
    documents: list[Document], data: st.DataObject
) -> None:
    turned = data.draw(st.permutations([one for one in documents if one.by == "security"]))
    exclusions = exclusions_of([one.facts for one in turned], NOW)
    excluded, affecting = excluded_ids(documents)
    assert (exclusions.excluded, exclusions.affecting) == (excluded, affecting)
    assert exclusions.is_complete is not any(one.is_broken for one in documents if one.by == "security")

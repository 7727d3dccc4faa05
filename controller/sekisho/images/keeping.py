"""Which attestations of an image are kept: what is known about an image must fit into an object.

What is kept depends neither on the order of the registry nor on how often something is attached: anyone who may push
can change both.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sekisho.images.evidence import (
    MAX_ATTESTATIONS,
    MAX_PAYLOAD_BYTES,
    MAX_SCANS,
    MAX_SCANS_BYTES,
    MAX_VEX,
    Attestation,
)
from sekisho.images.scans import Scan
from sekisho.images.scans import united as united_scans
from sekisho.images.vex import VEX_UNKEPT, VEX_UNREAD, Vex
from sekisho.images.vex import united as united_documents

MAX_SIGNERS: Final = 64
"""Signatures of one attestation that are kept."""
_MAX_VEX_BYTES: Final = 256 << 10
UNREAD_SCAN: Final = (
    f"a newer one may be in an attestation of more than {MAX_PAYLOAD_BYTES:,} bytes, or in a list or a tag that cannot "
    "be read"
)

_Ranked = list[tuple[Any, Attestation]]


def keep(
    attestations: Iterable[Attestation],
    *,
    may_hide_vex: bool,
    unread_scan_at: datetime | None = None,
    named: Collection[str] = (),
) -> tuple[tuple[Attestation, ...], list[str]]:
    """The attestations that count, each once, and why others do not.

    Of each scanner and signer the newest scan; the newest VEX documents; and the others. Where there is no room for
    all, authorities take turns, so that the statements of one do not hide those of another.

    Statements of one kind, signer and time count as one that says what all of them say: which one is newer is unknown.

    may_hide_vex: whether a VEX document may be among what was not read. Then none counts: it may be the newest.
    unread_scan_at: when the newest scan that cannot be read may have been attached; None where there is none. An older
        scan has a problem: the newest decides.
    named: the authorities that rules for the image name. Their scans are kept before those of others.
    """
    scans: dict[Hashable, list[Attestation]] = defaultdict(list)
    documents: dict[Hashable, list[Attestation]] = defaultdict(list)
    others: dict[Hashable, list[Attestation]] = defaultdict(list)
    for one in attestations:
        signers = frozenset((by.authority, by.fingerprint, by.identity) for by in one.signatures)
        if one.scan is not None:
            scans[one.scan.scanner, signers].append(one)
        elif one.vex is not None:
            documents[one.vex.issued, signers].append(one)
        else:
            others[one.predicate_type, one.build, frozenset(one.values.items()), signers].append(one)
    newest = [_unless_outdated(_newest_scan(scans_of_signer), unread_scan_at) for scans_of_signer in scans.values()]
    kept = _first(_ranked_scans(newest, named), MAX_SCANS, MAX_SCANS_BYTES)
    problems = [VEX_UNREAD] if may_hide_vex else []
    read_documents = () if may_hide_vex else documents.values()
    kept += _kept_documents(_ranked_documents(map(_united_document, read_documents)))
    kept += [one for _, one in _ranked_others(map(_listed_first, others.values()))[: MAX_ATTESTATIONS - len(kept)]]
    unkept = len(scans) + len(read_documents) + len(others) - len(kept)
    if unkept:
        problems.append(f"{unkept} of its attestations count for nothing, because too many are attached")
    return tuple(kept), problems


def unkept_scanners(attestations: Iterable[Attestation], kept: Iterable[Attestation]) -> set[str]:
    """The authorities of which the newest scan by a scanner is not among those that are kept."""
    of_kept = _newest_times(kept)
    return {by for (by, scanner), time in _newest_times(attestations).items() if of_kept.get((by, scanner)) != time}


def _newest_times(attestations: Iterable[Attestation]) -> dict[tuple[str, str], datetime]:
    """When the newest scan by each authority and scanner ended."""
    times: dict[tuple[str, str], datetime] = {}
    for attestation in attestations:
        if attestation.scan is not None:
            for key in ((by.authority, attestation.scan.scanner) for by in attestation.signatures):
                times[key] = max(attestation.scan.finished, times.get(key, attestation.scan.finished))
    return times


def _kept_documents(ranked: _Ranked) -> list[Attestation]:
    """As many of the newest VEX documents as fit, and one with a problem in place of the others.

    What these say is unknown: older ones may say that a vulnerability affects the image under one of its other ids.
    """
    kept = _first(ranked, MAX_VEX, _MAX_VEX_BYTES)
    unkept = [attestation for _, attestation in ranked[len(kept) :]]
    issued = max((attestation.vex.issued for attestation in unkept if attestation.vex is not None), default=None)
    if issued is None:
        return kept
    signers = {(by.authority, by.fingerprint, by.identity): by for one in unkept for by in one.signatures}
    if len(signers) > MAX_SIGNERS:
        return []
    by_all = tuple(signers[key] for key in sorted(signers))
    return [*kept, Attestation(unkept[0].predicate_type, by_all, vex=Vex(issued, problem=VEX_UNKEPT))]


def _newest_scan(scans_of_signer: Sequence[Attestation]) -> Attestation:
    """The newest scan; of several at the same time, what they show together."""
    finished = max(attestation.scan.finished for attestation in scans_of_signer if attestation.scan is not None)
    newest = [one for one in scans_of_signer if one.scan is not None and one.scan.finished == finished]
    return replace(_listed_first(newest), scan=united_scans([one.scan for one in newest if one.scan is not None]))


def _unless_outdated(one: Attestation, unread_scan_at: datetime | None) -> Attestation:
    """A scan; with a problem where one that is not read may be newer."""
    if one.scan is None or unread_scan_at is None or one.scan.finished > unread_scan_at:
        return one
    return replace(one, scan=Scan(one.scan.finished, one.scan.scanner, problem=UNREAD_SCAN))


def _united_document(together: Sequence[Attestation]) -> Attestation:
    """What several VEX documents of the same time say together."""
    return replace(_listed_first(together), vex=united_documents([one.vex for one in together if one.vex is not None]))


def _listed_first(equal: Sequence[Attestation]) -> Attestation:
    """One of several with the same signers, whatever their order."""
    return min(equal, key=lambda attestation: [(by.candidate, str(by.signed_at)) for by in attestation.signatures])


def _first(ranked: _Ranked, max_kept: int, max_bytes: int) -> list[Attestation]:
    """As many as fit; of those of the same rank all or none, as which of them decides is unknown."""
    size = 0
    for index, (rank, one) in enumerate(ranked):
        size += len(msgspec.json.encode((one.scan, one.vex)))
        if index == max_kept or size > max_bytes:
            return [kept for its_rank, kept in ranked[:index] if its_rank != rank]
    return [attestation for _, attestation in ranked]


def _ranked_scans(scans: Iterable[Attestation], named: Collection[str]) -> _Ranked:
    """Scans in the order in which they are kept: first the newest of each authority and scanner, then the next ones.

    Those of named authorities come first, and within a turn the newest. So what is left out is never newer than what is
    kept of the authorities of a rule.
    """
    listed = [(attestation, attestation.scan) for attestation in scans if attestation.scan is not None]
    times: dict[Hashable, set[datetime]] = defaultdict(set)
    for one, scan in listed:
        for by in one.signatures:
            times[by.authority, scan.scanner].add(scan.finished)
    turns = {key: sorted(times_of_key, reverse=True) for key, times_of_key in times.items()}
    ranked: _Ranked = [
        (
            (
                not any(by.authority in named for by in attestation.signatures),
                min(turns[by.authority, scan.scanner].index(scan.finished) for by in attestation.signatures),
                -scan.finished.timestamp(),
            ),
            attestation,
        )
        for attestation, scan in listed
    ]
    return sorted(ranked, key=_rank_and_content)


def _ranked_documents(documents: Iterable[Attestation]) -> _Ranked:
    """VEX documents, the newest first: an older one that another authority has made must not count without it."""
    return sorted(
        ((-one.vex.issued.timestamp(), one) for one in documents if one.vex is not None), key=_rank_and_content
    )


def _ranked_others(others: Iterable[Attestation]) -> _Ranked:
    """Other attestations, of which any may count: authorities and types take turns."""
    ranked: _Ranked = []
    ranks: dict[Hashable, int] = defaultdict(int)
    for one in sorted(others, key=_content):
        kinds = {(by.authority, one.predicate_type) for by in one.signatures}
        ranked.append((min(ranks[kind] for kind in kinds), one))
        for kind in kinds:
            ranks[kind] += 1
    return sorted(ranked, key=lambda pair: pair[0])


def _rank_and_content(pair: tuple[Any, Attestation]) -> tuple[Any, bytes]:
    return pair[0], _content(pair[1])


def _content(attestation: Attestation) -> bytes:
    """What a statement says, and who says it: anyone who attaches it again changes neither."""
    signers = sorted({(by.authority, by.fingerprint, by.identity) for by in attestation.signatures})
    one = attestation
    said = (one.predicate_type, one.scan, one.vex, one.build, one.values, signers)
    return msgspec.json.encode(said, order="deterministic")

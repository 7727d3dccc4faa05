"""VEX: what a signed OpenVEX document says about an image's vulnerabilities, made small enough to be kept and shared.

Only statements about the image as a whole make a vulnerability not count. A statement about some of its packages may be
wrong for another package that has the same vulnerability.

Source: https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Final
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Meta, Struct, field

from sekisho.images.reported import MAX_ROWS
from sekisho.images.scans import is_future
from sekisho.images.statements import NotASignatureError, decoded
from sekisho.timestamps import in_utc, parse

VEX_PREDICATES: Final = ("https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0")
"""The types of statements: cosign's, and that of other tools."""
MAX_VEX_BYTES: Final = 16 << 10
"""The size of all ids of a document, so that the facts about an image fit into an object."""
_MAX_UNITED_BYTES: Final = 4 * MAX_VEX_BYTES
"""The size of all ids of documents of the same time."""
VEX_UNKEPT: Final = "more are attached than are kept"
"""Why old ones exclude nothing."""
VEX_UNREAD: Final = "its VEX documents exclude nothing, because more than are read may be attached"
"""Why none counts."""
_STATUSES: Final = {"not_affected": True, "fixed": True, "affected": False, "under_investigation": False}
"""Whether vulnerabilities of a status do not count."""
_OCI: Final = "pkg:oci/"

_Ids = Annotated[str, Meta(max_length=MAX_VEX_BYTES)]


class Vex(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """What a VEX document says about the vulnerabilities of an image."""

    issued: Annotated[datetime, Meta(tz=True, description="When the document was last changed.")]
    excluded: Annotated[
        _Ids, Meta(description="The ids that do not affect the image or are fixed, separated by spaces.")
    ] = ""
    affecting: Annotated[
        _Ids, Meta(description="The ids that affect the image, or may do so, separated by spaces.")
    ] = ""
    problem: Annotated[
        str,
        Meta(description="Why neither it nor an older one excludes anything; unset if it does.", max_length=400),
    ] = ""


class Exclusions(Struct, frozen=True, eq=False):
    """Ids by what the newest document that has them says.

    excluded: ids of vulnerabilities that do not affect the image, or are fixed.
    affecting: ids of the others.
    is_complete: whether no other ids may affect the image: all documents were read.
    """

    excluded: frozenset[str] = frozenset()
    affecting: frozenset[str] = frozenset()
    is_complete: bool = True

    def covers(self, ids: Sequence[str], allowed: frozenset[str] = frozenset()) -> bool:
        """Whether a vulnerability does not count.

        ids: its id, then its other ids; all of these must be excluded where the first one is not.
        allowed: ids that do not count either.
        """
        # The sets are not united: an image may have thousands of vulnerabilities.
        others = [one for one in ids[1:] if one not in allowed]
        is_excluded = ids[0] in allowed or ids[0] in self.excluded
        if not is_excluded:
            is_excluded = len(ids) > 1 and self.excluded.issuperset(others)
        if is_excluded and not self.is_complete:
            is_excluded = all(one in allowed or one in self.excluded for one in ids)
        return is_excluded and not (self.affecting.intersection(ids) - allowed)


NO_EXCLUSIONS: Final = Exclusions()
"""Where there are no documents."""


def covers(excused: frozenset[str], ids: Sequence[str]) -> bool:
    """Whether the first id of a vulnerability is excused, or all its others are: an advisory may be about several."""
    return ids[0] in excused or (len(ids) > 1 and excused.issuperset(ids[1:]))


class _Component(Struct, frozen=True):
    id: str = field(name="@id", default="")
    identifiers: dict[str, str] = {}
    hashes: dict[str, str] = {}
    subcomponents: tuple[msgspec.Raw, ...] | None = None


class _Vulnerability(Struct, frozen=True):
    name: str
    aliases: tuple[str, ...] | None = None


class _Statement(Struct, frozen=True):
    vulnerability: _Vulnerability | str
    status: str
    products: tuple[_Component | str, ...] | None = None
    subcomponents: tuple[msgspec.Raw, ...] | None = None
    timestamp: str = ""
    last_updated: str = ""


class _Document(Struct, frozen=True):
    statements: tuple[_Statement, ...]


class _Dated(Struct, frozen=True):
    """What tells when a document was last changed, whatever else it says."""

    timestamp: str
    context: str = field(name="@context")
    last_updated: str = ""


class _InToto(Struct, frozen=True):
    predicate: msgspec.Raw


def read_vex(statement: bytes, repository: str, digest: str) -> Vex:
    """The VEX document in an in-toto statement about an image whose type and subject were checked.

    repository: with the registry, as in ImageFacts.
    digest: of the image.

    One that says when it was issued and cannot be read otherwise has a problem: older ones must not count instead.
    Raises NotASignatureError for anything but a VEX document, and for one without a time.
    """
    raw, issued = _dated(statement)
    try:
        document = decoded(raw, _Document, "OpenVEX")
        if len(document.statements) > MAX_ROWS:
            count = f"{len(document.statements):,}"
            raise NotASignatureError(f"its VEX has {count} statements; the maximum is {MAX_ROWS:,}")
        by_id = _by_id(document, issued, repository, digest)
    except NotASignatureError as error:
        return Vex(issued, problem=str(error))
    excluded = {name for name, is_excluded in by_id.items() if is_excluded}
    return _bounded(issued, excluded, by_id.keys() - excluded)


def unread_vex(statement: bytes, problem: str) -> Vex | None:
    """A VEX document that was not read for a reason, with its time; None if it is none, or does not say its time."""
    try:
        return Vex(_dated(statement)[1], problem=problem)
    except NotASignatureError:
        return None


def united(documents: Sequence[Vex]) -> Vex:
    """What several documents say together, which were issued at the same time: the one that excludes less decides."""
    first, *more = documents = list(dict.fromkeys(documents))
    if not more:
        return first
    problem = min((document.problem for document in documents if document.problem), default="")
    size = sum(len(document.affecting) + len(document.excluded) for document in documents)
    if size > _MAX_UNITED_BYTES:  # to unite what is too large would hold others up
        problem = problem or f"the ids of its VEX have {size:,} bytes; the maximum is {_MAX_UNITED_BYTES:,}"
    if problem:
        return Vex(first.issued, problem=problem)
    affecting = {name for document in documents for name in document.affecting.split()}
    excluded = {name for document in documents for name in document.excluded.split()} - affecting
    return _bounded(first.issued, excluded, affecting)


def _dated(statement: bytes) -> tuple[msgspec.Raw, datetime]:
    """The document in an in-toto statement, and when it was last changed. Raises NotASignatureError."""
    raw = decoded(statement, _InToto, "OpenVEX").predicate
    dated = decoded(raw, _Dated, "OpenVEX")
    if not dated.context.startswith("https://openvex.dev/ns"):
        raise NotASignatureError("it is not OpenVEX: its @context is not https://openvex.dev/ns")
    return raw, _time(dated.last_updated or dated.timestamp)


def _bounded(issued: datetime, excluded: Collection[str], affecting: Collection[str]) -> Vex:
    """A document; with a problem instead of its ids where these are too large."""
    texts = [" ".join(sorted(ids)) for ids in (excluded, affecting)]
    size = sum(map(len, texts))
    if size > MAX_VEX_BYTES:
        problem = f"the ids of its VEX have {size:,} bytes; the maximum is {MAX_VEX_BYTES:,}"
        return Vex(issued, problem=problem)
    return Vex(issued, *texts)


def exclusions_of(documents: Iterable[Vex], now: datetime) -> Exclusions:
    """What the newest document says about each id; of several at the same time the one that excludes less.

    One of the future excludes nothing, and neither does one with a problem, nor what is older than that.
    """
    ordered = sorted(documents, key=_issued, reverse=True)
    if not ordered:
        return NO_EXCLUSIONS
    excluded: set[str] = set()
    affecting: set[str] = set()
    is_complete = True
    for issued, group in groupby(ordered, _issued):
        together = list(group)
        is_complete = is_complete and not any(document.problem for document in together)
        affecting |= {name for document in together for name in document.affecting.split()} - excluded
        others = {name for document in together for name in document.excluded.split()} - affecting
        counts = is_complete and not is_future(issued, now)
        (excluded if counts else affecting).update(others - excluded)
    return Exclusions(frozenset(excluded), frozenset(affecting), is_complete)


def _issued(document: Vex) -> datetime:
    return document.issued


def _by_id(document: _Document, issued: datetime, repository: str, digest: str) -> dict[str, bool]:
    """Whether each id is excluded: its newest statement decides, of two at the same time the one that excludes less."""
    newest: dict[str, tuple[datetime, bool]] = {}
    for one in document.statements:
        if one.status not in _STATUSES:
            raise NotASignatureError(f"its VEX has a status that is unknown: {one.status[:40]!r}")
        is_excluded = _STATUSES[one.status]
        if not _is_about(one, repository, digest, whole=is_excluded):
            continue
        at = _time(one.last_updated or one.timestamp) if one.last_updated or one.timestamp else issued
        vulnerability = _Vulnerability(one.vulnerability) if isinstance(one.vulnerability, str) else one.vulnerability
        for name in (vulnerability.name, *(vulnerability.aliases or ())):
            if not name or " " in name:
                raise NotASignatureError("its VEX has an id of a vulnerability that is empty or has a space")
            before = newest.get(name)
            if before is None or (at, not is_excluded) >= (before[0], not before[1]):
                newest[name] = (at, is_excluded)
    return {name: is_excluded for name, (_, is_excluded) in newest.items()}


def _is_about(statement: _Statement, repository: str, digest: str, *, whole: bool) -> bool:
    """Whether a statement is about the image; for `whole`, about all of it. Without products it is."""
    if statement.subcomponents and whole:
        return False
    if not statement.products:
        return True
    products = [_Component(product) if isinstance(product, str) else product for product in statement.products]
    return any(_names(product, repository, digest) and not (whole and product.subcomponents) for product in products)


def _names(product: _Component, repository: str, digest: str) -> bool:
    """Whether a product is the image: by its digest, or by its name where a package URL has no version."""
    algorithm, _, value = digest.partition(":")
    if product.hashes.get(algorithm.replace("sha", "sha-"), "").lower() == value:
        return True
    return any(_is_image(unquote(text), repository, digest) for text in (product.id, *product.identifiers.values()))


def _is_image(text: str, repository: str, digest: str) -> bool:
    if not text.startswith(_OCI):
        return text.endswith(f"@{digest}")
    path, _, query = text.removeprefix(_OCI).partition("?")
    name, _, version = path.partition("@")
    if version:
        return version == digest
    urls = parse_qs(query).get("repository_url", [])
    return name == repository.rpartition("/")[2] and all(url == repository for url in urls)


def _time(text: str) -> datetime:
    try:
        return in_utc(parse(text))
    except ValueError:
        raise NotASignatureError("its VEX has a time that is not in the form of RFC 3339") from None

"""What is attached to an image, in one of the sources where clients put it, and may be a signature of the image.

Only verification decides what a candidate is.

Source: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, TypeVar

from msgspec import Struct

from sekisho.images.bundles import CERTIFICATE_ANNOTATION, SIGNATURE_ANNOTATION
from sekisho.images.evidence import (
    MAX_CANDIDATES,
    MAX_PAYLOAD_BYTES,
    MAX_PROBLEM_LENGTH,
    MAX_PROBLEMS,
    Candidate,
)
from sekisho.images.reference import is_digest
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.registry.client import MAX_LIST_BYTES, Referrers, RegistryClient, Repository
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.hints import attached_at, ends_first, hint_of, in_order, layer_type, may_be_scan, may_be_vex
from sekisho.registry.manifests import Descriptor
from sekisho.registry.room import Hold

MAX_ATTACHED_BYTES: Final = 64 << 10
"""The size of a manifest that is attached to an image; those of tags have all layers, and MAX_LIST_BYTES."""
MAX_LAYER_BYTES: Final = 256 << 10
"""The size of one candidate; a keyless signature has about 5 KB."""
MAX_TOTAL_BYTES: Final = 512 << 10
"""The size of all candidates of an image together, without those that are read as attestations."""
MAX_ATTESTATION_BYTES: Final = 24 << 20
"""The size of all attestations of an image together that are read because a policy needs them."""
MAX_UNHELD_BYTES: Final = 16 << 10
"""The size of the candidates in one list that need no room; usual are a few KB."""

BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
_ATTESTATION_TAG: Final = ".att tag"
K = TypeVar("K")
T = TypeVar("T")


class Candidates(Struct, frozen=True):
    """What is attached to an image.

    candidates: at most MAX_CANDIDATES of each source, by where they were found.
    omitted: how many more there are at least, which no one has looked at.
    problems: why some of what is listed could not be read, a clause each.
    may_hide_vex: whether a VEX document may be among those that were not read, by hints that nobody has signed.
    unread_scan_at: when the newest that may be a scan and was not read was attached, because it has more than
        MAX_PAYLOAD_BYTES or is in a list or a tag that cannot be read; by such hints; a distant future where it is not
        said; None where there is none.
    """

    candidates: tuple[Candidate, ...] = ()
    omitted: int = 0
    problems: tuple[str, ...] = ()
    may_hide_vex: bool = False
    unread_scan_at: datetime | None = None


class Wanted(Struct, frozen=True, eq=False):
    """The attestations that policies need, which may be large.

    predicates: their types; empty for none.
    hold: has room for the bytes of candidates, until the caller releases it.
    """

    predicates: Collection[str]
    hold: Hold


class _Layer(Struct, frozen=True, gc=False):
    """hint: what is signed; attached: when it was; both as annotations say, which nobody has signed, or empty."""

    source: str
    manifest: str
    descriptor: Descriptor
    hint: str
    attached: str


class _Layers(Struct, frozen=True, gc=False):
    """The layers of one manifest, at most MAX_CANDIDATES, and the others."""

    layers: tuple[_Layer, ...]
    omitted: tuple[_Layer, ...]


async def candidates_of_referrers(
    client: RegistryClient,
    repository: Repository,
    referrers: Referrers,
    source: str,
    wanted: Wanted | None,
    max_attestation_bytes: int,
) -> Candidates:
    """What is in a list of referrers.

    source: as in Candidate.
    wanted: as for `find_listed`, with what None means.
    max_attestation_bytes: how much may be read that is large, and that a policy needs.

    Raises RegistryError.
    """
    distinct = in_order(_distinct(referrers.descriptors), wanted.predicates if wanted is not None else ())
    attached, failed, problems = await _readable(
        distinct[:MAX_CANDIDATES], lambda descriptor: _layers(client, repository, descriptor.digest, source)
    )
    unread = distinct[MAX_CANDIDATES:]
    may_hide_vex = referrers.omitted > 0 or any(may_be_vex(hint_of(descriptor)) for descriptor in (*unread, *failed))
    unread_scan_at = None if referrers.is_whole else unread_scan_of(wanted)
    listed = Candidates((), referrers.omitted + len(unread), problems, may_hide_vex, unread_scan_at)
    return joined(listed, await _read_layers(client, repository, attached, wanted, max_attestation_bytes))


async def candidates_of_tag(
    client: RegistryClient,
    repository: Repository,
    digest: str,
    suffix: str,
    wanted: Wanted | None,
    max_attestation_bytes: int = 0,
) -> Candidates:
    """What is in the tag that older clients write; their later signatures are further layers of the same manifest.

    suffix: of the tag: `sig` or `att`.
    wanted: as for `find_listed`, with what None means.
    max_attestation_bytes: how much may be read that is large, and that a policy needs.

    Raises RegistryError.
    """
    tag = f"{digest.replace(':', '-')}.{suffix}"
    try:
        source = _ATTESTATION_TAG if suffix == "att" else f".{suffix} tag"
        layers = await _layers(client, repository, tag, source, MAX_LIST_BYTES)
    except RegistryError as error:
        if error.failure is Failure.MISSING:
            return Candidates()
        if error.failure is Failure.INVALID:
            is_attestation = suffix == "att"
            problem = str(error)[:MAX_PROBLEM_LENGTH]
            unread_scan_at = unread_scan_of(wanted) if is_attestation else None
            return Candidates((), 0, (problem,), may_hide_vex=is_attestation, unread_scan_at=unread_scan_at)
        raise
    if wanted is not None and not max_attestation_bytes:
        wanted = Wanted((), wanted.hold)
    return await _read_layers(client, repository, [layers], wanted, max_attestation_bytes)


def unread_scan_of(wanted: Wanted | None) -> datetime | None:
    """When a scan may have been attached where what is attached cannot be read; None where no scan is wanted."""
    return attached_at("") if wanted is not None and SCAN_PREDICATE in wanted.predicates else None


async def _layers(
    client: RegistryClient, repository: Repository, reference: str, source: str, max_bytes: int = MAX_ATTACHED_BYTES
) -> _Layers:
    """The layers of a manifest that may be signatures by their media type: it is what a client reads them by.

    Raises RegistryError.
    """
    content = await client.manifest(repository, reference, max_bytes)
    layers = [
        _Layer(
            source,
            content.digest,
            layer,
            content.manifest.predicate_type or layer_type(layer),
            content.manifest.created,
        )
        for layer in content.manifest.layers or ()
        if layer.media_type.startswith(BUNDLE) or layer.media_type in (SIMPLE_SIGNING, ENVELOPE)
    ]
    layers = layers[::-1] if source == _ATTESTATION_TAG else ends_first(layers)  # cosign appends
    return _Layers(tuple(layers[:MAX_CANDIDATES]), tuple(layers[MAX_CANDIDATES:]))


async def _read_layers(
    client: RegistryClient,
    repository: Repository,
    attached: Sequence[_Layers],
    wanted: Wanted | None,
    max_large: int,
) -> Candidates:
    """The candidates in layers, as far as the bounds go: what is above them is omitted and counted.

    max_large: how many bytes may be read that are large, and that a policy needs.
    """
    layers = [layer for one in attached for layer in one.layers]
    read: list[_Layer] = []
    unread: list[_Layer] = []
    total = total_large = 0
    for layer in layers:
        size = layer.descriptor.size
        if len(read) >= MAX_CANDIDATES or size < 0:
            unread.append(layer)
        elif size <= MAX_LAYER_BYTES and total + size <= MAX_TOTAL_BYTES:
            read.append(layer)
            total += size
        elif _may_be_wanted(layer, wanted) and size <= MAX_PAYLOAD_BYTES and total_large + size <= max_large:
            read.append(layer)
            total_large += size
        else:
            unread.append(layer)
    if wanted is not None and total + total_large > MAX_UNHELD_BYTES:
        await wanted.hold.take(total + total_large)
    payloads, failed, problems = await _readable(read, lambda layer: _candidate(client, repository, layer))
    large = [layer for layer in layers if _may_be_wanted(layer, wanted) and layer.descriptor.size > MAX_PAYLOAD_BYTES]
    too_large = [
        f"an attestation has {layer.descriptor.size:,} bytes; the maximum is {MAX_PAYLOAD_BYTES:,}" for layer in large
    ]
    unread_scan_at = max((attached_at(layer.attached) for layer in large if may_be_scan(layer.hint)), default=None)
    omitted = [layer for one in attached for layer in one.omitted] + unread
    may_hide_vex = any(may_be_vex(layer.hint) for layer in (*omitted, *failed))
    said = (*too_large, *problems)[:MAX_PROBLEMS]
    return Candidates(tuple(payloads), len(omitted), said, may_hide_vex, unread_scan_at)


def _may_be_wanted(layer: _Layer, wanted: Wanted | None) -> bool:
    """Whether a layer may be an attestation that a policy needs. One with another hint would only cost its bytes."""
    return wanted is not None and bool(wanted.predicates) and (not layer.hint or layer.hint in wanted.predicates)


async def _candidate(client: RegistryClient, repository: Repository, layer: _Layer) -> Candidate:
    descriptor = layer.descriptor
    return Candidate(
        source=layer.source,
        media_type=descriptor.media_type,
        payload=await client.blob(repository, descriptor),
        annotations=_annotations(descriptor),
        digest=layer.manifest,
        layer=descriptor.digest,
    )


def _annotations(descriptor: Descriptor) -> dict[str, str]:
    """The annotations of a layer that belong to its signature."""
    written = descriptor.annotations
    if written is None:
        return {}
    both = ((SIGNATURE_ANNOTATION, written.signature), (CERTIFICATE_ANNOTATION, written.certificate))
    return {name: text for name, text in both if text is not None}


async def _readable(
    items: Sequence[K], read: Callable[[K], Coroutine[Any, Any, T]]
) -> tuple[list[T], list[K], tuple[str, ...]]:
    """The results of reading items at the same time, those that could not be read, and why.

    Raises RegistryError for a registry that gives no answer: then it is not known whether there is a signature.
    """
    results: list[T] = []
    failed: list[K] = []
    problems: list[str] = []
    for item, result in zip(items, await asyncio.gather(*map(read, items), return_exceptions=True), strict=True):
        if not isinstance(result, BaseException):
            results.append(result)
        elif isinstance(result, RegistryError) and result.failure in (Failure.INVALID, Failure.MISSING):
            failed.append(item)
            problems.append(str(result)[:MAX_PROBLEM_LENGTH])
        else:
            raise result
    return results, failed, tuple(problems[:MAX_PROBLEMS])


def _distinct(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    return list({descriptor.digest: descriptor for descriptor in descriptors if is_digest(descriptor.digest)}.values())


def joined(*sources: Candidates, known: Candidates | None = None) -> Candidates:
    """The candidates of several sources, each layer of a manifest once. Each source has its own bound, so that many in
    one do not hide those of another.

    known: of other sources, which are left out; None for none.
    """
    others = {_identity(candidate) for candidate in known.candidates} if known is not None else set()
    distinct: dict[Hashable, Candidate] = {}
    for candidate in chain.from_iterable(source.candidates for source in sources):
        if (identity := _identity(candidate)) not in others:
            distinct.setdefault(identity, candidate)
    return Candidates(
        tuple(distinct.values()),
        sum(source.omitted for source in sources),
        tuple(chain.from_iterable(source.problems for source in sources))[:MAX_PROBLEMS],
        any(source.may_hide_vex for source in sources),
        max((source.unread_scan_at for source in sources if source.unread_scan_at is not None), default=None),
    )


def _identity(candidate: Candidate) -> Hashable:
    """What makes it another one: in the older format, signatures by two keys differ only in their annotations."""
    return candidate.digest, candidate.layer, frozenset(candidate.annotations.items())

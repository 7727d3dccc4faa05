"""Finds what is attached to an image and may be a signature of it.

Clients attach signatures in several ways: as referrers, in the fallback tag of registries without referrers, and in
tags named after the image. All are read. Only verification decides what a candidate is.

Sources: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers and
https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
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
from sekisho.images.statements import SIGN_PREDICATE
from sekisho.images.vex import VEX_PREDICATES
from sekisho.registry.client import Referrers, RegistryClient, Repository
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.manifests import Descriptor
from sekisho.registry.room import Hold

MAX_ATTACHED_BYTES: Final = 64 << 10
"""The size of a manifest that is attached to an image."""
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
T = TypeVar("T")


class Candidates(Struct, frozen=True):
    """What is attached to an image.

    candidates: at most MAX_CANDIDATES, by where they were found, and by their digests.
    omitted: how many more there are at least, which no one has looked at.
    problems: why some of what is listed could not be read, a clause each.
    may_hide_vex: whether a VEX document may be among those omitted, by hints that nobody has signed.
    """

    candidates: tuple[Candidate, ...] = ()
    omitted: int = 0
    problems: tuple[str, ...] = ()
    may_hide_vex: bool = False


class Wanted(Struct, frozen=True, eq=False):
    """The attestations that policies need, which may be large.

    predicates: their types; empty for none.
    hold: has room for the bytes of candidates, until the caller releases it.
    """

    predicates: Collection[str]
    hold: Hold


class _Layer(Struct, frozen=True, gc=False):
    """hint: what the manifest says is signed, which nobody has signed; empty where it says nothing."""

    source: str
    manifest: str
    descriptor: Descriptor
    hint: str


class _Layers(Struct, frozen=True, gc=False):
    """The layers of one manifest, at most MAX_CANDIDATES, and the others."""

    layers: tuple[_Layer, ...]
    omitted: tuple[_Layer, ...]


async def find_candidates(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None = None
) -> Candidates:
    """What is attached to an image. Raises RegistryError when the registry is not available or rejects a request.

    The older `.att` tag is read where a policy needs attestations; else only where there is nothing else, to say so.

    wanted: the attestations that are read although they are large; None for none.
    """
    # Both end before this raises: the caller gives the room back then.
    read = await asyncio.gather(
        _referring(client, repository, digest, wanted),
        _tagged(client, repository, digest, "sig", wanted),
        return_exceptions=True,
    )
    attached, unlisted = Candidates(), None
    for one in read:
        if isinstance(one, RegistryError) and one.failure is Failure.INVALID:
            unlisted = one
            attached = _joined(attached, _without_list(one))
        elif isinstance(one, BaseException):
            raise one
        else:
            attached = _joined(attached, one)
    if not attached.candidates and unlisted is not None:
        raise RegistryError(Failure.INVALID, _unlisted(unlisted))
    if not attached.candidates or (wanted is not None and wanted.predicates):
        left = MAX_ATTESTATION_BYTES - sum(len(candidate.payload) for candidate in attached.candidates)
        attached = _joined(attached, await _tagged(client, repository, digest, "att", wanted, left))
    return attached


async def _referring(client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None) -> Candidates:
    """By the referrers API; by the fallback tag where there is no API, or where it lists nothing of use.

    Registries that got the API later must list what the fallback tag has, and some do not. A list that cannot be read
    does not hide the tag: anyone who may push can make it too large.
    """
    unlisted = None
    try:
        referrers = await client.referrers(repository, digest)
    except RegistryError as error:
        if error.failure is Failure.INVALID:
            unlisted = error
        elif error.failure is not Failure.DENIED:  # some deny all paths that they do not know
            raise
        referrers = None
    attached = Candidates()
    if referrers is not None:
        attached = await _of_referrers(client, repository, referrers, "referrers", wanted)
    if not attached.candidates:
        fallback = await client.fallback_referrers(repository, digest)
        attached = _joined(attached, await _of_referrers(client, repository, fallback, "fallback tag", wanted))
    if unlisted is None:
        return attached
    if not attached.candidates:
        raise unlisted
    return _joined(attached, _without_list(unlisted))


def _unlisted(error: RegistryError) -> str:
    return f"what is attached to it cannot be listed: {error}"


def _without_list(error: RegistryError) -> Candidates:
    """What is known of a list that cannot be read: it has something, and why it cannot be read."""
    return Candidates((), 1, (_unlisted(error)[:MAX_PROBLEM_LENGTH],), may_hide_vex=True)


async def _of_referrers(
    client: RegistryClient, repository: Repository, referrers: Referrers, source: str, wanted: Wanted | None
) -> Candidates:
    distinct = _in_order(_distinct(referrers.descriptors), wanted.predicates if wanted is not None else ())
    attached, problems = await _readable(
        [_layers(client, repository, one.digest, source) for one in distinct[:MAX_CANDIDATES]]
    )
    unread = distinct[MAX_CANDIDATES:]
    may_hide_vex = referrers.omitted > 0 or any(_may_be_vex(_hint(one)) for one in unread)
    listed = Candidates((), referrers.omitted + len(unread), problems, may_hide_vex)
    return _joined(listed, await _read_layers(client, repository, attached, wanted))


async def _tagged(
    client: RegistryClient,
    repository: Repository,
    digest: str,
    suffix: str,
    wanted: Wanted | None,
    max_attestation_bytes: int = 0,
) -> Candidates:
    """By the tag that older clients write; their later signatures are further layers of the same manifest.

    max_attestation_bytes: how much may be read that is large, and that a policy needs.
    """
    tag = f"{digest.replace(':', '-')}.{suffix}"
    try:
        layers = await _layers(client, repository, tag, _ATTESTATION_TAG if suffix == "att" else f".{suffix} tag")
    except RegistryError as error:
        if error.failure is Failure.MISSING:
            return Candidates()
        if error.failure is Failure.INVALID:
            return Candidates((), 0, (str(error)[:MAX_PROBLEM_LENGTH],))
        raise
    if wanted is not None and not max_attestation_bytes:
        wanted = Wanted((), wanted.hold)
    return await _read_layers(client, repository, [layers], wanted, max_attestation_bytes)


async def _layers(client: RegistryClient, repository: Repository, reference: str, source: str) -> _Layers:
    """The layers of a manifest that may be signatures by their media type: it is what a client reads them by.

    Raises RegistryError.
    """
    content = await client.manifest(repository, reference, MAX_ATTACHED_BYTES)
    layers = [
        _Layer(source, content.digest, layer, content.manifest.predicate_type)
        for layer in content.manifest.layers or ()
        if layer.media_type.startswith(BUNDLE) or layer.media_type in (SIMPLE_SIGNING, ENVELOPE)
    ]
    if source == _ATTESTATION_TAG:  # cosign appends
        layers.reverse()
    return _Layers(tuple(layers[:MAX_CANDIDATES]), tuple(layers[MAX_CANDIDATES:]))


async def _read_layers(
    client: RegistryClient,
    repository: Repository,
    attached: Sequence[_Layers],
    wanted: Wanted | None,
    max_attestation_bytes: int | None = None,
) -> Candidates:
    """The candidates in layers, as far as the bounds go: what is above them is omitted and counted.

    max_attestation_bytes: how much may be read that is large, and that a policy needs; None for MAX_ATTESTATION_BYTES.
    """
    most = MAX_ATTESTATION_BYTES if max_attestation_bytes is None else max_attestation_bytes
    layers = [layer for one in attached for layer in one.layers]
    read: list[_Layer] = []
    unread: list[_Layer] = []
    total = large = 0
    for layer in layers:
        size = layer.descriptor.size
        if len(read) >= MAX_CANDIDATES or size < 0:
            unread.append(layer)
        elif size <= MAX_LAYER_BYTES and total + size <= MAX_TOTAL_BYTES:
            read.append(layer)
            total += size
        elif _may_be_wanted(layer, wanted) and size <= MAX_PAYLOAD_BYTES and large + size <= most:
            read.append(layer)
            large += size
        else:
            unread.append(layer)
    if wanted is not None and total + large > MAX_UNHELD_BYTES:
        await wanted.hold.take(total + large)
    payloads, problems = await _readable([_candidate(client, repository, layer) for layer in read])
    sizes = [layer.descriptor.size for layer in layers if _may_be_wanted(layer, wanted)]
    too_large = [
        f"an attestation has {size:,} bytes; the maximum is {MAX_PAYLOAD_BYTES:,}"
        for size in sizes
        if size > MAX_PAYLOAD_BYTES
    ]
    omitted = [layer for one in attached for layer in one.omitted] + unread
    may_hide_vex = any(_may_be_vex(layer.hint) for layer in omitted)
    return Candidates(tuple(payloads), len(omitted), (*too_large, *problems)[:MAX_PROBLEMS], may_hide_vex)


def _may_be_wanted(layer: _Layer, wanted: Wanted | None) -> bool:
    """Whether a layer may be an attestation that a policy needs. One with another hint would only cost its bytes."""
    return wanted is not None and bool(wanted.predicates) and (not layer.hint or layer.hint in wanted.predicates)


def _hint(descriptor: Descriptor) -> str:
    return descriptor.annotations.predicate_type if descriptor.annotations is not None else ""


def _may_be_vex(hint: str) -> bool:
    return not hint or hint in VEX_PREDICATES


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


async def _readable(reads: Sequence[Coroutine[Any, Any, T]]) -> tuple[list[T], tuple[str, ...]]:
    """The results of reads at the same time, and why others have none.

    Raises RegistryError for a registry that gives no answer: then it is not known whether there is a signature.
    """
    results: list[T] = []
    problems: list[str] = []
    for result in await asyncio.gather(*reads, return_exceptions=True):
        if not isinstance(result, BaseException):
            results.append(result)
        elif isinstance(result, RegistryError) and result.failure in (Failure.INVALID, Failure.MISSING):
            problems.append(str(result)[:MAX_PROBLEM_LENGTH])
        else:
            raise result
    return results, tuple(problems[:MAX_PROBLEMS])


def _distinct(descriptors: Sequence[Descriptor]) -> list[Descriptor]:
    return list({descriptor.digest: descriptor for descriptor in descriptors if is_digest(descriptor.digest)}.values())


def _in_order(descriptors: Sequence[Descriptor], predicates: Collection[str]) -> list[Descriptor]:
    """In which order to read, by hints that nobody has signed: signatures, what gives none, attestations.

    Nothing is left out because of a hint but what is past the bounds. Of the attestations that policies need, the
    newest of each type come first. Without hints, registries list the oldest or the newest first: then both ends come
    first.
    """
    by_rank: list[list[Descriptor]] = [[], [], [], []]
    for descriptor in descriptors:
        hint = _hint(descriptor)
        by_rank[0 if hint == SIGN_PREDICATE else 1 if not hint else 2 if hint in predicates else 3].append(descriptor)
    signatures, unknown, needed, others = by_rank
    if predicates and len(descriptors) > MAX_CANDIDATES:
        unknown = [unknown[index // 2 if index % 2 == 0 else -1 - index // 2] for index in range(len(unknown))]
    needed.sort(key=lambda one: one.annotations.created if one.annotations is not None else "", reverse=True)
    places: Counter[str] = Counter()
    by_place: dict[int, list[Descriptor]] = {}
    for descriptor in needed:  # many of one type do not hide the others
        places[_hint(descriptor)] += 1
        by_place.setdefault(places[_hint(descriptor)], []).append(descriptor)
    return [*signatures, *unknown, *chain.from_iterable(by_place.values()), *others]


def _joined(one: Candidates, other: Candidates) -> Candidates:
    """The candidates of both, within the bound for an image, each layer of a manifest once."""
    # in the older format, signatures by two keys have the same payload and differ in their annotations
    distinct = {
        (candidate.digest, candidate.layer, frozenset(candidate.annotations.items())): candidate
        for candidate in (*one.candidates, *other.candidates)
    }
    kept = tuple(distinct.values())[:MAX_CANDIDATES]
    omitted = one.omitted + other.omitted + len(distinct) - len(kept)
    may_hide_vex = one.may_hide_vex or other.may_hide_vex or len(kept) < len(distinct)
    return Candidates(kept, omitted, (*one.problems, *other.problems)[:MAX_PROBLEMS], may_hide_vex)

"""Finds what is attached to an image: signatures, and statements about it.

Clients attach in several ways: as referrers, in the fallback tag of registries without referrers, and in tags named
after the image. What one source has must not hide what another one has: anyone who may push can add to all of them.
So a source is left out only where the others have enough.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

import asyncio

from msgspec import Struct

from sekisho.images.evidence import MAX_PROBLEM_LENGTH
from sekisho.registry.candidates import (
    MAX_ATTESTATION_BYTES,
    Candidates,
    Wanted,
    candidates_of_referrers,
    candidates_of_tag,
    joined,
    unread_scan_of,
)
from sekisho.registry.client import Referrers, RegistryClient, Repository
from sekisho.registry.errors import Failure, RegistryError


class Listed(Struct, frozen=True):
    """What the first sources have.

    candidates: what is in them.
    unlisted: why the registry's list cannot be read; None if it was read, or if there is none.
    has_fallback: whether the fallback tag is among these sources.
    has_attestations: whether the tag of older attestations is.
    """

    candidates: Candidates
    unlisted: RegistryError | None = None
    has_fallback: bool = False
    has_attestations: bool = False


async def find_candidates(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None = None
) -> Candidates:
    """What all sources have. Parameters and errors are those of `find_listed` and `find_tagged`."""
    listed = await find_listed(client, repository, digest, wanted)
    return joined(listed.candidates, await find_tagged(client, repository, digest, listed, wanted))


async def find_listed(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None = None
) -> Listed:
    """What the registry lists: by the referrers API, or in the fallback tag where there is no such API.

    Where policies need attestations, also what the `.att` tag has, where older clients still write: of several
    statements the newest decides.

    wanted: the attestations that are read although they are large; None for none.

    Raises RegistryError when the registry is not available, or denies the request.
    """
    needs_attestations = wanted is not None and bool(wanted.predicates)
    listed, unlisted = await _find_by_list(client, repository, digest, wanted)
    sources: tuple[Candidates, ...] = () if listed is None else (listed,)
    has_fallback = listed is None or (needs_attestations and unlisted is not None)
    if has_fallback:
        sources += (await _fallback_tag(client, repository, digest, wanted, sources),)
    if needs_attestations:
        sources += (await _attestation_tag(client, repository, digest, wanted, sources),)
    return Listed(joined(*sources), unlisted, has_fallback, needs_attestations)


async def find_tagged(
    client: RegistryClient,
    repository: Repository,
    digest: str,
    listed: Listed,
    wanted: Wanted | None = None,
    *,
    needs_signature: bool = True,
) -> Candidates:
    """What the sources have that `find_listed` has left out.

    Registries that got the referrers API later must list what the fallback tag has, and some do not. The older `.att`
    tag is read where there is nothing else, to say so.

    needs_signature: whether signatures are looked for, not only attestations.

    Raises RegistryError as `find_listed` does, and also if the list cannot be read and the other sources have nothing,
    or if the registry does not have the image.
    """
    first = listed.candidates
    sources: tuple[Candidates, ...] = ()
    reads = [candidates_of_tag(client, repository, digest, "sig", wanted)] if needs_signature else []
    if not listed.has_fallback:
        reads.append(_fallback_tag(client, repository, digest, wanted, (first,)))
    # All end before this raises: the caller gives the room back then.
    for source in await asyncio.gather(*reads, return_exceptions=True):
        if isinstance(source, BaseException):
            raise source
        sources += (source,)
    if listed.unlisted is not None and not any(source.candidates for source in (first, *sources)):
        raise RegistryError(Failure.INVALID, _unlisted(listed.unlisted))
    if not listed.has_attestations and not any(source.candidates for source in (first, *sources)):
        sources += (await _attestation_tag(client, repository, digest, wanted, sources),)
    if not any(source.candidates or source.omitted for source in (first, *sources)):
        await _expect_image(client, repository, digest)
    return joined(*sources, known=first)


async def _expect_image(client: RegistryClient, repository: Repository, digest: str) -> None:
    """Raise RegistryError, MISSING, for an image that the registry does not have: nobody can sign it there."""
    try:
        await client.digest(repository, digest)
    except RegistryError as error:
        if error.failure is Failure.MISSING:
            raise


async def _find_by_list(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None
) -> tuple[Candidates | None, RegistryError | None]:
    """What the registry's list has, None where there is none; and why it cannot be read, None if it was.

    A list that cannot be read has something: anyone who may push can make it too large.
    """
    try:
        referrers = await client.referrers(repository, digest)
    except RegistryError as error:
        if error.failure is Failure.INVALID:
            return _unread(error, wanted), error
        if error.failure is not Failure.DENIED:  # some deny all paths that they do not know
            raise
        referrers = None
    if referrers is None:
        return None, None
    return await candidates_of_referrers(client, repository, referrers, "referrers", wanted, _remaining_bytes(())), None


async def _fallback_tag(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None, sources: tuple[Candidates, ...]
) -> Candidates:
    """What the fallback tag has that other sources have not. One that cannot be read hides none of these."""
    try:
        referrers = await client.fallback_referrers(repository, digest)
    except RegistryError as error:
        if error.failure is not Failure.INVALID:
            raise
        return _unread(error, wanted)
    known = {candidate.digest for source in sources for candidate in source.candidates}
    others = Referrers(tuple(one for one in referrers.descriptors if one.digest not in known), referrers.omitted)
    return await candidates_of_referrers(client, repository, others, "fallback tag", wanted, _remaining_bytes(sources))


async def _attestation_tag(
    client: RegistryClient, repository: Repository, digest: str, wanted: Wanted | None, sources: tuple[Candidates, ...]
) -> Candidates:
    return await candidates_of_tag(client, repository, digest, "att", wanted, _remaining_bytes(sources))


def _remaining_bytes(sources: tuple[Candidates, ...]) -> int:
    """How many more bytes of large layers may be read, after those of other sources."""
    read = sum(len(candidate.payload) for source in sources for candidate in source.candidates)
    return max(MAX_ATTESTATION_BYTES - read, 0)


def _unread(error: RegistryError, wanted: Wanted | None) -> Candidates:
    """What is known of a list that cannot be read: it has something, and why it cannot be read."""
    problems = (_unlisted(error)[:MAX_PROBLEM_LENGTH],)
    return Candidates((), 1, problems, may_hide_vex=True, unread_scan_at=unread_scan_of(wanted))


def _unlisted(error: RegistryError) -> str:
    return f"what is attached to it cannot be listed: {error}"

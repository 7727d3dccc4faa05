"""What Sekisho finds out about an image in a registry: look-up and verification, without a webhook around them."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from sekisho.images.authorities import Authority, AuthorityKey, Keyless, authority
from sekisho.images.evidence import ImageFacts
from sekisho.images.keys import parse_public_key
from sekisho.images.roots import parse_trusted_root
from sekisho.images.verification import verify
from sekisho.registry import (
    Credential,
    Hold,
    RegistryClient,
    Repository,
    Room,
    Settings,
    Wanted,
    find_candidates,
    tls_context,
)
from tests.trustparts.registries import Image

LOOPBACK: Final = ip_network("127.0.0.0/8")


def by_keys(name: str, *public: str, until: datetime | None = None) -> Authority:
    """An authority with public keys in PEM."""
    keys = map(parse_public_key, public)
    return authority(name, [AuthorityKey(key.key, key.fingerprint, until) for key in keys])


def by_identity(name: str, root: Mapping[str, Any], issuer: str, *identities: str) -> Authority:
    """An authority with keyless identities."""
    return authority(name, keyless=Keyless(issuer, identities, parse_trusted_root(json.dumps(root).encode())))


def look_up(
    image: Image,
    authorities: Iterable[Authority],
    ca: Path,
    credentials: Iterable[Credential] = (),
    predicates: tuple[str, ...] = (),
) -> ImageFacts:
    """The facts about an image. Raises RegistryError.

    predicates: the types of attestations that are read.
    """
    registry, _, name = image.repository.partition("/")
    own, settings = tuple(credentials), Settings((LOOPBACK,), tls_context(ca.read_text()), {})

    async def facts() -> ImageFacts:
        client = RegistryClient(settings, lambda host, _: own if host == registry else ())
        try:
            wanted = Wanted(predicates, Hold(Room(64 << 20)))
            candidates = await find_candidates(client, Repository(registry, name), image.digest, wanted)
        finally:
            await client.close()
        return verify(
            image.repository,
            image.digest,
            candidates.candidates,
            tuple(authorities),
            datetime.now(UTC),
            candidates.omitted,
            predicates,
            may_hide_vex=candidates.may_hide_vex,
            unread_scan_at=candidates.unread_scan_at,
        )

    return asyncio.run(facts())


def signers(facts: ImageFacts, authorities: Iterable[Authority], now: datetime | None = None) -> set[str]:
    """Whose signatures count. now: None for the present."""
    moment = now or datetime.now(UTC)
    return {one.name for one in authorities for signature in facts.signatures if one.accepts(signature, moment)}

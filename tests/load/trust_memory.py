"""`python -m tests.load.trust_memory IMAGES`: the memory that the verification of images takes in a webhook, in MiB.

It reads a keyless signature from standard input, so that nothing which makes signatures is loaded here.
"""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import uvloop

import sekisho.webhook.process  # noqa: F401  what a webhook has loaded without verification
from tests.load.usage import resident_mib


class Signed(msgspec.Struct, frozen=True):
    """A keyless signature of an image, who may make it, and the root that it is verified with, both as JSON."""

    repository: str
    digest: str
    issuer: str
    identity: str
    bundle: Mapping[str, Any]
    root: Mapping[str, Any]


def added_mib(signed: Signed, images: int) -> float:
    """What verifying a signature, and keeping the facts about a number of `images`, adds to the resident memory."""
    before = resident_mib(os.getpid())
    from sekisho.images.authorities import Keyless, authority
    from sekisho.images.evidence import Candidate
    from sekisho.images.roots import parse_trusted_root
    from sekisho.images.verification import verify
    from sekisho.registry import RegistryClient, Settings
    from sekisho.webhook.evidence import EvidenceStore

    root = parse_trusted_root(msgspec.json.encode(signed.root))
    release = authority("release", keyless=Keyless(signed.issuer, (signed.identity,), root))
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    candidate = Candidate("referrers", media_type, msgspec.json.encode(signed.bundle), {}, signed.digest)
    now = datetime.now(UTC)
    facts = verify(signed.repository, signed.digest, (candidate,), (release,), now)
    if not facts.signatures:
        raise SystemExit(f"the signature does not count: {facts.problems}")

    async def kept() -> float:
        client = RegistryClient(Settings())
        evidence = EvidenceStore(client, lambda: {"release": release}, lambda: now)
        for number in range(images):
            # As facts of another replica arrive: nothing in them is shared.
            raw = msgspec.json.encode(msgspec.structs.replace(facts, digest=f"sha256:{number:064x}"))
            evidence.offer(msgspec.json.decode(raw, type=type(facts)))
        added = resident_mib(os.getpid()) - before
        await evidence.close()
        await client.close()
        return added

    return uvloop.run(kept())


if __name__ == "__main__":
    print(added_mib(msgspec.json.decode(sys.stdin.buffer.read(), type=Signed), int(sys.argv[1])))

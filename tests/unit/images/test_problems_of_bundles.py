"""Denials and Events say why a bundle does not count, which anyone who can push may write."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from sekisho.images.evidence import Candidate
from sekisho.images.verification import verify
from tests.trustparts.looking_up import by_identity
from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.sigstore import RELEASE

DIGEST: Final = "sha256:" + "ab" * 32
SIGNED: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
SIGSTORE: Final = MintedSigstore()
ACTED_UPON: Final = "\x1b[2J\x9b31m\u202e\x07"
"""Clears a terminal, sets a colour, turns the order of characters around, and rings."""


@pytest.mark.parametrize(
    "bundle",
    [
        {ACTED_UPON: 1, **SIGSTORE.bundle(DIGEST, SIGNED)},
        SIGSTORE.bundle(DIGEST, SIGNED, predicate_type=ACTED_UPON),
        SIGSTORE.bundle(DIGEST, SIGNED, identity="https://evil.example/\x1b[2J\x07"),
    ],
)
def test_problem_has_no_control_characters(bundle: dict[str, Any]) -> None:
    candidate = Candidate(
        "referrers", "application/vnd.dev.sigstore.bundle.v0.3+json", json.dumps(bundle).encode(), {}, DIGEST
    )
    release = by_identity("release", SIGSTORE.trusted_root(), CI, RELEASE)
    (problem,) = verify("r.example/app", DIGEST, [candidate], [release], SIGNED).problems
    assert problem.isprintable()

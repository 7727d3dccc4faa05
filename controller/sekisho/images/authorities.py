"""Authorities: who may sign images, ready to verify signatures and to judge facts."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from sekisho.globs import glob_matches
from sekisho.images.evidence import Signature
from sekisho.timestamps import rfc3339

if TYPE_CHECKING:  # cryptography is not loaded where nothing is verified
    from sekisho.images.keys import Key
    from sekisho.images.roots import TrustedRoot

MAX_IDENTITY_LENGTH: Final = 1024


class AuthorityKey(Struct, frozen=True, eq=False):
    """A key of an authority.

    fingerprint: hex SHA-256 of its SubjectPublicKeyInfo.
    until: from then on its signatures do not count; None if it has no end.
    """

    key: "Key"
    fingerprint: str
    until: datetime | None = None


class Keyless(Struct, frozen=True, eq=False):
    """Identities whose signatures count, and the root that their certificates must lead to.

    issuer: compared exactly.
    identities: patterns, see `identity_matches`.
    """

    issuer: str
    identities: tuple[str, ...]
    root: "TrustedRoot"

    def names(self, issuer: str, identity: str) -> bool:
        """Whether the issuer and the identity of a certificate are those of the authority."""
        return issuer == self.issuer and any(identity_matches(pattern, identity) for pattern in self.identities)


class Authority(Struct, frozen=True, eq=False):
    """An ImageAuthority whose keys and trusted root have been read.

    name: of the ImageAuthority.
    keys: empty for one that is keyless.
    keyless: None for one with keys.
    problem: why it is unusable, as a clause with the remedy; empty if it is usable.
    key_problems: why some of its keys cannot be used, where others can; clauses with the remedy.
    fingerprint: changes whenever the authority changes. Facts that were found with another fingerprint cannot say
        that an image has no signature by it.
    """

    name: str
    keys: tuple[AuthorityKey, ...] = ()
    keyless: Keyless | None = None
    problem: str = ""
    fingerprint: str = ""
    key_problems: tuple[str, ...] = ()

    def accepts(self, signature: Signature, now: datetime) -> bool:
        """Whether the authority, with its current keys or root, accepts the signature at `now`."""
        if signature.authority != self.name:
            return False
        if self.keyless is not None:
            is_its_root = signature.fingerprint == self.keyless.root.fingerprint
            return is_its_root and self.keyless.names(signature.issuer, signature.identity)
        return any(
            key.fingerprint == signature.fingerprint and (key.until is None or now < key.until) for key in self.keys
        )

    def problem_at(self, now: datetime) -> str:
        """Why it is unusable at a time, as a clause with the remedy; empty if it is usable."""
        if self.problem:
            return self.problem
        if self.keyless is not None:
            end = self.keyless.root.ends
            if end is not None and now >= end:
                return f"its trusted root ended at {rfc3339(end)}; put a newer one there"
            return ""
        ends = [key.until for key in self.keys if key.until is not None]
        if ends and len(ends) == len(self.keys) and now >= max(ends):
            return f"its last key ended at {rfc3339(max(ends))}; add the key that signs now"
        return ""


def authority(
    name: str,
    keys: Sequence[AuthorityKey] = (),
    keyless: Keyless | None = None,
    problem: str = "",
    key_problems: Sequence[str] = (),
) -> Authority:
    """An authority with its fingerprint.

    keyless: None for an authority with keys.
    problem, key_problems: why it cannot be used, or some of its keys; empty if it can.
    """
    parts = [f"{key.fingerprint} {key.until}" for key in keys]
    if keyless is not None:
        parts += [keyless.root.fingerprint, keyless.issuer, *keyless.identities]
    fingerprint = sha256("\n".join([*parts, problem]).encode()).hexdigest()
    return Authority(name, tuple(keys), keyless, problem, fingerprint, tuple(key_problems))


def identity_matches(pattern: str, identity: str) -> bool:
    """Whether a pattern matches the whole identity; `*` matches any characters but `/`."""
    return may_match(pattern, identity) and all(map(glob_matches, pattern.split("/"), identity.split("/")))


def may_match(pattern: str, identity: str) -> bool:
    """Whether a pattern might match the identity: a quick test that rules out most."""
    return (
        len(identity) <= MAX_IDENTITY_LENGTH
        and identity.startswith(pattern.partition("*")[0])
        and identity.endswith(pattern.rpartition("*")[2])
        and pattern.count("/") == identity.count("/")
    )

"""Trusted roots: what is accepted is what sigstore can verify with, and what is not says where and why."""

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from sekisho.cluster.release_data import public_root
from sekisho.images.roots import RootFormatError, TrustedRoot, parse_trusted_root


def public() -> Any:
    text = public_root()
    assert text is not None
    return json.loads(text)


def parsed(root: Any) -> TrustedRoot:
    return parse_trusted_root(json.dumps(root).encode())


def verifies(root: TrustedRoot) -> bool:
    """Whether sigstore can verify with the parts of a root that are valid now."""
    from sigstore._internal.trust import KeyringPurpose
    from sigstore.models import TrustedRoot as SigstoreRoot
    from sigstore.verify import Verifier
    from sigstore_models.trustroot.v1 import TrustedRoot as RootMessage

    text = root.parts_valid_at([datetime(2026, 11, 27, tzinfo=UTC)])
    assert text is not None
    made = SigstoreRoot(RootMessage.from_json(text))
    Verifier(trusted_root=made)
    rings = (made.rekor_keyring(KeyringPurpose.VERIFY), made.ct_keyring(KeyringPurpose.VERIFY))
    stamping = made.get_timestamp_authorities()
    # sigstore logs keys that it cannot use, and goes on without them
    return all(ring._keyring for ring in rings) and all(  # noqa: SLF001
        one.certificates(allow_expired=True) for one in stamping
    )


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of each value in an object."""
    if path:
        yield path
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(child, (*path, key))


def with_value(root: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of an object with another value at a path; without the one at the path for `...`."""
    copy = deepcopy(root)
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copy


def test_public_root_is_accepted_and_verifies() -> None:
    assert verifies(parsed(public()))


VALUES: tuple[Any, ...] = (..., None, "", "x", "AAAA", 7, [], {}, {"more": 1})


def test_sigstore_verifies_with_every_root_that_is_accepted() -> None:
    root = public()
    accepted = 0
    for kind in ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"):
        root[kind] = root[kind][-1:]
    for path in paths(root):
        for value in VALUES:
            try:
                made = parsed(with_value(root, path, value))
            except RootFormatError:
                continue
            accepted += 1
            assert verifies(made), (path, value)
    assert accepted > 20  # fields that nobody needs, and times


BROKEN: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("tlogs", 0, "publicKey", "rawBytes"), "AAAA", "tlogs[0]: "),
    (("tlogs", 0, "publicKey", "keyDetails"), "PKIX_ML_DSA_65", "tlogs[0]: its key is not of a supported kind"),
    (("tlogs", 0, "publicKey", "keyDetails"), "PKIX_ED25519", "or not of the kind PKIX_ED25519"),
    (("ctlogs", 0, "logId"), ..., "ctlogs[0]: lacks 'logId'"),
    (("ctlogs", 0, "publicKey"), ..., "ctlogs[0]: lacks 'publicKey'"),
    (("ctlogs", 0, "publicKey", "validFor", "start"), "today", "ctlogs[0]: Invalid isoformat string: 'today'"),
    (("certificateAuthorities", 0, "certChain"), ..., "certificateAuthorities[0]: lacks 'certChain'"),
    (("certificateAuthorities", 0, "certChain", "certificates"), [], "it has no certificates"),
    (("timestampAuthorities", 0), "x", "timestampAuthorities[0]: "),
]


@pytest.mark.parametrize(("path", "value", "problem"), BROKEN, ids=range(len(BROKEN)))
def test_broken_root_says_which_entry_and_why(path: tuple[str | int, ...], value: Any, problem: str) -> None:
    with pytest.raises(RootFormatError, match="has an unusable entry") as error:
        parsed(with_value(public(), path, value))
    assert problem in str(error.value)


def test_authority_that_is_a_key_is_denied() -> None:
    root = public()
    with pytest.raises(RootFormatError, match=r"entry certificateAuthorities\[0\]: lacks 'certChain'"):
        parsed(root | {"certificateAuthorities": root["tlogs"]})


def test_fields_that_nobody_needs_are_left_out() -> None:
    root = public()
    root["tlogs"][0] |= {"checkpointKeyId": {"keyId": "AAAA"}, "operator": "acme", "shard": 1}
    assert verifies(parsed(root))

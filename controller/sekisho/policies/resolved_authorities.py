"""ImageAuthorities with the keys and roots that their Secrets and ConfigMaps hold."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from sekisho.images.authorities import Authority, AuthorityKey, Keyless, authority
from sekisho.policies.authorities import CompiledAuthority, ConfigMapKey, KeylessSigners, SecretKey

if TYPE_CHECKING:  # cryptography is loaded where there are authorities
    from sekisho.images.keys import PublicKey

_ROOT_FIELD: Final = "spec.keyless.trustedRoot.configMap"

ABSENT_IN_RELEASE: Final = {
    kind: f"does not exist in the namespace where Sekisho is installed{clause}"
    for kind, clause in (("Secret", ", or is not in imageVerification.secrets of the chart"), ("ConfigMap", ""))
}
"""What a Secret or ConfigMap that was not found lacks, by its kind; it continues the object's name."""

Contents = Mapping[str, Mapping[str, bytes]]
"""The data of Secrets, or of ConfigMaps, by name."""


class ResolvedAuthority(Struct, frozen=True, eq=False):
    """An authority with what its Secrets and ConfigMaps hold.

    expires: when the last of its keys or its root ends; None if it has no end, or is unusable.
    """

    authority: Authority
    expires: datetime | None = None


def resolve(
    compiled: CompiledAuthority,
    secrets: Contents | None,
    config_maps: Contents | None,
    public_root: bytes | None,
    absent: Mapping[str, str] = ABSENT_IN_RELEASE,
) -> ResolvedAuthority:
    """The authority, usable or with the reason why it is not.

    secrets, config_maps: those of the release's namespace; None where this installation may not read them.
    public_root: the trusted root of the public Sigstore; None without the extra `keyless`.
    absent: what is said of a Secret or ConfigMap that is not among them, by its kind.
    """
    if compiled.keyless is not None:
        return _resolve_keyless(compiled.name, compiled.keyless, config_maps, public_root, absent)
    keys: list[AuthorityKey] = []
    problems: list[str] = []
    for index, key in enumerate(compiled.keys):
        try:
            public = key.key or _key_in(key.secret, secrets, absent)
        except _MissingError as error:
            problems.append(f"spec.keys[{index}].secret: {error}")
        else:
            keys.append(AuthorityKey(public.key, public.fingerprint, key.until))
    if not keys:
        return ResolvedAuthority(authority(compiled.name, problem="; ".join(problems)))
    ends = [key.until for key in keys if key.until is not None]
    return ResolvedAuthority(
        authority(compiled.name, keys, key_problems=problems), max(ends) if len(ends) == len(keys) else None
    )


class _MissingError(Exception):
    """What is missing or unusable, as a clause with the remedy."""


def _key_in(source: SecretKey | None, secrets: Contents | None, absent: Mapping[str, str]) -> "PublicKey":
    from sekisho.images.keys import KeyFormatError, parse_public_key

    if source is None:
        raise _MissingError("a key is neither written nor in a Secret")
    text = _content("Secret", source, secrets, absent)
    try:
        return parse_public_key(text.decode("ascii", "replace"))
    except KeyFormatError as error:
        raise _MissingError(f'"{source.key}" of Secret "{source.name}" {error}') from None


def _resolve_keyless(
    name: str,
    written: KeylessSigners,
    config_maps: Contents | None,
    public_root: bytes | None,
    absent: Mapping[str, str],
) -> ResolvedAuthority:
    from sekisho.images.roots import RootFormatError, parse_trusted_root

    if public_root is None:
        return ResolvedAuthority(
            authority(name, problem="spec.keyless: needs sigstore; install Sekisho with its extra keyless")
        )
    source = written.trusted_root
    try:
        text = public_root if source is None else _content("ConfigMap", source.config_map, config_maps, absent)
        root = parse_trusted_root(text)
    except RootFormatError as error:
        if source is None:
            return ResolvedAuthority(authority(name, problem=f"the public root of sigstore {error}"))
        where = f'"{source.config_map.key}" of ConfigMap "{source.config_map.name}"'
        problem = f"{_ROOT_FIELD}: {where} {error}; put what cosign trusted-root create writes there"
        return ResolvedAuthority(authority(name, problem=problem))
    except _MissingError as error:
        return ResolvedAuthority(authority(name, problem=f"{_ROOT_FIELD}: {error}"))
    return ResolvedAuthority(
        authority(name, keyless=Keyless(written.issuer, written.identities, root)), expires=root.ends
    )


def _content(
    kind: str, source: SecretKey | ConfigMapKey, contents: Contents | None, absent: Mapping[str, str]
) -> bytes:
    if contents is None:
        raise _MissingError(f"{kind}s are not read here; set imageVerification.enabled in the chart")
    data = contents.get(source.name)
    if data is None:
        raise _MissingError(f'{kind} "{source.name}" {absent[kind]}')
    if source.key not in data:
        raise _MissingError(f'{kind} "{source.name}" has no key "{source.key}"')
    return data[source.key]

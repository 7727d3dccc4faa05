"""The Secrets and ConfigMaps that ImageAuthorities refer to, from files."""

from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from sekisho.cli import options
from sekisho.cluster.release_data import Data, public_root
from sekisho.images.authorities import Authority
from sekisho.manifests import Manifest, Source
from sekisho.manifests.objects import read_manifests
from sekisho.policies import CompiledAuthority, PolicySet, Problem
from sekisho.policies.resolved_authorities import resolve

_Contents = dict[str, dict[str, Data]]
"""The data of Secrets and of ConfigMaps, by kind and name."""
_ABSENT: Final = dict.fromkeys(("Secret", "ConfigMap"), "is not in a file that was read (--policy, --context-dir)")


class _Metadata(Struct):
    name: str = ""


class _Object(Struct, rename="camel"):
    """A Secret or a ConfigMap; only Secrets have stringData, and only ConfigMaps binaryData."""

    metadata: _Metadata
    data: dict[str, str] | None = None
    string_data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None


ReadMore = Callable[[Collection[tuple[str, str]]], Iterable[Source]]
"""Reads the objects with these kinds and names from elsewhere, as far as they are there."""


def nothing_more(wanted: Collection[tuple[str, str]]) -> Iterable[Source]:
    """For commands that read files only."""
    return ()


def authorities_of(
    policies: PolicySet, sources: Iterable[Source], read_more: ReadMore = nothing_more
) -> dict[str, Authority]:
    """The authorities of a policy set by name, with what their Secrets and ConfigMaps hold.

    read_more: reads those that the sources do not have.

    Ends the command for such an object that is not valid, and for a second one with the same name.
    """
    written = policies.authorities
    contents: _Contents = {"Secret": {}, "ConfigMap": {}}
    wanted = {reference for authority in written.values() for reference in _references(authority)}
    if wanted:
        _add(contents, sources, wanted)
        _add(contents, read_more({(kind, name) for kind, name in wanted if name not in contents[kind]}), wanted)
    root = public_root() if any(authority.is_keyless for authority in written.values()) else None
    return {
        name: resolve(authority, contents["Secret"], contents["ConfigMap"], root, _ABSENT).authority
        for name, authority in written.items()
    }


def _add(contents: _Contents, sources: Iterable[Source], wanted: Collection[tuple[str, str]]) -> None:
    for manifest in read_manifests(sources):
        if isinstance(manifest, Manifest) and manifest.group == "" and manifest.kind in contents:
            name = _name(manifest.value)
            if (manifest.kind, name) in wanted:
                if name in contents[manifest.kind]:
                    _fail(manifest, f"is a second {manifest.kind} {name}; keep the one where Sekisho is installed")
                contents[manifest.kind][name] = _contents(manifest)


def _references(authority: CompiledAuthority) -> Iterator[tuple[str, str]]:
    """The kind and the name of each object that an authority refers to."""
    yield from (("Secret", key.secret.name) for key in authority.keys if key.secret is not None)
    if authority.keyless is not None and authority.keyless.trusted_root is not None:
        yield "ConfigMap", authority.keyless.trusted_root.config_map.name


def _name(value: Mapping[str, object]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _contents(manifest: Manifest) -> Data:
    """The data of a Secret or a ConfigMap. Ends the command if it is not valid."""
    try:
        read = msgspec.convert(manifest.value, _Object)
    except msgspec.ValidationError as error:
        _fail(manifest, f"is not a valid {manifest.kind}: {error}")
    data, plain = read.data or {}, read.string_data or {}
    if manifest.kind == "ConfigMap":
        return _decoded(manifest, "binaryData", read.binary_data or {}) | _encoded(data)
    return _decoded(manifest, "data", data) | _encoded(plain)


def _decoded(manifest: Manifest, field: str, data: Mapping[str, str]) -> dict[str, bytes]:
    decoded = {}
    for key, text in data.items():
        try:
            decoded[key] = b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
        except ValueError:
            _fail(manifest, f'is not a valid {manifest.kind}: "{key}" of {field} is not base64')
    return decoded


def _encoded(data: Mapping[str, str]) -> dict[str, bytes]:
    return {key: text.encode() for key, text in data.items()}


def _fail(manifest: Manifest, message: str) -> NoReturn:
    options.fail([Problem(manifest.document.location(manifest.at), message)])

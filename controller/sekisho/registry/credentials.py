"""Credentials for registries, from a Secret of type kubernetes.io/dockerconfigjson or a config.json.

An entry is for the registry that its key names, and for nothing else; a path in the key narrows it to repositories, and
`*` in the host stands for any characters within one label. Several entries may match, the most specific first.

Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.documents.duplicates import deny_duplicates
from sekisho.errors import SekishoError
from sekisho.globs import glob_matches
from sekisho.images.reference import canonical_registry

MAX_CONFIG_BYTES: Final = 1 << 20
"""A Secret is at most 1 MiB."""
MAX_ENTRIES: Final = 512
MAX_VALUES: Final = 8192
"""Values of a config.json, by its commas and opening braces; as many entries as there may be have a third of them."""
MAX_LISTS: Final = 512
"""The openings of lists in a config.json; usual is none."""
MAX_MATCHING: Final = 8
"""Credentials that are tried for one repository."""
CONFIG_KEY: Final = ".dockerconfigjson"


class CredentialsError(SekishoError, ValueError):
    """Credentials that cannot be read; the message is a clause that holds no part of them."""


class Credential(Struct, frozen=True, gc=False):
    """A user and a password for one registry."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credential(…)"  # it must not appear in logs

    @property
    def basic(self) -> str:
        """The value of the Authorization header for basic authentication."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Entry(Struct, frozen=True, gc=False):
    """One credential and what it is for.

    registry: its one name, `*` standing for characters of a label.
    path: the leading segments of repositories; empty for all of the registry.
    """

    registry: str
    path: tuple[str, ...]
    credential: Credential

    def matches(self, registry: str, repository: str) -> bool:
        """Whether the credential is for a repository, such as library/nginx of docker.io."""
        labels, own = registry.split("."), self.registry.split(".")
        if len(labels) != len(own) or not all(map(glob_matches, own, labels)):
            return False
        return tuple(repository.split("/")[: len(self.path)]) == self.path


class _Auth(Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""


class _Config(Struct, frozen=True):
    auths: dict[str, _Auth] | None = None


class _Secret(Struct, frozen=True):
    data: dict[str, str] | None = None


_config_decoder = msgspec.json.Decoder(_Config)
_secret_decoder = msgspec.json.Decoder(_Secret)


def decode_secret(raw: bytes) -> tuple[Entry, ...]:
    """The credentials of a Secret, from its JSON. Raises CredentialsError."""
    data = _secret_decoder.decode(raw).data or {}
    if CONFIG_KEY not in data:
        raise CredentialsError(f"it has no key {CONFIG_KEY}: its type must be kubernetes.io/dockerconfigjson")
    try:
        config = base64.b64decode(data[CONFIG_KEY], validate=True)
    except (binascii.Error, ValueError):
        raise CredentialsError(f"its key {CONFIG_KEY} is not base64") from None
    return parse_config(config)


def parse_config(config: bytes) -> tuple[Entry, ...]:
    """The credentials of a config.json, the most specific first. Raises CredentialsError.

    Entries without a user are left out: `docker login` with a credential helper writes such.
    """
    if len(config) > MAX_CONFIG_BYTES:
        raise CredentialsError(f"it is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    if config.count(b",") + config.count(b"{") > MAX_VALUES:
        raise CredentialsError(f"it has more than {MAX_VALUES:,} values")
    if config.count(b"[") > MAX_LISTS:
        raise CredentialsError(f"it has more than {MAX_LISTS} lists")
    try:
        deny_duplicates(config)
        auths = _config_decoder.decode(config).auths or {}
    except RecursionError:
        raise CredentialsError("it is nested too deeply") from None
    except ValueError as error:  # of msgspec, json and DuplicateKeyError, whose texts name keys and types only
        shown = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
        raise CredentialsError(f"it is not a valid config.json{shown}") from None
    if len(auths) > MAX_ENTRIES:
        raise CredentialsError(f"it has more than {MAX_ENTRIES} entries")
    entries = [entry for key, auth in auths.items() if (entry := _entry(key, auth)) is not None]
    entries.sort(key=lambda entry: (len(entry.path), "*" not in entry.registry, entry.registry), reverse=True)
    return tuple(entries)


def matching(entries: Sequence[Entry], registry: str, repository: str) -> tuple[Credential, ...]:
    """The distinct credentials for a repository, the most specific first, at most MAX_MATCHING."""
    credentials = dict.fromkeys(entry.credential for entry in entries if entry.matches(registry, repository))
    return tuple(credentials)[:MAX_MATCHING]


def merged(secrets: Mapping[str, Sequence[Entry]]) -> tuple[Entry, ...]:
    """The entries of several Secrets, those of the first name first where they are equally specific."""
    entries = [entry for name in sorted(secrets) for entry in secrets[name]]
    return tuple(sorted(entries, key=lambda entry: len(entry.path), reverse=True))


def _entry(key: str, auth: _Auth) -> Entry | None:
    credential = _credential(key, auth)
    if credential is None:
        return None
    name = key.strip()
    for scheme in ("https://", "http://"):
        name = name.removeprefix(scheme)
    host, _, path = name.partition("/")
    segments = tuple(segment for segment in path.split("/") if segment)
    if segments[:1] in (("v1",), ("v2",)):  # the address of an API, as `docker login` writes it
        segments = segments[1:]
    return Entry(canonical_registry(host), segments, credential) if host else None


def _credential(key: str, auth: _Auth) -> Credential | None:
    if auth.username:
        return Credential(auth.username, auth.password)
    if not auth.auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise CredentialsError(f"the field auth of {key[:100]!r} is not base64 of USER:PASSWORD") from None
    return Credential(user, password.rstrip("\0")) if user else None

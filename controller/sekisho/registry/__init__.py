"""A client of OCI registries: what a tag stands for, and what is attached to an image."""

from sekisho.registry.attached import Listed, find_candidates, find_listed, find_tagged
from sekisho.registry.candidates import Candidates, Wanted
from sekisho.registry.client import RegistryClient, Repository
from sekisho.registry.credentials import Credential, CredentialsError, decode_secret, matching, parse_config
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.http import Settings, tls_context
from sekisho.registry.platforms import find_platforms
from sekisho.registry.room import Hold, Room
from sekisho.registry.shares import Shares

__all__ = [
    "Candidates",
    "Credential",
    "CredentialsError",
    "Failure",
    "Hold",
    "Listed",
    "RegistryClient",
    "RegistryError",
    "Repository",
    "Room",
    "Settings",
    "Shares",
    "Wanted",
    "decode_secret",
    "find_candidates",
    "find_listed",
    "find_platforms",
    "find_tagged",
    "matching",
    "parse_config",
    "tls_context",
]

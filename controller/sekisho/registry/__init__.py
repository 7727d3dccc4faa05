"""A client of OCI registries: what a tag stands for, and what is attached to an image."""

from sekisho.registry.candidates import Candidates, find_candidates
from sekisho.registry.client import RegistryClient, Repository
from sekisho.registry.credentials import Credential, CredentialsError, decode_secret, matching, parse_config
from sekisho.registry.errors import Problem, RegistryError
from sekisho.registry.http import Settings, tls_context

__all__ = [
    "Candidates",
    "Credential",
    "CredentialsError",
    "Problem",
    "RegistryClient",
    "RegistryError",
    "Repository",
    "Settings",
    "decode_secret",
    "find_candidates",
    "matching",
    "parse_config",
    "tls_context",
]

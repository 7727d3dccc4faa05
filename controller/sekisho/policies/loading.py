"""Policies from the API, strictly: a misspelt or misplaced field is an error with its path."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from sekisho.controls.image_catalogs import Catalog
from sekisho.documents import Problem, problem_of
from sekisho.policies.authorities import CompiledAuthority, ImageAuthority, compile_authority
from sekisho.policies.catalogs import ImageCatalog, compile_catalog
from sekisho.policies.compilation import CompiledPolicy, compile_policy
from sekisho.policies.problems import PolicyError
from sekisho.policies.types import ClusterPodPolicy, PodPolicy
from sekisho.policies.waivers import CompiledWaiver, PolicyWaiver, compile_waiver

Policy = ClusterPodPolicy | PodPolicy | PolicyWaiver | ImageAuthority | ImageCatalog
"""An object of any of Sekisho's kinds."""
K = TypeVar("K", bound=Policy)
_NOUNS: Final[dict[type[Policy], str]] = {
    PolicyWaiver: "waivers",
    ImageAuthority: "authorities",
    ImageCatalog: "catalogs",
}


def decode_policy(raw: bytes) -> ClusterPodPolicy:
    """A ClusterPodPolicy from the API server's JSON. Raises PolicyError with the field's path."""
    return decode(raw, ClusterPodPolicy)


def decode(raw: bytes, kind: type[K]) -> K:
    """A policy or a waiver from the API server's JSON. Raises PolicyError with the field's path."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise PolicyError(problem_of(error)) from None


def from_object(value: Any, kind: type[K]) -> K:
    """A policy or a waiver from the API's JSON, already decoded. Raises PolicyError with the field's path."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise PolicyError(problem_of(error)) from None


def verify(policy: Policy) -> None:
    """Raise PolicyError for an object that its schema allows and that cannot be compiled."""
    compile_any(policy)


def compile_any(policy: Policy) -> CompiledPolicy | CompiledWaiver | CompiledAuthority | Catalog:
    """An object of any of Sekisho's kinds, compiled. Raises PolicyError with every problem."""
    match policy:
        case PolicyWaiver():
            return compile_waiver(policy)
        case ImageAuthority():
            return compile_authority(policy)
        case ImageCatalog():
            return compile_catalog(policy)
    return compile_policy(policy)


def duplicate_names(policies: Iterable[Policy]) -> Iterator[Problem]:
    """A problem for each name that two policies, or two objects of another kind, share."""
    seen: set[tuple[str, str]] = set()
    for policy in policies:
        nouns = _NOUNS.get(type(policy), "policies")
        if (policy.title, nouns) in seen:
            yield Problem(policy.title, f"two {nouns} have this name")
        seen.add((policy.title, nouns))

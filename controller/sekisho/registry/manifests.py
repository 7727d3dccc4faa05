"""Manifests and indexes, strictly read: what one reader takes for an image must not be an index to another.

Sources: https://github.com/opencontainers/image-spec/blob/main/manifest.md, image-index.md and descriptor.md, and
CVE-2021-41190, which made `mediaType` and the header agree.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.documents.duplicates import deny_duplicates
from sekisho.registry.errors import Problem, RegistryError

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS: Final = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
INDEXES: Final = frozenset((OCI_INDEX, DOCKER_LIST))
ACCEPT: Final = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

_NONE: Final[Mapping[str, str]] = {}


class Descriptor(Struct, frozen=True, rename="camel"):
    """A reference to content: its type, digest and size in bytes. Its annotations are not signed."""

    digest: str
    size: int
    media_type: str = ""
    annotations: Mapping[str, str] | None = None

    def annotation(self, name: str) -> str:
        """The value of an annotation, empty where there is none."""
        return (self.annotations or _NONE).get(name, "")


class ImageManifest(Struct, frozen=True, rename="camel"):
    """A manifest, which has layers, or an index, which has manifests; None for none, as some registries write it.

    annotations: usually a mapping of texts; only hints are read there, so that odd ones make no manifest invalid.
    """

    schema_version: int
    media_type: str = ""
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    annotations: Any = None

    def annotation(self, name: str) -> str:
        """The value of an annotation, empty where there is none."""
        value = self.annotations.get(name) if isinstance(self.annotations, dict) else None
        return value if isinstance(value, str) else ""


_decoder = msgspec.json.Decoder(ImageManifest)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes, by sha256, sha384 or sha512."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def has_digest(content: bytes, digest: str) -> bool:
    """Whether the bytes are those of a digest that `sekisho.images` accepts."""
    return digest_of(content, digest.partition(":")[0]) == digest


def decode_manifest(content: bytes, media_type: str, name: str) -> ImageManifest:
    """Read a manifest or an index.

    media_type: of the answer's header.
    name: of what is read, for messages.

    Raises RegistryError, INVALID.
    """
    if media_type not in MANIFESTS | INDEXES:
        shown = repr(media_type[:100]) if media_type else "no type"
        raise RegistryError(Problem.INVALID, f"{name} is {shown}, not a manifest or an index")
    try:
        deny_duplicates(content)
        manifest = _decoder.decode(content)
    except RecursionError:
        raise RegistryError(Problem.INVALID, f"{name} is nested too deeply") from None
    except ValueError as error:  # of json, msgspec, UTF-8, and duplicate keys
        raise RegistryError(Problem.INVALID, f"{name} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if manifest.schema_version != 2:
        raise RegistryError(Problem.INVALID, f"{name} has another schemaVersion than 2")
    if manifest.media_type not in ("", media_type):
        raise RegistryError(Problem.INVALID, f"{name} names another mediaType than its header, {media_type}")
    wrong = ("an index", "layers") if media_type in INDEXES else ("a manifest", "manifests")
    if getattr(manifest, wrong[1]) is not None:
        raise RegistryError(Problem.INVALID, f"{name} is {wrong[0]} and has {wrong[1]}")
    return manifest

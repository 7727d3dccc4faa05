"""Manifests and indexes, strictly read: what one reader takes for an image must not be an index to another.

Container runtimes read manifests with Go's parser, which takes a key such as "Manifests" for "manifests".

Sources: https://github.com/opencontainers/image-spec/blob/main/manifest.md, image-index.md and descriptor.md, and
CVE-2021-41190, which made `mediaType` and the header agree.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.documents.duplicates import deny_duplicates, deny_look_alikes
from sekisho.findings import printable
from sekisho.images.attested import MAX_URI_LENGTH
from sekisho.registry.errors import Failure, RegistryError

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS: Final = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
INDEXES: Final = frozenset((OCI_INDEX, DOCKER_LIST))
ACCEPT: Final = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

MAX_VALUES: Final = 32_768
"""Values of a manifest or an index, by its commas and opening braces; 2,000 usual descriptors have half as many."""
MAX_LISTS: Final = 4096
"""The openings of lists; usual are a few, and one for each descriptor with features of its platform."""
MAX_QUOTES: Final = 4 * (MAX_VALUES + MAX_LISTS)
"""The quotes around as many keys and texts."""
MAX_TEXT_LENGTH: Final = 256
"""Of digests and media types; longer ones are cut off, and are not valid."""
MAX_SIGNATURE_LENGTH: Final = 4096
"""Of a signature in an annotation; one by a key of RSA 16384 has 2,732. A longer one is cut off, and is not valid."""


class Annotations(Struct, frozen=True, gc=False):
    """What is read of a descriptor's annotations, which nobody has signed; empty where it is not there.

    layer_type: the predicate type of an attestation in the older format.
    """

    predicate_type: str = msgspec.field(name="dev.sigstore.bundle.predicateType", default="")
    created: str = msgspec.field(name="org.opencontainers.image.created", default="")
    layer_type: str = msgspec.field(name="predicateType", default="")
    signature: str | None = msgspec.field(name="dev.cosignproject.cosign/signature", default=None)
    certificate: str | None = msgspec.field(name="dev.sigstore.cosign/certificate", default=None)


class Descriptor(Struct, frozen=True, gc=False):
    """A reference to content: its type, digest and size in bytes.

    platform: that the content runs on, such as linux/arm64; empty where none is named.
    """

    digest: str
    size: int
    media_type: str = ""
    annotations: Annotations | None = None
    platform: str = ""


class ImageManifest(Struct, frozen=True):
    """A manifest, which has layers, or an index, which has manifests; None for none, as some registries write it.

    predicate_type, created: what annotations say about it, which nobody has signed; empty where there are none.
    """

    layers: tuple[Descriptor, ...] | None
    manifests: tuple[Descriptor, ...] | None
    predicate_type: str = ""
    created: str = ""


class _Hints(Struct, frozen=True):
    predicate_type: Any = msgspec.field(name="dev.sigstore.bundle.predicateType", default="")
    created: Any = msgspec.field(name="org.opencontainers.image.created", default="")


class _Platform(Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Descriptor(Struct, frozen=True, rename="camel", gc=False):
    """platform: usually a mapping; only an index's is read, so that odd ones make no manifest invalid."""

    digest: str
    size: int
    media_type: str = ""
    annotations: Annotations | None = None
    platform: msgspec.Raw = msgspec.Raw()


class _Manifest(Struct, frozen=True, rename="camel"):
    """annotations: usually a mapping of texts; only a hint is read there, so that odd ones make no manifest invalid."""

    schema_version: int
    media_type: str = ""
    layers: tuple[_Descriptor, ...] | None = None
    manifests: tuple[_Descriptor, ...] | None = None
    annotations: msgspec.Raw = msgspec.Raw()


_NAMES: Final = frozenset(
    field.encode_name for kind in (_Manifest, _Descriptor, _Platform) for field in msgspec.structs.fields(kind)
)
_ANNOTATIONS: Final = frozenset(("annotations",))
_decoder = msgspec.json.Decoder(_Manifest)
_hints_decoder = msgspec.json.Decoder(_Hints)
_platform_decoder = msgspec.json.Decoder(_Platform)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of bytes, by sha256, sha384 or sha512."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def has_digest(content: bytes, digest: str) -> bool:
    """Whether the bytes are those of a digest that `sekisho.images` accepts."""
    return digest_of(content, digest.partition(":")[0]) == digest


def decode_manifest(content: bytes, media_type: str, name: str) -> ImageManifest:
    """Read a manifest or an index. Takes milliseconds for the largest: call it in a thread for more than a few KiB.

    media_type: of the answer's header.
    name: of what is read, for messages.

    Raises RegistryError, INVALID.
    """
    if media_type not in MANIFESTS | INDEXES:
        shown = repr(media_type[:100]) if media_type else "no type"
        raise RegistryError(Failure.INVALID, f"{name} is {shown}, not a manifest or an index")
    excess = _excess(content) and _excess(_without_texts(content))
    if excess:
        raise RegistryError(Failure.INVALID, f"{name} has more than {excess}")
    try:
        deny_duplicates(content)
        deny_look_alikes(msgspec.json.decode(content), _NAMES, _ANNOTATIONS)
        manifest = _decoder.decode(content)
    except RecursionError:
        raise RegistryError(Failure.INVALID, f"{name} is nested too deeply") from None
    except ValueError as error:  # of json, msgspec, UTF-8, and keys
        raise RegistryError(Failure.INVALID, f"{name} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if manifest.schema_version != 2:
        raise RegistryError(Failure.INVALID, f"{name} has another schemaVersion than 2")
    if manifest.media_type not in ("", media_type):
        raise RegistryError(Failure.INVALID, f"{name} names another mediaType than its header, {media_type}")
    wrong = ("an index", "layers") if media_type in INDEXES else ("a manifest", "manifests")
    if getattr(manifest, wrong[1]) is not None:
        raise RegistryError(Failure.INVALID, f"{name} is {wrong[0]} and has {wrong[1]}")
    return ImageManifest(_cut(manifest.layers), _cut(manifest.manifests), *_hints(manifest.annotations))


def _excess(content: bytes) -> str:
    """Which bound JSON is above, if all of it counts as written outside of texts; empty for none."""
    if content.count(b",") + content.count(b"{") > MAX_VALUES or content.count(b'"') > MAX_QUOTES:
        return f"{MAX_VALUES:,} values"
    return f"{MAX_LISTS:,} lists" if content.count(b"[") > MAX_LISTS else ""


def _without_texts(content: bytes) -> bytes:
    """JSON without its texts, unless it has too many: a bracket in an annotation of a stranger begins no list."""
    unescaped = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    return unescaped if unescaped.count(b'"') > MAX_QUOTES else b"".join(unescaped.split(b'"')[::2])


def _cut(descriptors: Sequence[_Descriptor] | None) -> tuple[Descriptor, ...] | None:
    """Descriptors without long texts: a look-up keeps them until it ends."""
    if descriptors is None:
        return None
    return tuple(
        Descriptor(
            descriptor.digest[:MAX_TEXT_LENGTH],
            descriptor.size,
            descriptor.media_type[:MAX_TEXT_LENGTH],
            None if descriptor.annotations is None else _cut_annotations(descriptor.annotations),
            _platform(descriptor.platform),
        )
        for descriptor in descriptors
    )


def _cut_annotations(written: Annotations) -> Annotations:
    return Annotations(
        written.predicate_type[:MAX_URI_LENGTH],
        written.created[:MAX_TEXT_LENGTH],
        written.layer_type[:MAX_URI_LENGTH],
        None if written.signature is None else written.signature[:MAX_SIGNATURE_LENGTH],
        None if written.certificate is None else "",
    )


def _hints(annotations: msgspec.Raw) -> tuple[str, str]:
    """The predicate type that the annotations of a manifest name, and its time; empty where they name none."""
    try:
        hints = _hints_decoder.decode(annotations)
    except msgspec.DecodeError:  # they are not a mapping, or there are none
        return "", ""
    predicate_type, created = hints.predicate_type, hints.created
    return (
        predicate_type[:MAX_URI_LENGTH] if isinstance(predicate_type, str) else "",
        created[:MAX_TEXT_LENGTH] if isinstance(created, str) else "",
    )


def _platform(written: msgspec.Raw) -> str:
    """A platform as os/architecture, with the variant where there is one, printable; empty where none is named."""
    try:
        platform = _platform_decoder.decode(written)
    except msgspec.DecodeError:  # it is not a mapping, or there is none
        return ""
    parts = (platform.os, platform.architecture, *([platform.variant] if platform.variant else []))
    return printable("/".join(parts)[:MAX_TEXT_LENGTH])[:MAX_TEXT_LENGTH]

"""What attestations other than scans say about an image: SBOMs, and who built it from what.

Sources: https://cyclonedx.org/specification/overview/, https://spdx.github.io/spdx-spec/,
https://slsa.dev/spec/v0.2/provenance and https://slsa.dev/spec/v1.0/provenance
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from sekisho.images.statements import NotASignatureError, decoded


class SbomFormat(StrEnum):
    """The format of an SBOM."""

    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"


SBOM_PREDICATES: Final[dict[SbomFormat, tuple[str, ...]]] = {
    SbomFormat.CYCLONEDX: ("https://cyclonedx.org/bom",),
    SbomFormat.SPDX: ("https://spdx.dev/Document", "https://spdx.dev/Document/v2.2", "https://spdx.dev/Document/v2.3"),
}
"""The types of statements, by format."""
SLSA_02: Final = "https://slsa.dev/provenance/v0.2"
SLSA_1: Final = "https://slsa.dev/provenance/v1"
PROVENANCE_PREDICATES: Final = (SLSA_02, SLSA_1)
MAX_URI_LENGTH: Final = 1024
_TAG_VALUE: Final = "SPDXVersion: SPDX-"
_SPDX_3: Final = re.compile(r"https://spdx\.org/rdf/v?(3[0-9.]{0,16})/.{0,64}")
"""The context of a document of SPDX 3, which is JSON-LD.

Source: https://spdx.github.io/spdx-spec/v3.0.1/serializations/
"""

_Uri = Annotated[str, Meta(max_length=MAX_URI_LENGTH)]


class Build(Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """Who built an image, from what."""

    builder: Annotated[_Uri, Meta(description="The id of the builder.")]
    sources: Annotated[
        tuple[_Uri, ...], Meta(description="The URI of what was built, without dependencies.", max_length=1)
    ] = ()


class _Bom(Struct, frozen=True, rename="camel"):
    bom_format: str = ""
    components: tuple[msgspec.Raw, ...] | None = None


class _Spdx(Struct, frozen=True, rename="camel"):
    spdx_version: str = ""
    packages: tuple[msgspec.Raw, ...] | None = None
    data: str = msgspec.field(name="Data", default="")
    context: str | tuple[msgspec.Raw, ...] = msgspec.field(name="@context", default="")


class _Listed(Struct, frozen=True):
    name: str = ""


class _Uris(Struct, frozen=True):
    uri: str = ""


class _Id(Struct, frozen=True):
    id: str = ""


class _Invocation(Struct, frozen=True, rename="camel"):
    config_source: _Uris = _Uris()


class _Slsa02(Struct, frozen=True):
    builder: _Id = _Id()
    invocation: _Invocation = _Invocation()
    materials: tuple[_Uris, ...] | None = None


class _Definition(Struct, frozen=True, rename="camel"):
    resolved_dependencies: tuple[_Uris, ...] | None = None


class _Run(Struct, frozen=True):
    builder: _Id = _Id()


class _Slsa1(Struct, frozen=True, rename="camel"):
    build_definition: _Definition = _Definition()
    run_details: _Run = _Run()


class _Statement(Struct, frozen=True):
    predicate: msgspec.Raw


def verify_sbom(statement: bytes, predicate_type: str) -> None:
    """Raise NotASignatureError for a statement with the type of an SBOM that is not one, or that lists nothing.

    Its type and its subject were checked before.
    """
    if predicate_type in SBOM_PREDICATES[SbomFormat.CYCLONEDX]:
        bom: _Bom = _predicate(statement, _Bom, "CycloneDX")
        if bom.bom_format != "CycloneDX":
            raise NotASignatureError("it is not an SBOM: bomFormat is not CycloneDX")
        is_empty = not _lists(bom.components)
    elif predicate_type in SBOM_PREDICATES[SbomFormat.SPDX]:
        document: _Spdx | str = _predicate(statement, _Spdx | str, "SPDX")
        if isinstance(document, str):  # cosign attaches the tag-value form as a text
            document = _Spdx(data=document)
        newer = _SPDX_3.fullmatch(document.context) if isinstance(document.context, str) else None
        if newer is not None:
            raise NotASignatureError(f"it is an SBOM in SPDX {newer[1]}; 2.2 and 2.3 are read")
        if not document.spdx_version.startswith("SPDX-2.") and not document.data.startswith(_TAG_VALUE):
            raise NotASignatureError("it is not an SBOM: it has no spdxVersion")
        is_empty = not _lists(document.packages) and "\nPackageName:" not in document.data
    else:
        return
    if is_empty:
        raise NotASignatureError("it is an SBOM that lists nothing")


def _lists(items: Sequence[msgspec.Raw] | None) -> bool:
    """Whether one of the items has a name."""
    return any(_has_name(item) for item in items or ())


def _has_name(item: msgspec.Raw) -> bool:
    try:
        return bool(decoded(item, _Listed, "an item").name)
    except NotASignatureError:
        return False


def read_build(statement: bytes, predicate_type: str) -> Build:
    """Who built an image and from what, by a provenance. Raises NotASignatureError."""
    if predicate_type == SLSA_02:
        older: _Slsa02 = _predicate(statement, _Slsa02, "SLSA v0.2")
        source = older.invocation.config_source.uri
        sources = [source] if source else [material.uri for material in older.materials or ()][:1]
        return _build(older.builder.id, sources)
    newer: _Slsa1 = _predicate(statement, _Slsa1, "SLSA v1")
    dependencies = [dependency.uri for dependency in newer.build_definition.resolved_dependencies or ()]
    return _build(newer.run_details.builder.id, dependencies[:1])


def _build(builder: str, sources: list[str]) -> Build:
    if not builder:
        raise NotASignatureError("its provenance names no builder")
    distinct = tuple(uri for uri in sources if uri)
    if any(len(uri) > MAX_URI_LENGTH for uri in (builder, *distinct)):
        raise NotASignatureError(f"its provenance has a URI of more than {MAX_URI_LENGTH:,} characters")
    return Build(builder, distinct)


def _predicate(statement: bytes, kind: Any, form: str) -> Any:
    """What a statement says, as a type. Raises NotASignatureError."""
    return decoded(decoded(statement, _Statement, form).predicate, kind, form)

"""ImageCatalog: which images are certified, by digest or by who signed them, and until when. The types."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from sekisho.controls.control import ParameterError, cel
from sekisho.controls.image_catalogs import (
    MAX_SIGNED,
    Catalog,
    Entry,
    SignedEntry,
    withdrawal,
    withdrawal_of_pattern,
)
from sekisho.controls.image_signatures import (
    ONE_OF_ANY_AND_ALL,
    Registry,
    SignatureRule,
    Signers,
    signature_rules,
)
from sekisho.findings import render_value
from sekisho.images import ImageError, parse
from sekisho.images.reference import names_registry
from sekisho.images.registries import parse_pattern
from sekisho.policies.problems import Problems
from sekisho.policies.types import GROUP, PRINTABLE, VERSION, PolicyMeta
from sekisho.policies.waivers import EXPIRES_RANGE, MAX_EXPIRES, MIN_EXPIRES
from sekisho.timestamps import rfc3339

MAX_ENTRIES: Final = 2000
MAX_REASON: Final = 256
DIGEST_OR_BY: Final = "set either digest or by"
_TOO_MANY_SIGNED: Final = f"has more than {MAX_SIGNED} entries with by; use patterns, or another catalog"


class Withdrawal(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Why an entry no longer counts."""

    reason: Annotated[
        str,
        Meta(
            description="Why, on one line, such as CVE-2026-1234; shown wherever the image is denied.",
            min_length=1,
            max_length=MAX_REASON,
            pattern="[^\\s]",
        ),
    ]


class CatalogEntry(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A certified image by its digest, or certified images by who signed them."""

    repository: Annotated[
        Registry,
        Meta(
            description="The registry and the repository, such as ghcr.io/acme/pay. With by, a pattern such as "
            "registry.example.com/base/*, whose registry must be written without *."
        ),
    ]
    digest: (
        Annotated[
            str,
            Meta(
                description="The digest of the certified image, such as sha256: and 64 hex digits.",
                pattern="^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$",
                max_length=135,
            ),
        ]
        | None
    ) = None
    by: (
        Annotated[
            Signers,
            Meta(
                description="Who must have signed the image; needs imageVerification in the chart.",
                extra_json_schema=cel("has(self.anyOf) != has(self.allOf)", ONE_OF_ANY_AND_ALL),
            ),
        ]
        | None
    ) = None
    valid_until: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="When the entry ends, such as 2027-03-31T00:00:00Z; never if unset. Running pods "
                "keep running.",
                extra_json_schema=cel(
                    f"self >= timestamp('{rfc3339(MIN_EXPIRES)}') && self < timestamp('{rfc3339(MAX_EXPIRES)}')",
                    EXPIRES_RANGE,
                ),
            ),
        ]
        | None
    ) = None
    withdrawn: (
        Annotated[
            Withdrawal,
            Meta(
                description="Withdraws the image: a digest is denied in every repository, and by denies all images of "
                "the pattern, whatever other entries say."
            ),
        ]
        | None
    ) = None


class ImageCatalogSpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who answers for the catalog, and its images."""

    owner: Annotated[
        str,
        Meta(
            description="Who certifies the images; denials say whom to ask by this name.",
            min_length=1,
            max_length=128,
            pattern="[^\\s]",
        ),
    ]
    entries: Annotated[
        tuple[
            Annotated[
                CatalogEntry,
                Meta(extra_json_schema=cel("has(self.digest) != has(self.by)", DIGEST_OR_BY)),
            ],
            ...,
        ],
        Meta(
            description=f"The images. At most {MAX_SIGNED} entries may have by.",
            max_length=MAX_ENTRIES,
        ),
    ] = ()


class ImageCatalog(Struct, frozen=True, rename="camel"):
    """Certified images: by digest, or by who signed them, until a date. Policies name it."""

    metadata: PolicyMeta
    spec: ImageCatalogSpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "ImageCatalog"
    status: Any = None

    @property
    def title(self) -> str:
        """The catalog's name in policies."""
        return self.metadata.name


def compile_catalog(written: ImageCatalog) -> Catalog:
    """Compile a catalog. Raises PolicyError with every problem, each with its field's path."""
    problems = Problems()
    if not written.spec.owner.isprintable():
        problems.add("spec.owner", PRINTABLE)
    catalog = _listed(written, problems)
    if len(catalog.signed) > MAX_SIGNED:
        problems.add("spec.entries", _TOO_MANY_SIGNED)
    problems.raise_any()
    remaining = list(_not_withdrawn(catalog))
    ends = [(entry.until, entry) for entry in remaining if entry.until is not None]
    return replace(
        catalog,
        ends=tuple(sorted(ends, key=lambda pair: (pair[0], pair[1].repository))),
        withdrawn=len(written.spec.entries) - len(remaining),
    )


def _listed(written: ImageCatalog, problems: Problems) -> Catalog:
    """The catalog without ends and withdrawals. Entries with problems are left out, and `problems` gets these."""
    by_digest: dict[str, list[Entry]] = {}
    by_repository: dict[str, list[Entry]] = {}
    signed: list[SignedEntry] = []
    registries: set[str] = set()
    for index, entry in enumerate(written.spec.entries):
        where = f"spec.entries[{index}]"
        try:
            _verify(entry)
            if entry.by is not None:
                signed.append(_signed(entry, entry.by))
                registries.add(signed[-1].pattern.segments[0])
                continue
            registry, repository = _repository(entry.repository)
        except ParameterError as error:
            problems.add(f"{where}.{error.where}" if error.where else where, error.message)
            continue
        compiled = _entry(entry, f"{registry}/{repository}")
        same = by_digest.setdefault(compiled.digest, [])
        if any(other.repository == compiled.repository for other in same):
            problems.add(where, "has the repository and the digest of an earlier entry")
        same.append(compiled)
        by_repository.setdefault(compiled.repository, []).append(compiled)
        registries.add(registry)
    return Catalog(
        name=written.metadata.name,
        owner=" ".join(written.spec.owner.split()),
        by_digest=by_digest,
        by_repository=by_repository,
        signed=tuple(signed),
        registries=frozenset(registries),
    )


def withdrawal_of(catalog: Catalog, entry: CatalogEntry) -> str:
    """Why the images of an entry were withdrawn, by it or by another entry of its catalog; empty if they were not.

    Raises ValueError for a repository that no catalog can have.
    """
    if entry.withdrawn is not None:
        return entry.withdrawn.reason
    if entry.digest is None:
        return withdrawal_of_pattern(catalog, parse_pattern(entry.repository))
    return withdrawal(catalog, parse(f"{entry.repository}@{entry.digest}"))


def _not_withdrawn(catalog: Catalog) -> Iterator[Entry]:
    """The entries whose images no entry withdraws. A digest is looked at once, however many repositories have it."""
    patterns = [signed_entry.pattern for signed_entry in catalog.signed if signed_entry.entry.withdrawn]
    for listed in catalog.by_digest.values():
        if any(entry.withdrawn for entry in listed):
            continue
        for entry in listed:
            reference = parse(entry.repository) if patterns else None
            if reference is None or not any(pattern.covers_any_name_of(reference) for pattern in patterns):
                yield entry
    for one in catalog.signed:
        if not one.entry.withdrawn and not (patterns and withdrawal_of_pattern(catalog, one.pattern)):
            yield one.entry


def _verify(entry: CatalogEntry) -> None:
    """Raise ParameterError, with a path below the entry, for what the schema cannot say or may not check."""
    if (entry.digest is None) is (entry.by is None):
        raise ParameterError("", DIGEST_OR_BY)
    if entry.valid_until is not None and not MIN_EXPIRES <= entry.valid_until < MAX_EXPIRES:
        raise ParameterError("validUntil", EXPIRES_RANGE)
    if entry.withdrawn is not None and not entry.withdrawn.reason.isprintable():
        raise ParameterError("withdrawn.reason", PRINTABLE)


def _entry(written: CatalogEntry, repository: str) -> Entry:
    reason = "" if written.withdrawn is None else " ".join(written.withdrawn.reason.split())
    return Entry(repository, written.digest or "", written.valid_until, reason)


def _signed(written: CatalogEntry, by: Signers) -> SignedEntry:
    """An entry by signatures. Raises ParameterError for a path below the entry."""
    try:
        [rule] = signature_rules([SignatureRule((written.repository,), by)])
    except ParameterError as error:
        where = error.where.removeprefix("signatures[0].").replace("images[0]", "repository")
        raise ParameterError(where, error.message) from None
    return SignedEntry(_entry(written, written.repository), rule.patterns[0], rule)


def _repository(written: str) -> tuple[str, str]:
    """The one name of the registry, and the repository. Raises ParameterError."""
    host, slash, _ = written.partition("/")
    shown = render_value(written)
    if not slash or not names_registry(host):
        raise ParameterError(
            "repository", f"{shown} does not begin with a registry; for Docker Hub write docker.io/library/nginx"
        )
    if "*" in written:
        raise ParameterError("repository", f"{shown} has *, which only an entry with by may have")
    try:
        reference = parse(written)
        parse_pattern(written)
    except (ImageError, ValueError) as error:
        raise ParameterError("repository", f"{shown} is not a repository: {error}") from None
    if reference.tag is not None or reference.digest is not None:
        raise ParameterError("repository", f"{shown} must have neither tag nor digest")
    return reference.registry, reference.repository

"""Catalogs of certified images: what the control `images` requires of them, and why an image is not certified.

What is withdrawn is denied wherever it is: a digest in every repository, because the image is the same there.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from sekisho.controls.control import ParameterError
from sekisho.controls.image_rules import Fault, ImageRule, fault_of, may_connect, tag_lookup_fault
from sekisho.controls.image_signatures import AuthorityName
from sekisho.findings import words
from sekisho.images import Reference, RegistryPattern
from sekisho.images.trust import Trust
from sekisho.timestamps import rfc3339

MAX_CATALOGS: Final = 8
"""The catalogs that a policy may name."""
MAX_SIGNED: Final = 16
"""The entries of a catalog that certify by signatures: each is compared with each image."""
COST: Final = 4 * MAX_SIGNED
"""What a catalog costs for each image, as entries in a policy's lists."""
_MAX_LOOKED_AT: Final = 16
"""The entries of a repository among which a certified image is looked for, to suggest it."""
ONE_OF_ANY_AND_ALL: Final = "set either anyOf or allOf"


class CatalogNames(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The ImageCatalogs that must certify an image."""

    any_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageCatalogs of which one must certify the image. One that withdraws it decides alone.",
                min_length=1,
                max_length=MAX_CATALOGS,
            ),
        ]
        | None
    ) = None
    all_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageCatalogs that must all certify the image.",
                min_length=1,
                max_length=MAX_CATALOGS,
            ),
        ]
        | None
    ) = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the catalogs."""
        return self.any_of or self.all_of or ()

    @property
    def cost(self) -> int:
        """What they cost for each image, as entries in a policy's lists."""
        return COST * len(self.names)

    @property
    def requires(self) -> str:
        """Which images pass, in words."""
        return f"an image certified by ImageCatalog {words(self.names, 'and' if self.all_of else 'or')}"


class Entry(Struct, frozen=True, gc=False):
    """An entry of a catalog.

    repository: the one name of the registry and the repository; of an entry by signatures, the pattern as written.
    digest: empty for an entry by signatures.
    until: when it ends; None if it has no end.
    withdrawn: why it was withdrawn; empty if it was not.
    """

    repository: str
    digest: str = ""
    until: datetime | None = None
    withdrawn: str = ""

    def certifies(self, now: datetime | None) -> bool:
        """Whether it is in effect. With None the time is unknown, and what has an end may have ended."""
        return not self.withdrawn and (self.until is None or (now is not None and now < self.until))


class SignedEntry(Struct, frozen=True, eq=False):
    """An entry that certifies the images of its pattern that some authorities have signed."""

    entry: Entry
    pattern: RegistryPattern
    rule: ImageRule


class Catalog(Struct, frozen=True, eq=False):
    """An ImageCatalog, ready to judge.

    by_digest, by_repository: its entries by digest, whose number does not make a look-up slower.
    registries: those that its entries name.
    ends: when entries end that were not withdrawn, in order, and which.
    withdrawn: the number of entries that were withdrawn, by themselves or by another entry.
    """

    name: str
    owner: str
    by_digest: Mapping[str, Sequence[Entry]] = {}
    by_repository: Mapping[str, Sequence[Entry]] = {}
    signed: tuple[SignedEntry, ...] = ()
    registries: frozenset[str] = frozenset()
    ends: tuple[tuple[datetime, Entry], ...] = ()
    withdrawn: int = 0

    @property
    def title(self) -> str:
        """How messages name it."""
        return f'ImageCatalog "{self.name}"'


class Catalogs(Struct, frozen=True, eq=False):
    """The catalogs at one moment. With now=None the time is unknown."""

    by_name: Mapping[str, Catalog] = {}
    now: datetime | None = None


NO_CATALOGS: Final = Catalogs()


def verified(where: str, names: CatalogNames) -> CatalogNames:
    """These names, if they are valid. Raises ParameterError for a path below `where`."""
    if (names.any_of is None) is (names.all_of is None):
        raise ParameterError(where, ONE_OF_ANY_AND_ALL)
    if len(set(names.names)) != len(names.names):
        raise ParameterError(where, "has a duplicate catalog")
    return names


def catalog_fault(
    names: CatalogNames, resolves: bool, reference: Reference, trust: Trust | None, catalogs: Catalogs
) -> Fault | None:
    """Why an image is not certified as a policy requires; None if it is.

    resolves: whether tags are resolved, so that one without digest is a matter of time.
    trust: None where this installation does not verify images; entries by digest need none.
    """
    missing = [name for name in names.names if name not in catalogs.by_name]
    if missing:
        return Fault(
            f"is not certified: there is no ImageCatalog {words(missing, 'or')}",
            f"an administrator must create ImageCatalog {words(missing, 'and')}",
        )
    named = [catalogs.by_name[name] for name in names.names]
    for catalog in named:
        reason = withdrawal(catalog, reference)
        if reason:
            problem = f"was withdrawn in {catalog.title}: {reason}"
            return Fault(problem, f"use {_certified_image(named, reference, catalogs.now)}")
    faults: list[Fault] = []
    for catalog in named:
        fault = _fault_in(catalog, resolves, reference, trust, catalogs.now)
        if fault is None and names.any_of:
            return None
        if fault is not None:
            faults.append(fault)
    return _first(faults, definite=bool(names.all_of)) if faults else None


def withdrawal(catalog: Catalog, reference: Reference) -> str:
    """Why an image was withdrawn; empty if it was not."""
    entries = catalog.by_digest.get(reference.digest or "", ())
    matching = (
        one.entry for one in catalog.signed if one.entry.withdrawn and one.pattern.covers_any_name_of(reference)
    )
    return next((entry.withdrawn for entry in (*entries, *matching) if entry.withdrawn), "")


def withdrawal_of_pattern(catalog: Catalog, pattern: RegistryPattern) -> str:
    """Why all images of a pattern were withdrawn; empty if no withdrawn entry reaches all of them."""
    matching = (one.entry for one in catalog.signed if one.entry.withdrawn and one.pattern.covers_all_names_of(pattern))
    return next((entry.withdrawn for entry in matching), "")


def _first(faults: Sequence[Fault], *, definite: bool) -> Fault:
    """The fault to show: where one catalog is enough, one that verification may end; else one that it does not.

    Of faults of one kind, one about an entry goes before one that says that there is no entry.
    """
    return min(faults, key=lambda fault: (_may_end(fault) is definite, fault.is_missing))


def _may_end(fault: Fault) -> bool:
    return fault.lookup is not None or fault.needs_trust


def _fault_in(
    catalog: Catalog, resolves: bool, reference: Reference, trust: Trust | None, now: datetime | None
) -> Fault | None:
    """Why one catalog does not certify an image; None if it does."""
    name = f"{reference.registry}/{reference.repository}"
    entries = catalog.by_repository.get(name, ())
    signed = [signed_entry for signed_entry in catalog.signed if signed_entry.pattern.covers(reference)]
    if not entries and not signed:
        return Fault(
            f"is not certified: {catalog.title} has no entry for {name}",
            f"use a certified image, or have {catalog.owner} certify it",
            is_missing=True,
        )
    if reference.digest is None:
        return _tag_fault(catalog, resolves, reference, trust)
    faults: list[Fault] = []
    for entry in catalog.by_digest.get(reference.digest, ()):
        if entry.repository == name:
            if entry.certifies(now):
                return None
            faults.append(_ended(catalog, entry, reference, now))
    for one in signed:
        fault = _signed_fault(catalog, one, reference, trust, now)
        if fault is None:
            return None
        faults.append(fault)
    if faults:
        return _first(faults, definite=False)
    return Fault(
        f"is not certified: {catalog.title} certifies other digests of {name}",
        f"use {_certified_image([catalog], reference, now)}, or have {catalog.owner} certify this one",
    )


def _ended(catalog: Catalog, entry: Entry, reference: Reference, now: datetime | None) -> Fault:
    until = "" if entry.until is None else f" until {rfc3339(entry.until)}"
    return Fault(
        f"was certified in {catalog.title}{until}",
        f"use {_certified_image([catalog], reference, now)}, or have {catalog.owner} certify this one again",
    )


def _signed_fault(
    catalog: Catalog, one: SignedEntry, reference: Reference, trust: Trust | None, now: datetime | None
) -> Fault | None:
    if not one.entry.certifies(now):
        return _ended(catalog, one.entry, reference, now)
    fault = fault_of(one.rule, reference, trust)
    if fault is None:
        return None
    problem = f"is not certified: {catalog.title} requires {one.rule.requires}, and it {fault.problem}"
    return replace(fault, problem=problem, is_missing=False)


def _tag_fault(catalog: Catalog, resolves: bool, reference: Reference, trust: Trust | None) -> Fault:
    fix = "append @sha256: and the digest of the certified image"
    if not resolves:
        return Fault("has a mutable tag", f"{fix}, or have an administrator set resolveTags in the policy")
    if trust is None:
        problem = "has a tag, and this installation does not resolve tags"
        return Fault(problem, f"{fix}, or have an administrator set imageVerification.enabled", needs_trust=True)
    if not may_connect(reference, trust):
        return Fault(f"has a tag, and Sekisho may not connect to registry {reference.registry}", fix)
    names = tuple(dict.fromkeys(name for one in catalog.signed for name in (*one.rule.names, *one.rule.others)))
    return tag_lookup_fault(reference, names, fix, trust)


def _certified_image(catalogs: Sequence[Catalog], reference: Reference, now: datetime | None) -> str:
    """An image of the repository that is certified now, the newest entry, to use in place of another one."""
    name = f"{reference.registry}/{reference.repository}"
    for catalog in catalogs:
        for entry in reversed(catalog.by_repository.get(name, ())[-_MAX_LOOKED_AT:]):
            if entry.certifies(now) and not any(other.withdrawn for other in catalog.by_digest[entry.digest]):
                return f"@{entry.digest}"
    return "a certified image"

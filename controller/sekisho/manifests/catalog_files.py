"""Catalogs in manifests: finding one, and changing an entry in its text, with everything else as it is."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.documents import Path, Problem, with_field
from sekisho.images import parse, parse_pattern
from sekisho.manifests.objects import Manifest
from sekisho.manifests.policy_files import own_manifests, with_source
from sekisho.manifests.policy_loading import parse_policies
from sekisho.manifests.sources import sources_of
from sekisho.manifests.texts import Source
from sekisho.policies import ImageCatalog, PolicyError
from sekisho.policies.catalogs import CatalogEntry, compile_catalog, withdrawal_of

_KIND: Final = ImageCatalog.__name__


class Wanted(Struct, frozen=True, kw_only=True):
    """An entry as it should be: fields that are None stay as they are.

    repository, digest: of the entry, `digest` None for one by signatures; by their one name.
    by: the authorities of an entry by signatures, any of them; empty for the first entry with the pattern, whatever
        its authorities.
    valid_until: as the API writes it.
    withdrawn: the reason.
    """

    repository: str
    digest: str | None = None
    by: tuple[str, ...] = ()
    valid_until: str | None = None
    withdrawn: str | None = None


class Changed(Struct, frozen=True):
    """A text with the entry, and the catalog that has it.

    is_rewritten: whether the catalog's document was written again as a whole, without its comments.
    was_there: whether it had the entry before.
    """

    text: str
    catalog: str
    is_rewritten: bool
    was_there: bool


def with_entry(text: str, file: str, wanted: Wanted, name: str | None = None) -> Changed:
    """The text of a file with an entry added or changed.

    Raises PolicyError, also where the result is not valid, and for a withdrawn entry that is not to be withdrawn.

    name: of the catalog; None where the file has only one.
    """
    parse_policies(text, file)
    catalog, source = _catalog_in(text, file, name)
    edited, is_rewritten = source.text, False
    was_there = _entry_index(_entries_of(catalog), wanted) < len(_entries_of(catalog))
    while True:
        [manifest] = [one for one in _catalogs_of(Source(file, source.first_line, edited)) if _is_same(one, catalog)]
        change = _next_change(manifest, wanted)
        if change is None:
            break
        result = with_field(edited, manifest.document, *change)
        edited, is_rewritten = result.text, is_rewritten or result.is_rewritten
    whole = with_source(text, source, edited)
    after = parse_policies(whole, file)
    if wanted.withdrawn is None:
        _deny_withdrawn(manifest, [one for one in after if isinstance(one, ImageCatalog)], wanted)
    return Changed(whole, str(manifest.value["metadata"]["name"]), is_rewritten, was_there)


def _deny_withdrawn(manifest: Manifest, catalogs: Sequence[ImageCatalog], wanted: Wanted) -> None:
    """Raise PolicyError if another entry withdraws what should be certified: the entry would certify nothing."""
    name = manifest.value["metadata"]["name"]
    written = next(catalog for catalog in catalogs if catalog.metadata.name == name)
    entry = CatalogEntry(repository=wanted.repository, digest=wanted.digest)
    reason = withdrawal_of(compile_catalog(written), entry)
    if reason:
        where = manifest.document.location((*manifest.at, "spec", "entries"))
        problem = f"another entry withdraws it: {reason}; to certify it, delete the field withdrawn there"
        raise PolicyError(Problem(where, problem))


def _catalog_in(text: str, file: str, name: str | None) -> tuple[Manifest, Source]:
    """The catalog to change, and the text of its document. Raises PolicyError if it is not clear which."""
    catalogs = [(catalog, source) for source in sources_of(text, file) for catalog in _catalogs_of(source)]
    if name is not None:
        catalogs = [pair for pair in catalogs if pair[0].value["metadata"]["name"] == name]
    if not catalogs:
        missing = "holds no ImageCatalog" if name is None else f"holds no ImageCatalog {name}"
        raise PolicyError(Problem(file, missing))
    if len(catalogs) > 1:
        names = ", ".join(str(catalog.value["metadata"]["name"]) for catalog, _ in catalogs)
        raise PolicyError(Problem(file, f"holds several ImageCatalogs, use --name: {names}"))
    return catalogs[0]


def _catalogs_of(source: Source) -> Iterator[Manifest]:
    return (manifest for manifest in own_manifests(source) if manifest.kind == _KIND)


def _is_same(one: Manifest, other: Manifest) -> bool:
    return bool(one.at == other.at and one.value["metadata"]["name"] == other.value["metadata"]["name"])


def _entries_of(manifest: Manifest) -> list[Any]:
    entries: list[Any] = manifest.value["spec"].get("entries", [])
    return entries


def _entry_index(entries: Sequence[Any], wanted: Wanted) -> int:
    """The index of the entry; one past the last if there is none."""
    name = _name(wanted.repository, wanted.digest)
    for index, entry in enumerate(entries):
        if entry.get("digest") != wanted.digest or _name(entry["repository"], wanted.digest) != name:
            continue
        if not wanted.by or _is_by(entry["by"], wanted.by):
            return index
    return len(entries)


def _is_by(by: Any, names: Sequence[str]) -> bool:
    """Whether an entry certifies what any of these authorities signed. Of one authority, any and all are the same."""
    listed = by.get("anyOf") or (by.get("allOf") if len(names) == 1 else None) or ()
    return by.get("count", 1) == 1 and sorted(listed) == sorted(names)


def _name(repository: str, digest: str | None) -> str:
    """The one name of an image or a pattern; what is neither, as it is written."""
    try:
        return repr(parse_pattern(repository) if digest is None else parse(f"{repository}@{digest}"))
    except ValueError:
        return repository


def _next_change(manifest: Manifest, wanted: Wanted) -> tuple[Path, Any] | None:
    """The next field to set, by its path in the document, and its value; None when the entry is as it should be."""
    entries = _entries_of(manifest)
    index = _entry_index(entries, wanted)
    spec: Path = (*manifest.at, "spec")
    if index == len(entries):
        if wanted.digest is None and not wanted.by:
            where, name = manifest.document.location(spec), manifest.value["metadata"]["name"]
            missing = f"ImageCatalog {name} has no entry {wanted.repository}; name an image as REPOSITORY@DIGEST"
            raise PolicyError(Problem(where, missing))
        new = _new_entry(wanted)
        return ((*spec, "entries", index), new) if "entries" in manifest.value["spec"] else ((*spec, "entries"), [new])
    entry, path = entries[index], (*spec, "entries", index)
    if "withdrawn" in entry and wanted.withdrawn is None:
        where = manifest.document.location((*path, "withdrawn"))
        reason = entry["withdrawn"]["reason"]
        raise PolicyError(Problem(where, f"it is withdrawn: {reason}; to certify it again, delete this field"))
    if wanted.valid_until is not None and entry.get("validUntil") != wanted.valid_until:
        return (*path, "validUntil"), wanted.valid_until
    if wanted.withdrawn is None or entry.get("withdrawn") == {"reason": wanted.withdrawn}:
        return None
    if "withdrawn" in entry:
        return (*path, "withdrawn", "reason"), wanted.withdrawn
    return (*path, "withdrawn"), {"reason": wanted.withdrawn}


def _new_entry(wanted: Wanted) -> dict[str, Any]:
    entry: dict[str, Any] = {"repository": wanted.repository}
    if wanted.digest is not None:
        entry["digest"] = wanted.digest
    if wanted.by:
        entry["by"] = {"anyOf": list(wanted.by)}
    if wanted.valid_until is not None:
        entry["validUntil"] = wanted.valid_until
    if wanted.withdrawn is not None:
        entry["withdrawn"] = {"reason": wanted.withdrawn}
    return entry

"""Reading the policies of another engine from manifests, and translating each."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import structs

from sekisho.documents import Problem
from sekisho.manifests.engines import gatekeeper, kyverno
from sekisho.manifests.engines.kyverno_cel import translate_validating_policy
from sekisho.manifests.engines.kyverno_exceptions import translate_exception
from sekisho.manifests.engines.results import Difference, Place, Translation, Written, joined
from sekisho.manifests.objects import Manifest, documents_of, manifests_of
from sekisho.manifests.texts import Source
from sekisho.policies import PolicyError

_EXCEPTIONS: Final = frozenset(("PolicyException",))
FOREIGN: Final = "its template is not the one of Gatekeeper's library, and may require anything"
Translate = Callable[[Place, Mapping[str, Any], str | None], Translation]

KYVERNO: Final[Mapping[tuple[str, str], Translate]] = {
    ("kyverno.io", "ClusterPolicy"): kyverno.translate_policy,
    ("kyverno.io", "Policy"): kyverno.translate_policy,
    ("policies.kyverno.io", "ValidatingPolicy"): translate_validating_policy,
    ("policies.kyverno.io", "NamespacedValidatingPolicy"): translate_validating_policy,
}
_GROUPS: Final = {"kyverno": ("kyverno.io", "policies.kyverno.io"), "gatekeeper": ("constraints.gatekeeper.sh",)}
_TEMPLATES: Final = "templates.gatekeeper.sh"


def translate(engine: str, sources: Iterable[Source], until: str | None) -> Translation:
    """Translate the policies of an engine in manifests. Objects of other API groups are ignored.

    until: when waivers end, as the API has it; None to write none.

    Raises PolicyError for documents that cannot be read.
    """
    manifests = _manifests(sources)
    templates = [one.value for one in manifests if one.group == _TEMPLATES and engine == "gatekeeper"]
    foreign = gatekeeper.foreign_kinds(templates)
    originals = [one for one in manifests if one.group in _GROUPS[engine]]
    taken: set[tuple[str, str, str]] = set()
    policies = [_translate(one, until, foreign) for one in originals if one.kind not in _EXCEPTIONS]
    translation = joined(_with_unique_names(policies, taken))
    exceptions = [_exception(one, until, translation) for one in originals if one.kind in _EXCEPTIONS]
    return joined((translation, *_with_unique_names(exceptions, taken)))


def _exception(manifest: Manifest, until: str | None, policies: Translation) -> Translation:
    return _guarded(manifest, lambda place: translate_exception(place, manifest.value, until, policies.origins))


def _manifests(sources: Iterable[Source]) -> list[Manifest]:
    """The objects in manifests. Raises PolicyError for documents that cannot be read."""
    problems: list[Problem] = []
    manifests: list[Manifest] = []
    for source in sources:
        for document in documents_of(source):
            if isinstance(document, Problem):
                problems.append(document)
            else:
                contained = manifests_of(document, source.inherited)
                manifests += [one for one in contained if isinstance(one, Manifest)]
    if problems:
        raise PolicyError(*problems)
    return manifests


def _translate(manifest: Manifest, until: str | None, foreign: Collection[str]) -> Translation:
    is_constraint = manifest.group in _GROUPS["gatekeeper"]
    translator = gatekeeper.translate_constraint if is_constraint else KYVERNO.get((manifest.group, manifest.kind))
    if manifest.kind in foreign:
        return _guarded(manifest, lambda place: _listed(place, FOREIGN))
    if translator is None:
        return _guarded(manifest, lambda place: _listed(place, "objects of this kind are not known here"))
    return _guarded(manifest, lambda place: translator(place, manifest.value, until))


def _listed(place: Place, reason: str) -> Translation:
    return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, reason),))


def _guarded(manifest: Manifest, translate_at: Callable[[Place], Translation]) -> Translation:
    """What a function makes of an object; a note for one that is not as its kind must be."""
    metadata = manifest.value.get("metadata") or {}
    namespace = f"{metadata.get('namespace') or 'default'}/" if manifest.kind == "Policy" else ""
    place = Place(manifest.document, manifest.at, f"{manifest.kind} {namespace}{metadata.get('name')}")
    try:
        translation = translate_at(place)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return _listed(place, f"it is not a valid {manifest.kind}: {type(error).__name__} {error}")
    return translation if translation.objects or translation.notes else _listed(place, "it requires nothing of pods")


def _with_unique_names(translations: Iterable[Translation], taken: set[tuple[str, str, str]]) -> Iterator[Translation]:
    """The translations, with numbers after names in `taken`, also where waivers name policies; adds to `taken`."""
    for one in translations:
        names: dict[str, str] = {}
        for written in one.objects:
            kind, metadata = written.value["kind"], written.value["metadata"]
            namespace, name, count = metadata.get("namespace", ""), written.name, 1
            while (kind, namespace, name) in taken:
                count += 1
                name = f"{written.name}-{count}"
            taken.add((kind, namespace, name))
            prefix = f"{namespace}/" if namespace else ""
            names[prefix + written.name if kind != "PolicyWaiver" else f" {written.name}"] = prefix + name
        objects = tuple(_renamed(written, names) for written in one.objects)
        origins = tuple(structs.replace(origin, title=names[origin.title]) for origin in one.origins)
        yield structs.replace(one, objects=objects, origins=origins)


def _renamed(written: Written, names: Mapping[str, str]) -> Written:
    value, metadata = written.value, written.value["metadata"]
    if value["kind"] == "PolicyWaiver":
        policies = [names.get(policy, policy) for policy in value["spec"]["policies"]]
        name, spec = names[f" {written.name}"], value["spec"] | {"policies": policies}
    else:
        namespace = metadata.get("namespace", "")
        name = names[f"{namespace}/{written.name}" if namespace else written.name].rpartition("/")[2]
        spec = value["spec"]
    return Written(written.comment, value | {"metadata": metadata | {"name": name}, "spec": spec})

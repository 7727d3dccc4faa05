"""Reading the policies of another engine from manifests, and translating each."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from sekisho.documents import Problem
from sekisho.manifests.engines import kyverno
from sekisho.manifests.engines.results import Difference, Place, Translation, Written, joined
from sekisho.manifests.objects import Manifest, documents_of, manifests_of
from sekisho.manifests.texts import Source
from sekisho.policies import PolicyError

Translate = Callable[[Place, Mapping[str, Any], str | None], Translation]

KYVERNO: Final[Mapping[tuple[str, str], Translate]] = {
    ("kyverno.io", "ClusterPolicy"): kyverno.translate_policy,
    ("kyverno.io", "Policy"): kyverno.translate_policy,
}
_GROUPS: Final = {"kyverno": ("kyverno.io", "policies.kyverno.io")}
ENGINES: Final = {"kyverno": KYVERNO}


def translate(engine: str, sources: Iterable[Source], until: str | None) -> Translation:
    """Translate the policies of an engine in manifests. Objects of other API groups are ignored.

    until: when waivers end, as the API has it; None to write none.

    Raises PolicyError for documents that cannot be read.
    """
    problems: list[Problem] = []
    translations: list[Translation] = []
    for source in sources:
        for document in documents_of(source):
            if isinstance(document, Problem):
                problems.append(document)
                continue
            translations += [
                _translate(engine, manifest, until)
                for manifest in manifests_of(document, source.inherited)
                if isinstance(manifest, Manifest) and manifest.group in _GROUPS[engine]
            ]
    if problems:
        raise PolicyError(*problems)
    return joined(_with_unique_names(translations))


def _translate(engine: str, manifest: Manifest, until: str | None) -> Translation:
    name = (manifest.value.get("metadata") or {}).get("name")
    place = Place(manifest.document, manifest.at, f"{manifest.kind} {name}")
    translator = ENGINES[engine].get((manifest.group, manifest.kind))
    if translator is None:
        return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, "objects of this kind are not known here"),))
    try:
        return translator(place, manifest.value, until)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"it is not a valid {manifest.kind}: {type(error).__name__} {error}"
        return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, reason),))


def _with_unique_names(translations: Iterable[Translation]) -> Iterator[Translation]:
    """The translations, with numbers after names that others have already, also where waivers name policies."""
    taken: set[tuple[str, str, str]] = set()
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
        yield msgspec.structs.replace(one, objects=objects)


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

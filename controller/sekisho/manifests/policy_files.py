"""Sekisho's own objects in manifests, and changing what a policy does about violations in its text."""

from collections.abc import Iterator

from sekisho.documents import Edited, Problem, with_field, with_pieces
from sekisho.manifests.objects import Manifest, documents_of, manifests_of
from sekisho.manifests.sources import sources_of
from sekisho.manifests.texts import Source
from sekisho.policies import ClusterPodPolicy, Enforcement, PodPolicy, PolicyError
from sekisho.policies.loading import from_object
from sekisho.policies.types import GROUP


def own_manifests(source: Source) -> Iterator[Manifest]:
    """The objects of Sekisho's kinds in a text, also those in Lists."""
    for document in documents_of(source):
        if not isinstance(document, Problem):
            for manifest in manifests_of(document, source.inherited):
                if isinstance(manifest, Manifest) and manifest.group == GROUP:
                    yield manifest


def with_source(text: str, source: Source, edited: str) -> str:
    """A text in which one of its sources was edited. A document that was written again as a whole lost its `---`."""
    if source.text.startswith("---") and not edited.startswith("---"):
        edited = f"---\n{edited}"
    sources = sources_of(text, source.file)
    return with_pieces(text, ((part.text, edited if part == source else part.text) for part in sources))


def with_enforcement(text: str, file: str, title: str, enforcement: Enforcement) -> Edited:
    """The text of a file in which a policy does something else about violations; everything else keeps its bytes.

    text: its policies are valid.
    title: of the policy, as findings have it.

    Raises PolicyError if the file has no such policy, or several.
    """
    objects = [(manifest, source) for source in sources_of(text, file) for manifest in own_manifests(source)]
    policies = [(one, source) for one, source in objects if _title(one) == title]
    if len(policies) != 1:
        raise PolicyError(Problem(file, f"has {f'{len(policies)} policies' if policies else 'no policy'} {title}"))
    [(manifest, source)] = policies
    edited = with_field(source.text, manifest.document, (*manifest.at, "spec", "enforcement"), str(enforcement))
    return Edited(with_source(text, source, edited.text), edited.is_rewritten)


def _title(manifest: Manifest) -> str | None:
    """The title of a policy; None for other kinds."""
    for kind in (ClusterPodPolicy, PodPolicy):
        if manifest.kind == kind.__name__:
            return from_object(manifest.value, kind).title
    return None

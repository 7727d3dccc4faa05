"""The options of `check` and `fix` that say what is judged, and by which policies."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec import Struct

from sekisho.cli import options
from sekisho.images.trust import Trust
from sekisho.manifests import Checker, Namespaces, Source
from sekisho.policies import Policy, PolicySet

T = TypeVar("T", bound=Callable[..., Any])


class JudgingOptions(Struct, frozen=True, kw_only=True):
    """The values of these options, by the names of their parameters."""

    paths: tuple[Path, ...]
    policy_paths: tuple[Path, ...]
    standard: str | None
    namespace: str
    labels_file: Path | None
    context_dir: Path | None
    exempt: tuple[str, ...]
    pod_templates: tuple[str, ...]
    no_ignore_comments: bool

    @classmethod
    def taken_from(cls, values: dict[str, Any]) -> Self:
        """The options, which are removed from the values of all options of a command."""
        return cls(**{name: values.pop(name) for name in cls.__struct_fields__})

    def policies(self, sources: Sequence[Source], applied: Sequence[Policy] = ()) -> list[Policy]:
        """The policies to judge by. Parameters and errors are those of `options.load_policies`."""
        return options.load_policies(self.policy_paths, self.standard, self.context_dir, sources, applied)

    def namespaces(self, sources: Sequence[Source], policies: PolicySet, exempt: Collection[str] = ()) -> Namespaces:
        """What is known of namespaces; sources hold their objects, and exempt adds to --exclude-namespaces."""
        return options.known_namespaces(
            self.labels_file,
            sources,
            self.namespace,
            needs_labels=policies.needs_labels,
            exempt=(*self.exempt, *exempt),
        )

    def checker(self, policies: PolicySet, namespaces: Namespaces, trust: Trust | None = None) -> Checker:
        """Judges manifests. trust: what is known of images; None where they are not verified."""
        return Checker(
            policies,
            namespaces,
            self.namespace,
            trust=trust,
            kinds=options.pod_kinds(self.pod_templates),
            heeds_comments=not self.no_ignore_comments,
        )


def judging_options(command: T) -> T:
    """Add these options to a command."""
    for option in (
        options.no_ignore_comments,
        options.pod_templates,
        options.exclude_namespaces,
        options.context_dir,
        options.namespace_labels,
        options.namespace,
        options.standard,
        options.policy_paths,
        options.manifest_paths,
    ):
        command = option(command)
    return command

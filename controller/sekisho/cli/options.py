"""Options that several commands share, and how they are read."""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click
from msgspec import Struct

from sekisho import manifests
from sekisho.custom_kinds import CUSTOM_KINDS, TemplatePattern
from sekisho.documents import with_pieces
from sekisho.findings import printable
from sekisho.manifests import Namespaces, PodKinds, Source, labels_in, objects_in, read_namespace_labels, read_sources
from sekisho.manifests.folders import Folder
from sekisho.manifests.sources import Render
from sekisho.policies import Policy, PolicyError, Problem


class ClusterState(Struct, frozen=True):
    """What a cluster judges pods by.

    sources: its Namespaces, LimitRanges and ServiceAccounts.
    exempt: the namespaces whose pods it does not judge.
    """

    policies: tuple[Policy, ...] = ()
    sources: tuple[Source, ...] = ()
    exempt: frozenset[str] = frozenset()


F = TypeVar("F", bound=Callable[..., Any])

NOT_EDITABLE = "cannot be changed in place: it is not UTF-8, or has changed meanwhile"
_EXAMPLE = "Widget.example.com=spec.roles[*].template"
_POD_TEMPLATE = re.compile(r"(?P<kind>\w+)(?:\.(?P<group>[\w.-]+))?=(?P<path>[\w-]+(?:\[\*\]|\.\*|\.[\w-]+)*)")

_ANY_PATH = click.Path(path_type=Path, allow_dash=True)
_FILE = click.Path(path_type=Path)

policy_paths = click.option(
    "-p",
    "--policy",
    "policy_paths",
    multiple=True,
    type=_ANY_PATH,
    metavar="FILE_OR_DIR",
    help="Policies to apply, - for standard input; may be repeated.",
)
standard = click.option(
    "--standard",
    metavar="LEVEL[:VERSION]",
    help="A level of the Pod Security Standards to apply, such as restricted or baseline:v1.30.",
)
namespace = click.option(
    "-n", "--namespace", default="default", show_default=True, help="The namespace of objects that set none."
)
namespace_labels = click.option(
    "--namespace-labels",
    "labels_file",
    type=_FILE,
    metavar="FILE",
    help="The labels of namespaces, for policies that read them: YAML or JSON that maps names to labels.",
)
context_dir = click.option(
    "--context-dir",
    type=_FILE,
    metavar="DIR",
    help="Objects of the cluster that are used and not checked: Namespaces, LimitRanges, ServiceAccounts, policies.",
)
verify_images = click.option(
    "--verify-images",
    is_flag=True,
    help="Judge rules on signatures and attestations too, which connects to the images' registries.",
)
registry_config = click.option(
    "--registry-config",
    type=_FILE,
    metavar="FILE",
    help="Credentials for registries, as docker login writes them; Docker's own file if unset.",
)
registry_ca_file = click.option(
    "--registry-ca-file",
    type=_FILE,
    metavar="FILE",
    help="Authorities that may sign the certificates of registries, PEM, in addition to the system's.",
)
exclude_namespaces = click.option(
    "--exclude-namespace",
    "exempt",
    multiple=True,
    metavar="NAME",
    help="A namespace whose pods Sekisho does not judge in the cluster, such as kube-system; may be repeated.",
)
exclude = click.option(
    "--exclude",
    "exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out files by their path, or by the name of a file or folder; * also matches /; may be repeated.",
)
cluster = click.option(
    "--cluster",
    is_flag=True,
    help="Judge for the cluster of the kubeconfig: by its policies and waivers, with the labels of its namespaces.",
)
kubeconfig = click.option(
    "--kubeconfig",
    type=_FILE,
    metavar="FILE",
    help="The kubeconfig for --cluster and --context; KUBECONFIG or ~/.kube/config if unset.",
)
kube_context = click.option(
    "--context",
    "kube_context",
    metavar="NAME",
    help="Like --cluster, for the cluster of this context of the kubeconfig.",
)
render = click.option(
    "--render",
    type=click.Choice(("auto", "never")),
    default="auto",
    show_default=True,
    help="Whether to render the Helm charts and kustomizations of folders, if helm and kustomize or kubectl are there.",
)
fail_on_unknown = click.option(
    "--fail-on-unknown",
    is_flag=True,
    help="End with 2 if something that may have pods was not judged: an unknown kind, or a Helm template.",
)
pod_templates = click.option(
    "--pod-template",
    "pod_templates",
    multiple=True,
    metavar="KIND.GROUP=PATH",
    help="Where a kind has a pod template, such as Widget.example.com=spec.roles[*].template; may be repeated.",
)
no_ignore_comments = click.option(
    "--no-ignore-comments",
    is_flag=True,
    help="Report also what comments `# sekisho: ignore[CONTROL] REASON` in manifests ignore.",
)
manifest_paths = click.argument("paths", nargs=-1, required=True, type=_ANY_PATH, metavar="PATH… | -")


def standard_input() -> BinaryIO:
    """Standard input; empty if it is closed."""
    return sys.stdin.buffer if sys.stdin is not None else BytesIO()


def context_sources(directory: Path | None) -> tuple[Source, ...]:
    """The texts in --context-dir, none if it is None; ends the command if they cannot be read."""
    if directory is None:
        return ()
    sources = read_sources([directory])
    if sources.problems:
        fail(sources.problems)
    return sources.texts


def renderer(render: str, namespace: str) -> Render | None:
    """What renders charts and kustomizations; None for never. The tools are only searched if there are any."""

    def rendered(folder: Folder) -> tuple[Sequence[Source], Folder]:
        from sekisho.manifests.rendering import installed_tools, render_folder

        return render_folder(folder, installed_tools(namespace))

    return rendered if render == "auto" else None


def cluster_state(kubeconfig: Path | None, context: str | None, *, is_wanted: bool) -> ClusterState:
    """What the cluster of --cluster or --context judges by; nothing where neither is set. May end the command."""
    if not is_wanted and context is None:
        return ClusterState()
    from sekisho.cli.cluster_reading import read_cluster

    return read_cluster(kubeconfig, context)


class KeysInCluster(Struct, frozen=True):
    """Where --cluster or --context reads the Secrets and ConfigMaps of authorities that no file has.

    kubeconfig, context: None where the options are not set.
    is_wanted: whether --cluster is set.
    """

    kubeconfig: Path | None
    context: str | None
    is_wanted: bool

    def read(self, wanted: Collection[tuple[str, str]]) -> tuple[Source, ...]:
        """The objects with these kinds and names, with a note for each that is missing. May end the command."""
        if not wanted or not (self.is_wanted or self.context is not None):
            return ()
        from sekisho.cli.cluster_reading import read_keys

        return read_keys(self.kubeconfig, self.context, wanted)


def pod_kinds(written: Iterable[str]) -> PodKinds:
    """The kinds that Sekisho knows, and those of --pod-template; ends the command if one is not written so."""
    kinds: dict[tuple[str, str], tuple[TemplatePattern, ...]] = {}
    for text in written:
        match = _POD_TEMPLATE.fullmatch(text)
        if match is None:
            raise click.UsageError(f"--pod-template {text}: must be KIND.GROUP=PATH, such as {_EXAMPLE}")
        key = match["group"] or "", match["kind"]
        path = tuple(match["path"].replace("[*]", ".*").split("."))
        kinds[key] = (*kinds.get(key, ()), path)
    return {**CUSTOM_KINDS, **kinds}


def edited(file: Path, before: str, after: str) -> bytes:
    """The content of a file whose text is edited, with the byte order mark that it has.

    Ends the command for a file that is not UTF-8, or has changed since its text was read.
    """
    try:
        return with_pieces(file.read_bytes().decode(), [(before, after)]).encode()
    except ValueError:
        fail([Problem(str(file), NOT_EDITABLE)])


def load_policies(
    paths: Iterable[Path],
    level: str | None = None,
    context: Path | None = None,
    sources: Iterable[Source] = (),
    applied: Iterable[Policy] = (),
) -> list[Policy]:
    """The policies of --policy, --standard and --context-dir, and those among manifests.

    level, context: None where the option is not set.
    sources: the manifests.
    applied: those of a cluster, which policies of the same name replace.

    Ends the command if there are none, or one is invalid.
    """
    try:
        policies = manifests.load_policies(paths, level, context, sources, standard_input())
    except ValueError as error:
        raise click.UsageError(f"--standard {level}: {error}") from None
    except PolicyError as error:
        fail(error.problems)
    present = {(policy.kind, policy.title) for policy in policies}
    policies += [policy for policy in applied if (policy.kind, policy.title) not in present]
    if not policies:
        raise click.UsageError("there are no policies: use --policy FILE_OR_DIR or --standard LEVEL[:VERSION]")
    return policies


def known_namespaces(
    file: Path | None,
    sources: Iterable[Source] = (),
    namespace: str = "default",
    *,
    needs_labels: bool = True,
    exempt: Iterable[str] = (),
) -> Namespaces:
    """What is known of namespaces: the labels from --namespace-labels, and the objects in texts, which override them.

    file: that of --namespace-labels; None where the option is not set.
    namespace: the namespace of objects that set none.
    needs_labels: whether any policy reads labels; otherwise Namespaces are not looked for.
    exempt: the namespaces whose pods are not judged.
    """
    texts = tuple(sources)
    try:
        known = read_namespace_labels(file) if file is not None else {}
    except PolicyError as error:
        fail(error.problems)
    problems: list[Problem] = []
    objects = objects_in(texts, namespace, problems)
    for problem in problems:
        click.echo(f"note: {printable(str(problem))}", err=True)
    return Namespaces(known, labels_in(texts) if needs_labels else {}, objects=objects, exempt=exempt)


def report(problems: Iterable[Problem]) -> None:
    """Write problems to stderr."""
    for problem in problems:
        click.echo(f"Error: {printable(str(problem))}", err=True)


def fail(problems: Iterable[Problem]) -> NoReturn:
    """Write problems to stderr and exit with code 2."""
    report(problems)
    sys.exit(2)

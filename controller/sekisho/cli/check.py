"""`sekisho check`: the verdicts of the webhook on manifests, offline."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from sekisho.admission import denial_message, judge_template
from sekisho.admission.verdict import Violation
from sekisho.pods import POD_TEMPLATES, Pod, Workload, pod_template
from sekisho.policies import (
    ClusterPodPolicy,
    Document,
    DocumentError,
    Enforcement,
    PolicyError,
    PolicySet,
    Problem,
    parse_path,
    read_documents,
    read_policies,
)
from sekisho.policies.types import ClusterPodPolicySpec, PodSecurityStandard, PolicyMeta
from sekisho.standards import parse_version

_SUFFIXES = (".yaml", ".yml", ".json")
LARGEST_MANIFEST = 64 * 1024 * 1024


class Checked(msgspec.Struct, frozen=True):
    """One pod or workload of the input, and its violations."""

    place: str
    kind: str
    namespace: str
    name: str
    violations: tuple[Violation, ...]

    @property
    def denied(self) -> list[Violation]:
        """The violations for which its pods would be refused."""
        return [violation for violation in self.violations if violation.enforcement == Enforcement.DENY]

    @property
    def noted(self) -> list[Violation]:
        """The violations that only warn or are noted."""
        return [violation for violation in self.violations if violation.enforcement != Enforcement.DENY]


class Tally:
    """What a run came to."""

    def __init__(self) -> None:
        self.checked = self.refused = self.passed_over = 0
        self.problems: list[Problem] = []


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="PATH… | -")
@click.option(
    "-p",
    "--policy",
    "policy_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE_OR_DIR",
    help="Policies to check against; may be given several times.",
)
@click.option(
    "--standard",
    metavar="LEVEL[:VERSION]",
    help="A level of the Pod Security Standards to check against, such as restricted or baseline:v1.30.",
)
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="The namespace of objects that name none."
)
def check(paths: tuple[Path, ...], policy_paths: tuple[Path, ...], standard: str | None, namespace: str) -> None:
    """Check manifests against policies, as the webhook would.

    PATH is a file or a folder of YAML or JSON manifests; - reads them from standard input, for instance from `helm
    template`. The exit code is 0 when every pod would be admitted, 1 when some would be refused, 2 for bad input.
    """
    try:
        policies = PolicySet.of(_policies(policy_paths, standard))
    except PolicyError as error:
        _fail(error.problems)
    tally = Tally()
    for path in paths:
        for checked in _check_path(path, policies, namespace, tally):
            _print(checked)
    _print_summary(tally)
    sys.exit(2 if tally.problems else 1 if tally.refused else 0)


def _policies(paths: tuple[Path, ...], standard: str | None) -> list[ClusterPodPolicy]:
    if not paths and standard is None:
        raise click.UsageError("nothing to check against: give --policy FILE_OR_DIR or --standard LEVEL[:VERSION]")
    policies = [policy for path in paths for policy in read_policies(path)]
    if standard is not None:
        level, _, version = standard.partition(":")
        if level not in ("privileged", "baseline", "restricted"):
            raise click.UsageError(f"--standard {standard}: the level must be privileged, baseline or restricted")
        try:
            parse_version(version or "latest")
        except ValueError as error:
            raise click.UsageError(f"--standard {standard}: {error}") from None
        asked = PodSecurityStandard(level=level, version=version or "latest")  # type: ignore[arg-type]
        policies.append(ClusterPodPolicy(PolicyMeta(standard), ClusterPodPolicySpec(pod_security_standard=asked)))
    return policies


def _fail(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    sys.exit(2)


def _check_path(path: Path, policies: PolicySet, namespace: str, tally: Tally) -> Iterator[Checked]:
    for file, text in _texts(path, tally):
        try:
            for document in read_documents(text, file):
                yield from _check_document(document, policies, namespace, tally)
        except DocumentError as error:
            tally.problems.append(error.problem)


def _texts(path: Path, tally: Tally) -> Iterator[tuple[str, str]]:
    if str(path) == "-":
        yield "<stdin>", sys.stdin.read(LARGEST_MANIFEST)
        return
    files = sorted(f for f in path.rglob("*") if f.suffix in _SUFFIXES and f.is_file()) if path.is_dir() else [path]
    if not files:
        tally.problems.append(Problem(str(path), "holds no .yaml, .yml or .json file"))
    for file in files:
        try:
            if file.stat().st_size > LARGEST_MANIFEST:
                tally.problems.append(Problem(str(file), f"is larger than {LARGEST_MANIFEST} bytes"))
                continue
            yield str(file), file.read_text("utf-8")
        except UnicodeDecodeError:
            tally.problems.append(Problem(str(file), "is not UTF-8 text"))
        except OSError as error:
            tally.problems.append(Problem(str(file), f"cannot be read: {error.strerror}"))


def _check_document(document: Document, policies: PolicySet, namespace: str, tally: Tally) -> Iterator[Checked]:
    items: list[tuple[tuple[str | int, ...], Any]] = [((), document.value)]
    value = document.value
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        items = [(("items", index), item) for index, item in enumerate(value["items"])]
    for path, item in items:
        if not isinstance(item, dict) or not isinstance(item.get("kind"), str) or not item.get("apiVersion"):
            tally.problems.append(
                Problem(document.place(path), "is not a Kubernetes object: it needs apiVersion and kind")
            )
            continue
        checked = _check_object(document, path, item, policies, namespace, tally)
        if checked is None:
            continue
        tally.checked += 1
        tally.refused += bool(checked.denied)
        yield checked


def _check_object(
    document: Document, path: tuple[str | int, ...], item: Any, policies: PolicySet, namespace: str, tally: Tally
) -> Checked | None:
    group = str(item["apiVersion"]).rpartition("/")[0]
    is_pod = (group, item["kind"]) == ("", "Pod")
    template_path = POD_TEMPLATES.get((group, item["kind"]))
    if not is_pod and template_path is None:
        tally.passed_over += 1
        return None
    try:
        workload = msgspec.convert(item, Workload)
    except (msgspec.ValidationError, RecursionError) as error:
        text, _, field = str(error).rpartition(" - at `$")
        field = field.strip(".`")
        tally.problems.append(Problem(document.place(path + parse_path(field)), f"{field}: {text or error}"))
        return None
    pod = workload if template_path is None else pod_template(workload, template_path)
    meta = workload.metadata
    found_namespace = meta.namespace or namespace
    violations = _judge(pod, is_pod, policies, found_namespace) if pod is not None else []
    name = meta.name or meta.generate_name or ""
    return Checked(document.place(path), item["kind"], found_namespace, name, tuple(violations))


def _judge(pod: Pod, is_pod: bool, policies: PolicySet, namespace: str) -> list[Violation]:
    """A manifest is judged as its pods would be: a pod too passes the mutating webhook first."""
    plan = policies.plan(namespace, {}, pod.metadata.labels)
    return judge_template(pod, plan.steps, plan.defaults) if plan.steps else []


def _print(checked: Checked) -> None:
    if not checked.violations:
        return
    title = f"{checked.kind} {checked.namespace}/{checked.name}"
    click.echo(f"{checked.place}: {click.style(title, bold=True)}")
    for label, color, violations in (("refused", "red", checked.denied), ("noted", "yellow", checked.noted)):
        if violations:
            click.echo(f"  {click.style(label, fg=color)}")
            for line in denial_message(violations).splitlines():
                click.echo(f"    {line}")


def _print_summary(tally: Tally) -> None:
    for problem in tally.problems:
        click.echo(f"error: {problem}", err=True)
    passed = tally.checked - tally.refused
    text = f"{tally.checked} checked: {passed} pass, {tally.refused} refused"
    if tally.passed_over:
        text += f"; {tally.passed_over} objects without pods passed over"
    if tally.problems:
        text += f"; {len(tally.problems)} unreadable"
    click.echo(text)

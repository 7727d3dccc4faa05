"""Tests of policies: folders with a policy and with pods, and what is expected of each pod."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from sekisho.admission import NOT_VERIFIED
from sekisho.controls import CONTROLS
from sekisho.documents import Document, Problem
from sekisho.manifests.checks import Checked, Checker, Checks
from sekisho.manifests.namespace_objects import objects_in
from sekisho.manifests.namespaces import Namespaces, labels_in
from sekisho.manifests.policy_loading import load_policies
from sekisho.manifests.sources import read_sources
from sekisho.manifests.typed_files import converted, document_in
from sekisho.policies import Enforcement, PolicyError, PolicySet
from sekisho.spelling import MAX_HINTS, Suggestions
from sekisho.timestamps import in_utc

FILE: Final = "tests.yaml"
API_VERSION: Final = "cli.sekisho.dev/v1alpha1"
KIND: Final = "PolicyTest"
_VERDICTS: Final = {Enforcement.DENY: "denied", Enforcement.WARN: "warning", Enforcement.AUDIT: "audit note"}


class _Pod(Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected of the objects in a file: exactly these controls have findings.

    name: of the object; None for all objects in the file.
    """

    file: Annotated[str, Meta(min_length=1)]
    name: str | None = None
    deny: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()


class _File(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The file tests.yaml.

    policies: files and folders, from the folder; None for the folder's own YAML files.
    now: the time for waivers, None for the present.
    namespace: the namespace of objects that set none.
    """

    api_version: str
    kind: str
    policies: tuple[str, ...] | None = None
    now: datetime | None = None
    namespace: str = "default"
    pods: tuple[_Pod, ...] = ()


class Case(Struct, frozen=True):
    """The result of one expectation.

    folder: that of the policy.
    name: the file from the folder, and the object's name if the expectation is about one.
    expected, actual: verdicts and findings, a line each; the same if the policy does what is expected.
    skipped: why it was not tried; empty if it was.
    """

    folder: str
    name: str
    expected: tuple[str, ...] = ()
    actual: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the policy does something else than is expected."""
        return self.expected != self.actual


def folders_with_tests(root: Path) -> list[Path]:
    """The folders at and below a path that have a file tests.yaml, or pods in pods/good or pods/bad; by name."""
    folders = {file.parent for file in root.rglob(FILE)}
    folders |= {pods.parent for pods in root.rglob("pods") if any((pods / kind).is_dir() for kind in ("good", "bad"))}
    return sorted(folders)


def run_tests(folder: Path) -> list[Case]:
    """The results of a folder's tests. Raises PolicyError for what cannot be read."""
    wanted = _read(folder / FILE) if (folder / FILE).exists() else _File(API_VERSION, KIND)
    own = sorted(file for suffix in ("yaml", "yml", "json") for file in folder.glob(f"*.{suffix}") if file.name != FILE)
    paths = own if wanted.policies is None else [folder / path for path in wanted.policies]
    policies = PolicySet.of(_policies(folder, paths, is_own=wanted.policies is None))
    by_verdict = [(file, "good") for file in _files(folder / "pods/good")]
    by_verdict += [(file, "bad") for file in _files(folder / "pods/bad")]
    if not by_verdict and not wanted.pods:
        raise PolicyError(Problem(str(folder), "has no pods: add pods/good and pods/bad, or pods in tests.yaml"))
    names = [str(file.relative_to(folder)) for file, _ in by_verdict] + [_title(pod) for pod in wanted.pods]
    tester = _Tester(policies, wanted.namespace, wanted.now)
    expectations = [
        *(tester.verdict(*expectation) for expectation in by_verdict),
        *(tester.findings(folder, pod) for pod in wanted.pods),
    ]
    return [Case(str(folder), name, *lines) for name, lines in zip(names, expectations, strict=True)]


_Result = tuple[tuple[str, ...], tuple[str, ...], str]
"""`expected`, `actual` and `skipped` of a case."""


class _Tester:
    def __init__(self, policies: PolicySet, namespace: str, now: datetime | None) -> None:
        self._policies = policies
        self._namespace = namespace
        self._now = in_utc(now) if now is not None else None

    def verdict(self, file: Path, kind: str) -> _Result:
        """What is expected of a file in pods/good or pods/bad, and what is so."""
        checks = self._check(file)
        unjudged = [str(problem) for problem in checks.problems]
        denied = [item for item in checks.checked if item.is_denied]
        if not denied and _is_left_out(checks):
            return (), (), NOT_VERIFIED
        if kind == "bad":
            return ("denied",), ("denied",) if denied or unjudged else ("admitted",), ""
        lines = [f"{item.title}: {line}" for item in denied for line in _lines(item) if line.startswith("denied")]
        return ("admitted",), (*unjudged, *lines) or ("admitted",), ""

    def findings(self, folder: Path, pod: _Pod) -> _Result:
        """What tests.yaml expects of a file or an object in it, and what is so."""
        checks = self._check(folder / pod.file)
        checked = [item for item in checks.checked if pod.name in (None, item.name)]
        if not checked:
            raise PolicyError(Problem(str(folder / pod.file), f"holds no pod or workload {pod.name}"))
        wanted = ((Enforcement.DENY, pod.deny), (Enforcement.WARN, pod.warn), (Enforcement.AUDIT, pod.audit))
        expected = {f"{_VERDICTS[enforcement]}: {name}" for enforcement, names in wanted for name in names}
        actual = {line for item in checked for line in _lines(item)} | {str(problem) for problem in checks.problems}
        if _is_left_out(checks):
            return (), (), NOT_VERIFIED
        return tuple(sorted(expected)), tuple(sorted(actual)), ""

    def _check(self, file: Path) -> Checks:
        sources = read_sources([file])
        if sources.problems:
            raise PolicyError(*sources.problems)
        labels = labels_in(sources.texts) if self._policies.needs_labels else {}
        namespaces = Namespaces(labels, objects=objects_in(sources.texts, self._namespace))
        checker = Checker(self._policies, namespaces, self._namespace, self._now, heeds_comments=False)
        results = [checker.check(source) for source in sources.texts]
        checked = tuple(item for result in results for item in result.checked)
        problems = tuple(problem for result in results for problem in result.problems)
        if not checked and not problems:
            raise PolicyError(Problem(str(file), "holds no pod and no workload"))
        return Checks(checked, problems)


def _is_left_out(checks: Checks) -> bool:
    """Whether rules were left out that need a registry."""
    return any(NOT_VERIFIED in item.not_judged for item in checks.checked)


def _lines(checked: Checked) -> list[str]:
    return sorted({f"{_VERDICTS[located.enforcement]}: {located.finding.control}" for located in checked.violations})


def _policies(folder: Path, paths: Sequence[Path], *, is_own: bool) -> list[Any]:
    policies = load_policies(paths)
    if not policies:
        raise PolicyError(Problem(str(folder), "has no policy" if is_own else f"{FILE} names no policy"))
    return policies


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))


def _title(pod: _Pod) -> str:
    return pod.file if pod.name is None else f"{pod.file} {pod.name}"


def _read(file: Path) -> _File:
    """The file tests.yaml. Raises PolicyError with the location of what is wrong."""
    document = document_in(file, f"must hold one {KIND}")
    wanted = converted(document, _File)
    if (wanted.api_version, wanted.kind) != (API_VERSION, KIND):
        raise PolicyError(Problem(document.location(()), f"must be a {KIND} of {API_VERSION}"))
    unknown = list(_unknown_controls(document, wanted.pods))
    if unknown:
        raise PolicyError(*unknown)
    return wanted


def _unknown_controls(document: Document, pods: Iterable[_Pod]) -> Iterator[Problem]:
    suggestions = Suggestions(MAX_HINTS)
    for index, pod in enumerate(pods):
        for field in ("deny", "warn", "audit"):
            for name in getattr(pod, field):
                if name not in CONTROLS:
                    location = document.location(("pods", index, field))
                    yield Problem(location, f"there is no control {name}{suggestions.did_you_mean(name, CONTROLS)}")

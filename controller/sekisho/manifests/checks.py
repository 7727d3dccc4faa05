"""The verdicts of the webhook on manifests, with the place of each field that a finding is about."""

from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import Evaluation, Form, Violation, Waived, evaluate
from sekisho.documents import Problem
from sekisho.findings import Change, Finding, render_path
from sekisho.manifests.namespaces import Namespaces
from sekisho.manifests.objects import JudgedObject, Manifest, judged_object, read_objects
from sekisho.manifests.sources import Source
from sekisho.policies import Enforcement, PolicySet


class Located(Struct, frozen=True):
    """A violation with paths from the manifest's root, and the line and column of its field, from 1 on.

    Where the field is unset, they are those of the nearest field above it.
    """

    violation: Violation
    line: int
    column: int

    @property
    def finding(self) -> Finding:
        """What was found."""
        return self.violation.finding

    @property
    def enforcement(self) -> Enforcement:
        """What the policies do about it."""
        return self.violation.enforcement


class Checked(Struct, frozen=True):
    """One pod or workload, where it stands, and what is wrong with it.

    notes: what those who apply it should know, such as labels of its namespace that cannot be read.
    waived: what waivers exempt, with paths from the pod's root.
    """

    file: str
    line: int
    column: int
    kind: str
    namespace: str
    name: str
    violations: tuple[Located, ...] = ()
    notes: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether its pods would be denied."""
        return any(located.enforcement == Enforcement.DENY for located in self.violations)

    @property
    def title(self) -> str:
        """Kind, namespace and name: `Deployment shop/web`."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Checks(Struct, frozen=True):
    """What came of some manifests. `passed_over` counts the objects that have no pods."""

    checked: tuple[Checked, ...] = ()
    problems: tuple[Problem, ...] = ()
    passed_over: int = 0


class Checker:
    """Judges manifests as their pods would be judged, with the policies' defaults filled in first."""

    def __init__(
        self, policies: PolicySet, namespaces: Namespaces, namespace: str = "default", now: datetime | None = None
    ) -> None:
        """`namespace` is that of objects which name none; waivers count as they do `now`, at present by default."""
        self._now = now or datetime.now(UTC)
        self._policies = policies
        self._namespaces = namespaces
        self._namespace = namespace

    def check(self, source: Source) -> Checks:
        """The verdicts on the objects of one document."""
        checked: list[Checked] = []
        problems: list[Problem] = []
        passed_over = 0
        for found in read_objects([source], self._namespace):
            if isinstance(found, Problem):
                problems.append(found)
            elif isinstance(found, Manifest):
                passed_over += 1
            else:
                checked.append(self.judge(found))
        return Checks(tuple(checked), tuple(problems), passed_over)

    def read(self, manifest: Manifest) -> JudgedObject | Problem | None:
        """The manifest typed, None for an object without pods."""
        return judged_object(manifest, self._namespace)

    def evaluate(self, found: JudgedObject) -> Evaluation:
        """The verdict on the object's pods, with paths from the pod's root."""
        labels = self._namespaces.labels(found.namespace) if self._policies.needs_labels else None
        return evaluate(found.pod, self._policies, found.namespace, labels, form=Form.MANIFEST, clock=lambda: self._now)

    def judge(self, found: JudgedObject) -> Checked:
        """The verdict on one object."""
        evaluation = self.evaluate(found)
        manifest = found.manifest
        document = manifest.document
        line, column = document.position(manifest.at)
        located = tuple(
            Located(
                in_manifest(violation, found.pod_path),
                *document.position(manifest.at + found.pod_path + violation.finding.path),
            )
            for violation in evaluation.violations
        )
        return Checked(
            document.file,
            line,
            column,
            manifest.kind,
            found.namespace,
            found.name,
            located,
            evaluation.plan.notes,
            evaluation.waived,
        )


def in_manifest(violation: Violation, pod_path: tuple[str, ...]) -> Violation:
    """The violation of a pod template with its paths from the root of the object that holds the template."""
    return replace(violation, finding=finding_in_manifest(violation.finding, pod_path)) if pod_path else violation


def finding_in_manifest(finding: Finding, pod_path: tuple[str, ...]) -> Finding:
    """The same for a finding."""
    if not pod_path:
        return finding
    change, fix = finding.change, finding.fix
    if change is not None:
        fix = fix.replace(render_path(change.path), render_path(pod_path + change.path))
        change = Change(change.operation, pod_path + change.path, change.value)
    return replace(finding, path=pod_path + finding.path, fix=fix, change=change)

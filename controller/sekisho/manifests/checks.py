"""The webhook's verdicts on manifests, with the location of the field of each finding."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import Context, Evaluation, Form, UnjudgedError, Violation, Waived, denying, evaluate
from sekisho.admission.template_paths import finding_in_parts
from sekisho.custom_kinds import CUSTOM_KINDS, PodKinds
from sekisho.documents import Problem
from sekisho.findings import Finding
from sekisho.images.trust import Lookup, Trust
from sekisho.manifests.ignore_comments import IgnoreComment, ignore_comments
from sekisho.manifests.namespaces import NOT_JUDGED, Namespaces
from sekisho.manifests.objects import JudgedObject, Manifest, judged_objects, read_objects, unjudged
from sekisho.manifests.passed_over import MAY_HAVE_PODS, PassedOver
from sekisho.manifests.texts import Source
from sekisho.manifests.unknown_kinds import unknown_workload
from sekisho.pods import Pod
from sekisho.policies import Enforcement, Plan, PolicySet
from sekisho.policies.types import GROUP


class Located(Struct, frozen=True):
    """A violation with paths from the manifest's root, and the line and column of its field, from 1 on.

    If the field is unset, line and column are those of the nearest field above it.
    """

    violation: Violation
    line: int
    column: int

    @property
    def finding(self) -> Finding:
        """The violation's finding."""
        return self.violation.finding

    @property
    def enforcement(self) -> Enforcement:
        """What the policies do because of it."""
        return self.violation.enforcement


class Ignored(Struct, frozen=True):
    """A violation that a comment in the manifest ignores."""

    located: Located
    comment: IgnoreComment


class Checked(Struct, frozen=True):
    """One pod or workload, its location, and its violations.

    violations: without those that comments ignore, which are in `ignored`.
    notes: what users should know, such as labels of its namespace that are invalid.
    waived: what waivers exempt, with paths from the pod's root.
    not_judged: notes on images that are judged only when a pod is created.
    lookups: images to look up in their registries, for a verdict that rests on what these hold.
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
    not_judged: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    ignored: tuple[Ignored, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether its pods would be denied."""
        return bool(denying(self.violations))

    @property
    def title(self) -> str:
        """Kind, namespace and name: `Deployment shop/web`."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Checks(Struct, frozen=True):
    """The results of checking manifests.

    policies: the number of policies and waivers among the manifests.
    kinds: the other objects, without pods, by their kind: how many there are, including those in `unknown`.
    unknown: objects of kinds that Sekisho does not know and that seem to have pods, each with its location.
    files: files, or documents in them, that are not objects.
    unused: comments that should ignore findings and ignore none, each with its location.
    known: the number of violations that a baseline has, and that are left out.
    """

    checked: tuple[Checked, ...] = ()
    problems: tuple[Problem, ...] = ()
    policies: int = 0
    kinds: Mapping[str, int] = {}
    unknown: tuple[Problem, ...] = ()
    files: tuple[PassedOver, ...] = ()
    unused: tuple[Problem, ...] = ()
    known: int = 0

    @property
    def without_pods(self) -> int:
        """The number of objects without pods that are not policies."""
        return sum(self.kinds.values())


def joined(results: Iterable[Checks]) -> Checks:
    """Several results as one, in their order; a file of which several documents are passed over is in it once."""
    results = tuple(results)
    kinds: Counter[str] = Counter()
    for checks in results:
        kinds.update(checks.kinds)
    return Checks(
        tuple(checked for checks in results for checked in checks.checked),
        tuple(problem for checks in results for problem in checks.problems),
        sum(checks.policies for checks in results),
        dict(kinds),
        tuple(note for checks in results for note in checks.unknown),
        tuple(dict.fromkeys(file for checks in results for file in checks.files)),
        tuple(note for checks in results for note in checks.unused),
    )


def with_unknown_as_problems(checks: Checks) -> Checks:
    """The result in which everything is a problem that may have pods and was not judged."""
    unread = tuple(
        Problem(file.file, f"{file.reason}, and so not judged{file.detail and ': ' + file.detail}")
        for file in checks.files
        if file.reason in MAY_HAVE_PODS
    )
    return replace(checks, problems=(*checks.problems, *checks.unknown, *unread), unknown=())


def _with_pods_of(checked: Checked, other: Checked) -> Checked:
    """The verdict on an object with several templates, from those on two of them."""
    return replace(
        checked,
        violations=checked.violations + tuple(_others(checked, other)),
        notes=tuple(dict.fromkeys(checked.notes + other.notes)),
        waived=checked.waived + other.waived,
        not_judged=tuple(dict.fromkeys(checked.not_judged + other.not_judged)),
        lookups=checked.lookups + other.lookups,
        ignored=checked.ignored + other.ignored,
    )


def _others(checked: Checked, other: Checked) -> Iterator[Located]:
    """The violations on a further pod, without those of fields that all pods of the object share."""
    known = {(one.finding.control, one.finding.path, one.violation.policies) for one in checked.violations}
    for one in other.violations:
        if (one.finding.control, one.finding.path, one.violation.policies) not in known:
            yield one


class Checker:
    """Checks manifests as the webhook would check their pods: as the API server creates them, with the defaults."""

    def __init__(
        self,
        policies: PolicySet,
        namespaces: Namespaces,
        namespace: str = "default",
        now: datetime | None = None,
        trust: Trust | None = None,
        kinds: PodKinds = CUSTOM_KINDS,
        heeds_comments: bool = True,
    ) -> None:
        """Check by a set of policies.

        namespace: the namespace of objects that set none.
        now: the time for waivers; None for the present.
        trust: what rules on signatures are judged from; None to leave them out, with a note.
        kinds: those of others that have pod templates.
        heeds_comments: whether comments in manifests may ignore findings.
        """
        self._kinds = kinds
        self._heeds_comments = heeds_comments
        self._trust = trust
        self._now = now or datetime.now(UTC)
        self._policies = policies
        self._namespaces = namespaces
        self._namespace = namespace

    def check(self, source: Source) -> Checks:
        """The verdicts on the objects of one document."""
        checked: list[Checked] = []
        problems: list[Problem] = []
        unknown: list[Problem] = []
        files: list[PassedOver] = []
        kinds: Counter[str] = Counter()
        policies = 0
        judged: Manifest | None = None
        comments, invalid = ignore_comments(source)
        for item in read_objects([source], self._namespace, self._kinds):
            if isinstance(item, Problem):
                problems.append(item)
            elif isinstance(item, PassedOver):
                files.append(item)
            elif isinstance(item, Manifest) and item.group == GROUP:
                policies += 1
            elif isinstance(item, Manifest):
                kinds[item.kind] += 1
                unknown += unknown_workload(item)
            else:
                try:
                    verdict = self.without_ignored(self.judge(item), comments)
                except UnjudgedError as error:
                    problems.append(unjudged(item.manifest, str(error)))
                    continue
                if item.manifest is judged:
                    checked[-1] = _with_pods_of(checked[-1], verdict)
                else:
                    checked.append(verdict)
                judged = item.manifest
        return Checks(
            tuple(checked),
            (*problems, *invalid),
            policies,
            dict(kinds),
            tuple(unknown),
            tuple(files),
            tuple(self._unused(comments, checked)),
        )

    def without_ignored(self, checked: Checked, comments: Sequence[IgnoreComment]) -> Checked:
        """The result without the violations that comments ignore, where they may."""
        if not self._heeds_comments or not comments or not checked.violations:
            return checked
        ignored = [
            Ignored(located, comment)
            for located in checked.violations
            if (comment := _comment_on(located, checked, comments)) is not None
        ]
        remaining = [one for one in checked.violations if all(one is not other.located for other in ignored)]
        return replace(checked, violations=tuple(remaining), ignored=tuple(ignored))

    def _unused(self, comments: Sequence[IgnoreComment], checked: Sequence[Checked]) -> Iterator[Problem]:
        used = {ignored.comment.location for item in checked for ignored in item.ignored}
        for comment in comments:
            if not self._heeds_comments:
                yield Problem(comment.location, "the comment has no effect: --no-ignore-comments is set")
            elif comment.location not in used:
                yield Problem(
                    comment.location,
                    "the comment ignores nothing: write it on a finding's line, or above an object",
                )

    def read(self, manifest: Manifest) -> list[JudgedObject | Problem]:
        """What to judge in a manifest: each pod that it is or makes, decoded; or why it cannot be decoded."""
        return judged_objects(manifest, self._namespace, self._kinds)

    def evaluate(self, judged: JudgedObject) -> Evaluation:
        """The verdict on the object's pods, with paths from the pod's root. Raises UnjudgedError as `judge` does."""
        if judged.namespace in self._namespaces.exempt:
            return Evaluation(judged.pod or Pod(), Plan(notes=(NOT_JUDGED,)))
        labels = self._namespaces.labels(judged.namespace) if self._policies.needs_labels else None
        context = Context(
            self._policies,
            judged.namespace,
            labels,
            clock=lambda: self._now,
            objects=self._namespaces.objects(judged.namespace),
            trust=self._trust,
            values_later=judged.made.values_later,
        )
        return evaluate(
            judged.pod, context, form=Form.MANIFEST, workload=judged.workload, annotations=judged.annotations
        )

    def judge(self, judged: JudgedObject) -> Checked:
        """The verdict on one object. Raises UnjudgedError for a pod with too many violations."""
        evaluation = self.evaluate(judged)
        manifest = judged.manifest
        document = manifest.document
        line, column = document.position(manifest.at)
        violations = [
            replace(violation, finding=finding_in_parts(violation.finding, judged.made.pod))
            for violation in evaluation.violations
        ]
        located = (
            Located(violation, *document.position(manifest.at + violation.finding.path)) for violation in violations
        )
        return Checked(
            document.file,
            line,
            column,
            manifest.kind,
            judged.namespace,
            judged.name,
            tuple(located),
            evaluation.plan.notes,
            evaluation.waived,
            (*evaluation.notes, *judged.made.left_out),
            evaluation.lookups,
        )


def _comment_on(located: Located, checked: Checked, comments: Sequence[IgnoreComment]) -> IgnoreComment | None:
    """The first comment that ignores a violation, because it is about its line or about the whole object."""
    lines = (located.line, checked.line)
    return next((one for one in comments if one.line in lines and located.finding.control in one.controls), None)

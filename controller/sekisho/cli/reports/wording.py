"""Wording that the reports for people and for machines share."""

import re
from collections.abc import Iterable, Iterator, Sequence

from sekisho.admission import Violation, Waived
from sekisho.controls import CONTROLS
from sekisho.findings import Finding, printable, words
from sekisho.manifests import Checked, Checks, Ignored, policies_reading_labels
from sekisho.manifests.passed_over import RENDER_FIRST, Reason
from sekisho.policies import ClusterPodPolicy, Enforcement, PodPolicy, Policy, Problem, compile_policy
from sekisho.timestamps import rfc3339

MAX_NAMES = 5
"""Names of files and kinds that a note has."""
_PASSED_OVER = {
    Reason.NO_OBJECT: ("file without a Kubernetes object", "files without Kubernetes objects", ""),
    Reason.TEMPLATE: ("Helm template", "Helm templates", RENDER_FIRST),
    Reason.KUSTOMIZATION: (
        "kustomization",
        "kustomizations",
        "build it first: kubectl kustomize FOLDER | sekisho check -",
    ),
    Reason.PATCH: ("patch of a kustomization", "patches of kustomizations", ""),
    Reason.NOT_RENDERED: (
        "chart or kustomization that cannot be rendered",
        "charts and kustomizations that cannot be rendered",
        "",
    ),
    Reason.EXCLUDED: ("file that --exclude names", "files that --exclude names", ""),
}
VERDICTS = {Enforcement.DENY: "denied", Enforcement.WARN: "warning", Enforcement.AUDIT: "audit note"}
_PLACE = re.compile(r"(?P<file>.+?)(?::(?P<line>[0-9]+)(?::(?P<column>[0-9]+))?)?", re.DOTALL)


def counted(count: int, noun: str) -> str:
    """A number and a noun, such as `1 pod` and `1,200 pods`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def headline(finding: Finding) -> str:
    """The subject of a finding, the reason, the field and its value."""
    reason = reason_of(finding)
    value = finding.value_and_origin
    return printable(f"{finding.subject} for {reason}: {finding.field} is {value} (allowed: {finding.allowed})")


def reason_of(finding: Finding) -> str:
    """What is denied, such as `host namespaces`."""
    return CONTROLS[finding.control].reason


def remedy(violation: Violation) -> str:
    """The fix, the control and the policies, and their own lines."""
    finding = violation.finding
    where = f"{finding.control}, {policy_names(violation.policies)}"
    return printable(f"Fix: {finding.fix}. [{where}]{violation.own_lines}")


def sentence(violation: Violation) -> str:
    """Everything about a finding, in one line."""
    return f"{VERDICTS[violation.enforcement]}: {headline(violation.finding)}. {remedy(violation)}"


def policy_names(policies: Sequence[str]) -> str:
    """`policy "a"`, or `policies "a" and "b"`."""
    quoted = words([f'"{name}"' for name in policies], "and")
    return f"policy {quoted}" if len(policies) == 1 else f"policies {quoted}"


def unknown_labels(policies: Iterable[Policy], namespaces: Iterable[str]) -> Iterator[str]:
    """A note on each of these namespaces whose labels are unknown, if policies read them."""
    compiled = [compile_policy(policy) for policy in policies if isinstance(policy, ClusterPodPolicy | PodPolicy)]
    for namespace in namespaces:
        if readers := policies_reading_labels(compiled, namespace):
            yield (
                f"namespace {namespace}: its labels are unknown, but matter to {policy_names(readers)}; it was read as "
                "a namespace without labels. Add its Namespace to the manifests, or use --context-dir or "
                "--namespace-labels"
            )


def waived_by(waived: Waived) -> str:
    """The waiver, when it expires, and its reason."""
    return printable(f'by waiver "{waived.waiver}" until {rfc3339(waived.expires)}: {waived.reason}')


def notes_on_files(checks: Checks) -> Iterator[str]:
    """A note for each reason to pass over files, with their names."""
    for reason, (one, several, advice) in _PASSED_OVER.items():
        names = [
            f"{file.file} ({file.detail})" if file.detail else file.file
            for file in checks.files
            if file.reason is reason
        ]
        if names:
            advised = f"; {advice}" if advice else ""
            yield f"passed over {_counted(len(names), one, several)}: {_some(names)}{advised}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def ignored_by(checked: Checked, ignored: Ignored) -> str:
    """The location of an ignored finding, its object, control and field, and the reason of the comment."""
    located, finding = ignored.located, ignored.located.finding
    location = f"{checked.file}:{located.line}:{located.column}"
    return f"{location}: {checked.title}: {finding.control} of {finding.field} is ignored: {ignored.comment.reason}"


def summary(checks: Checks) -> str:
    """One line with the counts of a run."""
    denied = sum(checked.is_denied for checked in checks.checked)
    line = f"{len(checks.checked)} checked: {len(checks.checked) - denied} pass, {denied} denied"
    noted = sum(bool(checked.violations) and not checked.is_denied for checked in checks.checked)
    if noted:
        line += f"; {noted} of those pass with warnings"
    if checks.policies:
        line += f"; {_counted(checks.policies, 'policy or waiver', 'policies and waivers')} among them"
    if checks.without_pods:
        kinds = sorted(checks.kinds.items(), key=lambda counted: (-counted[1], counted[0]))
        counts = printable(_some([f"{count} {kind}" for kind, count in kinds]))
        line += f"; {_counted(checks.without_pods, 'object', 'objects')} without pods ignored ({counts})"
    if checks.files:
        line += f"; {_counted(len(checks.files), 'file', 'files')} passed over"
    if ignored := sum(len(checked.ignored) for checked in checks.checked):
        line += f"; {_counted(ignored, 'finding', 'findings')} ignored by comments"
    if checks.known:
        line += f"; {_counted(checks.known, 'known finding', 'known findings')} left out"
    if checks.problems:
        line += f"; {len(checks.problems)} unreadable"
    return line


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def place_of(problem: Problem) -> tuple[str, int, int]:
    """File, line and column of a problem; line and column are 1 if it does not have them."""
    match = _PLACE.fullmatch(problem.where)
    return (match["file"], int(match["line"] or 1), int(match["column"] or 1)) if match is not None else ("", 1, 1)

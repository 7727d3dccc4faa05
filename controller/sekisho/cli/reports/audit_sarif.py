"""The result of an audit as SARIF 2.1.0, with one result for each violation of each owner."""

from typing import Any

from sekisho.admission import Violation
from sekisho.audit import OwnerAudit, Result
from sekisho.cli.reports.sarif import LEVELS, render_log, resource, rules_of
from sekisho.cli.reports.wording import sentence
from sekisho.findings import printable


def render(result: Result) -> str:
    """One SARIF log with one run. Its results name objects of the cluster, as there are no files."""
    violations = [(owner, violation) for owner in result.owners for violation in owner.violations]
    controls = rules_of(violation.finding.control for _, violation in violations)
    return render_log(controls, [_result(owner, violation, controls) for owner, violation in violations])


def _result(audited: OwnerAudit, violation: Violation, controls: list[str]) -> dict[str, Any]:
    title = audited.owner.title
    return {
        "ruleId": violation.finding.control,
        "ruleIndex": controls.index(violation.finding.control),
        "level": LEVELS[violation.enforcement],
        "message": {"text": f"{printable(title)}: {sentence(violation)}"},
        "locations": [{"logicalLocations": [resource(title)]}],
        "properties": {
            "field": violation.finding.field,
            "policies": violation.policies,
            "pods": audited.denied,
        },
    }

"""JSON, for programs: every object that was checked, with its findings."""

import json
from typing import Any

from sekisho.admission import Violation, Waived
from sekisho.manifests import Checked, Checks, Located
from sekisho.manifests.passed_over import PassedOver
from sekisho.timestamps import rfc3339


def render(checks: Checks) -> str:
    """One JSON document, indented."""
    denied = sum(checked.is_denied for checked in checks.checked)
    report = {
        "results": [_object(checked) for checked in checks.checked],
        "problems": [{"where": problem.where, "message": problem.message} for problem in checks.problems],
        "passedOver": {
            "files": [
                {"file": passed.file, "reason": passed.reason, "detail": passed.detail or None}
                for passed in checks.files
            ],
            "kinds": dict(sorted(checks.kinds.items())),
        },
        "summary": {
            "checked": len(checks.checked),
            "passed": len(checks.checked) - denied,
            "denied": denied,
            "policies": checks.policies,
            "passedOver": checks.without_pods,
            "ignored": sum(len(checked.ignored) for checked in checks.checked),
            "known": checks.known,
            "unreadable": len(checks.problems),
        },
    }
    return json.dumps(report, indent=2) + "\n"


def _passed_over(file: PassedOver) -> dict[str, Any]:
    return {"file": file.file, "reason": file.reason, "detail": file.detail or None}


def _object(checked: Checked) -> dict[str, Any]:
    return {
        "file": checked.file,
        "line": checked.line,
        "column": checked.column,
        "kind": checked.kind,
        "namespace": checked.namespace,
        "name": checked.name,
        "verdict": "denied" if checked.is_denied else "passed",
        "findings": [_finding(located) for located in checked.violations],
        "waived": [_waived(waived) for waived in checked.waived],
        "ignored": [_finding(ignored.located) | {"reason": ignored.comment.reason} for ignored in checked.ignored],
    }


def _waived(waived: Waived) -> dict[str, Any]:
    return {
        "control": waived.finding.control,
        "policy": waived.policy,
        "field": waived.finding.field,
        "subject": waived.finding.subject,
        "container": waived.finding.container,
        "waiver": waived.waiver,
        "expires": rfc3339(waived.expires),
        "reason": waived.reason,
    }


def _finding(located: Located) -> dict[str, Any]:
    return violation_fields(located.violation) | {"line": located.line, "column": located.column}


def violation_fields(violation: Violation) -> dict[str, Any]:
    """A violation as JSON values."""
    finding = violation.finding
    return {
        "control": finding.control,
        "enforcement": violation.enforcement,
        "policies": violation.policies,
        "field": finding.field,
        "subject": finding.subject,
        "container": finding.container,
        "value": finding.value,
        "origin": finding.origin or None,
        "allowed": finding.allowed,
        "fix": finding.fix,
        "messages": [message for policy, message in violation.messages if policy in violation.policies],
    }

"""GitLab's Code Quality report: each finding is an issue at its line in a merge request.

Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

import json
from collections import Counter
from hashlib import sha256
from typing import Any

from sekisho.cli.reports.wording import place_of, sentence
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks, Located
from sekisho.policies import Enforcement, Problem

_SEVERITIES = {Enforcement.DENY: "major", Enforcement.WARN: "minor", Enforcement.AUDIT: "info"}


def render(checks: Checks) -> str:
    """One JSON array. GitLab shows issues with the same fingerprint as one, also when lines have moved."""
    seen: Counter[str] = Counter()
    issues = [_issue(checked, located, seen) for checked in checks.checked for located in checked.violations]
    return json.dumps([*issues, *(_problem(problem, seen) for problem in checks.problems)], indent=2) + "\n"


def _issue(checked: Checked, located: Located, seen: Counter[str]) -> dict[str, Any]:
    finding = located.finding
    parts = (checked.file, checked.title, finding.control, finding.subject, finding.field, finding.value)
    return {
        "description": f"{printable(checked.title)}: {sentence(located.violation)}",
        "check_name": finding.control,
        "fingerprint": _fingerprint("\n".join(parts), seen),
        "severity": _SEVERITIES[located.enforcement],
        "location": {"path": _path(checked.file), "lines": {"begin": located.line}},
    }


def _problem(problem: Problem, seen: Counter[str]) -> dict[str, Any]:
    file, line, _ = place_of(problem)
    return {
        "description": f"sekisho cannot read this: {printable(problem.message)}",
        "check_name": "unreadable",
        "fingerprint": _fingerprint(f"{file}\n{problem.message}", seen),
        "severity": "blocker",
        "location": {"path": _path(file), "lines": {"begin": line}},
    }


def _fingerprint(identity: str, seen: Counter[str]) -> str:
    seen[identity] += 1
    return sha256(f"{identity}\n{seen[identity]}".encode(errors="surrogateescape")).hexdigest()


def _path(file: str) -> str:
    """The path from the repository's root, where CI runs, without `./`, which GitLab does not accept."""
    return printable(file.removeprefix("./"))

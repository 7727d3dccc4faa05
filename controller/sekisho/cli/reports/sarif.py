"""SARIF 2.1.0, for code scanning: each control is a rule, each finding a result.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sekisho import __version__
from sekisho.cli.reports.wording import place_of, sentence
from sekisho.controls import CONTROLS, Control
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks, Located
from sekisho.policies import Enforcement, Problem

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Enforcement.DENY: "error", Enforcement.WARN: "warning", Enforcement.AUDIT: "note"}


def render(checks: Checks) -> str:
    """One log with one run."""
    everything = [
        (checked, located) for checked in checks.checked for located in (*checked.violations, *_ignored(checked))
    ]
    controls = rules_of(located.finding.control for _, located in everything)
    results = [_result(checked, located, controls) for checked, located in everything]
    return render_log(controls, results, [_notification(problem) for problem in checks.problems])


def rules_of(violated: Iterable[str]) -> list[str]:
    """The controls that are violated, each once, in their order."""
    names = set(violated)
    return [name for name in CONTROLS if name in names]


def render_log(
    controls: Sequence[str], results: Sequence[dict[str, Any]], notifications: Sequence[dict[str, Any]] = ()
) -> str:
    """A log with one run.

    controls: the rules, to which results refer by their place.
    notifications: of what could not be read.
    """
    driver = {"name": "sekisho", "version": __version__, "rules": [_rule(CONTROLS[name]) for name in controls]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not notifications,
                "toolExecutionNotifications": list(notifications),
            }
        ],
        "results": list(results),
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2) + "\n"


def _rule(control: Control[Any]) -> dict[str, Any]:
    documentation = sys.modules[control.parameters.__module__].__doc__ or control.summary
    return {
        "id": control.name,
        "shortDescription": {"text": control.summary},
        "fullDescription": {"text": control.summary},
        "help": {"text": documentation.strip()},
        "defaultConfiguration": {"level": "error"},
    }


def _ignored(checked: Checked) -> Iterator[Located]:
    return (ignored.located for ignored in checked.ignored)


def _result(checked: Checked, located: Located, controls: list[str]) -> dict[str, Any]:
    location = _location(checked.file, located.line, located.column)
    location["logicalLocations"] = [resource(checked.title)]
    reasons = [ignored.comment.reason for ignored in checked.ignored if ignored.located is located]
    suppressions = [{"kind": "inSource", "justification": printable(reason)} for reason in reasons]
    return {
        "ruleId": located.finding.control,
        "ruleIndex": controls.index(located.finding.control),
        "level": LEVELS[located.enforcement],
        "message": {"text": f"{printable(checked.title)}: {sentence(located.violation)}"},
        "locations": [location],
        "properties": {"field": located.finding.field, "policies": located.violation.policies},
    } | ({"suppressions": suppressions} if suppressions else {})


def resource(title: str) -> dict[str, str]:
    """An object of a cluster as a logical location."""
    return {"fullyQualifiedName": title, "kind": "resource"}


def _notification(problem: Problem) -> dict[str, Any]:
    location = _location(*place_of(problem))
    return {"level": "error", "message": {"text": str(problem)}, "locations": [location]}


def _location(file: str, line: int, column: int) -> dict[str, Any]:
    uri = Path(file).as_uri() if Path(file).is_absolute() else quote(os.fsencode(file))
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri},
            "region": {"startLine": line, "startColumn": column},
        }
    }

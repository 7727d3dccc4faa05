"""The result of an audit as JSON, for programs: every policy, and every owner with a violation."""

import json
from collections.abc import Iterable
from typing import Any

from sekisho.audit import Impact, OwnerAudit, Result
from sekisho.cli.reports.audit_text import counted_policies
from sekisho.cli.reports.json_document import violation_fields
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy


def render(result: Result, policies: Iterable[Policy]) -> str:
    """One JSON document, indented."""
    report = {
        "summary": {
            "pods": result.pods,
            "violating": result.violating,
            "wouldBeDenied": result.denied,
            "wouldBeDeniedNow": result.denied_now,
            "owners": result.denied_owners,
            "idleTemplates": result.idle_templates,
            "unjudged": result.unjudged,
        },
        "policies": [_policy(policy, impact) for policy, impact in counted_policies(result, policies)],
        "owners": [_owner(audited) for audited in result.owners],
    }
    return json.dumps(report, indent=2) + "\n"


def _policy(policy: ClusterPodPolicy | PodPolicy, impact: Impact) -> dict[str, Any]:
    return {
        "policy": policy.title,
        "enforcement": policy.spec.enforcement,
        "pods": impact.pods,
        "violating": impact.violating,
        "wouldBeDenied": impact.denied,
        "owners": impact.owners,
        "idleTemplates": impact.idle_templates,
    }


def _owner(audited: OwnerAudit) -> dict[str, Any]:
    owner = audited.owner
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "namespace": owner.namespace,
        "name": owner.name,
        "violating": audited.violating,
        "wouldBeDenied": audited.denied,
        "wouldBeDeniedNow": audited.denied_now,
        "isIdle": audited.is_idle,
        "findings": [violation_fields(violation) for violation in audited.violations],
    }

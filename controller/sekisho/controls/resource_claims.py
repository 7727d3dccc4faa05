"""resourceClaims: pods may claim only the devices that the policy allows.

Restricted fields: spec.resourceClaims[*].{resourceClaimName,resourceClaimTemplateName}
Allowed values: a claim in `allowedClaims`, a template in `allowedTemplates`
A container uses a device only through a claim of its pod, so resources.claims of containers needs no rule.
Level: none, a policy names it
Source: KEP-4381
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove, words
from sekisho.globs import glob_matches
from sekisho.pods import ContainerRef, Pod, PodResourceClaim

ClaimName = Annotated[str, Meta(min_length=1, max_length=253)]


class ResourceClaims(Parameters, frozen=True):
    """Which devices pods may claim."""

    allowed_claims: (
        Annotated[
            tuple[ClaimName, ...],
            Meta(description="ResourceClaims that pods may use; * matches any characters.", max_length=64),
        ]
        | None
    ) = None
    allowed_templates: (
        Annotated[
            tuple[ClaimName, ...],
            Meta(description="ResourceClaimTemplates that pods may use; * matches any characters.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: ResourceClaims, _minor: int) -> Check:
    claims, templates = parameters.allowed_claims or (), parameters.allowed_templates or ()

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for index, claim in enumerate(pod.spec.resource_claims or ()):
            key, name, patterns = _reference(claim, claims, templates)
            if name is None or not any(glob_matches(pattern, name) for pattern in patterns):
                path = ("spec", "resourceClaims", index)
                finding = Finding.of(
                    "resourceClaims",
                    (*path, key),
                    name,
                    allowed=words(patterns) if patterns else "none",
                    fix="remove the claim or use an allowed one",
                    change=remove(path),
                )
                findings.append(finding)
        return findings

    return judge


def _reference(
    claim: PodResourceClaim, claims: Sequence[str], templates: Sequence[str]
) -> tuple[str, str | None, Sequence[str]]:
    """The field that names the claim or its template, the name, and the patterns that apply to it."""
    if claim.resource_claim_name is None and claim.resource_claim_template_name is not None:
        return "resourceClaimTemplateName", claim.resource_claim_template_name, templates
    return "resourceClaimName", claim.resource_claim_name, claims


CONTROL = Control(
    name="resourceClaims",
    reason="a claim of a device",
    summary="Pods may claim only the devices that the policy allows; without lists, none.",
    why="The node and other pods share a device, and its driver runs in the node's kernel. A claim can also request "
    "administrative access to a device.",
    example=Example(
        parameters="{allowedTemplates: [shared-gpu]}",
        denied="""\
resourceClaims:
- {name: gpu, resourceClaimTemplateName: whole-gpu}
containers:
- name: app
  image: registry.example.com/app:1.4
  resources: {claims: [{name: gpu}]}
""",
        allowed="""\
resourceClaims:
- {name: gpu, resourceClaimTemplateName: shared-gpu}
containers:
- name: app
  image: registry.example.com/app:1.4
  resources: {claims: [{name: gpu}]}
""",
    ),
    parameters=ResourceClaims,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)

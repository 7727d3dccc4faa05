"""resourceClaims: pods may claim only the devices that the policy allows.

Restricted fields: spec.resourceClaims[*].{resourceClaimName,resourceClaimTemplateName}
Allowed values: a claim in `allowedClaims`, a template in `allowedTemplates`
Restricted fields: spec.{containers,initContainers}[*].resources.{requests,limits}, spec.resources.{requests,limits}
Allowed values: no resource deviceclass.resource.kubernetes.io/CLASS, for which the scheduler makes a claim, except of a
    class in `allowedDeviceClasses`
A class may have a resource name of its own, as example.com/gpu: the control resources rules that out with a maximum of
0. A container uses only claims that its pod lists, so resources.claims of containers needs no rule.
Level: none; the control applies only where a policy names it
Source: KEP-4381, KEP-5004
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import FieldPath, Finding, words
from sekisho.globs import Globs
from sekisho.pods import ContainerRef, Pod, PodResourceClaim, Resources

_DEVICE_CLASS: Final = "deviceclass.resource.kubernetes.io/"
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
    allowed_device_classes: (
        Annotated[
            tuple[ClaimName, ...],
            Meta(
                description="DeviceClasses that containers may request as resources; * matches any characters.",
                max_length=64,
            ),
        ]
        | None
    ) = None


class _Allowed(Struct, frozen=True):
    """Patterns for names, and the same in words."""

    patterns: Globs
    text: str

    def has(self, name: str) -> bool:
        """Whether a pattern matches the name."""
        return self.patterns.match(name)


def _allowed(patterns: tuple[str, ...] | None) -> _Allowed:
    return _Allowed(Globs.of(patterns or ()), words(patterns) if patterns else "none")


def _check(parameters: ResourceClaims, _minor: int) -> Check:
    claims, templates = _allowed(parameters.allowed_claims), _allowed(parameters.allowed_templates)
    classes = _allowed(parameters.allowed_device_classes)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for index, claim in enumerate(pod.spec.resource_claims or ()):
            key, name, allowed = _reference(claim, claims, templates)
            if name is None or not allowed.has(name):
                findings.append(_not_allowed(("spec", "resourceClaims", index, key), name, allowed))
        findings += _resource_findings(pod.spec.resources, ("spec",), classes)
        for ref in containers:
            findings += _resource_findings(ref.container.resources, ref.path, classes, ref)
        return findings

    return judge


def _resource_findings(
    resources: Resources | None, above: FieldPath, classes: _Allowed, about: ContainerRef | None = None
) -> Iterator[Finding]:
    """The findings on device classes that are requested as resources; the API server sets both lists to the same."""
    if resources is None:
        return
    for key, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name in amounts or ():
            if name.startswith(_DEVICE_CLASS) and not classes.has(name.removeprefix(_DEVICE_CLASS)):
                yield _not_allowed((*above, "resources", key, name), (amounts or {})[name], classes, about)


def _not_allowed(path: FieldPath, value: object, allowed: _Allowed, about: ContainerRef | None = None) -> Finding:
    return Finding.of(
        "resourceClaims",
        path,
        value,
        allowed=allowed.text,
        fix="remove it or use an allowed device",
        about=about,
    )


def _reference(claim: PodResourceClaim, claims: _Allowed, templates: _Allowed) -> tuple[str, str | None, _Allowed]:
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
    unset={"allowedClaims": "none", "allowedTemplates": "none", "allowedDeviceClasses": "none"},
)

"""annotations: pods must have the annotations that the policy requires, and no others than it allows.

Restricted fields: metadata.annotations
Allowed values: With `required`, the listed keys are set to a value, which is not empty. With `allowedValues`, a key
    that is set has one of the values, in which * matches any characters. With `denied`, the listed keys are not set.
The pod's own annotations count: those of the template. With `onWorkloads`, those of the Deployment or Job that has the
template are judged in the same way, when a user applies it. Sekisho's own annotations sekisho.dev/defaulted and
sekisho.dev/waived are never denied. Findings do not show values, which may be secrets.
Level: none; the control applies only where a policy names it
"""

from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Control, Example, Parameters, opt_in
from sekisho.controls.metadata_rules import (
    Allowed,
    Denied,
    KeyRules,
    MetadataField,
    OnWorkloads,
    Required,
    check_keys,
    check_keys_of_workload,
    verify_keys,
)


class Annotations(Parameters, frozen=True):
    """Which annotations pods must have, and may have."""

    required: (
        Annotated[Required, Meta(description="Keys of annotations that must be set, to a value that is not empty.")]
        | None
    ) = None
    allowed_values: (
        Annotated[Allowed, Meta(description="The values that annotations may have, by key; unset ones are allowed.")]
        | None
    ) = None
    denied: (
        Annotated[
            Denied,
            Meta(description="Keys of annotations that may not be set; example.com/* denies all with that prefix."),
        ]
        | None
    ) = None
    on_workloads: OnWorkloads | None = None


def _rules(parameters: Annotations) -> KeyRules:
    return KeyRules(
        "annotations",
        MetadataField.ANNOTATIONS,
        parameters.required or (),
        parameters.allowed_values or (),
        parameters.denied or (),
        of_workloads=bool(parameters.on_workloads),
        shows_values=False,
    )


CONTROL = Control(
    name="annotations",
    reason="its annotations",
    summary="Pods must have the annotations that the policy requires, and no others than it allows.",
    why="Ingress controllers, service meshes and agents on the node do what annotations say, with more rights than the "
    "pod has.",
    example=Example(
        has_metadata=True,
        parameters="{denied: [k8s.v1.cni.cncf.io/networks]}",
        denied="""\
metadata:
  annotations: {k8s.v1.cni.cncf.io/networks: storage}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
        allowed="""\
metadata:
  annotations: {example.com/owner: shop}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
    ),
    parameters=Annotations,
    standard=opt_in,
    check=lambda parameters, _minor: check_keys(_rules(parameters)),
    workload_check=lambda parameters: check_keys_of_workload(_rules(parameters)),
    verify=lambda parameters: verify_keys(parameters.allowed_values),
    of_pod_only=True,
    needs_parameters=True,
    unset={"required": "none", "allowedValues": "any", "denied": "none", "onWorkloads": "`false`"},
)

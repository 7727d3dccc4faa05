"""labels: pods must have the labels that the policy requires, and no others than it allows.

Restricted fields: metadata.labels
Allowed values: With `required`, the listed keys are set to a value, which is not empty. With `allowedValues`, a key
    that is set has one of the values, in which * matches any characters. With `denied`, the listed keys are not set.
The pod's own labels count: those of the template. With `onWorkloads`, those of the Deployment or Job that has the
template are judged in the same way, when a user applies it. Controllers add labels of their own to pods, such as
pod-template-hash.
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


class Labels(Parameters, frozen=True):
    """Which labels pods must have, and may have."""

    required: (
        Annotated[Required, Meta(description="Keys of labels that must be set, to a value that is not empty.")] | None
    ) = None
    allowed_values: (
        Annotated[Allowed, Meta(description="The values that labels may have, by key; unset ones are allowed.")] | None
    ) = None
    denied: (
        Annotated[
            Denied,
            Meta(description="Keys of labels that may not be set; example.com/* denies all with that prefix."),
        ]
        | None
    ) = None
    on_workloads: OnWorkloads | None = None


def _rules(parameters: Labels) -> KeyRules:
    return KeyRules(
        "labels",
        MetadataField.LABELS,
        parameters.required or (),
        parameters.allowed_values or (),
        parameters.denied or (),
        of_workloads=bool(parameters.on_workloads),
        shows_values=True,
    )


CONTROL = Control(
    name="labels",
    reason="its labels",
    summary="Pods must have the labels that the policy requires, and no others than it allows.",
    why="Network policies, alerts and bills go by labels. A pod without its owner's label belongs to nobody, and one "
    "with the wrong label gets another application's traffic.",
    example=Example(
        has_metadata=True,
        parameters="{required: [team], allowedValues: [{key: team, values: [shop, search-*]}]}",
        denied="""\
metadata:
  labels: {app: web}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
        allowed="""\
metadata:
  labels: {app: web, team: search-api}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
    ),
    parameters=Labels,
    standard=opt_in,
    check=lambda parameters, _minor: check_keys(_rules(parameters)),
    workload_check=lambda parameters: check_keys_of_workload(_rules(parameters)),
    verify=lambda parameters: verify_keys(parameters.allowed_values),
    of_pod_only=True,
    needs_parameters=True,
    unset={"required": "none", "allowedValues": "any", "denied": "none", "onWorkloads": "`false`"},
)

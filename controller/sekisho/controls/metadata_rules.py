"""Labels and annotations: the parameters and the check that their two controls share."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import Check, ParameterError, WorkloadCheck
from sekisho.findings import WORKLOAD, FieldPath, Finding, remove, words
from sekisho.globs import glob_matches
from sekisho.pods import OWN_ANNOTATIONS, ObjectMeta, WorkloadMeta

_NAME: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_MAX_KEY: Final = 317
Key = Annotated[str, Meta(pattern=f"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_NAME}$", max_length=_MAX_KEY)]
"""The key of a label or an annotation."""
KeyPattern = Annotated[str, Meta(pattern="^[-A-Za-z0-9_./]*[*]?$", min_length=1, max_length=_MAX_KEY)]
"""A key, or with * at the end all keys that begin with the text before it."""


class AllowedValues(Struct, frozen=True, forbid_unknown_fields=True):
    """The values that a key may have where it is set."""

    key: Annotated[Key, Meta(description="The key, such as example.com/team.")]
    values: Annotated[
        tuple[Annotated[str, Meta(max_length=253)], ...],
        Meta(
            description="Values that are allowed; * matches any characters, so shop-* matches shop-web.",
            min_length=1,
            max_length=64,
        ),
    ]


OnWorkloads = Annotated[
    bool,
    Meta(
        description="Whether those of the workload itself, such as a Deployment, are judged too, when it is applied; "
        "`templates` says what happens. What a Deployment or a CronJob makes is exempt."
    ),
]
Required = Annotated[tuple[Key, ...], Meta(max_length=64)]
Allowed = Annotated[
    tuple[AllowedValues, ...],
    Meta(max_length=32, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]}),
]
Denied = Annotated[tuple[KeyPattern, ...], Meta(max_length=64)]


class MetadataField(StrEnum):
    """A field of metadata with keys and values."""

    LABELS = "labels"
    ANNOTATIONS = "annotations"


class KeyRules(Struct, frozen=True):
    """What a policy requires of the pod's labels or annotations.

    control: the control's name.
    field: which of the two it judges.
    of_workloads: whether those of the workload itself are judged too.
    shows_values: whether findings hold the values; those of annotations may be secrets.
    """

    control: str
    field: MetadataField
    required: Sequence[str]
    allowed: Sequence[AllowedValues]
    denied: Sequence[str]
    of_workloads: bool
    shows_values: bool

    def finding(self, key: str, value: str | None, allowed: str, fix: str, of: WorkloadMeta | None) -> Finding:
        """A finding on the value of a key, None where it is unset; of a pod, or with `of` of the workload."""
        path = self._path(key, of)
        shown = None if self.shows_values or not value else "another value"
        return Finding.of(self.control, path, value, allowed=allowed, fix=fix, shown=shown, about=of)

    def finding_on_denied(self, key: str, value: str, of: WorkloadMeta | None) -> Finding:
        """A finding on a key that must be unset; of a pod, or with `of` of the workload."""
        path = self._path(key, of)
        shown = None if self.shows_values else "set"
        return Finding.of(
            self.control, path, value, allowed="unset", fix="remove it", change=remove(path), shown=shown, about=of
        )

    def _path(self, key: str, of: WorkloadMeta | None) -> FieldPath:
        field = self.field.value
        return ("metadata", field, key) if of is None else (WORKLOAD, "metadata", field, key)


def check_keys(rules: KeyRules) -> Check:
    """The check that a pod's labels or annotations meet the rules. Sekisho's own annotations may have any value."""
    judge = _judge_of(rules)
    return lambda pod, _containers: judge(pod.metadata, None)


def check_keys_of_workload(rules: KeyRules) -> WorkloadCheck | None:
    """The check of the workload's own, None where the policy does not judge them.

    What a Deployment or a CronJob makes is exempt: no user writes it.
    """
    if not rules.of_workloads:
        return None
    judge = _judge_of(rules)
    return lambda workload: [] if workload.has_maker else judge(workload.metadata, workload)


def _judge_of(rules: KeyRules) -> Callable[[ObjectMeta, WorkloadMeta | None], list[Finding]]:
    exact = frozenset(key for key in rules.denied if not key.endswith("*"))
    prefixes = tuple(key[:-1] for key in rules.denied if key.endswith("*"))

    def judge(metadata: ObjectMeta, of: WorkloadMeta | None) -> list[Finding]:
        entries = (metadata.labels if rules.field is MetadataField.LABELS else metadata.annotations) or {}
        findings = [*_unset(rules, entries, of), *_with_other_values(rules, entries, of)]
        denied = [key for key in entries if key in exact or key.startswith(prefixes)] if rules.denied else []
        denied = sorted(key for key in denied if key not in OWN_ANNOTATIONS)
        return [*findings, *(rules.finding_on_denied(key, entries[key], of) for key in denied)]

    return judge


def _unset(rules: KeyRules, entries: dict[str, str], of: WorkloadMeta | None) -> Iterator[Finding]:
    for key in rules.required:
        if not entries.get(key):
            allowed = next((words(allowed.values) for allowed in rules.allowed if allowed.key == key), None)
            fix = "set it to a value" if allowed is None else "set it to an allowed value"
            yield rules.finding(key, entries.get(key), allowed or "a value", fix, of)


def _with_other_values(rules: KeyRules, entries: dict[str, str], of: WorkloadMeta | None) -> Iterator[Finding]:
    for allowed in rules.allowed:
        key, value = allowed.key, entries.get(allowed.key)
        is_judged = value is not None and key not in OWN_ANNOTATIONS and (value or key not in rules.required)
        if is_judged and not any(glob_matches(pattern, value or "") for pattern in allowed.values):
            yield rules.finding(key, value, words(allowed.values), "set it to an allowed value", of)


def verify_keys(allowed: Sequence[AllowedValues] | None) -> None:
    """Raises ParameterError where a key has two lists of values. None for a parameter that is unset."""
    keys = [values.key for values in allowed or ()]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ParameterError(f"allowedValues[{index}].key", f"{key!r} is a duplicate")

"""A finding: one field of a pod that a control does not allow, and the smallest change that passes."""

import json
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.errors import SekishoError
from sekisho.pods import POD_TEMPLATES, ContainerRef, Volume, WorkloadMeta

FieldPath = tuple[str | int, ...]
"""A path from the pod's root, such as ("spec", "containers", 0, "securityContext", "privileged")."""

NAMESPACE: Final[FieldPath] = ("metadata", "namespace")
"""The path of a pod's namespace. A pod template has none of its own: it is that of the object with the template."""
WORKLOAD: Final = "workload"
"""Begins the path of a field of the object that has the pod template, until it is made a path in that object."""
MAX_VALUE_LENGTH: Final = 120
MAX_COMPACT_LENGTH: Final = 512
_WORKLOADS: Final = frozenset(kind for _, kind in POD_TEMPLATES)
_HASHABLE: Final = frozenset({bool, int, type(None)})
"""The types of JSON values, besides strings, that are compared as they are."""


class ManyFindingsError(SekishoError):
    """A pod has more findings than its caller wants to wait for."""


class _Remaining(threading.local):
    """How many more findings this thread may make, None for any number; and what each calls, None for nothing."""

    findings: int | None = None
    check_time: Callable[[], None] | None = None


_remaining: Final = _Remaining()


def begin_findings(maximum: int | None, check_time: Callable[[], None] | None = None) -> None:
    """Let this thread make at most `maximum` findings until `end_findings`; the next one raises ManyFindingsError.

    maximum: None for any number.
    check_time: called for each finding, and all that counts as some.

    One check may make thousands for one container, and only then does its caller see how many they are.
    """
    _remaining.findings, _remaining.check_time = maximum, check_time


def end_findings() -> None:
    """Let this thread make any number of findings again. Always follows `begin_findings`."""
    _remaining.findings = _remaining.check_time = None


def count_as_findings(number: int) -> None:
    """Count work that takes as long as making `number` findings. Raises ManyFindingsError as `begin_findings` says.

    Raises what `check_time` raises.
    """
    if _remaining.check_time is not None:
        _remaining.check_time()
    remaining = _remaining.findings
    if remaining is not None:
        if remaining < number:
            raise ManyFindingsError("it takes as long as too many findings")
        _remaining.findings = remaining - number


class ChangeOperation(StrEnum):
    """What a change does to the field at its path."""

    SET = "set"
    REMOVE = "remove"
    APPEND = "append"


class Change(Struct, frozen=True, gc=False):
    """A change of the pod that a program can make.

    path: the field, from the pod's root; for APPEND that of a list, which is created where it is unset.
    value: the JSON value to set; for APPEND a list of the values to add; None for REMOVE.
    """

    operation: ChangeOperation
    path: FieldPath
    value: object = None


def set_to(path: FieldPath, value: object) -> Change:
    """The change that sets the field to a JSON value."""
    return Change(ChangeOperation.SET, path, value)


def remove(path: FieldPath) -> Change:
    """The change that removes the field, or the entry of a list."""
    return Change(ChangeOperation.REMOVE, path)


def append(path: FieldPath, values: Sequence[object]) -> Change:
    """The change that adds values to the list at the path."""
    return Change(ChangeOperation.APPEND, path, list(values))


class Finding(Struct, frozen=True, gc=False):
    """One violation of one control, complete enough to be shown alone. Make it with `Finding.of`.

    A pod may have thousands, and few are shown: texts that need work are made when they are read.

    control: the control's name, such as `privileged`.
    path: the field, from the pod's root.
    raw_value: the field's JSON value, None where it is unset; a hash of it where `shown` hides it.
    allowed: which values pass, in words.
    fix: the smallest change that passes, as an imperative clause without a full stop.
    about: the kind and name of the container, volume or workload that the finding is about; None for the pod itself.
    container: the container's name; None where the field is not one of a container.
    change: what `fix` says, for a program; None where a person has to decide.
    shown: replaces the value where people read it; None shows the value.
    origin: what set the field if nobody wrote it, as a clause such as `set by hostNetwork`; else empty.
    """

    control: str
    path: FieldPath
    raw_value: object
    allowed: str
    fix: str
    about: tuple[str, str] | None = None
    container: str | None = None
    change: Change | None = None
    shown: str | None = None
    origin: str = ""

    @classmethod
    def of(
        cls,
        control: str,
        path: FieldPath,
        value: object,
        *,
        allowed: str,
        fix: str,
        change: Change | None = None,
        about: ContainerRef | Volume | WorkloadMeta | None = None,
        shown: str | None = None,
    ) -> "Finding":
        """A finding on the field at `path`, which starts at the pod's root also for a container's field.

        value: the field's JSON value; None where it is unset.
        about: the container, volume or workload that the finding is about; None for the pod itself.
        shown: replaces the value where people read it, as for an image with a password; None shows the value.

        Raises ManyFindingsError as `begin_findings` says.
        """
        count_as_findings(1)
        if shown is not None and value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            value = sha256(text.encode(errors="surrogatepass")).hexdigest()
        if about is None:
            return cls(control, path, value, allowed, fix, None, None, change, shown)
        if isinstance(about, ContainerRef):
            name = about.container.name
            container = name if path[:3] == about.path else None
            return cls(control, path, value, allowed, fix, (about.kind, name), container, change, shown)
        if isinstance(about, WorkloadMeta):
            return cls(control, path, value, allowed, fix, (about.kind, about.name), None, change, shown)
        # A Volume, or the type that reviews decode in its place.
        return cls(control, path, value, allowed, fix, ("volume", about.name), None, change, shown)

    @property
    def field(self) -> str:
        """The path as Kubernetes prints it: `spec.containers[0].securityContext.privileged`."""
        return render_path(self.path[1:] if self.path[0] == WORKLOAD else self.path)

    @property
    def is_of_workload(self) -> bool:
        """Whether it is about the object that has the pod template, and not about its pods."""
        return self.about is not None and self.about[0] in _WORKLOADS

    @property
    def subject(self) -> str:
        """What the finding is about, such as `container "app"` or `the pod`."""
        return "the pod" if self.about is None else f"{self.about[0]} {render_value(self.about[1])}"

    @property
    def value(self) -> str:
        """The value as people read it: as JSON, or `unset`; at most MAX_VALUE_LENGTH characters."""
        return render_value(self.raw_value) if self.shown is None else self.shown

    @property
    def value_and_origin(self) -> str:
        """The value as people read it: `10250, set by hostNetwork` if nobody wrote it."""
        return f"{self.value}, {self.origin}" if self.origin else self.value

    @property
    def with_short_value(self) -> "Finding":
        """This finding with no more of its value than people read, to be kept: lists and texts of pods may be long."""
        raw = self.raw_value
        if type(raw) in _HASHABLE or (isinstance(raw, str) and len(raw) <= MAX_COMPACT_LENGTH):
            return self
        return replace(self, raw_value="", shown=self.value)

    @property
    def value_key(self) -> object:
        """Two findings of one field with the same key show the same value; for most values it needs no text."""
        raw, kind = self.raw_value, type(self.raw_value)
        if self.shown is None:
            if isinstance(raw, str):
                return kind, _cut(raw), self.origin
            if kind in _HASHABLE:
                return kind, raw, self.origin
        return self.value_and_origin

    @property
    def identity(self) -> tuple[object, ...]:
        """Two findings with the same identity are the same violation before and after an update.

        A container is identified by its name, so its index in the list is left out. The whole value counts, also where
        less of it is shown.
        """
        path, raw = self.path, self.raw_value
        if self.container is not None:
            path = path[:2] + path[3:]
        whole = json.dumps(raw) if isinstance(raw, list | dict) else raw
        return self.control, self.container, path, type(raw), whole, self.shown


def render_path(path: FieldPath) -> str:
    """A path as Kubernetes prints it; a key that is not a plain identifier, such as an annotation, is in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isalnum() or part.replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f"[{part}]"
    return text


_to_json = json.JSONEncoder(ensure_ascii=False).encode
"""json.dumps would make such an encoder for each value."""


def render_value(value: object) -> str:
    """A value as JSON on one line, `unset` for None; cut to MAX_VALUE_LENGTH characters, with `…` for the rest."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _cut(printable(encode_basestring(_cut(value)) if isinstance(value, str) else _to_json(value)))


def printable(text: str) -> str:
    """The text with everything escaped that could control a terminal, change the order of its characters or end a line.

    For texts in which there is what others wrote, such as the signer of an image.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def compact(text: str) -> str:
    """A value that is made of several fields, for a finding; of a long one the beginning, and a hash of the whole.

    Each finding of each policy has one of its own, and users decide how long the fields are.
    """
    if len(text) <= MAX_COMPACT_LENGTH:
        return text
    return f"{text[:MAX_VALUE_LENGTH]}… {sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def words(values: Sequence[str], last: str = "or") -> str:
    """`a, b or c` of a list of words, which must not be empty."""
    *head, tail = values
    return f"{', '.join(head)} {last} {tail}" if head else tail

"""A finding: one field of a pod that a control does not allow, and the smallest change that passes."""

import json
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final

from msgspec import Struct

from sekisho.pods import ContainerRef, Volume

FieldPath = tuple[str | int, ...]
"""A path from the pod's root, such as ("spec", "containers", 0, "securityContext", "privileged")."""

MAX_VALUE_LENGTH: Final = 120


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

    control: the control's name, such as `privileged`.
    path: the field, from the pod's root.
    value: the field's value as JSON, or `unset`; at most MAX_VALUE_LENGTH characters.
    allowed: which values pass, in words.
    fix: the smallest change that passes, as an imperative clause without a full stop.
    subject: what the finding is about, such as `container "app"` or `the pod`.
    container: the container's name; None where the field is not one of a container.
    change: what `fix` says, for a program; None where a person has to decide.
    digest: a hash of the whole value, empty where the value is short enough to be shown whole.
    origin: what set the field if nobody wrote it, as a clause such as `set by hostNetwork`; else empty.
    """

    control: str
    path: FieldPath
    value: str
    allowed: str
    fix: str
    subject: str = "the pod"
    container: str | None = None
    change: Change | None = None
    digest: str = ""
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
        about: ContainerRef | Volume | None = None,
        shown: str | None = None,
    ) -> "Finding":
        """A finding on the field at `path`, which starts at the pod's root also for a container's field.

        value: the field's JSON value; None where it is unset.
        about: the container or volume that the finding is about; None for the pod itself.
        shown: replaces the value where people read it, as for an image with a password; None shows the value.
        """
        container = about.container.name if isinstance(about, ContainerRef) and path[:3] == about.path else None
        return cls(
            control=control,
            path=path,
            value=render_value(value) if shown is None else shown,
            allowed=allowed,
            fix=fix,
            subject=_subject(about),
            container=container,
            change=change,
            digest=_digest(value, is_hidden=shown is not None),
        )

    @property
    def field(self) -> str:
        """The path as Kubernetes prints it: `spec.containers[0].securityContext.privileged`."""
        return render_path(self.path)

    @property
    def value_and_origin(self) -> str:
        """The value as people read it: `10250, set by hostNetwork` if nobody wrote it."""
        return f"{self.value}, {self.origin}" if self.origin else self.value

    @property
    def identity(self) -> tuple[str, str | None, FieldPath, str, str]:
        """Two findings with the same identity are the same violation before and after an update.

        A container is identified by its name, so its index in the list is left out.
        """
        path = self.path
        if self.container is not None:
            path = path[:2] + path[3:]
        return self.control, self.container, path, self.value, self.digest


def _subject(about: ContainerRef | Volume | None) -> str:
    if about is None:
        return "the pod"
    if isinstance(about, ContainerRef):
        return f"{about.kind} {render_value(about.container.name)}"
    return f"volume {render_value(about.name)}"  # a Volume, or the type that reviews decode in its place


def _digest(value: object, *, is_hidden: bool) -> str:
    if value is None or (isinstance(value, bool) and not is_hidden):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    if not is_hidden and len(text) < MAX_VALUE_LENGTH // 2:
        return ""  # `value` shows all of it
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


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
    if isinstance(value, str) and len(value) > MAX_VALUE_LENGTH:
        value = value[: MAX_VALUE_LENGTH - 1] + "…"
    text = _to_json(value)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def words(values: Sequence[str], last: str = "or") -> str:
    """`a, b or c` of a list of words, which must not be empty."""
    *head, tail = values
    return f"{', '.join(head)} {last} {tail}" if head else tail

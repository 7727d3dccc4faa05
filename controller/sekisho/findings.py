"""A finding: one field of one pod that a control does not allow, and the smallest change that would."""

import json
from typing import Final

from msgspec import Struct

type_of_path = tuple[str | int, ...]

MAX_VALUE_LENGTH: Final = 120


class Finding(Struct, frozen=True, gc=False):
    """One violation, complete enough to be shown alone.

    control: the control's name, such as `privileged`.
    path: from the pod's root, such as ("spec", "containers", 0, "securityContext", "privileged").
    value: what was found, as JSON or `unset`; capped, control characters escaped.
    allowed: what would pass, in words.
    fix: the smallest change that passes, as an imperative clause without a full stop.
    subject: whom it concerns, such as `container "app"` or `the pod`.
    container: the container's name, None for the pod's own fields.
    change: what `fix` says, for a machine; None where a person has to choose.
    """

    control: str
    path: type_of_path
    value: str
    allowed: str
    fix: str
    subject: str = "the pod"
    container: str | None = None
    change: "Change | None" = None

    @property
    def field(self) -> str:
        """The path as Kubernetes prints it: `spec.containers[0].securityContext.privileged`."""
        return render_path(self.path)

    @property
    def identity(self) -> tuple[str, str | None, type_of_path, str]:
        """What makes two findings the same across an update: control, container, field and value.

        A container is known by its name, so its place in the list does not count.
        """
        path = self.path
        return (
            self.control,
            self.container,
            (path[:2] + path[3:] if self.container is not None else path),
            self.value,
        )


class Change(Struct, frozen=True, gc=False):
    """A mechanical change of the pod: `set` the path to a JSON value, `remove` it, or `append` to the list there."""

    operation: str
    path: type_of_path
    value: object = None


def render_path(path: type_of_path) -> str:
    """A path as Kubernetes prints it; keys that are no plain identifiers (annotations) go into brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f"[{part}]"
    return text


def render_value(value: object) -> str:
    """A found value as JSON on one line, `unset` for None, at most MAX_VALUE_LENGTH characters."""
    if value is None:
        return "unset"
    if isinstance(value, str) and len(value) > MAX_VALUE_LENGTH:
        value = value[: MAX_VALUE_LENGTH - 1] + "…"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def words(values: "tuple[str, ...] | list[str]", last: str = "or") -> str:
    """`a, b or c` of a list of words."""
    *head, tail = values
    return f"{', '.join(head)} {last} {tail}" if head else tail

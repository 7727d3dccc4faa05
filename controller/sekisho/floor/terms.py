"""What the floor judges: breaches of controls, as expressions of the Common Expression Language (CEL)."""

from enum import Enum, auto
from typing import Final

from msgspec import Struct


class Judged(Enum):
    """What a breach is about, which decides about updates and waivers.

    POD: a field of the pod as a whole, judged when the pod is created: no update can change it.
    CONTAINER: a field of a container, judged when the container is added.
    IMAGE: the image of a container or volume, judged when it is added or changed.
    """

    POD = auto()
    CONTAINER = auto()
    IMAGE = auto()


class Breach(Struct, frozen=True, kw_only=True):
    """One way to violate a control, as CEL over the entries of a list.

    entries: the list.
    variable: the name of an entry in the expressions.
    nested: a list in the entry of which one value is enough for a breach; empty where the entry itself is tested.
    nested_variable: the name of such a value in the expressions.
    test: whether the entry, or the nested value, violates the control.
    value: the value as waivers name it: a string, the empty one where they cannot name it.
    label: what the message calls the entry: a string.
    requires: what the message says: the field, and what it must be.
    """

    judged: Judged
    entries: str
    variable: str
    nested: str = ""
    nested_variable: str = ""
    test: str
    value: str
    label: str
    requires: str


class Share(Struct, frozen=True):
    """What the floor has of a control. `missing` says which parts it lacks, and why: one line for each."""

    breaches: tuple[Breach, ...] = ()
    missing: tuple[str, ...] = ()


CONTAINERS: Final = "variables.containers"
"""The containers that are judged: all of a new pod, and those that an update adds."""
IMAGES: Final = "variables.images"
"""The images that are judged, each as a map: what has it, its container's name, the image, and its one name."""
CREATED: Final = "oldObject == null"
"""Whether the pod is created. Only then the API server gives the time, as the pod's creationTimestamp."""
IS_WINDOWS: Final = '(object.spec.?os.?name.orValue("") == "windows")'


def in_containers(
    test: str, requires: str, *, value: str = '"true"', nested: str = "", nested_variable: str = ""
) -> Breach:
    """A breach in a container, which is `c` in the expressions."""
    return Breach(
        judged=Judged.CONTAINER,
        entries=CONTAINERS,
        variable="c",
        nested=nested,
        nested_variable=nested_variable,
        test=test,
        value=value,
        label='"container " + c.name',
        requires=requires,
    )


def in_pod(
    entries: str, variable: str, test: str, requires: str, *, value: str = '"true"', label: str = '"the pod"'
) -> Breach:
    """A breach in the pod as a whole: in one of some entries of it."""
    return Breach(
        judged=Judged.POD,
        entries=f"({CREATED} ? {entries} : [])",
        variable=variable,
        test=test,
        value=value,
        label=label,
        requires=requires,
    )


UNSET: Final = "which defaults set: only the webhook judges it"
"""Why the floor does not require what a pod may leave unset."""

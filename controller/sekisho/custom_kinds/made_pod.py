"""A pod that an object of a custom kind makes."""

from msgspec import Struct

from sekisho.custom_kinds.parts import Part


class MadePod(Struct, frozen=True):
    """A pod that an object makes.

    pod: with `metadata` and `spec`.
    left_out: sentences on what is in the pod and is not judged here.
    values_later: what begins the name of a value that is known only when the pod is created; empty for none.
    """

    pod: Part
    left_out: tuple[str, ...] = ()
    values_later: str = ""

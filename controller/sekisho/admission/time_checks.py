"""Time checks: a large review is judged only as long as its caller allows, whatever one check compares."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from msgspec.structs import replace

from sekisho.errors import SekishoError
from sekisho.pods import Pod

T = TypeVar("T")


class UnjudgedError(SekishoError):
    """A pod could not be judged to the end; the message is a clause that says why."""


CheckTime = Callable[[], None]
"""Called between checks, and between the containers, volumes and other entries that a check goes through. Raises
UnjudgedError where judging must end."""


class _Timed(list[Any]):
    """A list, as pods have it, that checks the time before each entry of a loop over it."""

    def __init__(self, entries: Iterable[Any], check_time: CheckTime) -> None:
        super().__init__(entries)
        self._check_time = check_time

    def __iter__(self) -> Iterator[Any]:
        for entry in super().__iter__():
            self._check_time()
            yield entry


def timed(entries: list[T], check_time: CheckTime | None) -> list[T]:
    """The same entries, with a time check before each of a loop; the list itself if `check_time` is None."""
    return entries if check_time is None else _Timed(entries, check_time)


def with_time_checks(pod: Pod, check_time: CheckTime | None) -> Pod:
    """The pod for checks only, with time checks in its lists whose entries may be compared with many patterns.

    The pod itself if `check_time` is None.
    """
    if check_time is None:
        return pod
    spec, context = pod.spec, pod.spec.security_context
    if context is not None and context.sysctls:
        context = replace(context, sysctls=timed(context.sysctls, check_time))
    spec = replace(
        spec,
        volumes=spec.volumes and timed(spec.volumes, check_time),
        resource_claims=spec.resource_claims and timed(spec.resource_claims, check_time),
        security_context=context,
    )
    return replace(pod, spec=spec)

"""Time checks: a large review is judged only as long as its caller allows, whatever one check compares."""

from msgspec.structs import replace

from sekisho.errors import SekishoError
from sekisho.pods import Pod
from sekisho.timed import CheckTime, timed

__all__ = ["CheckTime", "UnjudgedError", "timed", "with_time_checks"]


class UnjudgedError(SekishoError):
    """A pod could not be judged to the end; the message is a clause that says why."""


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

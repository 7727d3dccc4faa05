"""The API server's defaults for probes.

Source: Kubernetes 1.37, pkg/apis/core/v1/defaults.go (SetDefaults_Probe, SetDefaults_HTTPGetAction)
"""

from operator import is_not

from msgspec.structs import replace

from sekisho.pods import Container, Probe


def with_probes(container: Container) -> Container:
    """The container with what its probes leave unset; the same container where that is nothing."""
    liveness, readiness, startup = container.liveness_probe, container.readiness_probe, container.startup_probe
    if liveness is readiness is startup is None:
        return container
    changed = [_whole(liveness), _whole(readiness), _whole(startup)]
    if not any(map(is_not, changed, (liveness, readiness, startup))):
        return container
    return replace(container, liveness_probe=changed[0], readiness_probe=changed[1], startup_probe=changed[2])


def _whole(probe: Probe | None) -> Probe | None:
    if probe is None:
        return None
    probe = _without_zeros(probe)
    request, call = probe.http_get, probe.grpc
    if request is not None and not (request.path and request.scheme):
        request = replace(request, path=request.path or "/", scheme=request.scheme or "HTTP")
    if call is not None and call.service is None:
        call = replace(call, service="")
    times = probe.timeout_seconds, probe.period_seconds, probe.success_threshold, probe.failure_threshold
    if all(times) and request is probe.http_get and call is probe.grpc:
        return probe
    timeout, period, success, failure = times
    return replace(
        probe,
        http_get=request,
        grpc=call,
        timeout_seconds=timeout or 1,
        period_seconds=period or 10,
        success_threshold=success or 1,
        failure_threshold=failure or 3,
    )


def _without_zeros(probe: Probe) -> Probe:
    """The probe without the zeros and the empty texts and lists that the API server writes as unset."""
    request, connection, command = probe.http_get, probe.tcp_socket, probe.exec
    if request is not None and (request.host == "" or request.http_headers == []):
        probe = replace(
            probe, http_get=replace(request, host=request.host or None, http_headers=request.http_headers or None)
        )
    if connection is not None and connection.host == "":
        probe = replace(probe, tcp_socket=replace(connection, host=None))
    if command is not None and command.command == []:
        probe = replace(probe, exec=replace(command, command=None))
    return replace(probe, initial_delay_seconds=None) if probe.initial_delay_seconds == 0 else probe

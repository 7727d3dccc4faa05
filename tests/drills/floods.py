"""Floods: what clients send to fill the replicas' memory or to keep them from answering others.

Each flood is sent by a process of its own to every replica, or by users through the API server. Meanwhile pods are
created in another namespace; how long that takes is measured. In a cluster, who sends a flood does not compute on the
machines of the API server and the replicas. Here all share one machine, so the floods' processes get what the others
leave of it.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.controlplane.replicas import REVIEWS_PORT, SERVING_NAME, Replica
from tests.controlplane.waiting import DeadlineError, wait_until
from tests.drills.site import Site
from tests.drills.traffic import DrillError
from tests.load.usage import peak_mib, resident_mib, start_peak
from tests.worst.floods import FLOODS

MAX_MIB: Final = 256
"""Half of the chart's limit."""
MAX_KEPT_MIB: Final = 16
MAX_SECONDS: Final = 0.1
"""For 99 of 100 good pods, from the client's request to the API server's answer, on a quiet machine."""
MAX_SLOWER: Final = 2.0
"""How many times as long they may take as without a flood, where a busy machine makes that longer."""
_SOON: Final = 30.0
_ENDS_IN: Final = 300.0
_LARGE_PODS: Final = 40
_ROUNDS: Final = 2
"""How often each of the largest pods is sent."""
_WARM: Final = 300
"""Pods that are created before anything is measured."""


def floods(site: Site, names: Sequence[str] = tuple(FLOODS), large_pods: int = _LARGE_PODS) -> str:
    """Floods of connections, bodies, images, labels, policies, large pods and dry runs, one after the other."""
    senders: dict[str, Callable[[], None]] = {name: partial(_send, site, name) for name in names}
    if large_pods:
        senders["large_pods"] = partial(_create_large, site, large_pods)
        senders["largest_dry_runs"] = partial(_dry_run_largest, site)
    notes: list[str] = []
    faults: list[str] = []
    with site.traffic() as traffic:
        wait_until(lambda: len(traffic.seconds) >= _WARM, _SOON, f"{_WARM} pods are created")
        calm = _p99(traffic.seconds)
        max_ms = max(1000 * MAX_SECONDS, MAX_SLOWER * calm)
        for name, send in senders.items():
            note, wrong = _during(site, traffic.seconds, max_ms, send)
            site.say(f"  {name}: {note}")
            notes.append(f"{name} {note}")
            faults += [f"{name}: {fault}" for fault in wrong]
            traffic.wait_flowing()
    if faults:
        raise DrillError(f"{'; '.join(faults)} (p99 of good pods without a flood {calm:.0f} ms)")
    return f"p99 of good pods {calm:.0f} ms, during {'; '.join(notes)}"


def _during(
    site: Site, seconds: Sequence[float], max_ms: float, flood: Callable[[], None]
) -> tuple[str, Sequence[str]]:
    """Flood; gives how long good pods took and how much memory the replicas, and what of it is over the bounds.

    most: for 99 of 100 good pods, in ms.
    """
    replicas, created = site.replicas.running, len(seconds)
    before = {replica.name: resident_mib(replica.process.pid) for replica in replicas}
    for replica in replicas:
        start_peak(replica.process.pid)
    faults: list[str] = []
    try:
        flood()
    except DrillError as error:
        faults.append(str(error))
    during = seconds[created:]
    taken = _p99(during)
    peak = max(peak_mib(replica.process.pid) for replica in replicas)
    if peak > MAX_MIB:
        faults.append(f"a replica takes {peak:.0f} MiB, more than {MAX_MIB}")
    if taken > max_ms:
        faults.append(f"one in 100 good pods takes {taken:.0f} ms or more, and {max_ms:.0f} is the maximum")
    for replica in replicas:
        after = before[replica.name] + MAX_KEPT_MIB
        try:
            wait_until(partial(_is_small, replica, after), _SOON, f"at most {MAX_KEPT_MIB} MiB stay")
        except DeadlineError as error:
            faults.append(f"{replica.name}: {error}")
    return f"{taken:.0f} ms of {len(during)} pods and {peak:.0f} MiB", faults


def _p99(seconds: Sequence[float]) -> float:
    """In ms; 0 where no pod was created."""
    return 1000 * sorted(seconds)[int(0.99 * (len(seconds) - 1))] if seconds else 0.0


def _is_small(replica: Replica, max_ms: float) -> bool:
    return resident_mib(replica.process.pid) <= max_ms


def _send(site: Site, name: str) -> None:
    """Send a flood to all replicas at once, each from a process of its own. Raises DrillError."""
    sending = [_sender(name, replica) for replica in site.replicas.running]
    try:
        codes = [process.wait(_ENDS_IN) for process in sending]
    except subprocess.TimeoutExpired:
        raise DrillError(f"{name} is not over after {_ENDS_IN:g} s") from None
    finally:
        for process in sending:
            process.kill()
    if any(codes):
        raise DrillError(f"{name} could not be sent: {codes}")


def _sender(name: str, replica: Replica) -> subprocess.Popen[bytes]:
    """A process that sends a flood to a replica, with the lowest priority."""
    target = (replica.sandbox.address, str(REVIEWS_PORT), SERVING_NAME)
    command = ("nice", "-n", "19", sys.executable, "-m", "tests.worst.floods", name, *target)
    process = subprocess.Popen(command, start_new_session=True)
    # Linux may share the processors among sessions first, as the replicas are; then only this is the priority.
    with suppress(FileNotFoundError):
        Path(f"/proc/{process.pid}/autogroup").write_text("19")
    return process


def _create_large(site: Site, count: int) -> None:
    """Create pods of 500 containers that violate nearly everything, in a namespace of their own. Raises DrillError."""
    containers = [{"name": f"x{number}", "image": "evil.example/x"} for number in range(500)]
    spec = {"containers": containers, "hostNetwork": True}
    with _tenant(site, "large") as path:
        for _ in range(count):
            _must_be_denied(site, path, _pod(spec))


def _dry_run_largest(site: Site) -> None:
    """Dry-run the largest pods that the API server accepts, whose reviews a webhook accepts too. Raises DrillError.

    One after the other: the API server decodes them on the machine that the replicas share with it.
    """
    image = "registry.example/team/app:1.0"
    containers = [{"name": f"x{number}"} for number in range(15_000)]
    mounts = [{"name": f"v{number}", "mountPath": f"/{number}"} for number in range(20_000)]
    volumes = [{"name": f"v{number}", "hostPath": {"path": f"/{number}"}} for number in range(20_000)]
    largest: list[dict[str, Any]] = [
        {"containers": [{"name": "x", "image": image, "securityContext": {"capabilities": {"add": [""] * 780_000}}}]},
        {"containers": containers},
        {"containers": [{"name": "x", "image": image, "volumeMounts": mounts}], "volumes": volumes},
        {"containers": [{"name": "x", "image": "r.io/" + "a/" * 1_250_000}]},
    ]
    with _tenant(site, "largest") as path:
        for spec in largest * _ROUNDS:
            _must_be_denied(site, f"{path}?dryRun=All", _pod(spec))


@contextmanager
def _tenant(site: Site, name: str) -> Iterator[str]:
    """A namespace that the drills' policy applies to; gives the path of its pods."""
    namespace = f"{site.namespace}-{name}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"drills": "yes"}}}
    site.must("POST", "/api/v1/namespaces", body)
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    wait_until(lambda: site.plane.call("GET", account).status == 200, _SOON, "the namespace has its account")
    try:
        yield f"/api/v1/namespaces/{namespace}/pods"
    finally:
        site.plane.call("DELETE", f"/api/v1/namespaces/{namespace}")


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "large", "annotations": {"a": "x" * 200_000}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _must_be_denied(site: Site, path: str, pod: dict[str, Any]) -> None:
    answer = site.plane.call("POST", path, pod, timeout=_SOON)
    if answer.status == 201:
        site.counts.violating_admitted += 1
        raise DrillError("a large pod was admitted that violates the policy")
    if b"denied the request" not in answer.body:
        raise DrillError(f"a large pod got no verdict: {answer.status} {answer.body[:300]!r}")

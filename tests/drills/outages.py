"""The API server restarts, its store hangs, a replica is cut off from it."""

import time
from functools import partial
from typing import Any

import msgspec

from tests.controlplane.replicas import Replica
from tests.controlplane.waiting import wait_until
from tests.drills.direct import allows
from tests.drills.site import POLICIES, POLICY_NAME, REPLICAS, Site, policy
from tests.drills.traffic import GOOD, VIOLATING, DrillError

PAUSED_SECONDS = 20.0
NOTICED_IN = 45.0
CAUGHT_UP_IN = 30.0
LEASE_RAN_OUT_IN = 75.0
_SOON = 30.0
_EXPIRED = 410
_WITH_DEFAULTS: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        GOOD["containers"][0]
        | {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}
"""The good pod with defaults."""
_MARKED = _WITH_DEFAULTS | {"hostname": "marked", "shareProcessNamespace": True}
"""Good, until a policy denies it while a replica is cut off."""


def api_server_restarted(site: Site) -> str:
    """The API server restarts, then crashes; the replicas continue and reconnect."""
    apiserver = site.plane.apiserver
    with site.traffic() as traffic:
        for end in (apiserver.stop, apiserver.kill):
            with traffic.excusing():
                end()
                _verdicts_stand(site)
                apiserver.start()
            traffic.wait_flowing()
    return ""


def etcd_paused(site: Site) -> str:
    """etcd hangs for 20 s, and with it every write and every Lease."""
    with site.traffic():
        site.plane.etcd.pause()
        try:
            until = time.monotonic() + PAUSED_SECONDS
            while time.monotonic() < until:
                _verdicts_stand(site)
                time.sleep(1.0)
        finally:
            site.plane.etcd.resume()
    return f"{PAUSED_SECONDS:g} s"


def watch_cut_and_compacted(site: Site) -> str:
    """One replica is cut off while a policy is created and etcd compacts its history; it catches up."""
    cut = site.replicas.running[0]
    before = _version(site)
    with site.traffic() as traffic:
        cut.sandbox.cut_from_api()
        site.must("POST", POLICIES, policy("drills-marked", {"controls": {"shareProcessNamespace": {}}}))
        try:
            for other in site.replicas.running[1:]:
                wait_until(partial(_denies_marked, site, other), _SOON, "the others enforce it")
            if _denies_marked(site, cut):
                raise DrillError("the replica that was cut off has heard of the new policy")
            site.plane.compact()
            with traffic.excusing():
                site.plane.apiserver.restart()  # what it remembered itself goes too
            _expect_expired(site, before)
            wait_until(partial(_has_noticed, cut), NOTICED_IN, "the replica notices that the API server is away")
            traffic.wait_flowing()
            _verdicts_stand(site)
        finally:
            cut.sandbox.connect_to_api()
        since = time.monotonic()
        wait_until(partial(_denies_marked, site, cut), CAUGHT_UP_IN, "it enforces the new policy")
        seconds = time.monotonic() - since
    with site.traffic(violating=_MARKED):  # whichever replica is asked
        pass
    site.must("DELETE", f"{POLICIES}/drills-marked")
    return f"caught up {seconds:.1f} s after the link was back"


def cut_off_replica_is_reported(site: Site) -> str:
    """A replica is cut off for longer than its Lease: no policy is Enforced until it is back."""
    cut = site.replicas.running[0]
    by = f"{REPLICAS - 1}/{REPLICAS}"
    with site.traffic():
        cut.sandbox.cut_from_api()
        site.must("POST", POLICIES, policy("drills-marked", {"controls": {"shareProcessNamespace": {}}}))
        try:
            waiting, silent = ("False", "WaitingForReplicas", by), ("Unknown", "ReplicasSilent", by)
            wait_until(partial(_says, site, "drills-marked", waiting), _SOON, "one is waited for")
            for name in (POLICY_NAME, "drills-marked"):
                wait_until(partial(_says, site, name, silent), LEASE_RAN_OUT_IN, f"of {name} one is not known")
            if not cut.is_ready or _denies_marked(site, cut):
                raise DrillError("the replica that was cut off is not asked, or has heard of the new policy")
        finally:
            cut.sandbox.connect_to_api()
        wait = ("wait", "--for=condition=Enforced", f"--timeout={LEASE_RAN_OUT_IN:g}s")
        site.plane.kubectl.check(*wait, "clusterpodpolicy/drills-marked")
        for replica in site.replicas.running:
            if not _denies_marked(site, replica):
                raise DrillError(f"{replica.name} does not enforce the policy that is said to be enforced")
        site.plane.kubectl.check(*wait, f"clusterpodpolicy/{POLICY_NAME}")
    site.must("DELETE", f"{POLICIES}/drills-marked")
    return ""


def _says(site: Site, name: str, expected: tuple[str, str, str]) -> bool:
    return _enforced_status(site, name) == expected


def _enforced_status(site: Site, name: str) -> tuple[str, str, str]:
    """What the status of a policy says of Enforced, why, and by how many replicas."""
    status = msgspec.json.decode(site.must("GET", f"{POLICIES}/{name}")).get("status", {})
    [enforced] = [condition for condition in status.get("conditions", []) if condition["type"] == "Enforced"] or [{}]
    return enforced.get("status", ""), enforced.get("reason", ""), status.get("enforcedBy", "")


def _has_noticed(replica: Replica) -> bool:
    return "cannot watch /apis/" in replica.process.log.read_text()


def _denies_marked(site: Site, replica: Replica) -> bool:
    return not allows(replica, site.namespace, _MARKED)


def _verdicts_stand(site: Site) -> None:
    """Every replica judges as it did. Raises DrillError."""
    for replica in site.replicas.running:
        _verdict_stands(replica, site.namespace)


def _verdict_stands(replica: Replica, namespace: str) -> None:
    if allows(replica, namespace, VIOLATING):
        raise DrillError(f"{replica.name} allows a violating pod")
    if not allows(replica, namespace, _WITH_DEFAULTS):
        raise DrillError(f"{replica.name} denies a good pod")


def _version(site: Site) -> str:
    listed = msgspec.json.decode(site.must("GET", POLICIES))
    return str(listed["metadata"]["resourceVersion"])


def _expect_expired(site: Site, version: str) -> None:
    """The API server no longer knows what came after `version`. Raises DrillError: the drill would prove nothing."""
    answer = site.plane.call("GET", f"{POLICIES}?watch=true&resourceVersion={version}&timeoutSeconds=1")
    if answer.status != _EXPIRED and f'"code":{_EXPIRED}'.encode() not in answer.body:
        raise DrillError(f"the API server still remembers version {version}: {answer}")

"""Where the drills take place: a control plane, replicas, a policy, and a namespace a drill."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.controlplane.build import Binaries
from tests.controlplane.network import Network
from tests.controlplane.plane import ControlPlane
from tests.controlplane.replicas import Replicas
from tests.controlplane.waiting import wait_until
from tests.drills.traffic import PAUSE, VIOLATING, Counts, DrillError, Traffic

REPLICAS = 3
POLICIES = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"
_SOON = 30.0
_CONFLICT = 409
POLICY_NAME = "drills"
_POLICY = {
    # Which namespaces it is for can be judged only with their labels at hand.
    "match": {"namespaceSelector": {"matchLabels": {"drills": "yes"}}},
    "podSecurityStandard": {"level": "restricted"},
    "controls": {"images": {"trustedRegistries": ["registry.example/team/*"]}},
    "defaults": {"profile": "restricted"},
}


class Site:
    """What a drill works on. `counts` and `namespace` are the present drill's own."""

    def __init__(
        self, plane: ControlPlane, replicas: Replicas, say: Callable[[str], None], pause: float = PAUSE
    ) -> None:
        self.plane = plane
        self.replicas = replicas
        self.say = say
        self.pause = pause
        self.counts = Counts()
        self.namespace = ""

    def prepare(self) -> None:
        """Get ready for a drill: fresh counts, a fresh namespace, three replicas that serve. Raises DrillError."""
        self.counts = Counts()
        self.replicas.scale(REPLICAS)
        self.namespace = f"drill-{uuid.uuid4().hex[:8]}"
        body = {"metadata": {"name": self.namespace, "labels": {"drills": "yes"}}}
        self.must("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace"} | body)
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
        wait_until(lambda: self.plane.call("GET", account).status == 200, _SOON, "the namespace has its account")

    def check(self) -> None:
        """What must hold after every drill. Raises DrillError."""
        for replica in self.replicas.running:
            if replica.liveness_failures > 2:
                raise DrillError(
                    f"a kubelet would have restarted {replica.name}: it did not answer its liveness probes"
                )
        if any(codes := self.replicas.reap(_SOON)):
            raise DrillError(f"replicas that were told to stop ended with the codes {codes}")

    def clear(self) -> None:
        """Remove the drill's namespace, for which nobody waits, and the policies that it left."""
        self.clear_policies()
        self.plane.call("DELETE", f"/api/v1/namespaces/{self.namespace}")

    def clear_policies(self) -> None:
        """Remove every policy but the drills' own. Raises DrillError."""
        for held in msgspec.json.decode(self.must("GET", POLICIES))["items"]:
            if (name := held["metadata"]["name"]) != POLICY_NAME:
                self.must("DELETE", f"{POLICIES}/{name}")

    @contextmanager
    def traffic(self, violating: dict[str, Any] = VIOLATING) -> Iterator[Traffic]:
        """Pods of both kinds while the context lasts, counted for the drill. Raises DrillError."""
        traffic = Traffic(self.plane, self.namespace, violating, self.pause)
        try:
            with traffic:
                yield traffic
        finally:
            self.counts.add(traffic.counts)

    def enforce(self, name: str, spec: dict[str, Any]) -> None:
        """Make a policy and return when every replica enforces it. Raises DrillError."""
        self.must("POST", POLICIES, policy(name, spec))
        self.plane.kubectl.check(
            "wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={_SOON:g}s"
        )

    def replace(self, path: str, changed: Callable[[Any], object]) -> None:
        """Replace an object by what `changed` makes of it, again if somebody wrote meanwhile. Raises DrillError."""

        def replaced() -> bool:
            body = changed(msgspec.json.decode(self.must("GET", path)))
            answer = self.plane.call("PUT", path, body)
            if answer.status not in (200, _CONFLICT):
                raise DrillError(f"PUT {path}: {answer.status} {answer.body[:300].decode(errors='replace')}")
            return answer.status == 200

        wait_until(replaced, _SOON, f"{path} is replaced")

    def must(self, method: str, path: str, body: object = None) -> bytes:
        """Ask the API server as the administrator. Raises DrillError unless that succeeds."""
        answer = self.plane.call(method, path, body)
        if not 200 <= answer.status < 300:
            raise DrillError(f"{method} {path}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        return answer.body


@contextmanager
def open_site(folder: Path, binaries: Binaries, say: Callable[[str], None], pause: float = PAUSE) -> Iterator[Site]:
    """A control plane in `folder` with Sekisho in it; all of it is gone afterwards, save the logs.

    pause: seconds between an answer and the same client's next pod, in the drills' traffic.

    Raises NetworkError, ComponentError, CommandError, DeadlineError, DrillError.
    """
    with Network() as network, ControlPlane(folder, binaries, say, address=network.api_address) as plane:
        replicas = Replicas(plane, network, say)
        try:
            replicas.install(REPLICAS)
            site = Site(plane, replicas, say, pause)
            site.enforce(POLICY_NAME, _POLICY)
            yield site
        finally:
            replicas.close()


def policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A ClusterPodPolicy."""
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec}

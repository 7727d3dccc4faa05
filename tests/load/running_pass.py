"""`python -m tests.load.running_pass KUBECONFIG TIMES`: one audit of a cluster, and what it cost, as JSON.

With more than one time, the pods are read once and audited that often under other uids, as if there were as many more.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from msgspec import Raw, Struct, field

from sekisho.admission import Context, Form, evaluate
from sekisho.audit import LINKS, PODS, TEMPLATES, Audit, Promotions, Result, promotions_of
from sekisho.cluster.api import METADATA_LIST, ApiClient
from sekisho.cluster.live_audit import read_objects, surroundings
from sekisho.cluster.live_namespaces import read_namespaces
from sekisho.cluster.pages import pages
from sekisho.manifests import parse_policies
from sekisho.pods import Workload, controller_of
from sekisho.policies import PolicySet
from sekisho.policies.idle import EXEMPT_NAMESPACES
from tests.load.usage import peak_mib, resident_mib, start_peak

CALLS: Final = "event loop held at most"
SET_SUFFIX: Final = "-5d8"
"""What the name of a Deployment's ReplicaSet has in addition."""
_TICK: Final = 0.001
POLICIES: Final = """
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: restricted}
spec:
  podSecurityStandard: {level: restricted}
  defaults: {profile: restricted}
---
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: baseline}
spec:
  enforcement: Audit
  podSecurityStandard: {level: baseline}
---
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: images}
spec:
  controls: {images: {trustedRegistries: [registry.example.com]}}
"""


class Figures(Struct, frozen=True):
    """What a pass cost.

    seconds, cpu: wall and CPU time.
    memory: MiB that were resident at most, beyond those before.
    held: the longest time in milliseconds in which the event loop did nothing else.
    requests: the lists of pods.
    is_exact: whether the counts are those of judging pod by pod.
    """

    pods: int
    violating: int
    denied: int
    seconds: float
    cpu: float
    memory: float
    held: float
    requests: int
    is_exact: bool


class _Loop:
    """How long the event loop is held."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            self.longest = max(self.longest, time.monotonic() - began - _TICK)


async def measure(kubeconfig: Path, times: int) -> Figures:
    """The figures of a pass."""
    api = await ApiClient.connect(kubeconfig)
    try:
        known = await read_namespaces(api)
        policies = parse_policies(POLICIES, "policies")
        policy_set = PolicySet.of(policies)
        around = surroundings(datetime.now(UTC), EXEMPT_NAMESPACES, known.labels, known.objects_of)
        promotions = promotions_of(policies)
        audit = Audit(policy_set, promotions, around, max_violations=8)
        requests: list[int] = []
        gc.collect()
        gc.freeze()
        loop, process = _Loop(), os.getpid()
        start_peak(process)
        before, began, cpu = resident_mib(process), time.monotonic(), time.process_time()
        watching = asyncio.create_task(loop.watch())
        if times == 1:
            await read_objects(api, audit, progress=lambda done, total: requests.append(total))
        else:
            await _read_many(api, audit, times)
        result = await asyncio.to_thread(audit.result)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        memory = peak_mib(process) - before
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        is_exact = times > 1 or await _is_exact(api, policy_set, promotions, result)
        held = loop.longest * 1e3
        return Figures(
            result.pods, result.violating, result.denied, seconds, cpu, memory, held, len(requests), is_exact
        )
    finally:
        await api.close()


async def _read_many(api: ApiClient, audit: Audit, times: int) -> None:
    """Give the audit the objects of the cluster several `times`, each time of other owners."""
    for kind in LINKS:
        async for page in pages(api, kind.path(None), {}, METADATA_LIST):
            for copy in range(times):
                await asyncio.to_thread(audit.add_links, _copies(page.items or [], copy))
    for kind in TEMPLATES:
        async for page in pages(api, kind.path(None), {}):
            for copy in range(times):
                await asyncio.to_thread(audit.add_templates, kind, _copies(page.items or [], copy))
    async for page in pages(api, PODS.path(None), {}):
        for copy in range(times):
            await asyncio.to_thread(audit.add_pods, _copies(page.items or [], copy))


def _copies(items: list[Raw], copy: int) -> Iterator[Raw]:
    """The objects with other uids, in the references to owners too."""
    return (Raw(bytes(raw).replace(b'"uid":"', b'"uid":"%d-' % copy)) for raw in items)


class _Counts(Struct):
    """How many pods violate a policy as they run, and how many would be denied; and the owners of the latter."""

    pods: int = 0
    violating: int = 0
    denied: int = 0
    owners: set[str] = field(default_factory=set)

    def add(self, *, is_violating: bool, is_denied: bool, owner: str) -> None:
        self.pods += 1
        self.violating += is_violating
        self.denied += is_denied
        if is_denied:
            self.owners.add(owner)

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return self.pods, self.violating, self.denied, len(self.owners)


async def _is_exact(api: ApiClient, policies: PolicySet, promotions: Promotions, result: Result) -> bool:
    """Whether judging pod by pod gives the same numbers, for the cluster and for each policy and owner.

    All pods are as their templates, but for defaults, and every policy applies to all of them.
    """
    total, of_owners, of_policies = _Counts(), dict[str, _Counts](), {title: _Counts() for title in result.policies}
    now = datetime.now(UTC)
    async for page in pages(api, PODS.path(None), {}):
        for raw in page.items or ():
            pod = msgspec.json.decode(raw, type=Workload)
            namespace = pod.metadata.namespace or ""
            running, again = (
                evaluate(pod, Context(policies, namespace, None, clock=lambda: now), form=form).violations
                for form in (Form.POD, Form.MANIFEST)
            )
            violated = {title for violation in running for title in violation.policies}
            denying = {title for violation in again for title in promotions.denying(violation)}
            above = controller_of(pod.metadata.owner_references)
            name = above.name.removesuffix(SET_SUFFIX) if above is not None else ""
            owner = f"Deployment {namespace}/{name}"
            for counts in (total, of_owners.setdefault(owner, _Counts())):
                counts.add(is_violating=bool(violated), is_denied=bool(denying), owner=owner)
            for title, counts in of_policies.items():
                counts.add(is_violating=title in violated, is_denied=title in denying, owner=owner)
    shown = {owner: counts for owner, counts in of_owners.items() if counts.violating or counts.denied}
    return (
        total.numbers == (result.pods, result.violating, result.denied, result.denied_owners)
        and {owner: (counts.violating, counts.denied) for owner, counts in shown.items()}
        == {audited.owner.title: (audited.violating, audited.denied) for audited in result.owners}
        and {title: counts.numbers for title, counts in of_policies.items()}
        == {title: (one.pods, one.violating, one.denied, one.owners) for title, one in result.policies.items()}
    )


if __name__ == "__main__":
    figures = uvloop.run(measure(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.write(msgspec.json.encode(figures).decode())

"""Owners: from a denied object to the object that its user created.

A user creates a Deployment or a CronJob; controllers create a ReplicaSet or a Job from it, and pods from that. Only
ReplicaSets and Jobs are looked up; any other controller (a StatefulSet, a custom kind) is the top owner itself.
"""

import asyncio
import time
from collections import OrderedDict

import msgspec
from msgspec import Struct

from sekisho.admission import Review
from sekisho.cluster.api import METADATA, ApiClient, ApiError
from sekisho.cluster.names import is_label, is_subdomain
from sekisho.cluster.single_flight import SingleFlight
from sekisho.pods import NAME_OF_CRON_JOB, OwnerReference, stored_controller_of
from sekisho.telemetry.rates import TokenBucket

MAX_KEPT = 4096
MAX_TITLE_LENGTH = 512
_MAX_STEPS = 4
_BURST = 10

_LOOKED_UP = {
    ("apps/v1", "ReplicaSet"): "/apis/apps/v1/namespaces/{}/replicasets/{}",
    ("batch/v1", "Job"): "/apis/batch/v1/namespaces/{}/jobs/{}",
}


class ObjectReference(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A reference to an object, as in Events."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str = ""


class _Meta(Struct, frozen=True, rename="camel"):
    uid: str = ""
    owner_references: list[OwnerReference] | None = None


class _Object(Struct, frozen=True):
    metadata: _Meta


_decoder = msgspec.json.Decoder(_Object)


def controller_in(namespace: str, references: list[OwnerReference] | None) -> ObjectReference | None:
    """The controller among the owner references of an object in a namespace; None as `stored_controller_of` says."""
    owner = stored_controller_of(references)
    if owner is None:
        return None
    return ObjectReference(owner.api_version, owner.kind, owner.name, namespace, owner.uid)


def apparent_owner(review: Review) -> str:
    """Kind, namespace and name of what a user created and the reviewed object comes from, as far as that shows.

    Nothing is looked up: a ReplicaSet whose name ends in the hash of its pods counts as made by a Deployment, and a Job
    whose name ends in a time by a CronJob. It is cut to MAX_TITLE_LENGTH, as users may write any owner reference.
    """
    return _title_of_owner(review)[:MAX_TITLE_LENGTH]


def _title_of_owner(review: Review) -> str:
    meta, namespace = review.metadata, review.namespace or ""
    owner = stored_controller_of(meta.owner_references)
    if owner is None or owner.kind == "Node":
        name = review.name or meta.name or (meta.generate_name or "") + "…"
        return f"{review.kind.kind} {namespace}/{name}"
    if owner.kind == "ReplicaSet":
        template_hash = (meta.labels or {}).get("pod-template-hash")
        if template_hash and owner.name.endswith(f"-{template_hash}"):
            return f"Deployment {namespace}/{owner.name.removesuffix('-' + template_hash)}"
    if owner.kind == "Job" and NAME_OF_CRON_JOB.search(owner.name):
        return f"CronJob {namespace}/{NAME_OF_CRON_JOB.sub('', owner.name)}"
    return f"{owner.kind} {namespace}/{owner.name}"


class Owners:
    """Looks up owners, at most `per_second` in the long run, and caches them."""

    def __init__(self, api: ApiClient, per_second: float = 50.0) -> None:
        self._api = api
        self._bucket = TokenBucket(_BURST, per_second)
        self._known: OrderedDict[ObjectReference, ObjectReference | None] = OrderedDict()
        self._flights: SingleFlight[ObjectReference, ObjectReference | None] = SingleFlight()

    async def top(self, owner: ObjectReference, patience: float | None = None) -> ObjectReference:
        """The top of the chain of controllers that begins at `owner`; `owner` itself when it has no uid.

        patience: how many seconds to wait for the answer to a request, None for as long as it takes. The request goes
            on, and the next call for the same owner waits for the same answer.

        The chain ends at an object that does not exist or has another uid, as clients can write any owner reference.
        Raises ApiUnavailable, ApiError, TimeoutError.
        """
        for _ in range(_MAX_STEPS):
            above = await self._above(owner, patience)
            if above is None:
                break
            owner = above
        return owner

    async def _above(self, owner: ObjectReference, patience: float | None) -> ObjectReference | None:
        path = _LOOKED_UP.get((owner.api_version, owner.kind))
        if path is None or not owner.uid or not is_subdomain(owner.name) or not is_label(owner.namespace):
            return None
        if owner not in self._known and owner not in self._flights:
            # Callers wait here for the rate, not in a request under way: so there are no more waits than callers, and
            # the next owner is the one that the caller chooses when the rate permits it.
            await asyncio.sleep(self._bucket.reserve(time.monotonic()))
        if owner in self._known:
            self._known.move_to_end(owner)
            return self._known[owner]
        async with asyncio.timeout(patience):
            return await self._flights.run(owner, lambda: self._look_up(owner, path))

    async def _look_up(self, owner: ObjectReference, path: str) -> ObjectReference | None:
        try:
            raw = await self._api.get(path.format(owner.namespace, owner.name), accept=METADATA)
            meta = _decoder.decode(raw).metadata
        except ApiError as error:
            if error.status != 404:
                raise
            return None  # not cached: it may be created later
        except msgspec.DecodeError:
            return None
        above = controller_in(owner.namespace, meta.owner_references) if owner.uid == meta.uid else None
        self._known[owner] = above
        if len(self._known) > MAX_KEPT:
            self._known.popitem(last=False)
        return above

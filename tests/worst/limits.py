"""Policies whose lists are at their limits, and pods whose lists are: what one review costs the loop and the thread.

Lists and strings come from the schemas, so that those of new controls are tried without a change here.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from sekisho import admission
from sekisho.controls import CONTROLS
from sekisho.pods import Pod, container_refs
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, PolicyWaiver
from sekisho.policies.compilation import compile_policy
from sekisho.policies.limits import limit_problems
from sekisho.policies.problems import PolicyError
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from tests.controlplane.progress import Progress
from tests.reviews import review_body
from tests.worst.inputs import place
from tests.worst.judging import NOW, WAIVER
from tests.worst.schema import ENTRY, Path, Schema, growable, struct_schema

MAX_LOOP_SECONDS: Final = 0.05
MAX_APART_SECONDS: Final = 1.0
_MAX_BODY: Final = 3 << 20
_NAMESPACE: Final = "shop"
_CLUSTER_POLICIES: Final = 100
_POD_POLICIES: Final = 31
_TEXTS: Final[tuple[Callable[[int, int], str], ...]] = (
    lambda number, max_size: f"x.io/*{'a*' * (max_size // 3)}{number}"[-max_size:],
    lambda number, max_size: f"*{'a*' * (min(max_size, 250) // 2 - 10)}b{number}",
    lambda number, max_size: f"*{'a' * (min(max_size, 60) // 2)}b{'a' * (min(max_size, 60) // 4)}{number}*",
    lambda number, max_size: f"a{number}*",
    lambda number, max_size: f"/{'a/' * (min(max_size, 400) // 4)}{number}",
    lambda number, max_size: f"{'a' * (min(max_size, 60) // 2)}{number}",
    lambda number, max_size: str(number + 1),
    lambda number, max_size: f"A{number}",
)
"""Texts for the entries of a policy's lists, the dearest to compare first: a control takes those that it allows."""
Parameters = dict[str, Any]
T = TypeVar("T")


def parameters_at_limits(name: str, first: int = 0) -> Iterator[Parameters]:
    """For each list in a control's parameters, those in which it is as long as it may be, and texts are patterns.

    first: the number of the first entry, so that no two policies share a check.
    """
    for path, schema in growable(struct_schema(CONTROLS[name].parameters)):
        if schema.kind != "list" or ENTRY in path:
            continue
        for text in _TEXTS:
            entries = [
                _entry(schema.entry or Schema("string"), first + number, text)
                for number in range(schema.max_size or 64)
            ]
            parameters: Any = {path[-1]: entries}
            for key in reversed(path[:-1]):
                parameters = {key: parameters}
            try:
                _policy(ClusterPodPolicy, "p", name, parameters)
            except (msgspec.ValidationError, PolicyError):
                continue
            yield parameters
            break


_POD_TEXTS: Final[tuple[Callable[[int, str], str], ...]] = (
    lambda number, _: f"x.io/{'a' * 240}{number}",
    lambda number, key: f"/{'a/' * 120}{number}" if key == "path" else f"{'a' * 240}{number}",
    lambda number, _: f"a{number}",
)
"""Texts for the entries of a pod's lists, by the number of the entry and its field: what patterns compare longest."""
_COUNTS: Final = (20_000, 10_000, 4096, 2048, 1024, 512, 256, 128)
_FEW: Final = 16
_OTHER_CONTAINERS: Final = (("spec", "initContainers", ENTRY), ("spec", "ephemeralContainers", ENTRY))


class Large(Struct, frozen=True):
    """A pod in which one list grows: `make` gives it with a number of entries."""

    name: str
    make: Callable[[int], Any]


def growing_pods() -> Iterator[Large]:
    """For each list and map of a pod that judging reads, pods in which it grows."""
    for path, schema in growable(struct_schema(Pod)):
        if schema.kind in ("list", "map") and path[:3] not in _OTHER_CONTAINERS:
            for place, text in enumerate(_POD_TEXTS):
                yield Large(f"{'.'.join(path)} {place}", partial(_pod, path, schema, text))


def at_limit(large: Large) -> bytes:
    """The review of the pod with the most entries that are judged, and that fit into a request."""
    one = len(review_body(large.make(_FEW))) / _FEW
    for count in _COUNTS:
        if count * one < _MAX_BODY:
            body = review_body(large.make(count), namespace=_NAMESPACE)
            if len(body) < _MAX_BODY and admission.decode(body).defect is None:
                return body
    return review_body(large.make(_FEW), namespace=_NAMESPACE)


def _pod(path: Path, schema: Schema, text: Callable[[int, str], str], count: int) -> Any:
    keys = [f"x.io/{'a' * 200}{number}" if text(0, "") > "b" else f"a{number}" for number in range(count)]
    entry = schema.entry or Schema("string")
    values = [_full(entry, number, path[-1], text) for number in range(count)]
    grown: Any = values if schema.kind == "list" else dict(zip(keys, values, strict=True))
    whole: Any = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "x0", "image": f"x.io/{'a' * 200}"}]}}
    place(whole, path, grown)
    return whole


def _full(schema: Schema, number: int, key: str, text: Callable[[int, str], str]) -> Any:
    match schema.kind:
        case "string":
            return text(number, key)
        case "number":
            return number % 60_000 + 1
        case "boolean":
            return True
        case "list":
            return [_full(schema.entry or Schema("string"), number, key, text)]
        case "map":
            return {"cpu": "1"}
    return {name: _full(field, number, name, text) for name, field in schema.fields.items()}


def dearest(control: str, parameters: Parameters, pods: Sequence[Large], count: int) -> list[Large]:
    """The pods that a check costs most, by what a few entries cost it."""
    check = compile_policy(_policy(ClusterPodPolicy, "p", control, parameters)).rules[0].check
    seconds: list[tuple[float, int]] = []
    for place_of, large in enumerate(pods):
        review = admission.decode(review_body(large.make(_FEW)))
        if review.pod is None:
            continue
        containers = container_refs(review.pod.spec)
        began = time.thread_time()
        check(review.pod, containers)
        seconds.append((time.thread_time() - began, place_of))
    return [pods[place_of] for _, place_of in sorted(seconds, reverse=True)[:count]]


def policies_at_limits(
    control: str, which: int, cluster_policies: int = _CLUSTER_POLICIES, pod_policies: int = _POD_POLICIES
) -> PolicySet:
    """As many PodPolicies as a namespace may have, each with a list of a control at its limit; beside them 100
    ClusterPodPolicies, and a waiver by an image of the pod.

    which: the number of the list, as `parameters_at_limits` gives them.
    cluster_policies, pod_policies: the number of ClusterPodPolicies, and of PodPolicies.
    """
    made: list[Any] = [_cluster_policy(number) for number in range(cluster_policies)]
    waived = {"controls": [control], "policies": ["p0"], "match": {"images": ["*.io/a*a*a*0"]}}
    waiver = {"metadata": {"name": "w"}, "spec": WAIVER["spec"] | waived}
    made.append(msgspec.convert(waiver, PolicyWaiver))
    for number in range(pod_policies):
        parameters = next(islice(parameters_at_limits(control, 1000 * number), which, None))
        policy = _policy(PodPolicy, f"p{number}", control, parameters)
        if list(limit_problems(policy, PolicySet.of(made))):
            break
        made.append(policy)
    return PolicySet.of(made)


def _cluster_policy(number: int) -> ClusterPodPolicy:
    controls = {"images": {"trustedRegistries": ["x.io", f"r{number}.example"]}}
    spec = {"podSecurityStandard": {"level": "restricted"}, "enforcement": "Audit", "controls": controls}
    return msgspec.convert({"metadata": {"name": f"c{number}"}, "spec": spec}, ClusterPodPolicy)


class Seconds(Struct, frozen=True):
    """CPU of one review: of the event loop's thread, and of the one for large reviews."""

    loop: float
    apart: float

    @property
    def faults(self) -> list[str]:
        """Which bounds it exceeds, in words."""
        held = [f"{self.loop:.3f} s on the loop"] if self.loop > MAX_LOOP_SECONDS else []
        return [*held, f"{self.apart:.2f} s apart"] if self.apart > MAX_APART_SECONDS else held


async def seconds_of(policies: PolicySet, path: str, body: bytes) -> Seconds:
    """What a review costs; path: `validate` or `mutate`."""
    reviews = PodReviews(Enforced(policies), lambda: NOW, None, Metrics(), lambda outcome: None)
    try:
        before, began = await _seconds_apart(reviews), time.thread_time()
        answer = getattr(reviews, path)(body, Deadline(time.perf_counter(), 300.0))
        assert b'"allowed"' in (answer if isinstance(answer, bytes) else await answer)
        held = time.thread_time() - began
        return Seconds(held, await _seconds_apart(reviews) - before)
    finally:
        reviews.close()


async def _seconds_apart(reviews: PodReviews) -> float:
    """The CPU of its threads until now."""
    call = asyncio.get_running_loop().run_in_executor
    executors = [thread._thread for thread in (reviews._large, reviews._planning)]  # noqa: SLF001
    return sum([await call(executor, time.thread_time) for executor in executors])


def _entry(schema: Schema, number: int, text: Callable[[int, int], str]) -> Any:
    match schema.kind:
        case "string":
            return text(number, schema.max_size or 60)
        case "number":
            return number + 1
        case "boolean":
            return True
        case "list":
            count = schema.max_size or 1
            return [_entry(schema.entry or Schema("string"), number * count + one, text) for one in range(count)]
        case "map":
            return {}
    return {key: _entry(field, number, text) for key, field in schema.fields.items()}


def _policy(kind: Any, name: str, control: str, parameters: Parameters) -> Any:
    metadata = {"name": name} | ({"namespace": _NAMESPACE} if kind is PodPolicy else {})
    spec = {"enforcement": "Audit", "controls": {control: parameters}}
    policy = msgspec.convert({"metadata": metadata, "spec": spec}, kind)
    compile_policy(policy)
    return policy


class Part(Struct, frozen=True):
    """One of some parts of a long run, which together have all."""

    number: int = 1
    of: int = 1

    def entries(self, things: Sequence[T]) -> Sequence[T]:
        """Those of the things that are in this part."""
        return things[self.number - 1 :: self.of]


def over_limits(only: str, progress: Progress, part: Part) -> Iterator[str]:
    """For each list of each control whose name has `only`: a line for each review over a bound."""
    pods = list(growing_pods())
    bodies: dict[str, bytes] = {}
    for control in part.entries(list(CONTROLS)):
        for which, parameters in enumerate(parameters_at_limits(control) if only in control else ()):
            progress.show(f"{control} with its lists at their limits")
            policies = policies_at_limits(control, which)
            for large in dearest(control, parameters, pods, 2):
                body = bodies[large.name] = bodies.get(large.name) or at_limit(large)
                for path in ("validate", "mutate"):
                    faults = asyncio.run(seconds_of(policies, path, body)).faults
                    if faults:
                        yield f"{control}.{next(iter(parameters))} and {large.name} ({path}): {', '.join(faults)}"

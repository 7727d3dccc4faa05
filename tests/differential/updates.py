"""Updates by a seed: a generated pod, and the same pod after one or two of the changes that an update may make."""

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from tests.differential.generator import Case, cases

Json = Any
Change = Callable[[Json, Json, Random], None]
"""Changes a pod; the second argument is another generated pod, to take parts from."""

_LISTS: Final = ("containers", "initContainers", "ephemeralContainers")


def updates(seed: str, count: int) -> Iterator[Case]:
    """`count` updates, always the same for a seed. No two containers of a pod have the same name."""
    random = Random(seed)  # noqa: S311 - not used for secrets
    other: Json = {"spec": {"containers": [{}]}}
    for case in cases(seed, count):
        old = json.loads(case.pod)
        _name_containers(old)
        new = copy.deepcopy(old)
        for change in random.sample(_CHANGES, random.choice((0, 1, 1, 1, 2))):
            change(new, other, random)
        _name_containers(new)
        yield replace(case, old=_text(old), pod=_text(new))
        other = old


def _text(pod: Json) -> str:
    return json.dumps(pod, separators=(",", ":"))


def _name_containers(pod: Json) -> None:
    names: set[str] = set()
    for key in _LISTS:
        for index, container in enumerate(pod["spec"].get(key) or ()):
            if container.get("name") in (None, "", *names):
                container["name"] = f"{key.lower()}-{index}"
            names.add(container["name"])


def _label(pod: Json, _other: Json, _random: Random) -> None:
    pod["metadata"]["labels"] = {"app": "other"}


def _annotate(pod: Json, _other: Json, _random: Random) -> None:
    pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), "note": "x"}


def _finalizer(pod: Json, _other: Json, _random: Random) -> None:
    pod["metadata"]["finalizers"] = ["example.com/hold"]


def _tolerate(pod: Json, _other: Json, _random: Random) -> None:
    pod["spec"]["tolerations"] = [{"operator": "Exists"}]


def _deadline(pod: Json, _other: Json, _random: Random) -> None:
    pod["spec"]["activeDeadlineSeconds"] = 60


def _resize(pod: Json, _other: Json, random: Random) -> None:
    for container in _containers(pod, "containers", random):
        container["resources"] = {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}


def _image(pod: Json, _other: Json, random: Random) -> None:
    for container in _containers(pod, random.choice(_LISTS), random):
        container["image"] = "registry.example.com/app:2"


def _debug(pod: Json, other: Json, random: Random) -> None:
    taken = copy.deepcopy(_containers(other, "containers", random) or [{}])
    pod["spec"]["ephemeralContainers"] = [*(pod["spec"].get("ephemeralContainers") or ()), *taken]
    for container in taken:
        container["name"] = ""


def _remove(pod: Json, _other: Json, random: Random) -> None:
    if len(pod["spec"].get("containers") or ()) > 1:
        pod["spec"]["containers"].pop(random.randrange(len(pod["spec"]["containers"])))


def _containers(pod: Json, key: str, random: Random) -> list[Json]:
    """One container of a list; none where the list is empty."""
    containers = pod["spec"].get(key) or []
    return [random.choice(containers)] if containers else []


_CHANGES: Final[tuple[Change, ...]] = (
    _label,
    _annotate,
    _finalizer,
    _tolerate,
    _deadline,
    _resize,
    _image,
    _image,
    _debug,
    _debug,
    _remove,
)

"""The constraints of Gatekeeper's library about images, resources, probes and metadata: `general`.

Source: https://open-policy-agent.github.io/gatekeeper-library/website/
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sekisho.images.reference import names_registry
from sekisho.manifests.engines.gatekeeper_pods import Constraint, Parameters, just
from sekisho.manifests.engines.images import CANONICAL, registry_of, registry_remarks
from sekisho.manifests.engines.parts import Part, Translated, Unknown
from sekisho.manifests.engines.resources import JOBS, OF_POD
from sekisho.manifests.engines.results import Remark, looser, stricter

_EITHER: Final = re.compile(r"\^\(?([\w./-]+(?:\|[\w./-]+)*)\)?\$")
_NOT_EMPTY: Final = stricter("its value may not be empty")


def _allowed_repos(parameters: Parameters) -> Iterator[Translated]:
    yield from _registries("trustedRegistries", [f"{one}*" for one in parameters.get("repos") or ()])


def _allowed_images(parameters: Parameters) -> Iterator[Translated]:
    yield from _registries("trustedRegistries", list(map(str, parameters.get("allowedImages") or ())))


def _disallowed_repos(parameters: Parameters) -> Iterator[Translated]:
    yield from _registries("deniedRegistries", [f"{one}*" for one in parameters.get("repos") or ()])


def _registries(parameter: str, values: Sequence[str]) -> Iterator[Translated]:
    patterns: list[str] = []
    remarks: list[Remark] = []
    is_denied = parameter == "deniedRegistries"
    for value in values:
        try:
            pattern, further = _registry(value, is_denied=is_denied)
        except ValueError as error:
            yield Unknown(f"{error}" + ("" if is_denied else " (ours denies these images)"))
        else:
            patterns.append(pattern)
            remarks += further
    if patterns:
        yield Part("images", {parameter: patterns}, tuple(dict.fromkeys(remarks)))


def _registry(value: str, *, is_denied: bool) -> tuple[str, list[Remark]]:
    """The registry or repository of a text that images begin with, which ends with *; or raises ValueError."""
    host, *rest = value.split("/")
    if rest and not names_registry(host) and "*" not in host:
        written = stricter("an image of Docker Hub is denied also if it is written with docker.io")
        return registry_of(f"docker.io/{value}"), [written if is_denied else CANONICAL]
    return registry_of(value), list(registry_remarks(value, is_denied=is_denied))


def _disallowed_tags(parameters: Parameters) -> Iterator[Translated]:
    tags = list(map(str, parameters.get("tags") or ()))
    yield Part("images", {"requireTag": True} | ({"deniedTags": tags} if tags else {}))


def _image_digests(_parameters: Parameters) -> Iterator[Translated]:
    yield Part("images", {"requireDigest": True})


def _bounds(name: str, required: str | None) -> Constraint:
    """Maximums of cpu and memory, where -1 means none."""

    def translate(parameters: Parameters) -> Iterator[Translated]:
        limited = {key: parameters[key] for key in ("cpu", "memory", "ephemeral-storage") if key in parameters}
        limited = {key: value for key, value in limited.items() if str(value) != "-1"}
        bounds = [{"resource": key, "quantity": str(value)} for key, value in limited.items()]
        if not bounds:
            yield Unknown("it has no maximum, and requires nothing")
        else:
            yield Part("resources", {name: bounds} | ({required: list(limited)} if required else {}), (OF_POD,))

    return translate


def _ratios(parameters: Parameters) -> Iterator[Translated]:
    ratio = str(parameters.get("ratio", "1"))
    ratios = [{"resource": "cpu", "ratio": str(parameters.get("cpuRatio", ratio))}]
    ratios.append({"resource": "memory", "ratio": ratio})
    required = ["cpu", "memory"]
    yield Part("resources", {"maxLimitRequestRatios": ratios, "requiredRequests": required}, (OF_POD,))


def _required_resources(parameters: Parameters) -> Iterator[Translated]:
    names = {"requiredRequests": parameters.get("requests"), "requiredLimits": parameters.get("limits")}
    required = {name: list(map(str, listed)) for name, listed in names.items() if listed}
    yield Part("resources", required, (OF_POD,)) if required else Unknown("it requires nothing, which needs no policy")


def _metadata(control: str) -> Constraint:
    def translate(parameters: Parameters) -> Iterator[Translated]:
        for one in parameters.get(control) or ():
            key, allowed = str(one["key"]), str(one.get("allowedRegex") or "")
            written = _EITHER.fullmatch(allowed)
            values = [] if written is None else written[1].split("|")
            if any("." in value for value in values):
                values = []
            if allowed and not values:
                yield Unknown(f"the values of {key} that match {allowed!r}; ours may have any value")
            allowed_values = {"allowedValues": [{"key": key, "values": values}]} if values else {}
            yield Part(control, {"required": [key], **allowed_values}, (_NOT_EMPTY,))

    return translate


def _probes(parameters: Parameters) -> Iterator[Translated]:
    required = list(map(str, parameters.get("probes") or ()))
    types = parameters.get("probeTypes")
    missing = sorted({"exec", "grpc", "httpGet", "tcpSocket"} - set(types or ()))
    kinds = (looser(f"probes of the kind {' or '.join(missing)} count too"),) if missing and types else ()
    yield Part("probes", {"required": required}, (JOBS, *kinds)) if required else Unknown("it requires nothing")


GENERAL: Final[Mapping[str, Constraint]] = {
    "K8sAllowedRepos": _allowed_repos,
    "K8sAllowedReposv2": _allowed_images,
    "K8sDisallowedRepos": _disallowed_repos,
    "K8sDisallowedTags": _disallowed_tags,
    "K8sImageDigests": _image_digests,
    "K8sContainerLimits": _bounds("maxLimits", None),
    "K8sContainerRequests": _bounds("maxRequests", "requiredRequests"),
    "K8sContainerRatios": _ratios,
    "K8sContainerEphemeralStorageLimit": _bounds("maxLimits", None),
    "K8sRequiredResources": _required_resources,
    "K8sRequiredAnnotations": _metadata("annotations"),
    "K8sRequiredLabels": _metadata("labels"),
    "K8sRequiredProbes": _probes,
    "K8sDisallowInteractiveTTY": just("stdinAndTty", looser("ephemeral containers may have a terminal")),
}
"""What each constraint becomes, by its kind."""

"""Gatekeeper's constraints as policies of ours, by the kinds of its library's templates.

A template that is read too must be the library's: its Rego has the library's package. A constraint without its template
is taken for one of the library.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sekisho.documents import write_document
from sekisho.manifests.engines.gatekeeper_general import GENERAL
from sekisho.manifests.engines.gatekeeper_pods import POD_SECURITY
from sekisho.manifests.engines.images import exempt_images
from sekisho.manifests.engines.parts import Part, Unknown
from sekisho.manifests.engines.policies import Drafted, Pieces, write_policies
from sekisho.manifests.engines.results import Difference, Note, Place, Remark, Translation, looser
from sekisho.manifests.engines.waivers import Waived

_CONSTRAINTS: Final = {**POD_SECURITY, **GENERAL}
_ENFORCEMENTS: Final = {"deny": "Deny", "warn": "Warn", "dryrun": "Audit"}
_PACKAGES: Final = {
    "K8sPSPCapabilities": "capabilities",
    "K8sPSPSELinuxV2": "k8spspselinux",
    "K8sPSPSeccompV2": "k8spspseccomp",
    "K8sPSPAutomountServiceAccountTokenPod": "k8sautomountserviceaccounttoken",
}
"""Packages that are not the kind in lower case."""
_PACKAGE: Final = re.compile(r"^\s*package (\S+)", re.MULTILINE)
_OTHER_RULES: Final = "no control of ours does what its template does"


def is_of_library(template: Mapping[str, Any]) -> bool:
    """Whether a ConstraintTemplate is one of the library that is known here, by the package of its Rego."""
    kind = _kind_of(template)
    packages = _PACKAGE.findall(write_document(template.get("spec") or {}).replace("\\n", "\n"))
    return kind in _CONSTRAINTS and _PACKAGES.get(kind, kind.lower()) in packages


def _kind_of(template: Mapping[str, Any]) -> str:
    return str(template["spec"]["crd"]["spec"]["names"]["kind"])


def foreign_kinds(templates: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The kinds whose constraints do something else here than in the library."""
    return frozenset(_kind_of(one) for one in templates if not is_of_library(one))


def translate_constraint(place: Place, constraint: Mapping[str, Any], until: str | None) -> Translation:
    """Translate one constraint. `until`: the end of waivers; None to write none."""
    spec, kind = constraint.get("spec") or {}, constraint["kind"]
    name = str(constraint["metadata"]["name"])
    match, reasons = _match(spec.get("match") or {})
    enforcement = _ENFORCEMENTS.get(str(spec.get("enforcementAction") or "deny"))
    if enforcement is None:
        reasons.append(f"its enforcementAction {spec['enforcementAction']} is not known here")
    if kind not in _CONSTRAINTS:
        reasons = [_OTHER_RULES, *reasons]
    if reasons or enforcement is None:
        return Translation(1, (), tuple(place.note(Difference.NOT_TRANSLATED, reason, "spec") for reason in reasons))
    parameters = spec.get("parameters") or {}
    results = list(_CONSTRAINTS[kind](parameters))
    parts = tuple(one for one in results if isinstance(one, Part))
    unknown = [one.reason for one in results if isinstance(one, Unknown)]
    notes = [place.note(Difference.NOT_TRANSLATED, reason, "spec", "parameters") for reason in unknown]
    if "*" in (parameters.get("exemptImages") or ()):
        return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, "it exempts every image", "spec"),))
    waived = tuple(_exempt(place, parameters.get("exemptImages") or (), parts, notes))
    if not parts:
        return Translation(1, (), tuple(notes))
    pieces = Pieces(parts=parts, notes=tuple(notes))
    return write_policies(place, name, "", [Drafted(match, enforcement, None, pieces, waived, place)], until)


def _match(match: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The pods that a constraint is about, and why ours cannot name them."""
    kinds = {_kind(kind, one) for one in match.get("kinds") or () for kind in one.get("kinds") or ()}
    translated: dict[str, Any] = {}
    reasons = []
    if kinds and not kinds & {"Pod", "*"}:
        reasons.append(f"it is about {', '.join(sorted(kinds))}, and Sekisho judges pods and what makes them")
    names = {"namespaces": "namespaces", "excludedNamespaces": "excludeNamespaces"}
    names |= {"labelSelector": "podSelector", "namespaceSelector": "namespaceSelector"}
    for key, value in match.items():
        if key in names and value:
            translated[names[key]] = value
        elif key == "scope" and value == "Cluster":
            reasons.append("it is about objects without namespace")
        elif key not in ("kinds", "scope", "source", *names) and value:
            reasons.append(f"match by {key} cannot be said in ours")
    return translated, reasons


def _kind(kind: Any, rule: Mapping[str, Any]) -> str:
    """A kind of match, with its group if pods cannot be in it."""
    groups = rule.get("apiGroups") or ("*",)
    return str(kind) if {"", "*"} & set(groups) or kind != "*" else f"* of {', '.join(map(str, groups))}"


def _exempt(place: Place, images: Any, parts: tuple[Part, ...], notes: list[Note]) -> Iterator[Waived]:
    """The waivers for exempt images; notes on those that no waiver is about."""
    reason = "these images were exempt in Gatekeeper"
    patterns: list[str] = []
    values: list[str] = []
    remarks: list[Remark] = []
    is_about_images = bool(parts) and all(part.control == "images" for part in parts)
    for image in (str(one).strip() for one in images):
        if is_about_images and "*" not in image:
            values.append(image)
            continue
        last = image.rpartition("/")[2]
        untagged = image if "*" in image else image.removesuffix(last) + re.split("[:@]", last)[0]
        try:
            written, further = exempt_images(untagged)
        except ValueError as error:
            text = f"the exempt image {error} (ours judges its containers too)"
            notes.append(place.note(Difference.NOT_TRANSLATED, text, "spec", "parameters", "exemptImages"))
        else:
            patterns += written
            remarks += further + ([looser(f"all tags of {untagged} are exempt")] if untagged != image else [])
    if values:
        yield Waived((), {}, reason, tuple(values))
    if patterns:
        yield Waived((), {"images": patterns}, reason, (), tuple(dict.fromkeys(remarks)))

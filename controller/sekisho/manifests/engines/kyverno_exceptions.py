"""Kyverno's PolicyExceptions as waivers: `kyverno.io/v2` and `v2beta1`.

An exception is about rules. Its waivers are about the controls that these became, so the policies must be read too.

Source: https://kyverno.io/docs/exceptions/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sekisho.globs import glob_matches
from sekisho.manifests.engines.kyverno_match import filters_of, is_about_pods, waivable
from sekisho.manifests.engines.kyverno_pod_security import exemption
from sekisho.manifests.engines.parts import Unknown
from sekisho.manifests.engines.results import (
    Difference,
    Note,
    Origin,
    Place,
    Remark,
    Translation,
    Written,
    looser,
)
from sekisho.manifests.engines.waivers import BY_NAME, NEEDS_END, Waived, waiver

_KNOWN: Final = frozenset(("background", "exceptions", "match", "podSecurity"))
_OF_WORKLOADS: Final = looser("pods without a workload are exempt too")


def translate_exception(
    place: Place, exception: Mapping[str, Any], until: str | None, origins: Sequence[Origin]
) -> Translation:
    """The waivers of one PolicyException. `origins`: what became of the rules of all policies that were read."""
    spec, metadata = exception["spec"], exception["metadata"]
    unknown = sorted(set(spec) - _KNOWN)
    if unknown:
        reason = f"its field {unknown[0]} limits what it exempts, and waivers have nothing like it"
        return _not_translated(place, reason, "spec", unknown[0])
    if until is None:
        return _not_translated(place, NEEDS_END)
    name = str(metadata["name"])
    notes: list[Note] = []
    reason = f"exempt in Kyverno by the PolicyException {name}"
    objects: list[Written] = []
    exempt = list(_exempt(place, spec, reason, notes))
    for index, one in enumerate(spec.get("exceptions") or ()):
        targets = list(_targets(one, origins))
        if not targets:
            text = f"none of the rules of {one.get('policyName')} that it names was read and translated"
            notes.append(place.note(Difference.NOT_TRANSLATED, text, "spec", "exceptions", index))
        for title, controls, remarks in targets:
            for waived in exempt:
                exempted = tuple(control for control in controls if control in (waived.controls or controls))
                if exempted:
                    further = Waived(exempted, waived.match, reason, (), (*waived.remarks, *remarks))
                    number = f"-{len(objects) + 1}" if objects else ""
                    objects.append(waiver(f"{name}{number}", (title,), further, until))
                    notes += [place.note(remark.difference, remark.text) for remark in further.remarks]
    return Translation(1, tuple(objects), tuple(dict.fromkeys(notes)))


def _not_translated(place: Place, text: str, *path: str) -> Translation:
    return Translation(1, (), (place.note(Difference.NOT_TRANSLATED, text, *path),))


def _exempt(place: Place, spec: Mapping[str, Any], reason: str, notes: list[Note]) -> Iterator[Waived]:
    """What each filter of match exempts, from all controls or from those of podSecurity."""
    controls: list[Waived] = []
    for index, exclusion in enumerate(spec.get("podSecurity") or ()):
        waived = exemption(exclusion, ("spec", "podSecurity", index))
        if isinstance(waived, Unknown):
            notes.append(place.note(Difference.NOT_TRANSLATED, waived.reason, *waived.path))
        else:
            controls.append(waived)
    for one, path in filters_of(spec.get("match") or {}, "match"):
        match = waivable(one)
        if match is None:
            text = "what it matches cannot be said in a waiver"
            notes.append(place.note(Difference.NOT_TRANSLATED, text, "spec", *path))
            continue
        remarks = ((BY_NAME,) if "names" in match else ()) + (() if is_about_pods(one) else (_OF_WORKLOADS,))
        if "podSecurity" not in spec:
            yield Waived((), match, reason, (), remarks)
        for waived in controls:
            yield Waived(waived.controls, {**match, **waived.match}, reason, (), (*remarks, *waived.remarks))


def _targets(
    exception: Mapping[str, Any], origins: Sequence[Origin]
) -> Iterator[tuple[str, tuple[str, ...], tuple[Remark, ...]]]:
    """Each policy of ours that a named rule became, the rule's controls in it, and what other rules share."""
    name = str(exception.get("policyName"))
    rules = [str(name).removeprefix("autogen-cronjob-").removeprefix("autogen-") for name in exception["ruleNames"]]
    about = f"Policy {name}" if "/" in name else f"ClusterPolicy {name}"
    titles = dict.fromkeys(origin.title for origin in origins if origin.about.startswith(f"{about}, rule "))
    for title in titles:
        own: list[str] = []
        others: set[str] = set()
        for origin in origins:
            if origin.title == title:
                rule = origin.about.removeprefix(f"{about}, rule ")
                if any(glob_matches(pattern, rule) for pattern in rules):
                    own += origin.controls
                else:
                    others |= set(origin.controls)
        shared = sorted(set(own) & others)
        remarks = (looser(f"{', '.join(shared)} is of other rules too, and exempt from them"),) if shared else ()
        if own:
            yield title, tuple(dict.fromkeys(own)), remarks

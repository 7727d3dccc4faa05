"""Writing policies of ours from what the rules of another engine require."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from sekisho.controls import Level
from sekisho.documents import Path, write_document
from sekisho.errors import SekishoError
from sekisho.manifests.engines.fields import controls_of
from sekisho.manifests.engines.parts import Part, Unknown
from sekisho.manifests.engines.requirements import Requirement
from sekisho.manifests.engines.results import Difference, Note, Origin, Place, Translation, Written, own_object
from sekisho.manifests.engines.waivers import NEEDS_END, Waived, waiver
from sekisho.manifests.policy_loading import parse_policies
from sekisho.standards import controls_of as controls_of_level
from sekisho.standards import parse_version

_BEFORE_EXEMPTIONS: Final = "v1.24"
_PINNED: Final = frozenset(("allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile"))
"""Controls that exempt pods for Windows or with a user namespace from v1.25 on, as no other engine does."""
_PINNED_COMMENT: Final = (
    "Controls are those of v1.24, because later ones exempt pods for Windows and some with a user namespace."
)
_ADDITIVE: Final = ("denied", "forbidden", "required", "max", "min", "further")
"""Beginnings of parameters whose lists restrict more, the longer they are."""


class Pieces(Struct, frozen=True):
    """What one rule requires: a standard without the controls that are off, or controls. See PodSecurity, Part.

    requirements, parts: with paths from the start of the document.
    """

    standard: Mapping[str, Any] | None = None
    off: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    parts: tuple[Part, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it requires nothing."""
        return self.standard is None and not self.requirements and not self.parts


class Drafted(Struct, frozen=True):
    """A rule for one group of pods. `templates`: None for the default; `waived`: pods exempt from all controls."""

    match: Mapping[str, Any]
    enforcement: str
    templates: str | None
    pieces: Pieces
    waived: tuple[Waived, ...]
    place: Place


class _Group(Struct, frozen=True):
    """Rules about the same pods that do the same about violations."""

    drafts: tuple[Drafted, ...]

    @property
    def first(self) -> Drafted:
        return self.drafts[0]

    def place(self, path: Path) -> Place:
        """The rule that a path is in."""
        inside = [one.place for one in self.drafts if path[: len(one.place.path)] == one.place.path]
        return inside[0] if inside else self.first.place


class _Body(Struct, frozen=True):
    """The part of a policy's spec that says what it requires, with the remarks on it and what waivers exempt.

    rules: each rule in words, with a control that it became.
    """

    spec: Mapping[str, Any]
    controls: tuple[str, ...]
    notes: tuple[Note, ...] = ()
    waived: tuple[Waived, ...] = ()
    comment: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()


def write_policies(
    place: Place, name: str, namespace: str, drafts: Sequence[Drafted], until: str | None
) -> Translation:
    """The policies and waivers of the drafts of one original, and notes on what differs.

    name: of the original; further policies get numbers. namespace: of a PodPolicy; empty for ClusterPodPolicies.
    until: the end of waivers; None to write none.
    """
    objects: list[Written] = []
    origins: list[Origin] = []
    notes: list[Note] = list(dict.fromkeys(note for one in drafts for note in one.pieces.notes))
    count = 0
    for group in _groups(drafts):
        for body in _bodies(group, notes):
            count += 1
            title = name if count == 1 else f"{name}-{count}"
            written = _policy(title, namespace, group, body, place)
            problem = _problem(written)
            if problem is not None:
                notes.append(group.first.place.note(Difference.NOT_TRANSLATED, f"ours would be invalid: {problem}"))
                count -= 1
                continue
            objects.append(written)
            origins += _origins(f"{namespace}/{title}" if namespace else title, body)
            notes += body.notes
            objects += _waivers(title, namespace, group, body, until, notes)
    unique = {(note.about, note.remark): note for note in reversed(notes)}.values()
    return Translation(1, tuple(objects), tuple(unique)[::-1], tuple(origins))


def _origins(title: str, body: _Body) -> list[Origin]:
    rules: dict[str, list[str]] = {}
    for about, control in body.rules:
        rules.setdefault(about, []).append(control)
    return [Origin(about, title, tuple(dict.fromkeys(controls))) for about, controls in rules.items()]


def _groups(drafts: Iterable[Drafted]) -> list[_Group]:
    groups: dict[bytes, list[Drafted]] = {}
    for one in drafts:
        key = msgspec.json.encode((one.match, one.enforcement, one.templates, one.waived), order="deterministic")
        groups.setdefault(key, []).append(one)
    return [_Group(tuple(group)) for group in groups.values()]


def _bodies(group: _Group, notes: list[Note]) -> Iterator[_Body]:
    """What the group's policies require: one for each standard, and one or more for controls."""
    for one in group.drafts:
        if one.pieces.standard is not None:
            body = _standard_body(one.pieces)
            yield structs.replace(body, rules=tuple((one.place.about, control) for control in body.controls))
    requirements = [one for draft in group.drafts for one in draft.pieces.requirements]
    parts = [part for draft in group.drafts for part in draft.pieces.parts]
    for result in controls_of(requirements):
        if isinstance(result, Unknown):
            notes.append(_note(group, Difference.NOT_TRANSLATED, result.reason, result.path))
        else:
            parts.append(result)
    while parts:
        controls, taken, parts = _one_policy(parts)
        pinned = bool(_PINNED & controls.keys())
        standard = {"level": "privileged", "version": _BEFORE_EXEMPTIONS}
        spec = ({"podSecurityStandard": standard} if pinned else {}) | {"controls": controls}
        remarks = tuple(
            _note(group, remark.difference, f"{part.control}: {remark.text}", part.path)
            for part in taken
            for remark in part.remarks
        )
        comment = (_PINNED_COMMENT,) if pinned else ()
        rules = tuple((group.place(part.path).about, part.control) for part in taken)
        yield _Body(spec, tuple(controls), remarks, comment=comment, rules=rules)


def _note(group: _Group, difference: Difference, text: str, path: Path) -> Note:
    place = group.place(path)
    return place.note(difference, text, *path[len(place.path) :])


def _standard_body(pieces: Pieces) -> _Body:
    standard = dict(pieces.standard or {})
    spec: dict[str, Any] = {"podSecurityStandard": standard}
    if pieces.off:
        spec["controls"] = {control: {"enforcement": "Off"} for control in pieces.off}
    try:
        controls = controls_of_level(Level(standard["level"]), parse_version(standard["version"]))
    except ValueError:
        return _Body(spec, ())
    return _Body(spec, tuple(name for name in controls if name not in pieces.off), waived=pieces.waived)


def _one_policy(parts: Sequence[Part]) -> tuple[dict[str, dict[str, Any]], list[Part], list[Part]]:
    """The controls of one policy, the parts that they have, and those that would change them, for another policy."""
    controls: dict[str, dict[str, Any]] = {}
    taken, others = [], []
    for part in parts:
        own = controls.get(part.control, {})
        merged = _merged(own, part.parameters) if part.control in controls else dict(part.parameters)
        if merged is None:
            others.append(part)
        else:
            controls[part.control] = merged
            taken.append(part)
    return controls, taken, others


def _merged(own: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any] | None:
    """Parameters that restrict as both do; None if there are none."""
    if not own or not further:
        # Without parameters a control has its strictest defaults, which one with parameters replaces.
        return dict(own) if own == further else None
    merged = dict(own)
    for name, value in further.items():
        if name not in merged or merged[name] == value:
            merged[name] = value
        elif isinstance(value, list) and name.startswith(_ADDITIVE):
            if _keys(merged[name]) & _keys(value):
                return None
            merged[name] = [*merged[name], *(item for item in value if item not in merged[name])]
        else:
            return None
    return merged


def _keys(items: Sequence[Any]) -> set[str]:
    """What bounds are about, by which a list may have only one."""
    return {str(item["resource"]) for item in items if isinstance(item, dict) and "resource" in item}


def _policy(name: str, namespace: str, group: _Group, body: _Body, place: Place) -> Written:
    first = group.first
    spec: dict[str, Any] = {"enforcement": first.enforcement}
    if first.templates is not None:
        spec["templates"] = first.templates
    if first.match:
        spec["match"] = dict(first.match)
    remarks = [
        f"{note.remark.difference.capitalize()}: {note.remark.text}."
        for note in (*body.notes, *(note for one in group.drafts for note in one.pieces.notes))
    ]
    comment = (f"From {place.about}.", *body.comment, *dict.fromkeys(remarks))
    kind = "PodPolicy" if namespace else "ClusterPodPolicy"
    return Written(comment, own_object(kind, name, spec | dict(body.spec), namespace))


def _waivers(
    title: str, namespace: str, group: _Group, body: _Body, until: str | None, notes: list[Note]
) -> Iterator[Written]:
    """Waivers for what the group's rules and the body exempt; without an end, notes."""
    place = group.first.place
    exempt = [*body.waived, *(structs.replace(one, controls=body.controls) for one in group.first.waived)]
    for number, one in enumerate(exempt, 1):
        name = f"{title}-exclusion" + (f"-{number}" if len(exempt) > 1 else "")
        if until is None:
            notes.append(place.note(Difference.NOT_TRANSLATED, f"{one.reason}: {NEEDS_END}"))
            continue
        written = waiver(name, (title,), one, until, namespace)
        problem = _problem(written)
        if problem is None:
            notes += [place.note(remark.difference, f"{name}: {remark.text}") for remark in one.remarks]
            yield written
        else:
            notes.append(place.note(Difference.NOT_TRANSLATED, f"{one.reason}: {problem}"))


def _problem(written: Written) -> str | None:
    """Why an object of ours could not be used."""
    try:
        parse_policies(write_document(written.value), "written")
    except SekishoError as error:
        return str(error).split("\n")[0]
    return None

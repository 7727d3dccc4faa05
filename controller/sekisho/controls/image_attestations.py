"""Rules on attestations of images, which the control `images` has: what must be attached to an image, and by whom."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from sekisho.controls.attestation_judges import (
    JudgeAttestations,
    judge_build,
    judge_other,
    judge_sbom,
    judge_scans,
    required_build,
    shown_values,
)
from sekisho.controls.control import ParameterError, cel
from sekisho.controls.image_rules import (
    Fault,
    ImageRule,
    patterns_of,
    repair_of_key,
    unread_authorities,
    unusable_authority,
)
from sekisho.controls.image_signatures import (
    MAX_AUTHORITIES,
    AuthorityName,
    Registry,
    have_distinct,
    shared_signers,
)
from sekisho.controls.image_vulnerabilities import Vulnerabilities, compiled
from sekisho.findings import words
from sekisho.images.attested import MAX_URI_LENGTH, PROVENANCE_PREDICATES, SBOM_PREDICATES, SbomFormat
from sekisho.images.evidence import Attestation, ImageFacts
from sekisho.images.predicate_values import MAX_PATH_LENGTH, MAX_VALUE_LENGTH, PATH_PATTERN, as_json, needed_path
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.statements import SIGN_PREDICATE
from sekisho.images.trust import Signer, Trust, signer_of
from sekisho.images.vex import VEX_PREDICATES, VEX_UNREAD
from sekisho.timestamps import rfc3339

ANY_OR_ALL = "set either anyOf or allOf"
ONE_KIND = "set one of vulnerabilities, sbom, provenance and predicateType"
EQUALS_ALONE = "equals is only possible with predicateType"
EQUALS_ALONE_RULE: Final = "!has(self.equals) || has(self.predicateType)"
MAX_EQUALS: Final = 8
_KINDS: Final = ("vulnerabilities", "sbom", "provenance", "predicateType")
ONE_KIND_RULE: Final = f"[{', '.join(f'has(self.{kind})' for kind in _KINDS)}].filter(x, x).size() == 1"
_FIELDS: Final = {
    SIGN_PREDICATE: "signatures",
    SCAN_PREDICATE: "vulnerabilities",
    **dict.fromkeys(PROVENANCE_PREDICATES, "provenance"),
    **{predicate: "sbom" for types in SBOM_PREDICATES.values() for predicate in types},
    **dict.fromkeys(VEX_PREDICATES, "vulnerabilities.vex"),
}
"""The types of statements that policies require otherwise."""
KNOWN_PREDICATES: Final = frozenset(_FIELDS)
"""The types of statements that Sekisho itself knows."""


class Attesters(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The ImageAuthorities whose attestations count."""

    any_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageAuthorities of which any may have attested; the newest attestation of them decides.",
                min_length=1,
                max_length=MAX_AUTHORITIES,
            ),
        ]
        | None
    ) = None
    all_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageAuthorities that must all have attested, each with a key or an identity of its own; "
                "the newest attestation of each decides.",
                min_length=1,
                max_length=MAX_AUTHORITIES,
            ),
        ]
        | None
    ) = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the authorities."""
        return self.any_of or self.all_of or ()


class Sbom(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An SBOM that lists something."""

    formats: Annotated[
        tuple[SbomFormat, ...],
        Meta(description="The formats, any of which is enough: cyclonedx, spdx.", min_length=1, max_length=2),
    ]


Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_URI_LENGTH)]


class Provenance(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A provenance as SLSA v0.2 or v1 defines it."""

    builders: Annotated[
        tuple[Pattern, ...],
        Meta(
            description="Ids of builders, any of which is enough. A pattern must match the whole id; * matches any "
            "characters but /.",
            min_length=1,
            max_length=64,
        ),
    ]
    sources: (
        Annotated[
            tuple[Pattern, ...],
            Meta(
                description="What the image must be built from, such as git+https://github.com/acme/*; any source if "
                "unset. Compared like builders; a pattern without @ and # matches every revision.",
                min_length=1,
                max_length=64,
            ),
        ]
        | None
    ) = None


class Equal(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A value that the statement must have."""

    path: Annotated[
        str,
        Meta(
            description="The path in the statement's predicate, such as .result.passed, .tests[0].name or "
            "['acme.example/owner'].",
            pattern=f"^{PATH_PATTERN}$",
            max_length=MAX_PATH_LENGTH,
        ),
    ]
    value: Annotated[
        bool | Annotated[int, Meta(ge=-(2**53), le=2**53)] | Annotated[str, Meta(max_length=MAX_VALUE_LENGTH - 2)],
        Meta(
            description="The text, integer or boolean that must be there; of the same type, so that 1 is not the text "
            '"1".'
        ),
    ]


class AttestationRule(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Images, and what must be attached to them."""

    images: Annotated[
        tuple[Registry, ...],
        Meta(
            description="Registries and repositories that the rule applies to, as in signatures.",
            min_length=1,
            max_length=64,
        ),
    ]
    by: Annotated[
        Attesters,
        Meta(
            description="Whose attestations count.",
            extra_json_schema=cel("has(self.anyOf) != has(self.allOf)", ANY_OR_ALL),
        ),
    ]
    vulnerabilities: Annotated[Vulnerabilities, Meta(description="What a scan of the image must show.")] | None = None
    sbom: Annotated[Sbom, Meta(description="The SBOM that must be attached.")] | None = None
    provenance: Annotated[Provenance, Meta(description="Who must have built the image, and from what.")] | None = None
    predicate_type: (
        Annotated[
            str,
            Meta(
                description="The exact type of another statement that must be attached, such as "
                "https://acme.example/qa/v1. What it says is judged by equals alone.",
                pattern="^[^\\s]+$",
                max_length=MAX_URI_LENGTH,
            ),
        ]
        | None
    ) = None
    equals: (
        Annotated[
            tuple[Equal, ...],
            Meta(
                description="What the predicate of one such statement must have at paths, all of it; only with "
                "predicateType.",
                min_length=1,
                max_length=MAX_EQUALS,
            ),
        ]
        | None
    ) = None


def attestation_rules(written: Sequence[AttestationRule], resolves: bool = False) -> list[ImageRule]:
    """The rules of a policy, ready to judge. Raises ParameterError.

    resolves: whether the tags of images that they apply to are resolved.
    """
    return [_compiled(f"attestations[{index}]", rule, resolves) for index, rule in enumerate(written)]


class _Kind(Struct, frozen=True, eq=False):
    """What a rule requires besides its authorities.

    requires: with {names} for the authorities.
    judges: all of which must pass; each judges attestations that one signer may have made.
    paths: what is read in statements (`needed_path`).
    vex: the authorities whose VEX documents count.
    """

    attached: str
    requires: str
    predicates: tuple[str, ...]
    judges: tuple[JudgeAttestations, ...]
    paths: tuple[str, ...] = ()
    vex: tuple[str, ...] = ()


def _compiled(field: str, rule: AttestationRule, resolves: bool) -> ImageRule:
    by, kind = _verified(f"{field}.by", rule.by), _kind(field, rule)
    are_all_needed = by.all_of is not None
    groups = tuple((name,) for name in by.names) if are_all_needed else (by.names,)
    return ImageRule(
        field=field,
        patterns=patterns_of(f"{field}.images", rule.images),
        requires=kind.requires.replace("{names}", words(by.names, "and" if are_all_needed else "or")),
        names=by.names,
        required=len(by.names) if are_all_needed else 1,
        kind="attestations",
        attached=kind.attached,
        judge=partial(_judge, groups, kind),
        predicates=(*kind.predicates, *kind.paths, *(VEX_PREDICATES if kind.vex else ())),
        resolves=resolves,
        others=kind.vex,
        newest_decides=rule.vulnerabilities is not None,
    )


def _kind(field: str, rule: AttestationRule) -> _Kind:
    kinds: list[_Kind] = []
    if rule.vulnerabilities is not None:
        requirement = compiled(f"{field}.vulnerabilities", rule.vulnerabilities)
        text = f"an image scanned by {{names}} {requirement.text}"
        scans = tuple(partial(judge_scans, replace(requirement, scanners=(one,))) for one in requirement.scanners)
        kinds.append(_Kind("scanned", text, (SCAN_PREDICATE,), scans, vex=requirement.vex))
    if rule.sbom is not None:
        types = tuple(predicate for form in rule.sbom.formats for predicate in SBOM_PREDICATES[form])
        text = f"an image with an SBOM in {words(rule.sbom.formats)} by {{names}}"
        kinds.append(_Kind("attested", text, types, (partial(judge_sbom, rule.sbom.formats),)))
    if rule.provenance is not None:
        builders, sources = rule.provenance.builders, rule.provenance.sources or ()
        text = f"an image with a provenance by {{names}}, {required_build(builders, sources)}"
        kinds.append(_Kind("attested", text, PROVENANCE_PREDICATES, (partial(judge_build, builders, sources),)))
    if rule.predicate_type is not None:
        instead = _FIELDS.get(rule.predicate_type)
        if instead is not None:
            raise ParameterError(f"{field}.predicateType", f"has a field of its own: set {instead} instead")
        kinds.append(_other_kind(field, rule.predicate_type, rule.equals or ()))
    elif rule.equals is not None:
        raise ParameterError(field, EQUALS_ALONE)
    if len(kinds) != 1:
        raise ParameterError(field, ONE_KIND)
    return kinds[0]


def _other_kind(field: str, predicate_type: str, written: Sequence[Equal]) -> _Kind:
    equals: dict[str, str] = {}
    for index, equal in enumerate(written):
        if equal.path in equals:
            raise ParameterError(f"{field}.equals[{index}].path", f"{equal.path} is a duplicate")
        equals[equal.path] = as_json(equal.value)
    text = f"an image with an attestation {predicate_type} by {{names}}"
    if equals:
        text += f" in which {shown_values(equals)}"
    paths = tuple(needed_path(predicate_type, path) for path in equals)
    return _Kind("attested", text, (predicate_type,), (partial(judge_other, predicate_type, equals),), paths)


def _verified(where: str, by: Attesters) -> Attesters:
    if (by.any_of is None) is (by.all_of is None):
        raise ParameterError(where, ANY_OR_ALL)
    if len(set(by.names)) != len(by.names):
        raise ParameterError(where, "has a duplicate authority")
    return by


def _judge(
    groups: Sequence[tuple[str, ...]],
    kind: _Kind,
    facts: ImageFacts,
    trust: Trust,
    unusable: Mapping[str, str],
) -> Fault | None:
    """Why an image has no attestation as a rule requires; None if it has.

    groups: authorities, of each of which an attestation must pass.
    """
    no_vex = _no_vex(kind.vex, facts, trust) if kind.vex else ""
    vex = list(_by(facts, VEX_PREDICATES, kind.vex, trust)) if kind.vex and not no_vex else []
    for names, judge in product(groups, kind.judges):
        usable = [name for name in names if name not in unusable]
        problem = judge([*_by(facts, kind.predicates, usable, trust), *vex], names, trust.now)
        if problem is not None:
            text, repair = problem.text, ""
            if problem.is_missing:
                text = "; ".join((text, *_reasons(facts)))
                repair = repair_of_key(usable, trust) if facts.problems else ""
            if kind.vex and not problem.is_missing:
                text = "; ".join((text, no_vex or _problem_of_vex(facts, vex))).removesuffix("; ")
            is_keyless = bool(usable) and all(trust.authorities[name].keyless is not None for name in usable)
            fix = repair + problem.fix.replace("{key}", "" if is_keyless else "--key KEY ")
            return Fault(text, fix, is_missing=problem.is_missing, allowed=problem.allowed)
    authorities = [name for group in groups for name in group]
    if len(groups) == 1 or all(_is_by_distinct(authorities, kind, judge, facts, vex, trust) for judge in kind.judges):
        return None
    return shared_signers(kind.attached, "attest IMAGE", authorities)


def _is_by_distinct(
    names: Sequence[str],
    kind: _Kind,
    judge: JudgeAttestations,
    facts: ImageFacts,
    vex: Sequence[Attestation],
    trust: Trust,
) -> bool:
    """Whether of each authority the attestations of one signer pass, which counts for no other authority."""
    made: dict[str, dict[Signer, list[Attestation]]] = {name: {} for name in names}
    for attestation in facts.attestations:
        for by in attestation.signatures if attestation.predicate_type in kind.predicates else ():
            if by.authority in made and trust.accepts(by):
                made[by.authority].setdefault(signer_of(by), []).append(attestation)
    signers = {
        name: [signer for signer, own in by_signer.items() if judge([*own, *vex], (name,), trust.now) is None]
        for name, by_signer in made.items()
    }
    return have_distinct(signers, len(names))


def _by(facts: ImageFacts, predicates: Sequence[str], names: Sequence[str], trust: Trust) -> Iterator[Attestation]:
    """The attestations of some types by authorities."""
    for attestation in facts.attestations:
        if attestation.predicate_type in predicates and any(
            signature.authority in names and trust.accepts(signature) for signature in attestation.signatures
        ):
            yield attestation


def _no_vex(names: Sequence[str], facts: ImageFacts, trust: Trust) -> str:
    """Why no VEX document counts: the newest may be by an authority that is not read. Empty if all of them are."""
    why = unusable_authority(names, trust)
    if not why and (changed := unread_authorities(names, facts, trust)):
        why = f"ImageAuthority {words(changed, 'and')} changed"
    return f"no VEX document excludes anything: {why}" if why else ""


def _problem_of_vex(facts: ImageFacts, documents: Sequence[Attestation]) -> str:
    """Why VEX documents exclude nothing; of several reasons the first; empty where there is none."""
    if VEX_UNREAD in facts.problems:
        return VEX_UNREAD
    for document in documents:
        vex = document.vex
        if vex is not None and vex.problem:
            return f"the VEX document of {rfc3339(vex.issued)} and older ones exclude nothing: {vex.problem}"
    return ""


def _reasons(facts: ImageFacts) -> Iterator[str]:
    if facts.problems:
        yield f"one does not count: {facts.problems[0]}"
    if facts.omitted:
        yield f"{facts.omitted} more were not read"

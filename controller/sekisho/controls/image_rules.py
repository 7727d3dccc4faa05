"""Rules about images that are judged from facts which are handed in. Without facts an image is denied: it may be
anything.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.controls.control import EvidenceCheck, ImageFinding, ParameterError
from sekisho.findings import FieldPath, Finding, count_as_findings, render_value, words
from sekisho.images import ImageError, Reference, RegistryPattern, parse, parse_pattern, without_credentials
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, Unknown, evidence_key, tag_key
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import ContainerRef, Pod, Volume

if TYPE_CHECKING:  # it imports this module
    from sekisho.controls.image_catalogs import Catalogs

MIN_RECHECK_AGE: Final = timedelta(seconds=15)
"""Facts of this age that do not meet a rule are looked up again: what is missing may have been attached meanwhile."""
_PATTERNS_OF_A_FINDING: Final = 5
"""Comparing an image with this many patterns takes as long as making a finding."""
_REPAIR: Final = "an administrator must repair it"


class Fault(Struct, frozen=True, gc=False):
    """Why an image does not meet a rule.

    problem: a clause that continues `the image`.
    fix: an imperative clause.
    lookup: the image, if a look-up may show that nothing is wrong with it; else None.
    is_pending: whether that look-up goes on.
    is_missing: whether there is no statement that the rule could judge, so that those about the platforms of an index
        count.
    needs_trust: whether this installation does not verify images, and nothing else is known to be wrong.
    allowed: what of that which the rule requires is not met, in words; empty for all of it.
    """

    problem: str
    fix: str
    lookup: Lookup | None = None
    is_pending: bool = False
    is_missing: bool = False
    needs_trust: bool = False
    allowed: str = ""


JudgeFacts = Callable[[ImageFacts, Trust, Mapping[str, str]], Fault | None]
"""Judges the facts about an image. The mapping has the problem of each authority that is unusable."""


class ImageRule(Struct, frozen=True, eq=False):
    """A rule of a policy, ready to judge.

    field: in the control's parameters, such as `signatures[0]`.
    requires: which images pass, in words that begin with `an image`.
    names: of the authorities, of which `required` must be usable.
    kind: what it is about: `signatures` or `attestations`.
    attached: what an image that passes is: `signed`, `scanned` or `attested`.
    predicates: the types of statements that it reads; empty for signatures.
    resolves: whether tags are resolved, so that one without digest is a matter of time.
    others: authorities whose statements are read too, and that need not be usable.
    newest_decides: whether an older statement counts only as long as there is no newer one. Then all of `names` must be
        usable for an image to pass: the newest one may be by an authority that is not.
    """

    field: str
    patterns: tuple[RegistryPattern, ...]
    requires: str
    names: tuple[str, ...]
    required: int
    kind: str
    attached: str
    judge: JudgeFacts
    predicates: tuple[str, ...] = ()
    resolves: bool = False
    others: tuple[str, ...] = ()
    newest_decides: bool = False

    @property
    def registries(self) -> tuple[str, ...]:
        """The registries that the rule names."""
        return tuple(pattern.segments[0] for pattern in self.patterns)

    def applies(self, reference: Reference) -> bool:
        """Whether the rule applies to an image. Counts its work as findings."""
        count_as_findings(len(self.patterns) // _PATTERNS_OF_A_FINDING)
        return any(pattern.covers_any_name_of(reference) for pattern in self.patterns)


class RuleResult(Struct, frozen=True, gc=False):
    """What a rule that applies to an image requires of it.

    field: of the rule in the control's parameters.
    problem: why the image does not meet it, as a clause that continues `the image`; empty if it does.
    fix: an imperative clause; empty if it does.
    """

    field: str
    requires: str
    problem: str = ""
    fix: str = ""


JudgeImage = Callable[[Reference, Trust | None, "Catalogs"], Iterator[tuple[str, Fault]]]
"""Why an image does not meet rules: for each of them which images pass, in words, and the fault."""


def faults_of(rules: Sequence[ImageRule], reference: Reference, trust: Trust | None) -> Iterator[tuple[str, Fault]]:
    """What each rule that applies to an image requires, and why the image does not meet it."""
    for rule in rules:
        if rule.applies(reference) and (fault := fault_of(rule, reference, trust)) is not None:
            yield rule.requires, fault


def check_of(judge_image: JudgeImage) -> EvidenceCheck:
    """The check that judges all images of a pod by `judge_image`, except those that are denied already."""

    def judge(
        pod: Pod,
        containers: Sequence[ContainerRef],
        denied: Collection[FieldPath],
        trust: Trust | None,
        catalogs: "Catalogs",
    ) -> list[ImageFinding]:
        return [
            _finding(path, image, about, requires, fault)
            for path, image, about in _images(pod, containers)
            if path not in denied and (reference := _reference(image)) is not None
            for requires, fault in judge_image(reference, trust, catalogs)
        ]

    return judge


def rule_results(rules: Sequence[ImageRule], reference: Reference, trust: Trust) -> Iterator[RuleResult]:
    """The result of each rule that applies to an image."""
    for rule in rules:
        if rule.applies(reference):
            fault = fault_of(rule, reference, trust)
            problem, fix = ("", "") if fault is None else (fault.problem, fault.fix)
            yield RuleResult(rule.field, rule.requires, problem, fix)


def patterns_of(where: str, written: Sequence[str]) -> tuple[RegistryPattern, ...]:
    """The images that a rule applies to. Raises ParameterError for a path below `where`."""
    return tuple(_patterns(where, written))


def _images(pod: Pod, containers: Sequence[ContainerRef]) -> Iterator[tuple[FieldPath, str, ContainerRef | Volume]]:
    for ref in containers:
        yield (*ref.path, "image"), ref.container.image or "", ref
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None:
            yield ("spec", "volumes", index, "image", "reference"), volume.image.reference or "", volume


def _reference(image: str) -> Reference | None:
    """The reference of an image; None for an invalid one, which the control denies."""
    try:
        return parse(image)
    except ImageError:
        return None


def _finding(path: FieldPath, image: str, about: ContainerRef | Volume, requires: str, fault: Fault) -> ImageFinding:
    shown = render_value(without_credentials(image))
    allowed = fault.allowed or requires.removeprefix("an image ")
    finding = Finding.of("images", path, image, allowed=allowed, fix=fault.fix, about=about, shown=shown)
    finding = replace(finding, origin=_clause(fault.problem))
    return ImageFinding(finding, fault.lookup, fault.is_pending, fault.needs_trust)


def _clause(problem: str) -> str:
    """A problem behind the image: `not signed` for `is not signed`, `which has a tag` for `has a tag`."""
    return problem.removeprefix("is ") if problem.startswith("is ") else f"which {problem}"


def fault_of(rule: ImageRule, reference: Reference, trust: Trust | None) -> Fault | None:
    """Why an image does not meet a rule; None if it does."""
    if trust is None:
        return Fault(
            "is not verified: this installation does not verify images",
            "an administrator must set imageVerification.enabled in the chart",
            needs_trust=True,
        )
    key = evidence_key(reference)
    if key is None:
        return _tag_fault(rule, reference, trust)
    facts = trust.evidence.get(key)
    unusable = dict(_unusable(rule.names, trust))
    absent = unusable | dict(_unusable(rule.others, trust))
    fault = _fault_by_facts(rule, reference, facts, trust, absent) if isinstance(facts, ImageFacts) else None
    if fault is None and isinstance(facts, ImageFacts):
        return _not_newest(rule, reference, facts, trust)
    if len(rule.names) - len(unusable) < rule.required:
        name, problem = next(iter(unusable.items()))
        return Fault(f'is not verified: ImageAuthority "{name}" is unusable, {problem}', _REPAIR)
    if not may_connect(reference, trust):
        return _registry_not_named(rule, reference)
    unread = [] if trust.predicates is None else [one for one in rule.predicates if one not in trust.predicates]
    if unread:
        return _type_not_required(unread)
    lookup = Lookup(reference, (*rule.names, *rule.others))
    if facts is None:
        return Fault(f"is not verified: nobody has looked for its {rule.kind}", "try again", lookup)
    if isinstance(facts, Unknown):
        return Fault(facts.reason, facts.fix, lookup, facts.is_pending)
    outdated = _unread(rule, facts, trust, absent, lookup)
    if outdated is not None or fault is None or fault.lookup is not None:
        return outdated or fault
    return _rechecked(fault, facts, trust, lookup)


def _fault_by_facts(
    rule: ImageRule, reference: Reference, facts: ImageFacts, trust: Trust, unusable: Mapping[str, str]
) -> Fault | None:
    """Why the facts about an image do not meet a rule; None if they do."""
    fault = rule.judge(facts, trust, unusable)
    if fault is not None and fault.is_missing and facts.platforms:
        return _platforms_fault(rule, reference, facts.platforms, trust, unusable)
    return fault


def unusable_authority(names: Iterable[str], trust: Trust) -> str:
    """Which authority cannot be used with all of its keys, and why, as a clause; empty if all can."""
    for name in names:
        for _, problem in _unusable([name], trust):
            return f'ImageAuthority "{name}" is unusable, {problem}'
        for problem in trust.authorities[name].key_problems:
            return f'a key of ImageAuthority "{name}" is unusable, {problem}'
    return ""


def unread_authorities(names: Iterable[str], facts: ImageFacts, trust: Trust) -> list[str]:
    """Authorities of the cluster whose newest statement may not be among the facts.

    Nothing by them was looked for, or they have changed, and something that they have signed does not count any more.
    """
    changed = _changed(names, facts, trust)
    return [name for name in changed if not facts.checked.get(name) or _has_lost(trust.authorities[name], facts, trust)]


def _is_read(name: str, facts: ImageFacts, trust: Trust) -> bool:
    """Whether an authority is usable with all of its keys, and was verified with as it is now."""
    authority = trust.authorities.get(name)
    return (
        authority is not None
        and not authority.key_problems
        and facts.checked.get(name) == authority.fingerprint
        and not authority.problem_at(trust.now)
    )


def _changed(names: Iterable[str], facts: ImageFacts, trust: Trust) -> list[str]:
    return [name for name in names if facts.checked.get(name) != trust.authorities[name].fingerprint]


def _has_lost(authority: Authority, facts: ImageFacts, trust: Trust) -> bool:
    signatures = (by for one in facts.attestations for by in one.signatures if by.authority == authority.name)
    return any(not trust.accepts(by) for by in signatures)


def _not_newest(rule: ImageRule, reference: Reference, facts: ImageFacts, trust: Trust) -> Fault | None:
    """Why what passes may not be the newest statement of the rule's authorities; None if it is, or need not be."""
    if not rule.newest_decides or all(_is_read(name, facts, trust) for name in rule.names):  # nearly always
        return None
    unusable = unusable_authority(rule.names, trust)
    if unusable:
        return Fault(f"is not verified: {unusable}", _REPAIR)
    changed = unread_authorities(rule.names, facts, trust)
    if changed and not may_connect(reference, trust):
        return _registry_not_named(rule, reference)
    return _outdated(changed, facts, Lookup(reference, (*rule.names, *rule.others))) if changed else None


def lacks_signature(rules: Iterable[ImageRule] | None, reference: Reference, facts: ImageFacts, trust: Trust) -> bool:
    """Whether the facts about an image do not meet a rule on signatures that applies to it.

    rules: None if there are too many to go through: then some rule may not be met.
    """
    return rules is None or any(
        rule.judge(facts, trust, dict(_unusable(rule.names, trust))) is not None
        for rule in rules
        if rule.applies(reference)
    )


def fails_statement(rules: Iterable[ImageRule], reference: Reference, facts: ImageFacts, trust: Trust) -> bool:
    """Whether the facts about an image do not meet a rule on attestations that applies to it."""
    return any(
        rule.judge(facts, trust, dict(_unusable((*rule.names, *rule.others), trust))) is not None
        for rule in rules
        if rule.applies(reference)
    )


def lacks_statement(rules: Iterable[ImageRule], reference: Reference, facts: ImageFacts, trust: Trust) -> bool:
    """Whether there is no statement about an image that some rule which applies to it could judge."""
    for rule in rules:
        if rule.predicates and rule.applies(reference):
            fault = rule.judge(facts, trust, dict(_unusable((*rule.names, *rule.others), trust)))
            if fault is not None and fault.is_missing:
                return True
    return False


def _platforms_fault(
    rule: ImageRule, reference: Reference, platforms: Mapping[str, str], trust: Trust, unusable: Mapping[str, str]
) -> Fault | None:
    """Why a platform of an index does not meet a rule; None if all do."""
    for digest, name in platforms.items():
        platform_image = replace(reference, digest=digest)
        lookup = Lookup(platform_image, (*rule.names, *rule.others))
        facts = trust.evidence.get(evidence_key(platform_image) or "")
        if facts is None:
            return Fault(f"has a platform, {name}, that is not verified yet", "try again", lookup)
        if isinstance(facts, Unknown):
            return Fault(f"has a platform, {name}, which {facts.reason}", facts.fix, lookup, facts.is_pending)
        fault = rule.judge(facts, trust, unusable)
        if fault is None:
            fault = _not_newest(rule, platform_image, facts, trust)
        if fault is not None:
            problem = f"has a platform, {name} ({digest}), which {fault.problem}"
            return _rechecked(replace(fault, problem=problem), facts, trust, lookup)
    return None


def _unread(
    rule: ImageRule, facts: ImageFacts, trust: Trust, unusable: Mapping[str, str], lookup: Lookup
) -> Fault | None:
    """Says that facts were found for other authorities or rules than there are now."""
    usable = [name for name in (*rule.names, *rule.others) if name not in unusable]
    changed = _changed(usable, facts, trust)
    if changed:
        return _outdated(changed, facts, lookup)
    if any(predicate not in facts.predicates for predicate in rule.predicates):
        problem = f"is still being verified: its {rule.kind} have not been read yet"
        return Fault(problem, "try again in a few seconds", lookup, True)
    return None


def _outdated(changed: Sequence[str], facts: ImageFacts, lookup: Lookup) -> Fault:
    is_new = all(facts.checked.get(name) == "" for name in changed)  # no rule for the image named it before
    names = words(changed, "and")
    why = f"a rule names ImageAuthority {names} now" if is_new else f"ImageAuthority {names} changed"
    return Fault(f"is still being verified, because {why}", "try again in a few seconds", lookup, True)


def _rechecked(fault: Fault | None, facts: ImageFacts, trust: Trust, lookup: Lookup) -> Fault | None:
    is_old = facts.looked_up is None or trust.now - facts.looked_up >= MIN_RECHECK_AGE
    return replace(fault, lookup=lookup) if fault is not None and is_old else fault


def _tag_fault(rule: ImageRule, reference: Reference, trust: Trust) -> Fault:
    fix = f"append @sha256: and the digest of the {rule.attached} image"
    if not rule.resolves:
        return Fault("has a mutable tag", fix)
    if not may_connect(reference, trust):
        return _registry_not_named(rule, reference)
    return tag_lookup_fault(reference, (*rule.names, *rule.others), fix, trust)


def tag_lookup_fault(reference: Reference, names: tuple[str, ...], fix: str, trust: Trust) -> Fault:
    """Says that the tag of an image is not resolved, which a look-up may change.

    names: of the authorities by which the image will be judged.
    fix: what to do if the look-up does not change it, as an imperative clause.
    """
    lookup = Lookup(reference, names)
    unresolved = trust.evidence.get(tag_key(reference))
    if isinstance(unresolved, Unknown):
        return Fault(unresolved.reason, unresolved.fix, lookup, unresolved.is_pending)
    return Fault("has a tag that was not resolved", f"try again, or {fix}", lookup)


def may_connect(reference: Reference, trust: Trust) -> bool:
    """Whether the webhook may connect to the image's registry: any if `trust.registries` is None, else those in it.

    They are the registries that ClusterPodPolicies name.
    """
    return trust.registries is None or reference.registry in trust.registries


def _registry_not_named(rule: ImageRule, reference: Reference) -> Fault:
    """An image of a registry that only a tenant names: the webhook may reach hosts that the tenant may not."""
    return Fault(
        f"is not verified: no ClusterPodPolicy names registry {reference.registry} in a rule on {rule.kind}",
        "an administrator must name the registry there; with enforcement Audit, nothing else changes",
    )


def _type_not_required(predicates: Sequence[str]) -> Fault:
    """Attestations of a type that only a tenant requires: all images would be looked up for them."""
    return Fault(
        f"is not verified: no ClusterPodPolicy requires attestations {words(predicates)}",
        "an administrator must require the type there; with enforcement Audit, nothing else changes",
    )


def repair_of_key(names: Iterable[str], trust: Trust) -> str:
    """The beginning of a fix for something that an unknown key has signed, which may be a key that cannot be used.

    names: of the authorities by which it does not count. Empty where all of their keys can be used.
    """
    for name in names:
        if name in trust.authorities and trust.authorities[name].key_problems:
            problem = trust.authorities[name].key_problems[0]
            return f"if a key of ImageAuthority {name} has signed it, repair that key: {problem}, or "
    return ""


def _unusable(names: Sequence[str], trust: Trust) -> Iterator[tuple[str, str]]:
    for name in names:
        authority = trust.authorities.get(name)
        problem = "it does not exist" if authority is None else authority.problem_at(trust.now)
        if problem:
            yield name, problem


def _patterns(where: str, written: Sequence[str]) -> Iterator[RegistryPattern]:
    for index, text in enumerate(written):
        try:
            pattern = parse_pattern(text)
        except ValueError as error:
            raise ParameterError(f"{where}[{index}]", f"{text!r} {error}") from None
        if "*" in pattern.segments[0]:
            raise ParameterError(
                f"{where}[{index}]",
                f"{text!r} begins with *; name the registry, because the webhook connects to it",
            )
        yield pattern

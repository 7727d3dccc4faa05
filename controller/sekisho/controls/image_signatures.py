"""Rules on the signatures of images, which the control `images` has: their types, and what is judged.

The rules are judged from facts that are handed in. Without facts an image is denied: it may be anything.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from sekisho.controls.control import EvidenceCheck, ParameterError, Unsigned, cel
from sekisho.findings import FieldPath, Finding, render_value, words
from sekisho.images import ImageError, Reference, RegistryPattern, parse, parse_pattern, without_credentials
from sekisho.images.evidence import ImageFacts, Unknown, evidence_key, tag_key
from sekisho.images.registries import MAX_PATTERN_LENGTH
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import ContainerRef, Pod, Volume
from sekisho.timestamps import rfc3339

MAX_RULES: Final = 32
MAX_AUTHORITIES: Final = 16
ONE_OF_ANY_AND_ALL: Final = "set either anyOf, with or without count, or allOf"
COUNT_OF_ANY: Final = "count must not be larger than the number of authorities in anyOf"

Registry = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_LENGTH)]
AuthorityName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class Signers(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The ImageAuthorities whose signatures are required."""

    any_of: (
        Annotated[
            tuple[AuthorityName, ...],
            Meta(
                description="ImageAuthorities of which one must have signed, or as many as count says.",
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
                description="ImageAuthorities of which each must have signed.",
                min_length=1,
                max_length=MAX_AUTHORITIES,
            ),
        ]
        | None
    ) = None
    count: (
        Annotated[int, Meta(description="How many of anyOf must have signed; 1 if unset.", ge=1, le=MAX_AUTHORITIES)]
        | None
    ) = None

    @property
    def names(self) -> tuple[str, ...]:
        """The authorities."""
        return self.any_of or self.all_of or ()

    @property
    def required(self) -> int:
        """How many of them must have signed."""
        return len(self.all_of) if self.all_of else self.count or 1


class SignatureRule(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Images, and who must have signed them."""

    images: Annotated[
        tuple[Registry, ...],
        Meta(
            description="Registries and repositories that the rule applies to, such as ghcr.io/acme/*. The registry "
            "itself must be written without *, because the webhook connects to it. A rule for a registry without a "
            "port applies on every port.",
            min_length=1,
            max_length=64,
        ),
    ]
    by: Annotated[
        Signers,
        Meta(
            description="Who must have signed.",
            extra_json_schema=cel("has(self.anyOf) != has(self.allOf)", ONE_OF_ANY_AND_ALL),
        ),
    ]


class _Rule(Struct, frozen=True, eq=False):
    """resolves: whether tags are resolved, so that one without digest is a matter of time."""

    patterns: tuple[RegistryPattern, ...]
    by: Signers
    resolves: bool


class _Fault(Struct, frozen=True, gc=False):
    """problem: a clause that continues `the image`. fix: an imperative clause."""

    problem: str
    fix: str
    lookup: Lookup | None = None
    is_pending: bool = False


def compile_rules(written: Sequence[SignatureRule], resolves: bool = False) -> EvidenceCheck:
    """The check of the rules. Raises ParameterError.

    resolves: whether the tags of images that the rules apply to are resolved.
    """
    rules = [
        _Rule(tuple(_patterns(f"signatures[{index}].images", rule.images)), _verified(index, rule.by), resolves)
        for index, rule in enumerate(written)
    ]

    def judge(
        pod: Pod, containers: Sequence[ContainerRef], denied: Collection[FieldPath], trust: Trust | None
    ) -> list[Unsigned]:
        return [
            unsigned
            for path, image, about in _images(pod, containers)
            if path not in denied
            for unsigned in _judge_image(rules, path, image, about, trust)
        ]

    return judge


def registries_of(written: Sequence[SignatureRule]) -> Iterator[str]:
    """The registries that rules name. Raises ParameterError."""
    for index, rule in enumerate(written):
        for pattern in _patterns(f"signatures[{index}].images", rule.images):
            yield pattern.segments[0]


class RuleResult(Struct, frozen=True, gc=False):
    """What a rule that applies to an image requires of it.

    index: of the rule in its policy.
    problem: why the image does not meet it, as a clause that continues `the image`; empty if it does.
    fix: an imperative clause; empty if it does.
    """

    index: int
    requires: str
    problem: str = ""
    fix: str = ""


def judge_each(
    written: Sequence[SignatureRule], reference: Reference, trust: Trust, resolves: bool = False
) -> Iterator[RuleResult]:
    """The result of each rule that applies to an image. Raises ParameterError.

    resolves: as for `compile_rules`.
    """
    for index, rule in enumerate(written):
        if any(pattern.may_reach(reference) for pattern in _patterns(f"signatures[{index}].images", rule.images)):
            fault = _fault(_Rule((), rule.by, resolves), reference, trust)
            requires = _allowed(rule.by)
            yield (
                RuleResult(index, requires) if fault is None else RuleResult(index, requires, fault.problem, fault.fix)
            )


def _images(pod: Pod, containers: Sequence[ContainerRef]) -> Iterator[tuple[FieldPath, str, ContainerRef | Volume]]:
    for ref in containers:
        yield (*ref.path, "image"), ref.container.image or "", ref
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None:
            yield ("spec", "volumes", index, "image", "reference"), volume.image.reference or "", volume


def _judge_image(
    rules: Sequence[_Rule], path: FieldPath, image: str, about: ContainerRef | Volume, trust: Trust | None
) -> Iterator[Unsigned]:
    try:
        reference = parse(image)
    except ImageError:
        return  # the control denies what is not a reference
    for rule in rules:
        if any(pattern.may_reach(reference) for pattern in rule.patterns):
            fault = _fault(rule, reference, trust)
            if fault is not None:
                shown = render_value(without_credentials(image))
                finding = Finding.of(
                    "images",
                    path,
                    image,
                    allowed=_allowed(rule.by),
                    fix=fault.fix,
                    about=about,
                    shown=shown,
                )
                yield Unsigned(replace(finding, origin=f"which {fault.problem}"), fault.lookup, fault.is_pending)


def _allowed(by: Signers) -> str:
    if by.all_of:
        return f"an image signed by {words(by.all_of, 'and')}"
    of = f"{by.required} of " if by.required > 1 else ""
    return f"an image signed by {of}{words(by.any_of or ())}"


def _fault(rule: _Rule, reference: Reference, trust: Trust | None) -> _Fault | None:
    """Why an image is not signed as a rule requires; None if it is."""
    by, key = rule.by, evidence_key(reference)
    if key is None:
        return _tag_fault(rule, reference, trust)
    if trust is None:
        return _Fault(
            "is not verified: this installation does not verify images",
            "an administrator must set imageVerification.enabled in the chart",
        )
    facts = trust.evidence.get(key)
    unusable = dict(_unusable(by.names, trust))
    signed = _signed(by.names, unusable, facts, trust)
    if len(signed) >= by.required:
        return None
    if len(by.names) - len(unusable) < by.required:
        name, problem = next(iter(unusable.items()))
        return _Fault(
            f'is not verified: ImageAuthority "{name}" is unusable, {problem}',
            f"an administrator must repair ImageAuthority {name}",
        )
    if not _may_connect(reference, trust):
        return _registry_not_named(reference)
    lookup = Lookup(reference, by.names)
    if facts is None:
        return _Fault("is not verified: nobody has looked for its signatures", "try again", lookup)
    if isinstance(facts, Unknown):
        return _Fault(facts.reason, facts.fix, lookup, facts.is_pending)
    changed = [name for name in by.names if name not in unusable and _is_unchecked(name, facts, trust)]
    if changed:
        problem = f"is still being verified, because ImageAuthority {words(changed, 'and')} changed"
        return _Fault(problem, "try again in a few seconds", lookup, True)
    return _Fault(_signers_problem(by, signed, facts, trust), _fix(by, signed, reference, trust))


def _tag_fault(rule: _Rule, reference: Reference, trust: Trust | None) -> _Fault:
    resolving = trust if rule.resolves else None
    if resolving is not None and not _may_connect(reference, resolving):
        return _registry_not_named(reference)
    lookup = Lookup(reference, rule.by.names) if resolving is not None else None
    unresolved = resolving.evidence.get(tag_key(reference)) if resolving is not None else None
    if isinstance(unresolved, Unknown):
        return _Fault(unresolved.reason, unresolved.fix, lookup, unresolved.is_pending)
    return _Fault(
        "has a tag, which can be moved to an image that nobody signed",
        "append @sha256: and the digest of the signed image",
        lookup,
    )


def _may_connect(reference: Reference, trust: Trust) -> bool:
    return trust.registries is None or reference.registry in trust.registries


def _registry_not_named(reference: Reference) -> _Fault:
    """An image of a registry that only a tenant names: the webhook may reach hosts that the tenant may not."""
    return _Fault(
        f"is not verified: no ClusterPodPolicy names registry {reference.registry} in a rule on signatures",
        "an administrator must name the registry there; with enforcement Audit, nothing else changes",
    )


def _unusable(names: Sequence[str], trust: Trust) -> Iterator[tuple[str, str]]:
    for name in names:
        authority = trust.authorities.get(name)
        problem = "it does not exist" if authority is None else authority.problem_at(trust.now)
        if problem:
            yield name, problem


def _signed(
    names: Sequence[str], unusable: dict[str, str], facts: ImageFacts | Unknown | None, trust: Trust
) -> list[str]:
    if not isinstance(facts, ImageFacts):
        return []
    return [
        name
        for name in names
        if name not in unusable
        and any(trust.authorities[name].accepts(signature, trust.now) for signature in facts.signatures)
    ]


def _is_unchecked(name: str, facts: ImageFacts, trust: Trust) -> bool:
    return facts.checked.get(name) != trust.authorities[name].fingerprint


def _signers_problem(by: Signers, signed: Sequence[str], facts: ImageFacts, trust: Trust) -> str:
    """What the registry has, such as `has no known signer; 2 signatures by other keys`."""
    ended = [
        f"a signature by {signature.authority} with a key that ended at {rfc3339(end)}"
        for signature in facts.signatures
        if signature.authority in by.names and (end := _end(signature.authority, signature.fingerprint, trust))
    ]
    others = [
        signature.authority
        for signature in facts.signatures
        if signature.authority not in by.names and signature.authority in trust.authorities
    ]
    known = list(dict.fromkeys([*signed, *others]))
    if known:
        parts = [f"is signed by {words(known, 'and')} only"]
    else:
        parts = ["has no known signer" if facts.others or facts.problems or ended else "is not signed"]
    parts += ended
    if facts.others:
        parts.append("1 signature by another key" if facts.others == 1 else f"{facts.others} signatures by other keys")
    if facts.problems:
        parts.append(f"one does not count: {facts.problems[0]}")
    if facts.omitted:
        parts.append(f"{facts.omitted} more were not read")
    return "; ".join(parts)


def _end(name: str, fingerprint: str, trust: Trust) -> datetime | None:
    """When a key of an authority ended; None if it has not, or is none of its keys."""
    keys = trust.authorities[name].keys if name in trust.authorities else ()
    ends = (key.until for key in keys if key.fingerprint == fingerprint)
    return next((end for end in ends if end is not None and end <= trust.now), None)


def _fix(by: Signers, signed: Sequence[str], reference: Reference, trust: Trust) -> str:
    missing = [name for name in by.names if name not in signed]
    is_keyless = all(trust.authorities[name].keyless is not None for name in missing if name in trust.authorities)
    key = "" if is_keyless else "--key KEY "
    image = f"{reference.registry}/{reference.repository}@{reference.digest}"
    return (
        f"as {words(missing, 'and' if by.all_of else 'or')}, run cosign sign {key}{image} (or its index with "
        "-r), then kubectl rollout restart"
    )


def _verified(index: int, by: Signers) -> Signers:
    where = f"signatures[{index}].by"
    if (by.any_of is None) is (by.all_of is None) or (by.count is not None and by.any_of is None):
        raise ParameterError(where, ONE_OF_ANY_AND_ALL)
    if by.count is not None and by.count > len(by.names):
        raise ParameterError(f"{where}.count", COUNT_OF_ANY)
    if len(set(by.names)) != len(by.names):
        raise ParameterError(where, "has a duplicate authority")
    return by


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

"""Rules on the signatures of images, which the control `images` has: their types, and what is judged."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import ParameterError, cel
from sekisho.controls.image_rules import Fault, ImageRule, patterns_of, repair_of_key
from sekisho.findings import count_as_findings, words
from sekisho.images.evidence import ImageFacts, signatures_by_others
from sekisho.images.registries import MAX_PATTERN_LENGTH
from sekisho.images.trust import Signer, Trust
from sekisho.timestamps import rfc3339

MAX_RULES: Final = 32
MAX_AUTHORITIES: Final = 16
ONE_OF_ANY_AND_ALL: Final = "set either anyOf, with or without count, or allOf"
_SIGNATURES_OF_A_FINDING: Final = 32
"""Saying why these do not count takes as long as making a finding."""
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
        """The names of the authorities."""
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


def signature_rules(written: Sequence[SignatureRule], resolves: bool = False) -> list[ImageRule]:
    """The rules of a policy, ready to judge. Raises ParameterError.

    resolves: whether the tags of images that they apply to are resolved.
    """
    return [_compiled(f"signatures[{index}]", rule, resolves) for index, rule in enumerate(written)]


def _compiled(field: str, rule: SignatureRule, resolves: bool) -> ImageRule:
    patterns, by = patterns_of(f"{field}.images", rule.images), _verified(f"{field}.by", rule.by)
    return ImageRule(
        field=field,
        patterns=patterns,
        requires=_allowed(by),
        names=by.names,
        required=by.required,
        kind="signatures",
        attached="signed",
        judge=partial(_judge, by),
        resolves=resolves,
    )


def _allowed(by: Signers) -> str:
    if by.all_of:
        return f"an image signed by {words(by.all_of, 'and')}"
    of = f"{by.required} of " if by.required > 1 else ""
    return f"an image signed by {of}{words(by.any_of or ())}"


def _judge(by: Signers, facts: ImageFacts, trust: Trust, unusable: Mapping[str, str]) -> Fault | None:
    """Why an image is not signed as a rule requires; None if it is."""
    signers = {name: trust.signers_of(facts, name) for name in by.names if name not in unusable}
    signed = [name for name in signers if signers[name]]
    if len(signed) >= by.required:
        if have_distinct(signers, by.required):
            return None
        return shared_signers("signed", "sign IMAGE", signed)
    fix = _fix(by, signed, trust)
    missing = [name for name in by.names if name not in signed]
    repair = repair_of_key(missing, trust) if facts.others else ""
    return Fault(_signers_problem(by, signed, facts, trust), repair + fix)


def shared_signers(is_made: str, make: str, names: Sequence[str]) -> Fault:
    """Says that authorities count the same signers as theirs.

    is_made: what was done to the image, such as `signed`. make: what to do again, such as `sign IMAGE`.
    """
    by = words(names, "and")
    return Fault(
        f"is {is_made} by {by} with keys or identities that they share",
        f"{make} also by a key or an identity that only one of {by} has, then kubectl rollout restart KIND/NAME",
    )


def have_distinct(signers: Mapping[str, Collection[Signer]], required: int) -> bool:
    """Whether at least `required` authorities have a signer each that is counted for no other one."""
    counted: dict[Signer, str] = {}

    def finds_one(name: str, seen: set[Signer]) -> bool:
        for signer in signers[name]:
            if signer not in seen:
                seen.add(signer)
                if signer not in counted or finds_one(counted[signer], seen):
                    counted[signer] = name
                    return True
        return False

    return required == 1 or sum(finds_one(name, set()) for name in signers) >= required


def _signers_problem(by: Signers, signed: Sequence[str], facts: ImageFacts, trust: Trust) -> str:
    """What the registry has, such as `has no accepted signature; 2 signatures by other keys`."""
    count_as_findings(len(facts.signatures) // _SIGNATURES_OF_A_FINDING)
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
        parts = ["has no accepted signature" if facts.others or facts.problems or ended else "is not signed"]
    parts += ended
    if facts.others:
        parts.append(signatures_by_others(facts.others))
    if facts.problems:
        parts.append(f"one does not count: {facts.problems[0]}")
    if facts.omitted:
        parts.append(f"{facts.omitted} more were not read")
    return "; ".join(parts)


def _end(name: str, fingerprint: str, trust: Trust) -> datetime | None:
    """When a key of an authority ended; None if it has not, or is not one of its keys."""
    keys = trust.authorities[name].keys if name in trust.authorities else ()
    ends = (key.until for key in keys if key.fingerprint == fingerprint)
    return next((end for end in ends if end is not None and end <= trust.now), None)


def _fix(by: Signers, signed: Sequence[str], trust: Trust) -> str:
    """IMAGE is the image that the finding shows. Repeated with its digest, it would make the denial hard to read."""
    missing = [name for name in by.names if name not in signed]
    is_keyless = all(trust.authorities[name].keyless is not None for name in missing if name in trust.authorities)
    return f"run cosign sign -r {'' if is_keyless else '--key KEY '}IMAGE, then kubectl rollout restart KIND/NAME"


def _verified(where: str, by: Signers) -> Signers:
    if (by.any_of is None) is (by.all_of is None) or (by.count is not None and by.any_of is None):
        raise ParameterError(where, ONE_OF_ANY_AND_ALL)
    if by.count is not None and by.count > len(by.names):
        raise ParameterError(f"{where}.count", COUNT_OF_ANY)
    if len(set(by.names)) != len(by.names):
        raise ParameterError(where, "has a duplicate authority")
    return by

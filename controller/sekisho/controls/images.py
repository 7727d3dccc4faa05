"""images: images must come from allowed registries and be named as the policy requires.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].image, spec.volumes[*].image.reference
Allowed values: a valid reference in one of `trustedRegistries` and in none of `deniedRegistries`, with a tag or digest
    if `requireTag` is set, a digest if `requireDigest` is set, and no tag of `deniedTags`
A registry has one name: without the port 443, and docker.io for Docker Hub. A denied registry without a port is denied
on every port.
A reference without tag and digest runs the tag latest. A digest decides what runs, so no tag counts beside it.
Level: none; the control applies only where a policy names it
Catalogs are judged where the rules above do not deny the image already, and signatures and attestations, from what
was looked up at the registry, where the catalogs do not deny it either.
Source: the reference grammar of github.com/distribution/reference, with Docker Hub's implicit names resolved first
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, EvidenceCheck, Example, ParameterError, Parameters, cel, opt_in
from sekisho.controls.image_attestations import (
    EQUALS_ALONE,
    EQUALS_ALONE_RULE,
    ONE_KIND,
    ONE_KIND_RULE,
    AttestationRule,
    attestation_rules,
)
from sekisho.controls.image_catalogs import (
    ONE_OF_ANY_AND_ALL,
    CatalogNames,
    Catalogs,
    catalog_fault,
    verified,
)
from sekisho.controls.image_defaults import UNSET
from sekisho.controls.image_rules import Fault as RuleFault
from sekisho.controls.image_rules import ImageRule, check_of, faults_of
from sekisho.controls.image_signatures import MAX_RULES, Registry, SignatureRule, signature_rules
from sekisho.findings import FieldPath, Finding, render_value, words
from sekisho.images import (
    ImageError,
    PatternIndex,
    Reference,
    RegistryPattern,
    parse,
    parse_pattern,
    without_credentials,
)
from sekisho.images.trust import Trust
from sekisho.pods import ContainerRef, Pod, Volume
from sekisho.remembered import Remembered

Tag = Annotated[str, Meta(pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)]
RESOLVES_NOTHING = (
    "requires signatures, attestations or catalogs: only the tags of images that they apply to are resolved"
)
NEEDS_DIGEST: Final = "an image with a digest"
"""What `requireDigest` allows."""
Fault = tuple[str, str]
"""What is allowed instead, and the fix."""


class Images(Parameters, frozen=True):
    """Where the images of containers and volumes may come from, and how they must be named."""

    trusted_registries: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories that images may come from, such as registry.example.com or "
                "ghcr.io/acme/*. Matched segment by segment from the left; * matches any characters within a segment.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None
    denied_registries: (
        Annotated[
            tuple[Registry, ...],
            Meta(
                description="Registries and repositories that images may not come from, in the same form; they "
                "take precedence over trustedRegistries. A registry without a port is denied on every port.",
                max_length=256,
            ),
        ]
        | None
    ) = None
    require_digest: Annotated[bool, Meta(description="Whether images must be pinned by digest.")] | None = None
    require_tag: Annotated[bool, Meta(description="Whether images must have a tag or a digest.")] | None = None
    denied_tags: (
        Annotated[
            tuple[Tag, ...],
            Meta(
                description="Tags that images may not have, such as latest, which an image without tag and digest has.",
                max_length=64,
            ),
        ]
        | None
    ) = None
    resolve_tags: (
        Annotated[
            bool,
            Meta(
                description="Whether new pods get the digests of tags, as name:tag@digest, in images that a rule of "
                "signatures or attestations applies to, or that a catalog has entries for. Otherwise such an image "
                "must be written with its digest."
            ),
        ]
        | None
    ) = None
    catalogs: (
        Annotated[
            CatalogNames,
            Meta(
                description="The catalogs that must certify every image. An image must have a digest.",
                extra_json_schema=cel("has(self.anyOf) != has(self.allOf)", ONE_OF_ANY_AND_ALL),
            ),
        ]
        | None
    ) = None
    signatures: (
        Annotated[
            tuple[SignatureRule, ...],
            Meta(
                description="Who must have signed images. All rules that match an image apply to it, and it must have "
                "a digest; images that no rule matches need no signature.",
                max_length=MAX_RULES,
            ),
        ]
        | None
    ) = None
    attestations: (
        Annotated[
            tuple[
                Annotated[
                    AttestationRule,
                    Meta(extra_json_schema=cel(ONE_KIND_RULE, ONE_KIND, (EQUALS_ALONE_RULE, EQUALS_ALONE))),
                ],
                ...,
            ],
            Meta(
                description="What must be attached to images, such as a scan for vulnerabilities. All rules that match "
                "an image apply to it, and it must have a digest; images that no rule matches need no attestation.",
                max_length=MAX_RULES,
            ),
        ]
        | None
    ) = None


def image_rules(parameters: Images) -> list[ImageRule]:
    """The rules that are judged from evidence, ready to judge. Raises ParameterError."""
    resolves = parameters.resolve_tags or False
    return [
        *signature_rules(parameters.signatures or (), resolves),
        *attestation_rules(parameters.attestations or (), resolves),
    ]


def names_image(parameters: Images) -> Callable[[Reference], bool]:
    """Whether the parameters say something about this one image and not only about its registry.

    They do where a rule that is judged from evidence applies to it, or where they deny its repository. A mirror of the
    registry would take the image out of their reach.
    """
    denied = _patterns("deniedRegistries", parameters.denied_registries or ())
    repositories = [pattern for pattern in denied if len(pattern.segments) > 1]
    rules = image_rules(parameters)

    def names(reference: Reference) -> bool:
        return any(pattern.covers_any_name_of(reference) for pattern in repositories) or any(
            rule.applies(reference) for rule in rules
        )

    return names


def judge_catalogs(
    parameters: Images, reference: Reference, trust: Trust | None, catalogs: Catalogs
) -> RuleFault | None:
    """Why an image is not certified as the parameters require; None if it is, or if they require nothing."""
    if parameters.catalogs is None:
        return None
    return catalog_fault(parameters.catalogs, parameters.resolve_tags or False, reference, trust, catalogs)


def _evidence_check(parameters: Images) -> EvidenceCheck | None:
    rules, names = image_rules(parameters), parameters.catalogs
    if names is None:
        return check_of(lambda reference, trust, _: faults_of(rules, reference, trust)) if rules else None
    requires = verified("catalogs", names).requires

    def faults(reference: Reference, trust: Trust | None, catalogs: Catalogs) -> Iterator[tuple[str, RuleFault]]:
        fault = judge_catalogs(parameters, reference, trust, catalogs)
        if fault is not None:
            yield requires, fault
        if fault is None or fault.lookup is not None or fault.needs_trust:  # else nothing is looked up
            yield from faults_of(rules, reference, trust)

    return check_of(faults)


def _check(parameters: Images, _minor: int) -> Check:
    trusted = tuple(_patterns("trustedRegistries", parameters.trusted_registries or ()))
    denied = tuple(_patterns("deniedRegistries", parameters.denied_registries or ()))

    resolved = tuple(image_rules(parameters)) if parameters.resolve_tags else ()
    registries, tags = parameters.trusted_registries, parameters.denied_tags
    # Made for the first finding, and shared by all: they may be as long as the policy itself.
    from_trusted = cache(lambda: f"an image from {words(registries or ())}")
    use_trusted = f"use an image from {_shown(registries or ('',))}"
    not_denied_tag = cache(lambda: f"a tag other than {words(tags or ())}")
    rules = _Rules(parameters, trusted, denied, resolved, next(_numbers), from_trusted, use_trusted, not_denied_tag)
    number = rules.number

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for ref in containers:
            image = ref.container.image or ""
            if (number, image) not in _ALLOWED.known:
                for allowed, fix in _faults(rules, image):
                    findings.append(_not_allowed((*ref.path, "image"), image, allowed, fix, ref))
        for index, volume in enumerate(pod.spec.volumes or ()):
            if volume.image is not None:
                image = volume.image.reference or ""
                path = ("spec", "volumes", index, "image", "reference")
                findings += [_not_allowed(path, image, allowed, fix, volume) for allowed, fix in _faults(rules, image)]
        return findings

    return judge


class _Rules(Struct, frozen=True, eq=False):
    """Compiled parameters. `number` is theirs alone, also when others replace them.

    resolved: the rules whose images get the digests of their tags, and are denied until they have them.
    from_trusted, not_denied_tag: give in words which images pass.
    use_trusted: the fix for an image from a registry that is not trusted.
    """

    parameters: Images
    trusted: tuple[RegistryPattern, ...]
    denied: tuple[RegistryPattern, ...]
    resolved: tuple[ImageRule, ...]
    number: int
    from_trusted: Callable[[], str]
    use_trusted: str
    not_denied_tag: Callable[[], str]


_MAX_REGISTRIES_LENGTH: Final = 100
"""Longer lists of registries are not repeated in the fix of each finding."""
_numbers = count()
MAX_REMEMBERED_LENGTH: Final = 256
"""Results for longer images are not remembered."""
_ALLOWED: Final[Remembered[tuple[int, str], bool]] = Remembered(1 << 20, lambda key, _: 250 + len(key[1]))
"""Images that rules allow, by the rules' number."""


def _faults(rules: _Rules, image: str) -> tuple[Fault, ...]:
    faults = _faults_of(rules, image)
    if not faults and len(image) <= MAX_REMEMBERED_LENGTH:
        _ALLOWED.add((rules.number, image), True)
    return faults


def _faults_of(rules: _Rules, image: str) -> tuple[Fault, ...]:
    try:
        reference = parse(image)
    except ImageError as error:
        return (("a valid image reference", f"correct it: {error}"),)
    registry = _registry_fault(image, reference, rules)
    tag = _tag_fault(reference, rules)
    if registry is None and tag is None:  # nearly always
        return ()
    return tuple(fault for fault in (registry, tag) if fault is not None)


def _not_allowed(path: FieldPath, image: str, allowed: str, fix: str, about: ContainerRef | Volume) -> Finding:
    shown = without_credentials(image)
    return Finding.of(
        "images",
        path,
        image or None,
        allowed=allowed,
        fix=fix,
        about=about,
        shown=None if shown == image else render_value(shown),
    )


def _registry_fault(image: str, reference: Reference, rules: _Rules) -> Fault | None:
    for pattern in rules.trusted:
        if pattern.covers(reference):
            break
    else:
        if rules.trusted:
            return rules.from_trusted(), rules.use_trusted + _resolved(image, reference)
    for pattern, text in zip(rules.denied, rules.parameters.denied_registries or (), strict=True):
        if pattern.covers_any_name_of(reference):
            return f"no image from {text}", f"use an image from another registry{_resolved(image, reference)}"
    return None


def _shown(registries: Sequence[str]) -> str:
    text = words(registries)
    return text if len(text) <= _MAX_REGISTRIES_LENGTH else "a trusted registry"


def _resolved(image: str, reference: Reference) -> str:
    """Says what the image is where that is not what is written."""
    name = f"{reference.registry}/{reference.repository}"
    return "" if image.startswith(name) else f" instead of {name}"


def _tag_fault(reference: Reference, rules: _Rules) -> Fault | None:
    if reference.digest is not None:
        return None
    parameters = rules.parameters
    if parameters.require_digest and not _is_resolved(rules, reference):
        return NEEDS_DIGEST, "append @sha256: and the image's digest"
    if parameters.require_tag and reference.tag is None:
        return "an image with a tag", "append a tag such as :1.2.3"
    tag = reference.tag or "latest"
    if tag in (parameters.denied_tags or ()):
        if reference.tag is None:
            return rules.not_denied_tag(), "append the version to run, such as :1.2.3: no tag means latest"
        return rules.not_denied_tag(), "name the version to run, such as :1.2.3"
    return None


def _is_resolved(rules: _Rules, reference: Reference) -> bool:
    """Whether the image gets the digest of its tag, and is denied until it has it."""
    resolves_all = rules.parameters.resolve_tags and rules.parameters.catalogs is not None
    return bool(resolves_all) or any(rule.applies(reference) for rule in rules.resolved)


def _patterns(parameter: str, written: Sequence[str]) -> Iterator[RegistryPattern]:
    for index, pattern in enumerate(written):
        try:
            yield parse_pattern(pattern)
        except ValueError as error:
            raise ParameterError(f"{parameter}[{index}]", f"{pattern!r} {error}") from None


def _verify(parameters: Images) -> None:
    if parameters.resolve_tags and not (parameters.signatures or parameters.attestations or parameters.catalogs):
        raise ParameterError("resolveTags", RESOLVES_NOTHING)
    denied = [(text, pattern) for text in parameters.denied_registries or () if (pattern := _pattern(text)) is not None]
    denied_patterns = PatternIndex([pattern for _, pattern in denied])
    for index, text in enumerate(parameters.trusted_registries or ()):
        pattern = _pattern(text)
        number = denied_patterns.containing(pattern) if pattern is not None else None
        if number is not None:
            message = f"{text!r} is in {denied[number][0]!r} of deniedRegistries, which takes precedence"
            raise ParameterError(f"trustedRegistries[{index}]", message)


def _pattern(text: str) -> RegistryPattern | None:
    """The pattern of a text; None if it is invalid, which compiling reports."""
    try:
        return parse_pattern(text)
    except ValueError:
        return None


CONTROL = Control(
    name="images",
    reason="its image",
    summary="The images of containers and volumes must come from trusted registries and be named as the policy says.",
    why="Anyone who can change an image can change what runs in the pod. A tag can be moved to another image later, a "
    "digest cannot.",
    example=Example(
        parameters="{trustedRegistries: [registry.example.com], deniedTags: [latest]}",
        denied="""\
containers:
- name: app
  image: registry.example.com.evil.net/app:1.4
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=Images,
    standard=opt_in,
    check=_check,
    evidence_check=_evidence_check,
    verify=_verify,
    needs_parameters=True,
    unset=UNSET,
)
